"""What is typed: numbers of 64 bits and names that a file can have, in every option of every command."""

import pytest

from tests.commands import exit_code

HUGE, LONG = 10**25, "x" * 300


@pytest.mark.parametrize(
    "words",
    [
        ("simulate", "--seed", HUGE),
        ("simulate", f"--classes=-{HUGE}"),
        ("simulate", "--per-class", HUGE),
        ("simulate", "--scale", "1e400"),
        ("simulate", "--out", LONG),
        ("simulate", "--config", f"{LONG}/a.toml"),
        ("simulate", "--state", "a\0b"),
        ("show", LONG),
        ("sweep", "--over", f"classes=2,{HUGE}"),
        ("sweep", "--over", "classes=2:1e30:3"),
        ("sweep", "--set", f"seed={HUGE}", "--seeds", 2),
        ("validate", "train", "--seed", HUGE),
        ("validate", "train", "--set", f"training.steps={HUGE}"),
        ("validate", "sweep", "--over", f"training.steps=2,{HUGE}"),
        ("validate", "show", LONG),
        ("validate", "kernels", LONG),
    ],
    ids=str,
)
def test_what_no_array_seed_or_file_can_have_is_refused_in_one_line(words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert exit_code(*words) == 2
    text = capsys.readouterr().err
    assert text.count("\n") == 1
    assert len(text) < 300
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("simulate", "--ensemble", 10**9), "GiB, more than half of the memory"),
        (("simulate", "--ensemble", 100_001), "--yes"),
        (("simulate", "-C", 100_000), "GiB of memory"),
        (("simulate", "-C", 2**63 - 1), "GiB of memory"),
        (("theory", "-C", 100_000), "GiB of memory"),
        (("sweep", "--seeds", 10**8), "GiB, more than half of the memory"),
        (("sweep", "--seeds", 100_001), "--yes"),
        (("sweep", "--seeds", 2**63 - 1), "GiB, more than half of the memory"),
        (("sweep", "--over", "scale=1,2", "--workers", 2**63 - 1), "must be 1 .. 1024"),
        (("validate", "calibrate", "--seeds", 2**63 - 1), "GiB, more than half of the memory"),
        (("sweep", "--over", "scale=1:2:100000", "--over", "kappa_d=1:2:100000"), "over = 10000000000"),
        (("validate", "sweep", "--seeds", 10**8), "GiB, more than half of the memory"),
        (("validate", "train", "--set", "model.width=100000000"), "its training needs at least"),
        (
            ("validate", "train", "--set", "model.name=mlp", "--set", "model.depth=1000000"),
            "must be at most 1000: layers are compiled one by one",
        ),
        (
            (
                "validate",
                "train",
                "--set",
                "data.name=block",
                "--set",
                "model.name=linear",
                "--set",
                "data.per_class=1000000",
            ),
            "such inputs need about",
        ),
    ],
    ids=str,
)
def test_what_a_request_costs_is_said_before_anything_is_allocated(
    words, message, capsys, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    # On any machine: what is meant to be too large is, and what is not is not.
    monkeypatch.setattr("ntkflow.runs.border.costs.physical_memory", lambda: 64 << 30)
    assert exit_code(*words) == 2
    text = capsys.readouterr().err
    assert message in text
    assert text.count("\n") == 1
    assert list(tmp_path.iterdir()) == []

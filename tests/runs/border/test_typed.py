"""What is typed: numbers of 64 bits and names that a file can have, in every option of every command."""

from pathlib import Path

import numpy as np
import pytest

from ntkflow import InputError
from ntkflow.runs.border.typed import parsed, typed
from ntkflow.runs.config import SCHEMA, from_tables
from ntkflow.sweep.axis import Axis
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


@pytest.mark.parametrize(
    ("kind", "value", "found"),
    [
        (bool, True, True),
        (bool, 1, None),
        (bool, "true", None),
        (int, 3, 3),
        (int, np.int64(3), 3),
        (int, 3.0, None),
        (int, True, None),
        (int, "3", None),
        (float, 3, 3.0),
        (float, np.float32(0.5), 0.5),
        (float, True, None),
        (float, "3", None),
        (float, [3.0], None),
        (float, float("nan"), None),
        (float, 10**400, None),
        (str, "3", "3"),
        (str, 3, None),
        (Path, "a", Path("a")),
        (Path, 3, None),
    ],
    ids=repr,
)
def test_a_value_is_of_its_kind_or_a_whole_number_for_a_number_or_text_for_a_path(kind, value, found):
    if found is None:
        with pytest.raises(InputError, match=r"^here = "):
            typed("here", kind, value)
    else:
        assert typed("here", kind, value) == found
        assert isinstance(typed("here", kind, value), kind)


@pytest.mark.parametrize(
    ("kind", "text", "found"),
    [
        (bool, " True", True),
        (bool, "1", None),
        (int, "3", 3),
        (int, "3.0", None),
        (float, "3", 3.0),
        (float, "inf", None),
        (str, "3", "3"),
        (str, " ", None),
        (Path, "a/b", Path("a/b")),
    ],
    ids=repr,
)
def test_the_text_of_an_option_follows_the_same_rule(kind, text, found):
    if found is None:
        with pytest.raises(InputError, match=r"^here = "):
            parsed("here", kind, text)
    else:
        assert parsed("here", kind, text) == found


@pytest.mark.parametrize(
    ("name", "value"), [("classes", 3.0), ("classes", True), ("scale", "1"), ("init", 3)]
)
def test_files_and_axes_refuse_the_same_values(name, value):
    table = "sizes" if name == "classes" else "initial"
    words = []
    for refused in (
        lambda: from_tables({table: {name: value}}, Path()),
        lambda: Axis((name,), (value,)),
        lambda: SCHEMA.typed_value("here", name, value),
    ):
        with pytest.raises(InputError) as caught:
            refused()
        words.append((caught.value.value, caught.value.rule))
    assert len(set(words)) == 1

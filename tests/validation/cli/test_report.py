"""The commands that make pages, and the run without arguments, on networks of a few neurons."""

import json
from dataclasses import replace

import pytest
from ntkflow_validation.cli import showcase
from ntkflow_validation.config.presets import preset
from ntkflow_validation.runs.rundir import RunDirectory

from tests.commands import exit_code
from tests.validation.counting import counted


def validate(*words):
    """Exit code of `ntkflow validate WORDS`."""
    return exit_code("validate", *words)


def small(data, seed=None, per_class=None):
    assert data in ("fashion-mnist", "digits")
    control = preset("control")
    short = replace(control, training=replace(control.training, steps=60, learning_rate=0.02, snapshots=8))
    return {"mlp": short.with_seed(seed), "resnet": preset("tiny").with_seed(seed)}


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """The runs that were done in one go, and how often they made and read what their steps share."""
    out = tmp_path_factory.mktemp("default") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(showcase, "configurations", small)
        patch.setattr(showcase, "RUNGS", ("block", "class-block", "sample"))
        with counted() as seen:
            assert validate("run", "--out", out, "--quiet") == 0
    return out, seen


@pytest.fixture(scope="module")
def finished(first):
    return first[0]


def test_two_runs_in_one_go_prepare_each_once_and_the_common_page_reads_no_comparison(first):
    _, seen = first
    made = {what: times for what, times in seen.items() if what[0] in ("load", "build")}
    assert made == {
        ("load", "block"): 1,
        ("build", "linear"): 1,
        ("load", "digits"): 1,
        ("build", "cnn"): 1,
    }
    assert not [what for what in seen if what[1] == "comparison.json"]


def test_no_arguments_give_two_runs_and_one_page(finished):
    assert {path.name for path in finished.iterdir()} == {"mlp", "resnet", "calibration.json", "report.html"}
    text = (finished / "report.html").read_text(encoding="utf-8")
    for words in (
        "two-layer linear network on inputs",
        "small CNN on digits",
        "Calibration of version",
        "not in the theory",
    ):
        assert words.lower() in text.lower()
    assert (finished / "mlp" / "report.html").is_file()
    skill = json.loads((finished / "mlp" / "summary.json").read_text())["windows"][0]["skill"]
    assert skill["block"]["M"] > 0.99


def test_a_finished_page_is_left_alone_and_another_one_is_not_replaced_unasked(finished, monkeypatch, capsys):
    monkeypatch.setattr(showcase, "configurations", small)
    before = (finished / "report.html").stat().st_mtime_ns
    assert validate("run", "--out", finished) == 0
    assert f"{finished} is already complete" in capsys.readouterr().out
    assert (finished / "report.html").stat().st_mtime_ns == before
    assert validate("run", "--out", finished, "--seed", 5) == 2
    assert "its mlp was made with another seed (0, not 5)" in capsys.readouterr().err
    assert validate("run", "--out", finished / "mlp") == 2
    assert "exists already" in capsys.readouterr().err


def test_what_a_run_names_next_takes_the_folder_it_made(finished, monkeypatch, capsys):
    monkeypatch.setattr(showcase, "configurations", small)
    assert validate("run", "--out", finished) == 0
    named = capsys.readouterr().out.partition("next: ")[2].splitlines()
    commands = [line.split()[2:] for line in named]
    assert [words[0] for words in commands] == ["show", "frontier", "kernels"]
    for words in commands[:2]:
        assert validate(*words) == 0
        told = capsys.readouterr().out
        assert "mlp" in told
        assert "resnet" in told or "2 trainings" in told
    assert validate("report", finished, "--quiet") == 0
    assert validate("export", finished, "--to", finished.parent / "exported") == 0
    assert {path.stem for path in (finished.parent / "exported").iterdir()} == {"mlp", "resnet"}


def test_kernels_and_compare_take_all_runs_of_a_folder(finished, capsys):
    assert validate("kernels", finished, "--json") == 0
    assert set(json.loads(capsys.readouterr().out)) == {"mlp", "resnet"}
    assert validate("compare", finished, "--rungs", "block", "--json") == 0
    assert {len(found["windows"]) > 0 for found in json.loads(capsys.readouterr().out).values()} == {True}
    assert validate("compare", finished, "--out", finished) == 2
    assert "has no meaning beside RUN" in capsys.readouterr().err


@pytest.mark.slow
def test_an_interrupted_run_goes_on_with_what_is_missing(finished, tmp_path, monkeypatch, capsys):
    import shutil

    out = tmp_path / "again"
    shutil.copytree(finished, out)
    (out / "report.html").unlink()
    shutil.rmtree(out / "resnet")
    before = (out / "mlp" / "metrics.jsonl").stat().st_mtime_ns
    monkeypatch.setattr(showcase, "configurations", small)
    monkeypatch.setattr(showcase, "RUNGS", ("block", "sample"))
    assert validate("run", "--out", out) == 0
    assert (out / "mlp" / "metrics.jsonl").stat().st_mtime_ns == before
    printed = capsys.readouterr().out
    assert "skill on the class means: three constants 1.00" in printed
    assert f"\nreport: {out / 'report.html'}\nnext: ntkflow validate show {out}\n" in printed
    assert len(printed.splitlines()) <= 15


@pytest.mark.parametrize(
    "words", [("--rungs", "all"), ("--from-snapshot", 0), ("--set", "seed=3"), ("--download",)]
)
def test_settings_of_a_single_run_need_one(tmp_path, capsys, words):
    assert validate("run", "--out", tmp_path / "new", *words) == 2
    assert "give --preset or --config" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_several_runs_on_one_page(finished, tmp_path, capsys):
    page = tmp_path / "both.html"
    assert validate("report", finished / "resnet", finished / "mlp", "--to", page) == 0
    text = page.read_text(encoding="utf-8")
    assert text.index("<h2>small CNN") < text.index("<h2>two-layer linear")
    assert capsys.readouterr().out == f"report: {page}\n"
    assert validate("report", tmp_path) == 2


def test_the_two_networks_differ_in_what_the_theory_needs():
    found = showcase.configurations("digits", seed=4, per_class=6)
    assert [c.model.name for c in found.values()] == ["mlp", "resnet8"]
    assert {c.seed for c in found.values()} == {4}
    assert {c.data.per_class for c in found.values()} == {6}
    for config in found.values():
        assert (
            config.training.momentum == config.training.weight_decay == config.training.batch_per_class == 0
        )


def test_a_calibration_that_fails_has_its_exit_code(tmp_path, monkeypatch, capsys):
    from ntkflow_validation.calibration import run

    from tests.validation.report import synthetic

    failed = synthetic.calibration(passed=False, block_skill=0.9, fingerprint="another")
    monkeypatch.setattr(run, "calibrate", lambda *_: failed)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert validate("calibrate", "--out", tmp_path / "cal") == 1
    printed = capsys.readouterr().out
    assert "known answer FAILED: lowest skill of three constants 0.900000" in printed
    assert (tmp_path / "cal" / "figures" / "calibration.png").stat().st_size > 1000
    assert "<b>fails</b>" in (tmp_path / "cal" / "report.html").read_text(encoding="utf-8")


def test_a_directory_of_something_else_is_no_calibration(finished, capsys):
    assert validate("calibrate", "--out", finished) == 2
    assert "exists already" in capsys.readouterr().err
    assert RunDirectory.open(finished / "mlp").steps()


def test_a_folder_without_the_data_asked_for_is_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(showcase, "found_data", lambda: "digits")
    monkeypatch.setenv("NTKFLOW_DATA", "")
    assert validate("run", "--data-dir", tmp_path, "--out", tmp_path / "run") == 2
    assert "holds no Fashion-MNIST" in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "run").exists()

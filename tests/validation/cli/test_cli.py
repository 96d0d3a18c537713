import json
import shutil
from importlib.metadata import entry_points

import pytest
from ntkflow_validation.cli.progress import progress
from ntkflow_validation.config.config import RunConfig
from ntkflow_validation.config.presets import preset
from ntkflow_validation.kernels import measurement_file
from ntkflow_validation.runs.documents import Line

from tests.commands import exit_code
from tests.validation.counting import counted

FILES = (
    "config.toml",
    "metrics.jsonl",
    "measurements",
    "comparison.json",
    "summary.json",
    "figures/comparison.png",
)


def validate(*words):
    """Exit code of `ntkflow validate WORDS`."""
    return exit_code("validate", *words)


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """A run that was done in one go, and how often it made and read what its steps share."""
    out = tmp_path_factory.mktemp("cli") / "run"
    words = ("run", "--preset", "tiny", "--seed", 3, "--out", out, "--quiet")
    with counted() as seen:
        assert validate(*words, "--rungs", "block, class-block, tensor") == 0
    return out, seen


@pytest.fixture(scope="module")
def finished(first):
    return first[0]


def test_the_entry_point_names_this_application():
    (point,) = entry_points(group="ntkflow.commands", name="validate")
    assert point.value == "ntkflow_validation.cli:app"


def test_a_run_leaves_a_complete_directory(finished):
    assert all((finished / name).stat().st_size > 0 for name in FILES)
    assert (
        len(list((finished / "snapshots").glob("*.npz")))
        == len(list((finished / "parameters").glob("*.npz")))
        == 9
    )
    assert RunConfig.from_toml(finished / "config.toml") == preset("tiny").with_seed(3)
    summary = json.loads((finished / "summary.json").read_text())
    assert summary["seed"] == 3
    assert summary["versions"]["flax"]
    assert summary["training"]["last"]["step"] == 40
    assert summary["training"]["last"]["accuracy_train"] > 0.9
    assert [k["step"] for k in summary["kernels"]] == [0, 40]
    window = summary["windows"][0]
    # While the kernel still is that of the start; down to 1/30 of the class residual, which moves it, errors cancel.
    compared = json.loads((finished / "comparison.json").read_text())["windows"][0]
    half = {r["name"]: r["skill_until"]["1/2"] for r in compared["rungs"] if not r["modifications"]}
    assert half["tensor"]["M"]["value"] > half["block"]["M"]["value"]
    assert window["skill"]["tensor"]["M"] > 0.5
    assert any("drifts" in line for line in summary["deviations"])


def test_a_run_in_one_go_makes_and_reads_once_what_its_steps_share(first):
    _, seen = first
    assert {what: times for what, times in seen.items() if what[0] in ("load", "build")} == {
        ("load", "digits"): 1,
        ("build", "cnn"): 1,
    }
    assert ("run", "comparison.json") not in seen  # it is written, and goes on as it is
    small, for_pictures = len(measurement_file.LARGE), len(measurement_file.TENSORS)
    for step in ("0.npz", "40.npz"):
        assert seen["run", step, small] == 1
        assert seen["run", step, for_pictures] <= 2  # where a window begins, and on the page


def test_steps_on_their_own_print_one_json_document(finished, capsys):
    assert validate("kernels", "--out", finished, "--from-snapshot", 2, "--json") == 0
    assert [k["step"] for k in json.loads(capsys.readouterr().out)["kernels"]] == [0, 2, 40]
    assert validate("compare", "--out", finished, "--from-snapshot", 2, "--rungs", "block", "--json") == 0
    assert json.loads(capsys.readouterr().out)["from_snapshot"] == 2


@pytest.mark.slow
def test_words_for_people(finished, capsys):
    assert validate("compare", "--out", finished, "--rungs", "block,class-block,tensor") == 0
    text = capsys.readouterr().out
    assert "skill on centred class means" in text
    assert "What costs most" in text
    assert "kernel at step" in text
    assert "comparison.png" in text


def test_a_config_file_replays_a_run(finished, tmp_path, capsys):
    assert (
        validate("train", "--config", finished / "config.toml", "--out", tmp_path / "again", "--quiet") == 0
    )
    assert capsys.readouterr().out == ""
    assert (tmp_path / "again" / "metrics.jsonl").read_text() == (finished / "metrics.jsonl").read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("run", "--preset", "imagenet", "--out", "{tmp}/new"), "preset = 'imagenet'"),
        (("run", "--preset", "tiny", "--out", "{run}"), "exists already"),
        (("run", "--preset", "tiny", "--out", "{run}", "--overwrite", "--resume"), "contradicts --resume"),
        (("train", "--preset", "tiny", "--out", "{run}", "--resume"), "seed (3, not 0)"),
        (("train", "--config", "{tmp}/absent.toml", "--out", "{tmp}/new"), "cannot be read"),
        (("train", "--set", "training.rate=1", "--out", "{tmp}/new"), "did you mean"),
        (("train", "--set", "training.steps=few", "--out", "{tmp}/new"), "a whole number"),
        (("kernels", "--out", "{tmp}/new"), "not a run directory"),
        (("compare", "--out", "{run}", "--from-snapshot", "7"), "no kernel was measured there"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(finished, tmp_path, capsys, words, message):
    assert validate(*(word.format(tmp=tmp_path, run=finished) for word in words)) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "new").exists()


def test_an_unfinished_run_goes_on_with_the_same_command(finished, tmp_path, capsys):
    out = tmp_path / "again"
    shutil.copytree(finished, out)
    (out / "summary.json").unlink()
    for name in ("snapshots", "parameters"):
        (out / name / "step_0000040.npz").unlink()
    facts = json.loads((out / "training.json").read_text())
    for key in ("result", "step", "message"):
        facts.pop(key)
    (out / "training.json").write_text(json.dumps(facts))
    words = ("train", "--preset", "tiny", "--seed", 3, "--out", out, "--quiet")
    assert validate(*words) == 0
    assert (out / "metrics.jsonl").read_text() == (finished / "metrics.jsonl").read_text()
    assert validate(*words[:-1]) == 0
    assert capsys.readouterr().out == f"{out} is already complete; --overwrite runs it again\n"


def test_the_progress_line_shows_the_metrics_seen_last(capsys):
    with progress(hidden=False) as bar:
        bar("training", 1, 2)
        shown = {
            "loss": 1.0,
            "NC1": 0.5,
            "NC2": 0.25,
            "NC3": 1.0,
            "accuracy_train": 1.0,
            "accuracy_test": 0.5,
        }
        bar.observed(Line(1, 0.1, shown))
        bar("training", 2, 2)
    assert "NC1-3 0.5 0.25 1, accuracy 0.50" in " ".join(capsys.readouterr().err.split())


def test_an_interruption_says_how_to_go_on(tmp_path, monkeypatch, capsys):
    def interrupt(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("ntkflow_validation.pipeline.pipeline.train_run", interrupt)
    assert validate("train", "--preset", "tiny", "--out", tmp_path / "run") == 130
    error = capsys.readouterr().err
    assert error == "ntkflow: error: interrupted; the same command again goes on from here\n"


def test_settings_are_replaced_on_the_command_line(tmp_path):
    words = (
        "train",
        "--config",
        tmp_path / "few.toml",
        "--per-class",
        5,
        "--out",
        tmp_path / "run",
        "--set",
        "training.steps=2",
        "--set",
        "model.init=he-normal",
        "--quiet",
    )
    (tmp_path / "few.toml").write_text(
        'data = {name = "block", classes = 2, per_class = 9, probe_per_class = 9}\n'
        'model = {name = "linear"}\ntraining = {steps = 1}\nkernels = {per_class = 7}\n'
    )
    assert validate(*words) == 0
    config = RunConfig.from_toml(tmp_path / "run" / "config.toml")
    assert (config.data.per_class, config.data.probe_per_class, config.kernels.per_class) == (5, 5, 5)
    assert (config.training.steps, config.model.init) == (2, "he-normal")


def test_missing_files_are_said_before_a_directory_is_made(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("NTKFLOW_DATA", str(tmp_path))
    words = ("run", "--preset", "paper-small", "--data-dir", tmp_path / "none", "--out", tmp_path / "run")
    assert validate(*words) == 2
    error = capsys.readouterr().err
    assert "its files are not in" in error
    assert str(tmp_path / "none") in error
    assert not (tmp_path / "run").exists()


def test_a_diverging_training_has_its_own_exit_code_and_a_summary(tmp_path, capsys):
    (tmp_path / "wild.toml").write_text(
        'data = {name = "block", classes = 2, per_class = 3}\n'
        'model = {name = "linear"}\ntraining = {steps = 200, learning_rate = 1e9}\n'
    )
    words = ("run", "--config", tmp_path / "wild.toml", "--out", tmp_path / "run")
    assert validate(*words) == 3
    assert "diverged before step" in capsys.readouterr().err
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["training"]["result"] == "diverged"


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("data.per_class=1000000000", "has 178 samples"),
        ("training.steps=1000000000000", "the times of so many steps take about"),
        ("model.features=1000000000", "sizes = C = 3"),
        ("model.width=1000000000", "its training needs at least"),
        ("data.classes=100000", "give at most 10"),
    ],
)
def test_what_cannot_be_trained_is_refused_before_anything_is_made_or_replaced(
    finished, tmp_path, capsys, monkeypatch, setting, message
):
    monkeypatch.setattr("ntkflow.runs.border.costs.physical_memory", lambda: 64 << 30)
    words = ("--preset", "tiny", "--set", setting, "--quiet", "--out")
    run = shutil.copytree(finished, tmp_path / "run")
    for command in ("train", "run"):
        assert validate(command, *words, tmp_path / "new") == 2
        assert validate(command, *words, run, "--overwrite") == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 2
    assert {path.name for path in tmp_path.iterdir()} == {"run"}
    assert all((run / name).stat().st_size > 0 for name in FILES)


def test_the_run_with_no_arguments_is_refused_before_anything_is_made(tmp_path, capsys):
    assert validate("run", "--per-class", 10**9, "--out", tmp_path / "new", "--quiet") == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_preset_without_a_name_is_none(tmp_path, capsys):
    assert validate("run", "--preset", "", "--out", tmp_path / "new") == 2
    assert "preset = " in capsys.readouterr().err

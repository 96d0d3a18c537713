import csv
import json
from concurrent.futures import ThreadPoolExecutor

import pytest
from ntkflow_validation.config.presets import preset
from ntkflow_validation.runs.rundir import RunDirectory

from tests.commands import exit_code

WORDS = (
    "sweep", "--config", "{tmp}/base.toml", "--learning-rates", "0.01,0.1,1e30", "--seeds", "1", "--out", "{tmp}/s",
)  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("commands")
    (path / "base.toml").write_text(
        'data = {name = "block", classes = 2, per_class = 3}\nmodel = {name = "linear", features = 3}\n'
        "training = {steps = 8, snapshots = 4}\nkernels = {count = 2, while_training = true}\n"
    )
    return path


@pytest.fixture
def validate(folder, monkeypatch, capsys):
    """Runs a command with its cells in a thread; returns exit code, standard output and error."""
    monkeypatch.setattr(
        "ntkflow_validation.sweep.running.local_workers", lambda workers=None: ThreadPoolExecutor(1)
    )

    def run(*words):
        code = exit_code("validate", *(str(word).format(tmp=folder) for word in words))
        return code, *capsys.readouterr()

    return run


def test_a_sweep_runs_once_and_says_what_diverged(validate, folder):
    code, out, err = validate(*WORDS)
    assert (code, err) == (0, "")
    assert "3 of 3 trainings done, 1 of them diverged" in out
    before = {path.name: path.stat().st_mtime_ns for path in (folder / "s" / "cells").iterdir()}
    code, out, _ = validate(*WORDS, "--json")
    assert json.loads(out) == {
        "directory": str(folder / "s"), "cells": 3, "done": 3, "failed": 0, "diverged": 1, "errors": [],
    }  # fmt: skip
    assert before == {path.name: path.stat().st_mtime_ns for path in (folder / "s" / "cells").iterdir()}
    with (folder / "s" / "table.csv").open() as handle:
        assert [row["result"] for row in csv.DictReader(handle)] == ["complete", "complete", "diverged"]


def test_the_table_is_printed_chosen_and_as_json(validate):
    validate(*WORDS, "--quiet")
    code, out, _ = validate("table", "{tmp}/s", "--where", "result=complete", "--column", "NC1_tirer")
    head, *rows, count = out.strip().splitlines()
    assert code == 0
    assert head.split()[-2:] == ["status", "NC1_tirer"]
    assert len(rows) == 2
    assert count.startswith("2 of 3 trainings")
    rows = json.loads(validate("table", "{tmp}/s", "--json")[1])
    assert len(rows) == 3
    assert rows[0]["training.learning_rate"] == 0.01
    assert rows[0]["config.training.steps"] == 8


def test_show_says_how_far_an_unfinished_run_is(validate, folder):
    RunDirectory.create(folder / "begun", preset("tiny"))
    code, out, _ = validate("show", "{tmp}/begun")
    assert code == 0
    assert out.splitlines()[1:] == [
        "  cnn on digits, lecun-normal, rate 0.2, seed 0: unfinished after 0 steps"
    ]


def test_show_finds_trainings_by_any_field_and_prints_the_one_that_is_left(validate):
    validate(*WORDS, "--quiet")
    code, out, _ = validate("show", "{tmp}/s", "--where", "learning_rate<1")
    assert code == 0
    assert out.strip().endswith("2 of 3 trainings")
    out = validate("show", "{tmp}/s", "--where", "learning_rate=0.1", "--where", "config.model.features=3")[1]
    assert "linear on block, lecun-normal, rate 0.1, seed 0: complete after 8 steps" in out
    assert "alignment_outputs" in out
    assert (
        json.loads(validate("show", "{tmp}/s", "--where", "result=diverged", "--json")[1])[0]["result"]
        == "diverged"
    )


def test_a_sweep_replays_from_its_file_and_tells_its_time_beforehand(validate, folder):
    validate(*WORDS, "--quiet")
    code, out, _ = validate("sweep", "--config", "{tmp}/s/sweep.toml", "--dry-run", "--workers", 1, "--json")
    assert code == 0
    assert json.loads(out)["cells"] == 3
    # Networks of one program: each has its share of a step, and no more of them than there are.
    code, told, _ = validate(
        "sweep", "--config", "{tmp}/s/sweep.toml", "--dry-run", "--workers", 1, "--json", "--together", 8
    )
    assert code == 0
    speeds = [next(iter(json.loads(text)["speeds"].values())) for text in (out, told)]
    assert [speed["together"] for speed in speeds] == [1, 3]
    assert all(speed["step"] > 0 for speed in speeds)
    assert not (folder / "validate-sweep").exists()


def test_figures_are_drawn_from_the_directory(validate, folder):
    validate(*WORDS, "--quiet")
    code, out, err = validate("figure", 2, "{tmp}/s", "--out", "{tmp}/figures")
    assert (code, err) == (0, "")
    assert [line.rsplit("/", 1)[1] for line in out.split()] == ["figure-2.pdf", "figure-2.png"]
    assert (folder / "figures" / "figure-2.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("sweep", "--preset", "imagenet"), "preset = 'imagenet'"),
        (("sweep", "--learning-rates", "fast"), "training.learning_rate"),
        (("sweep", "--pair", "resnet20"), "is not MODEL/DATA"),
        (("sweep", "--set", "training.stepps=3"), "did you mean training.steps"),
        (("sweep", "--learning-rates", "x"), "--learning-rates = 'x': must be a number"),
        (("sweep", "--workers", 1, "--scheduler", "tcp://a:1"), "has no meaning beside --scheduler"),
        (("table", "{tmp}/none"), "is not a sweep directory"),
        (("show", "{tmp}/none"), "is neither a sweep nor a run directory"),
        (("figure", 21, "{tmp}"), "must be 1 .. 20"),
        (("figure", 1, "{tmp}/none"), "is not a run directory"),
        (("reproduce", 2, "--preset", "huge"), "must be one of paper, paper-small, digits"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(validate, words, message):
    code, _, err = validate(*words)
    assert code == 2
    assert message in err
    assert err.count("\n") == 1


def test_a_sweep_that_may_only_be_read_has_its_table_printed(validate, monkeypatch):
    validate(*WORDS, "--quiet")
    expected = validate("table", "{tmp}/s")[1]

    def refuse(self, directory):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("ntkflow.sweep.table.Table.write", refuse)
    code, out, err = validate("table", "{tmp}/s")
    assert code == 0
    assert out.splitlines()[:-1] == expected.splitlines()[:-1]
    assert err.startswith("ntkflow: warning: ")
    assert "could not be brought up to date (Permission denied)" in err


def test_a_cell_that_another_sweep_works_on_is_waited_for_and_not_run_twice(folder, monkeypatch):
    """The other one finishes it, and removes its run, while this one waits for the lock."""
    import shutil

    from ntkflow_validation.config.config import RunConfig
    from ntkflow_validation.sweep import cell
    from ntkflow_validation.sweep.cell import CellTask, run_cell

    from ntkflow.sweep.stored.cache import Cache

    directory = folder / "shared"
    task = CellTask("abc", RunConfig.from_toml(folder / "base.toml").to_dict(), str(directory))
    (directory / "cells").mkdir(parents=True)
    run = RunDirectory.create(task.run_directory, RunConfig.from_dict(task.config))
    monkeypatch.setattr(cell, "LOOK", 0.0)
    tries = []
    real = RunDirectory.locked

    def locked(self, patience=0.0):
        tries.append(patience)
        if len(tries) == 3:
            Cache(directory).write("abc", {"content": "of the other one"})
            shutil.rmtree(run.path)
        return real(self, patience)

    with run.locked():
        monkeypatch.setattr(RunDirectory, "locked", locked)
        assert run_cell(task)["content"] == "of the other one"
    assert not (directory / "cells" / "abc.failed.json").exists()

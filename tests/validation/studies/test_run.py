from dataclasses import replace

import pytest
from ntkflow_validation.config.config import KernelConfig
from ntkflow_validation.studies import cells, run
from ntkflow_validation.studies.document import finished
from ntkflow_validation.studies.experiments import NAMES, make_place, wanted

from ntkflow.errors import InputError
from tests.commands import exit_code
from tests.validation.studies import documents


def instead(monkeypatch):
    """Documents in place of runs; the names of those that were made."""
    made = []

    def run_cell(cell, out):
        made.append(cell.name)
        found = documents.run(cell)
        run.write(out / f"{cell.name}.json", found)
        return found

    monkeypatch.setattr(run, "run_cell", run_cell)
    return made


def test_what_is_there_is_kept_and_what_is_of_other_settings_made_again(tmp_path, monkeypatch):
    made, seen = instead(monkeypatch), []
    some = cells.forgetting(1, ("mlp",))[:2]
    names = [c.name for c in some]
    found = run.study(tmp_path, some, progress=lambda *said: seen.append(said))
    assert made == names == [r.name for r in found]
    assert seen == [("runs", 0, 2), ("runs", 1, 2), ("runs", 2, 2)]
    assert run.study(tmp_path, some) == found
    assert len(made) == 2
    (tmp_path / f"{names[0]}.json").write_text("{")
    other = replace(
        some[1], config=replace(some[1].config, training=replace(some[1].config.training, steps=7))
    )
    run.study(tmp_path, [some[0], other])
    assert made[2:] == names


def test_experiments_share_their_runs():
    named = {name: {c.digest for c in wanted(name, 3)} for name in NAMES}
    assert named["weighted"] == named["rowspace"] < named["normalised"]
    assert len(named["forgetting"]) == 3 * 3 * len(cells.DECAYS)
    assert {c.group.split("-")[0] for c in wanted("forgetting", 1, "mlp")} == {"mlp"}
    assert len(wanted("forgetting", 1, "resnet8")) == len(cells.DECAYS)


def test_decay_is_per_flow_time():
    one = next(c for c in cells.forgetting(1, ("mlp",)) if c.value == 1)
    data, training = one.config.data, one.config.training
    assert training.weight_decay * data.samples * data.classes == pytest.approx(1)
    assert training.learning_rate / (data.samples * data.classes) == pytest.approx(cells.MLP_STEP)


def test_a_directory_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "mlp-lambda1-seed0.json").write_text("{}")
    (tmp_path / "forgetting.png").write_bytes(b"")
    make_place(tmp_path)
    (tmp_path / "letters.txt").write_text("dear")
    with pytest.raises(InputError, match=r"exist|empty|hold"):
        make_place(tmp_path)


def test_the_command_judges_and_draws_what_is_there(tmp_path, monkeypatch, capsys):
    instead(monkeypatch)
    out = tmp_path / "out"
    arguments = ["experiment", "rowspace", "--out", str(out), "--seeds", "1"]
    assert exit_code("validate", *arguments, "--draw") == 0
    assert "not run" in capsys.readouterr().out
    assert exit_code("validate", *arguments) == 0
    said = capsys.readouterr().out
    assert "| yes |" in said
    assert "**no**" in said  # the documents' decay removes too much
    assert (out / "rowspace.md").read_text() in said
    assert (out / "rowspace.png").stat().st_size > 1000


@pytest.mark.parametrize("arguments", [["letters"], ["rowspace", "--part", "mlp"]])
def test_what_is_not_there_is_said_in_a_line(tmp_path, capsys, arguments):
    assert exit_code("validate", "experiment", *arguments, "--out", str(tmp_path / "out")) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


@pytest.mark.slow
def test_a_tiny_run_through_the_whole_pipeline(tmp_path):
    cell = next(c for c in cells.forgetting(1, ("mlp",)) if c.value == 4)
    config = replace(
        cell.config,
        data=replace(cell.config.data, classes=3, per_class=4),
        model=replace(cell.config.model, features=5, width=6),
        training=replace(cell.config.training, steps=40, snapshots=8),
    )
    tiny = replace(cell, config=config)
    (found,) = run.study(tmp_path, [tiny])
    assert found == finished(tiny, tmp_path)
    assert list((tmp_path / run.WORK).iterdir()) == []
    assert found.series["Q_error"][-1] < 0.01
    assert len(found.floors) == 1
    kernels = KernelConfig(count=2, quantities=("row-space",))
    compared = replace(tiny, name="compared", config=replace(config, kernels=kernels), rungs=cells.CHOICES)
    (found,) = run.study(tmp_path, [compared])
    assert [k.step for k in found.kernels] == [0, 40]
    assert set(found.windows[0].skill) == set(cells.CHOICES)
    nulls = found.windows[0].baselines
    assert set(nulls) == {"persistence", "constant-velocity", "frozen-features", "no-class-structure"}
    assert nulls["persistence"]["M"] == 0

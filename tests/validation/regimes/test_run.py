from dataclasses import replace

import pytest
from ntkflow_validation.regimes import convolutional, run
from ntkflow_validation.regimes.cells import BASE, SMALL, Recipe, Scale, cells

from ntkflow.errors import InputError
from tests.commands import exit_code
from tests.validation.regimes import documents

TINY = Scale(
    replace(
        BASE,
        data=replace(BASE.data, classes=3, per_class=4),
        model=replace(BASE.model, features=4),
        training=replace(BASE.training, snapshots=8),
    ),
    seeds=1,
    widths=(16,),
    widths_made=(16,),
    raw=("digits",),
    made=("equalised",),
    recipes={SMALL: Recipe(0.1, 60, 60)},
)


def instead(monkeypatch):
    """Documents in place of runs; the names of those that were made."""
    made = []

    def run_cell(cell, out):
        made.append(cell.name)
        found = documents.run(cell)
        run.document.write(out / f"{cell.name}.json", found)
        return found

    monkeypatch.setattr(run, "run_cell", run_cell)
    monkeypatch.setattr(run, "ensure", lambda *_: None)
    return made


def test_what_is_there_is_kept_and_what_is_of_other_settings_made_again(tmp_path, monkeypatch):
    made, seen = instead(monkeypatch), []
    names = [c.name for c in cells(TINY)]
    found = run.study(tmp_path, TINY, 0, lambda *said: seen.append(said))
    assert made == names == [f"{r.inputs}-gamma16-width16-seed0" for r in found]
    assert seen == [("regimes", 0, 2), ("regimes", 1, 2), ("regimes", 2, 2)]
    run.study(tmp_path, TINY, 0)
    assert len(made) == 2
    # Torn, then of another training.
    (tmp_path / f"{names[0]}.json").write_text("{")
    run.study(tmp_path, TINY, 0)
    assert made[2:] == names[:1]
    run.study(tmp_path, replace(TINY, recipes={SMALL: Recipe(0.1, 61, 61)}), 0)
    assert made[3:] == names


def test_a_directory_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "figures").mkdir()
    (tmp_path / "expectations.md").write_text("stated")
    (tmp_path / "digits-gamma16-width16-seed0.json").write_text("{}")
    run.make_place(tmp_path, overwrite=False)
    assert len(list(tmp_path.iterdir())) == 3
    run.make_place(tmp_path, overwrite=True)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["expectations.md", "figures"]
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(InputError):
        run.make_place(tmp_path, overwrite=True)


def test_the_command_draws_what_there_is_and_runs_nothing(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(
        "ntkflow_validation.regimes.figures.draw_all", lambda runs, folder, _: [folder / f"{len(runs)}"]
    )
    cell = cells(Scale())[0]
    run.document.write(tmp_path / f"{cell.name}.json", documents.run(cell))
    assert exit_code("validate", "regimes", "--out", tmp_path, "--draw") == 0
    assert "figures/1" in capsys.readouterr().out
    assert "stated beforehand" in (tmp_path / "tables.md").read_text()


def test_the_part_of_convolutional_networks_has_a_folder_of_its_own(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(
        "ntkflow_validation.regimes.figures.draw_all", lambda runs, folder, _: [folder / f"{len(runs)}"]
    )
    cell = convolutional.cells(1)[0]
    (tmp_path / "convolutional").mkdir()
    run.document.write(tmp_path / "convolutional" / f"{cell.name}.json", documents.run(cell))
    how = ("validate", "regimes", "--out", tmp_path, "--draw")
    assert exit_code(*how, "--part", "convolutional") == 0
    assert "convolutional/figures/1" in capsys.readouterr().out
    assert "| readout |" in (tmp_path / "convolutional" / "tables.md").read_text()
    # The study itself takes no notice of it.
    assert exit_code(*how) == 0
    assert "figures/0" in capsys.readouterr().out
    assert exit_code(*how, "--part", "wide") == 2


@pytest.mark.slow
def test_a_convolutional_network_is_run_as_mlps_are(tmp_path):
    cell = convolutional.cell("pooled", SMALL, 3, 0)
    data = replace(cell.recipe.data, classes=3, per_class=4)
    model, training = (
        replace(cell.recipe.model, features=4),
        replace(cell.recipe.training, steps=300, snapshots=8),
    )
    small = replace(cell, recipe=replace(cell.recipe, data=data, model=model, training=training))
    (found,) = run.conduct(tmp_path, [small], 0)
    assert (found.kind, found.ceiling) == ("pooled", {})
    assert set(found.rungs) == set(convolutional.RUNGS)
    assert found.shape.iso > 0.2
    # Of a kernel that grows manyfold the whole tensor of the start need not be the better prediction.
    assert all(0 < found.skill(name) < 1 for name in ("tensor", "block"))


@pytest.mark.slow
def test_the_study_in_small(tmp_path):
    found = run.study(tmp_path, TINY, 0)
    assert [r.inputs for r in found] == ["digits", "equalised"]
    for document in found:
        assert document.share == "1/30"
        assert document.shape.iso > 0
        assert set(document.baselines) > {"frozen-features", "no-class-structure"}
        assert -1 < document.skill("block") < 1
        assert document.ceiling["class-block"] > 0.9
        assert document.NC1_end < document.NC1[0]
    # Nothing is left of the runs, and the same call reads what there is.
    assert not (tmp_path / "work").exists()
    assert [replace(r, settings={}) for r in run.study(tmp_path, TINY, 0)] == [
        replace(r, settings={}) for r in found
    ]

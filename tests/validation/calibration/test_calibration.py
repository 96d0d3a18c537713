import json
from dataclasses import astuple, replace

import pytest
from ntkflow_validation.calibration import calibration_of, current, run, store
from ntkflow_validation.calibration.cells import CONTROL, DEPARTURES, MOVING, STEP_TIMES_RATE, Cell, cells
from ntkflow_validation.calibration.document import MOVES, calibration_document, cell_row
from ntkflow_validation.calibration.figure import calibration_figure
from ntkflow_validation.runs.compared import Skill
from ntkflow_validation.runs.documents import KernelRow

import ntkflow as nf
from ntkflow.errors import InputError
from ntkflow.problem.layers import initial
from ntkflow.theory.layers.rates import collapse_spectrum
from tests.validation.report import synthetic


def comparison(skill, traced=0.99):
    window = synthetic.window()
    rungs = tuple(
        replace(rung, skill=replace(rung.skill, centred=dict.fromkeys(("M", "H2", "b"), Skill(value, None))))
        for rung in window.rungs
        for value in (traced if rung.name == "sample" else skill,)
    )
    return synthetic.comparison(synthetic.window("late", 300, False), replace(window, rungs=rungs))


def kernels(kappa_d=1.5, residual=0.2):
    return [KernelRow(0, kappa_d, 0.9, 0.2, kappa_d - 0.9, {}, 0.8, 4, residual, None)]


def test_the_known_answer_comes_first_and_every_departure_has_its_seeds():
    found = cells(seeds=2)
    assert found[:2] == [Cell("none", 0.0, CONTROL), Cell("moving", 0.0, MOVING)]
    assert len({cell.name for cell in found}) == len(found) == 2 + 2 * 12
    assert {cell.departure for cell in found[2:]} == set(DEPARTURES)
    assert [cell.departure for cell in cells(brief=True)] == ["none", "moving", "noise", "bend"]


def test_the_step_of_the_kernel_that_moves_is_what_its_bar_says():
    data, model = MOVING.data, MOVING.model
    sizes = nf.Sizes(data.classes, data.per_class, model.features)
    kernel = nf.BlockKernel(data.kappa_d, data.kappa_c, data.kappa_n)
    state = initial.make("aligned", sizes, (sizes.n,) * model.layers, kernel, 0, model.scale)
    rates = collapse_spectrum(nf.LayeredProblem(sizes, kernel, state))
    assert max(rates.values()) * MOVING.training.learning_rate == pytest.approx(STEP_TIMES_RATE, rel=0.01)


@pytest.mark.parametrize(("weighted", "passed"), [(0.9992, True), (0.9990, False), (None, False)])
def test_the_kernel_that_moves_has_to_be_followed(weighted, passed):
    control, moving = Cell("none", 0.0, CONTROL), Cell("moving", 0.0, MOVING)
    window = synthetic.window()
    made = {"block": 0.5, "block-in-time": 0.98, "weighted-block-in-time": weighted}
    rungs = tuple(
        replace(
            window.rungs[0],
            name=name,
            modifications=(),
            # Only what moves counts.
            skill=replace(
                window.rungs[0].skill,
                centred={**dict.fromkeys(MOVES, Skill(value, None)), "residual_global": Skill(-0.3, None)},
            ),
        )
        for name, value in made.items()
    )
    found = synthetic.comparison(synthetic.window("late", 300, False), replace(window, rungs=rungs))
    row = cell_row(moving, [*kernels(1.0), *kernels(12.0)], found)
    assert astuple(row.moving) == (0.5, 0.98, weighted, 12.0)
    rows = [(control, cell_row(control, kernels(), comparison(0.9995))), (moving, row)]
    document = calibration_document(rows, brief=True, fingerprint="x")
    assert document.passed is passed
    assert document.departures == ()
    assert document.moving == row.moving


def test_a_row_says_how_far_and_how_well_and_what_costs_most():
    row = cell_row(Cell("noise", 0.3, CONTROL), kernels(), comparison(0.6))
    assert [row.scores[name] for name in ("block_M", "traced_H2", "best_M")] == [0.6, 0.99, 0.99]
    assert row.block_residual == 0.2
    assert row.blamed == "block structure"
    assert row.kappa_error is None
    control = cell_row(Cell("none", 0.0, CONTROL), kernels(kappa_d=1.5003), comparison(0.9995))
    assert control.kappa_error == pytest.approx(2e-4)
    assert control.block_worst == 0.9995


@pytest.mark.parametrize(("share", "blamed"), [(0.04, None), (0.06, "block structure")])
def test_a_twentieth_of_the_error_is_worth_blaming(share, blamed):
    found = comparison(0.6)
    leading = found.windows[1]
    costs = tuple(
        replace(c, cost=share * 0.4 if c.assumption == "block structure" else 0.01 * share)
        for c in leading.attribution
    )
    found = replace(found, windows=(found.windows[0], replace(leading, attribution=costs)))
    assert cell_row(Cell("noise", 0.3, CONTROL), kernels(), found).blamed == blamed


@pytest.mark.parametrize(
    ("skill", "kappa_d", "passed"),
    [
        (0.9991, 1.5, True),
        (0.9989, 1.5, False),
        (0.9995, 1.5 * (1 + 5e-7), True),
        (0.9995, 1.5 * (1 + 2e-6), False),
    ],
)
def test_the_known_answer_has_to_come_out(skill, kappa_d, passed):
    control, noise = Cell("none", 0.0, CONTROL), Cell("noise", 0.3, CONTROL)
    rows = [(control, cell_row(control, kernels(kappa_d), comparison(skill)))]
    rows += [(noise, cell_row(noise, kernels(), comparison(s))) for s in (0.5, 0.7)]
    found = calibration_document(rows, brief=False, fingerprint="x")
    assert found.passed is passed
    (departure,) = found.departures
    assert astuple(departure.scores["block_M"]) == pytest.approx((0.6, 0.1))
    assert departure.seeds == 2
    assert departure.blamed == {"block structure": 2}


def test_the_figure_shows_every_departure():
    figure = calibration_figure(synthetic.calibration())
    assert [len(axes.containers) for axes in figure.axes] == [3, 3]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    out = tmp_path_factory.mktemp("calibration")
    return out, run.calibrate(out, brief=True)


@pytest.mark.slow
def test_the_pipeline_gives_the_known_answer(made):
    _, found = made
    assert found.passed
    assert found.block_skill >= 0.999
    assert found.kappa_error < 1e-6
    assert found.control.block_residual < 1e-6


@pytest.mark.slow
def test_constants_that_move_give_the_kernel_that_moves(made):
    moving = made[1].moving
    assert moving.growth > 10
    assert moving.weighted >= 1 - (STEP_TIMES_RATE / 2) ** 2
    # Most of the way is missed by those of the start, and some of it by means over neurons that nobody reads.
    assert moving.frozen < 0.6
    assert moving.mean < 0.99


@pytest.mark.slow
def test_departures_are_blamed_on_what_departs(made):
    noise, bend = made[1].departures
    # Noise leaves the kernel constant and the same for all neurons: the N x N kernel still predicts everything.
    assert noise.scores["block_H2"].value < 0.8
    assert noise.scores["traced_H2"].value > 0.999
    assert "homogeneous blocks" in next(iter(noise.blamed))
    # A narrow nonlinear branch takes away both; only the richer rungs are left.
    assert bend.scores["traced_H2"].value < bend.scores["best_H2"].value
    assert bend.scores["block_M"].value < bend.scores["best_M"].value


@pytest.mark.slow
def test_finished_cells_are_not_run_again(made, monkeypatch):
    out, found = made
    trained = []
    monkeypatch.setattr(run, "train_run", lambda directory: trained.append(directory.path.name))
    monkeypatch.setattr(run, "measure_run", lambda directory: None)
    monkeypatch.setattr(run, "compare_run", lambda *_, **__: 1 / 0)
    assert run.calibrate(out, brief=True) == found
    assert trained == []
    # Other code makes cells of its own.
    monkeypatch.setattr(store, "fingerprint", lambda: "changed")
    with pytest.raises(ZeroDivisionError):
        run.calibrate(out, brief=True)
    assert trained == ["none-0-seed-0"]


@pytest.mark.slow
def test_the_calibration_is_made_once_for_a_version_and_again_for_the_next(made, tmp_path, monkeypatch):
    _, found = made
    calls = []

    def instead(*_, **__):
        calls.append(1)
        return replace(found, fingerprint=store.fingerprint())

    monkeypatch.setattr(run, "calibrate", instead)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = tmp_path / "run"
    folder.mkdir()
    first = calibration_of(folder)
    assert current(first)
    assert store.read(folder / "calibration.json") == first
    assert calibration_of(tmp_path) == first == calibration_of()
    assert len(calls) == 1
    monkeypatch.setattr(store, "fingerprint", lambda: "changed code")
    assert not current(first)
    assert calibration_of(folder).fingerprint == "changed code"
    assert json.loads((folder / "calibration.json").read_text())["fingerprint"] == "changed code"
    assert len(calls) == 2


def test_a_short_calibration_never_replaces_a_long_one(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    long = synthetic.calibration(fingerprint=store.fingerprint())
    store.keep(long)
    store.keep(replace(long, brief=True, departures=()))
    assert calibration_of() == long
    elsewhere = tmp_path / "results" / "calibration.json"
    elsewhere.parent.mkdir()
    other = replace(long, fingerprint="other code")
    store.write(elsewhere, other)
    store.write(store.place(), replace(long, brief=True))
    assert calibration_of(elsewhere.parent).brief
    assert store.read(elsewhere) == other


@pytest.mark.parametrize(
    "foreign", ["sweep.toml", "cells/0123.json", "cells/notes.txt"], ids=["a sweep", "its cells", "notes"]
)
def test_a_calibration_goes_into_no_directory_of_something_else(tmp_path, foreign):
    """A sweep has cells too."""
    file = tmp_path / "out" / foreign
    file.parent.mkdir(parents=True)
    (tmp_path / "out" / "cells").mkdir(exist_ok=True)
    file.write_text("hours of work")
    for overwrite in (False, True):
        with pytest.raises(InputError, match="exists already"):
            run.make_place(tmp_path / "out", overwrite)
    assert file.read_text() == "hours of work"
    file.unlink()
    (tmp_path / "out" / "cells" / "abc").mkdir()
    run.make_place(tmp_path / "out", overwrite=True)
    assert list((tmp_path / "out" / "cells").iterdir()) == []

"""A training read back: what it says is what its simulation says, and both lie in one figure."""

import shutil

import numpy as np
import pytest
from ntkflow_validation.runs.lock import locked
from ntkflow_validation.runs.rundir import RunDirectory
from ntkflow_validation.saved import TrainingRun

import ntkflow as nf
from ntkflow.metrics import invariant
from ntkflow.runs.atomic import InUseError
from tests.commands import exit_code
from tests.validation.saved.conftest import CONFIG, KERNEL, MEASURED, SIZES, STEPS, write

# Of E, from constants that were measured in float32.
SINGLE = {"rtol": 1e-5, "atol": 1e-6}


@pytest.fixture
def training(trained):
    return nf.load(str(trained))


def tree(path):
    return {str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()}


def test_steps_times_and_states_are_those_that_were_written(training, solution):
    assert isinstance(training, TrainingRun)
    assert (len(training), training.steps.tolist(), training.sizes) == (5, list(STEPS), SIZES)
    np.testing.assert_array_equal(training.times, solution.times)
    for i in (0, 2, -1):
        np.testing.assert_array_equal(training.state(i).H, solution.state(i).H)
    np.testing.assert_array_equal(training.final.W, solution.final.W)
    assert (training.snapshot(3).step, training.result) == (4, "complete")
    assert training.config == CONFIG


def test_its_series_have_the_names_and_numbers_of_the_simulation_s(training, solution):
    own, same = training.series, solution.series
    shared = set(own) & set(same)
    assert {"loss", "NC1", "NC2", "NC3", "H1H1_norm", "gg_norm", "E_norm", "E_drift", "E_features"} <= shared
    at = np.isin(STEPS, MEASURED)
    for name in shared:
        if name.startswith("E_"):
            np.testing.assert_allclose(own[name][at], same[name][at], **SINGLE, err_msg=name)
            assert np.isnan(own[name][~at]).all()
        else:
            np.testing.assert_allclose(own[name], same[name], rtol=1e-9, atol=1e-12, err_msg=name)
    np.testing.assert_allclose(own["kappa_c"][at], 0.5, rtol=1e-6)
    np.testing.assert_array_equal(own["accuracy_train"], [0, 0.25, 0.5, 0.75, 1])
    assert np.isnan(own["accuracy_test"]).all()


def test_the_motion_of_E_is_counted_from_the_first_measured_snapshot(measurement, tmp_path):
    # What moves under other constants than the measured ones.
    problem = nf.Problem(SIZES, nf.BlockKernel(3.0, 1.0, 0.1), nf.initial.make("gaussian", SIZES, seed=2))
    moved = nf.solve(problem, save_at=[step / 10 for step in STEPS])
    found = TrainingRun(write(tmp_path / "run", moved, measurement)).series["E_drift"]
    first, last = (invariant.terms(moved.state(i), SIZES, KERNEL) for i in (0, -1))
    assert found[0] == 0
    assert found[-1] == pytest.approx(np.linalg.norm(last.E - first.E) / last.scale, rel=1e-4)
    assert found[-1] > 0.01


def test_kernels_and_comparison_belong_to_it(training):
    assert list(training.measurements) == list(MEASURED)
    assert training.measurements[0].features.mean is None or training.measurement(0).features.mean is not None
    assert training.measurement(8).kappa_d.value == pytest.approx(1.0, rel=1e-6)
    assert training.comparison.windows == ("early",)
    assert training.summary()["windows"][0]["cheapest"] == "block"


def test_a_table_a_data_set_and_a_few_lines(training):
    frame, data = training.to_pandas(), training.to_xarray()
    assert (frame.index.name, frame["step"].tolist()) == ("t", list(STEPS))
    np.testing.assert_array_equal(data["NC1"].values, training.series["NC1"])
    assert data["E_norm"].attrs["description"].startswith("|E|_F")
    assert data.attrs["model"] == "linear"
    assert repr(training) == (
        "TrainingRun(linear on block, C = 3, m = 4, n = 5, rate 0.1, seed 0; 5 snapshots to step 8, t_end = 0.8, "
        "kernels at 3, compared, complete)"
    )
    assert "<caption>TrainingRun(" in training._repr_html_()
    assert "kappa_n" in training.described()


def test_a_simulation_and_a_training_lie_over_each_other(training, solution):
    figure = nf.figure(
        [solution, training], panes=["NC1", "E_norm", "accuracy_train"], size=6.75, style="paper"
    )
    nc1, invariant, accuracy = figure.axes
    np.testing.assert_allclose(nc1.lines[0].get_ydata(), nc1.lines[1].get_ydata(), rtol=1e-9)
    # E is known where the kernel is, which its line passes over and marks; at t = 0 no axis of log time shows it.
    np.testing.assert_allclose(invariant.lines[1].get_xdata(), [0.2, 0.8])
    assert [line.get_marker() for line in invariant.lines] == ["None", "o"]
    assert [text.get_text() for text in accuracy.texts] == ["not known: simulation"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["simulation", "training"]
    assert len(training.figure().axes) == 8


def test_trainings_are_labelled_by_what_differs(training, solution, measurement, tmp_path):
    other = write(tmp_path / "other", solution, measurement, momentum=0.5)
    figure = nf.figure(solution, training, TrainingRun(other), panes=["loss"])
    names = ["simulation", "training: momentum = 0", "training: momentum = 0.5"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == names


def test_a_copy_is_the_whole_run_and_nothing_else_is_replaced(training, trained, tmp_path):
    with pytest.raises(nf.InputError, match="exists already"):
        training.save(trained)
    source = nf.load(shutil.copytree(trained, tmp_path / "source"))
    chunks = source.path / "measurements" / ".chunks-4"
    chunks.mkdir()
    (chunks / "one.npz").write_bytes(b"half")
    (source.path / "notes.txt").write_text("mine")
    for _ in range(2):
        place = nf.save(source, tmp_path / "copy", overwrite=True)
    assert tree(place) == tree(trained)
    assert repr(nf.load(place)) == repr(training)
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("years")
    with pytest.raises(nf.InputError, match="not a run directory"):
        training.save(tmp_path / "thesis", overwrite=True)


def test_a_run_at_work_is_not_copied(trained, tmp_path):
    source = nf.load(shutil.copytree(trained, tmp_path / "source"))
    with locked(source.path), pytest.raises(InUseError):
        source.save(tmp_path / "copy")
    assert not (tmp_path / "copy").exists()
    source.save(tmp_path / "copy")
    assert "lock" not in {path.name for path in (tmp_path / "copy").iterdir()}


def test_a_training_that_has_not_begun_says_so(tmp_path):
    RunDirectory.create(tmp_path / "run", CONFIG)
    found = nf.load(tmp_path / "run")
    assert repr(found).endswith("no snapshots, unfinished)")
    assert (found.series, found.comparison, found.ends()["t_end"]) == ({}, None, None)
    assert found.described()
    with pytest.raises(nf.InputError, match="has no snapshots yet"):
        found.figure()
    assert exit_code("show", tmp_path / "run") == 0


def test_damaged_metrics_are_refused_when_it_is_read(trained, tmp_path):
    shutil.copytree(trained, tmp_path / "run")
    (tmp_path / "run" / "metrics.jsonl").write_text('{"step": "first"}\n')
    with pytest.raises(nf.InputError, match=r"metrics\.jsonl"):
        nf.load(tmp_path / "run")
    assert exit_code("plot", tmp_path / "run") == 2


def test_show_and_plot_take_it_alone_and_beside_simulations(trained, solution, tmp_path, capsys):
    solution.save(tmp_path / "sim")
    run = shutil.copytree(trained, tmp_path / "run")
    assert exit_code("show", run) == 0
    assert capsys.readouterr().out.startswith("TrainingRun(linear on block")
    assert exit_code("show", run, tmp_path / "sim") == 0
    rows = {line.split("  ")[0]: line.split() for line in capsys.readouterr().out.splitlines()}
    assert rows["kind"] == ["kind", "training", "simulation"]
    assert rows["loss"][1] == rows["loss"][2]
    # The seed, which a state does not have, is no difference.
    assert "seed" not in rows
    assert exit_code("plot", run, tmp_path / "sim", "--panes", "NC1", "--out", tmp_path / "both") == 0
    assert (tmp_path / "both.png").is_file()
    capsys.readouterr()
    assert exit_code("show", tmp_path) == 2
    assert "holds 2 runs: run, sim; give one, as" in capsys.readouterr().err


@pytest.mark.slow
def test_plot_alone_draws_all_panes_into_the_run(trained, tmp_path):
    run = shutil.copytree(trained, tmp_path / "run")
    assert exit_code("plot", run) == 0
    assert (run / "figures" / "run.png").is_file()
    assert repr(nf.load(nf.load(run).save(tmp_path / "copy"))) == repr(nf.load(run))

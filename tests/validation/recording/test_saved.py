"""A recorded run read back, shown and drawn: every line of it, in flow time, or over steps where there is none."""

import warnings

import numpy as np
import pytest
from ntkflow_validation.ladder.seeds import read
from ntkflow_validation.paper.draw import training_figure
from ntkflow_validation.paper.panes import curves
from ntkflow_validation.paper.registry import paper_figure
from ntkflow_validation.recording import Recorder
from ntkflow_validation.report.gather import gather
from ntkflow_validation.report.sections import _configuration
from ntkflow_validation.report.words import run_facts
from ntkflow_validation.runs.rundir import RunDirectory

import ntkflow as nf
from ntkflow.errors import InputError
from tests.commands import exit_code
from tests.validation.recording.loops import CLOCK, C, N, Y, loop, n

STEPS = 20


def record(path, clock, parts=1):
    with Recorder(path, Y, clock=clock, name="net", data="clouds") as recorder:
        for step, H, W, b, _ in loop(STEPS, parts=parts):
            recorder(step, H, W, b)
    return recorder.path


@pytest.fixture(scope="module")
def timed(tmp_path_factory):
    return record(tmp_path_factory.mktemp("saved") / "timed", CLOCK)


@pytest.fixture(scope="module")
def timeless(tmp_path_factory):
    """As a training by Adam is recorded: nothing is known but the samples."""
    return record(tmp_path_factory.mktemp("saved") / "timeless", None)


@pytest.fixture
def said(capsys):
    """What a command prints."""

    def run(*words):
        code = exit_code(*words)
        text = capsys.readouterr()
        assert code == 0, (words, text)
        return text.out

    return run


def test_every_line_is_there_and_states_at_the_steps_that_were_kept(timed):
    run, states = nf.load(timed), {step: (H, W) for step, H, W, _, _ in loop(STEPS)}
    assert run.steps.tolist() == list(range(STEPS + 1))
    assert run.kept.tolist() == RunDirectory.open(timed).steps()
    assert len(run.kept) < len(run)
    order = np.argsort(Y, kind="stable")
    np.testing.assert_allclose(run.final.H, states[STEPS][0][order].T)
    np.testing.assert_allclose(run.state(2).W, states[2][1])
    np.testing.assert_allclose(run.times, CLOCK.time(run.steps))
    assert run.sizes == nf.Sizes(C, N // C, n)
    left_out = next(step for step in run.steps.tolist() if step not in run.kept)
    with pytest.raises(InputError, match=f"step {left_out} has its line of metrics alone.*snapshots=1"):
        run.state(left_out)
    known = np.isfinite(run.series["H1H1_norm"])
    assert run.steps[known].tolist() == run.kept.tolist()
    assert np.isfinite(run.series["NC1"]).all()
    assert "seed" not in run.settings
    assert (run.settings["loss"], run.settings["reduction"]) == ("mse", "sum")


def test_imbalanced_parts_have_their_sizes(tmp_path):
    labels = np.array([0] * 6 + [1] * 2 + [2] * 4)
    clock = nf.Clock(0.002, "half-squared", "sum", samples=50, classes=3)
    with Recorder(tmp_path / "run", labels, clock=clock) as recorder:
        for step, H, W, b, _ in loop(1, labels=labels):
            recorder(step, H, W, b)
    assert nf.load(tmp_path / "run").sizes.counts == (6, 2, 4)


def test_without_a_clock_steps_take_the_place_of_time(timeless):
    run = nf.load(timeless)
    assert np.isnan(run.times).all()
    assert not run.timed
    assert np.isnan(run.state(0).W).sum() == 0
    pytest.importorskip("pandas")
    assert run.to_pandas().index.tolist() == run.steps.tolist()
    assert (run.ends()["t_end"], run.ends()["kind"]) == (None, "recording")
    # Not a word of a recipe that nobody told.
    config = (timeless / "config.toml").read_text()
    assert "[training]" not in config
    assert "loss" not in config
    assert RunDirectory.open(timeless).training().learning_rate is None


def test_a_data_set_of_what_has_no_time_goes_along_its_steps(timeless):
    pytest.importorskip("xarray")
    data = nf.load(timeless).to_xarray()
    assert set(data.dims) == {"step"}
    assert data["NC1"].notnull().all()


def test_a_run_without_a_clock_goes_on(tmp_path):
    record(tmp_path / "run", None)
    again = Recorder(tmp_path / "run", Y, clock=None, name="net", data="clouds")
    assert again.last == STEPS
    with pytest.raises(InputError, match="recorded with another"):
        Recorder(tmp_path / "run", Y, clock=CLOCK, name="net", data="clouds")


def test_show_says_what_is_known(timed, timeless, said):
    text = said("show", str(timed))
    assert "net on clouds, C = 3, m = 4, n = 5, recorded, rate 0.002; 21 lines of metrics, " in text
    assert "recorded without flow time; 21 lines" in said("show", str(timeless))
    for words in ("seed", "its own", "nan", "t_end"):
        assert words not in said("show", str(timeless)), words
    assert "net on clouds, recorded, rate 0.002: complete after 20 steps" in said(
        "validate", "show", str(timed)
    )
    short = said("validate", "show", str(timeless))
    assert "net on clouds, recorded without flow time: complete after 20 steps" in short
    both = said("validate", "show", str(timed), str(timeless))
    assert "2 of 2 trainings" in both
    assert "nan" not in both


def test_compare_says_why_there_is_no_prediction(timeless):
    refused = RunDirectory.open(timeless).config.unpredicted
    assert "in no flow time" in refused
    with pytest.raises(InputError, match=r"nothing was measured|measure"):
        nf.compare(timeless, report=False)


def test_what_is_recorded_has_no_seed(timed):
    with pytest.raises(InputError, match="has no comparison"):
        read(timed)
    assert "seed" not in RunDirectory.open(timed).config.stated()


def test_the_page_says_no_rate_and_no_command_that_there_is_not(timed, timeless):
    for path, words in (
        (timed, "20 steps at rate 0.002, full batch"),
        (timeless, "20 steps in no flow time"),
    ):
        run = RunDirectory.open(path)
        assert f"recorded from another program, {words}" in run_facts(run.config, run.training())
    page = _configuration(gather(RunDirectory.open(timed)))
    assert "by the recorder" in page
    assert "runs it again" not in page


def axes_of(figure):
    return [axes for axes in figure.axes if axes.lines]


@pytest.mark.slow
def test_a_figure_of_steps_has_them_along_its_axes(timed, timeless):
    alone = nf.load(timeless).figure()
    assert {axes.get_xlabel() for axes in axes_of(alone)} == {"optimiser steps"}
    for axes in axes_of(alone):
        for line in axes.lines:
            assert np.isfinite(line.get_xdata()).all()
            assert np.isfinite(np.asarray(line.get_ydata(), float)).any()
    assert max(axes.get_xlim()[1] for axes in axes_of(alone)) > STEPS / 2
    both = nf.figure(timed, timeless)
    assert {axes.get_xlabel() for axes in axes_of(both)} == {"flow time t"}
    assert all(len({line.get_color() for line in axes.lines}) == 1 for axes in axes_of(both))
    assert any("in no flow time" in text.get_text() for axes in both.axes for text in axes.texts)


@pytest.mark.slow
def test_commands_draw_it(timed, timeless, tmp_path, said):
    for path in (timed, timeless):
        said("plot", str(path), "--out", str(tmp_path / "run.png"))
        said("validate", "report", str(path))
        said("validate", "export", str(path), "--to", str(tmp_path))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            said("validate", "figure", "2", str(path), "--out", str(tmp_path))
    said("plot", str(timed), str(timeless), "--out", str(tmp_path / "both.png"))
    saved = nf.load(timed).save(tmp_path / "copy")
    assert nf.load(saved).kept.tolist() == nf.load(timed).kept.tolist()


@pytest.mark.slow
def test_the_paper_s_figure_says_what_was_recorded(tmp_path):
    from ntkflow_validation.paper.choose import select
    from ntkflow_validation.sweep.records import find_records

    figure, noise = paper_figure(2), np.random.default_rng(0).normal(size=(N, n)) / 10
    for clock in (CLOCK, None):
        path = tmp_path / ("timeless" if clock is None else "timed")
        with Recorder(path, Y, clock=clock) as recorder:
            for step in range(STEPS + 1):
                recorder(step, np.eye(C, n)[Y] * (1 + step) + noise, np.eye(C, n), np.zeros(C))
        selection = select(figure, find_records([path]))
        drawn = training_figure(figure, selection)
        text = drawn.get_suptitle() + " ".join(curve.label for curve in curves(selection))
        text += " ".join(t.get_text() for axes in drawn.axes for t in axes.texts)
        assert f"{N} recorded samples, {STEPS} steps" in text
        assert "nan" not in text
        assert ("no learning rate was recorded" in text) == (clock is None)
        labels = {axes.get_xlabel() for axes in axes_of(drawn)}
        assert ("optimiser step" in labels) == (clock is None)

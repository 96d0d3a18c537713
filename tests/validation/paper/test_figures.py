import json
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from ntkflow_validation.config.config import RunConfig
from ntkflow_validation.paper import FIGURES, draw_figure, paper_figure
from ntkflow_validation.paper.choose import select
from ntkflow_validation.paper.draw import training_figure, write
from ntkflow_validation.paper.panes import (
    OVER_EPOCHS,
    curves,
    equally_spaced,
    over_epochs,
    over_rates,
    smoothed,
)
from ntkflow_validation.paper.reproduce import (
    SCALES,
    Scale,
    epochs_of,
    kernels_of,
    rates_of,
    reproduce,
    scale_named,
)
from ntkflow_validation.sweep import TrainingSweep, run_sweep
from ntkflow_validation.sweep.grid import PAPER_PAIRS, Pair
from ntkflow_validation.sweep.records import find_records

from ntkflow.errors import InputError
from ntkflow.runs.pictures.figures import log_ticks
from tests.docs.pages import ROOT
from tests.validation.paper.invented import RATES, grid, record


def test_the_registry_is_the_paper():
    """As its captions say; appendix C lists 3-12 and 13-20."""
    assert list(FIGURES) == list(range(1, 21))
    assert [n for n, f in FIGURES.items() if f.kind == "kernels"] == [1, *range(13, 21)]
    assert {f.pair for f in FIGURES.values() if f.kind == "training"} == set(PAPER_PAIRS)
    assert FIGURES[2].panes == "abcdefgh"
    assert all(FIGURES[n].panes == "abcdefghij" for n in range(3, 13))
    assert [n for n, f in FIGURES.items() if f.loss != "mse"] == [12]
    assert {n: FIGURES[n].rate for n in range(13, 21)} == {
        13: 0.131, 14: 0.049, 15: 0.131, 16: 0.094, 17: 0.068, 18: 0.049, 19: 0.094, 20: 0.094,
    }  # fmt: skip
    assert [FIGURES[n].samples for n in (1, 13, 15, 20)] == [12, 4, 4, 12]
    with pytest.raises(InputError, match=r"1 \.\. 20"):
        paper_figure(21)


def test_each_initialisation_shows_its_most_and_its_least_collapsed_trained_network():
    chosen = select(FIGURES[6], grid()).chosen
    # The paper's (a), (b), (c), whatever the order of the records.
    assert [c.init for c in chosen] == ["lecun-normal", "uniform", "he-normal"]
    assert [(c.collapsed.rate, c.other.rate) for c in chosen] == [(1.0, 0.01)] * 3
    assert [r.rate for r in chosen[0].all] == list(RATES)


def test_a_network_that_was_not_trained_is_not_chosen():
    records = [record("uniform", rate) for rate in (0.1, 1.0)]
    records[0].content.metrics[-1].values["accuracy_train"] = 0.98
    (chosen,) = select(FIGURES[6], records).chosen
    assert (chosen.collapsed.rate, chosen.other) == (1.0, None)


def test_panes_over_epochs_take_the_training_that_was_observed_most():
    records = [*grid(), record("uniform", 1.0, rows=30), record("uniform", 1.0, rows=5)]
    chosen = select(FIGURES[6], records).chosen[1]
    assert len(chosen.collapsed.rows) == 30
    assert [len(r.rows) for r in chosen.all if r.rate == 1.0] == [2]


def test_the_figures_own_pair_is_shown_where_there_is_one():
    theirs = [record("uniform", rate, model="resnet20", data="mnist") for rate in RATES]
    assert select(FIGURES[6], [*grid(), *theirs]).pair == Pair("resnet20", "mnist")
    assert select(FIGURES[6], grid()).pair == Pair("resnet8", "digits")
    other = record("uniform", 1.0, model="mlp", data="mnist")
    with pytest.raises(InputError, match="are not resnet20/mnist"):
        select(FIGURES[6], [*grid(), other])
    with pytest.raises(InputError, match="minimised cross-entropy"):
        select(FIGURES[12], grid())
    assert (
        select(FIGURES[12], [*grid(), *grid(loss="cross-entropy")]).chosen[0].all[0].config.training.loss
        != "mse"
    )


def test_smoothing_keeps_lines_and_averages_noise():
    """A filter of degree 1 changes no straight line, but for the half point of an even window."""
    line = np.linspace(0, 3, 40)
    assert np.abs(smoothed(line) - line).max() < 0.6 * (line[1] - line[0])
    np.testing.assert_allclose(smoothed(line, 9), line, atol=1e-12)
    noise = np.random.default_rng(0).normal(size=400)
    middle = smoothed(noise)[20:-20]
    assert middle.std() == pytest.approx(noise.std() / np.sqrt(10), rel=0.3)
    np.testing.assert_allclose(middle[100], noise[116:126].mean(), atol=1e-12)
    np.testing.assert_array_equal(smoothed(np.array([1.0, 5.0])), [1.0, 5.0])


def test_only_equally_spaced_points_are_smoothed():
    assert equally_spaced(np.array([0, 8, 16, 24.5]))
    assert not equally_spaced(np.array([0, 1, 2, 4, 8.0]))
    records = [record("uniform", rate, rows=30) for rate in (0.1, 1.0)]
    for one in records:
        for k, row in enumerate(one.content.metrics):
            object.__setattr__(row, "step", k**2)
    axes = axes_of()
    shown = curves(select(FIGURES[6], records))
    over_epochs(axes, "c", "c", shown, smooth=True)
    np.testing.assert_array_equal(axes.lines[0].get_ydata(), shown[0].record.series("NC1"))


def axes_of():
    return Figure().subplots()


@pytest.mark.parametrize("smooth", [True, False])
def test_a_pane_over_epochs_draws_every_chosen_network_and_when_it_fitted(smooth):
    shown = curves(select(FIGURES[6], [*grid(), *grid(rows=30)]))
    axes = axes_of()
    over_epochs(axes, "a", "a", shown, smooth)
    drawn = [line for line in axes.lines if len(line.get_xdata()) == 30]
    assert len(drawn) == 6
    colours = [line.get_color() for line in drawn]
    assert len(set(colours)) == 2
    # Blue ones first, so that the collapsed ones lie on top.
    assert colours == sorted(colours)
    np.testing.assert_allclose(drawn[0].get_xdata()[[0, -1]], [0, 200])
    expected = shown[0].record.series("invariant_norm")
    raw = np.allclose(drawn[0].get_ydata(), expected)
    assert raw is not smooth
    ends = [line for line in axes.lines if len(line.get_xdata()) == 2]
    assert {line.get_xdata()[0] for line in ends} <= {*shown[0].record.epochs, *shown[-1].record.epochs}
    # The network with rate 1 has more than 99.9 % from the first row with exp(-step/100)/3 < 0.001.
    assert any(line.get_xdata()[0] == pytest.approx(shown[-1].record.epochs[22]) for line in ends)


def test_a_pane_over_rates_shows_means_over_seeds_and_what_diverged():
    records = [record("uniform", rate, seed=seed) for rate in RATES for seed in (0, 1)]
    records[0].content.metrics[-1].values["NC1"] = 3.0
    (chosen,) = select(FIGURES[6], records).chosen
    axes = axes_of()
    over_rates(axes, "f", chosen)
    lines = {line.get_label(): line for line in axes.lines}
    np.testing.assert_allclose(lines["NC1"].get_xdata(), RATES[:3])
    second = records[1].last("NC1")
    assert lines["NC1"].get_ydata()[0] == pytest.approx((3.0 + second) / 2)
    np.testing.assert_allclose(lines["diverged"].get_xdata(), [10.0])


def test_a_pair_without_repetitions_is_lettered_without_gaps_and_fills_the_page():
    """One initialisation instead of three: panes i and j of the paper are the seventh and the eighth."""
    one = [record("uniform", rate) for rate in RATES]
    drawn = training_figure(FIGURES[6], select(FIGURES[6], one))
    titles = [axes.get_title(loc="left") for axes in drawn.axes if axes.get_title(loc="left")]
    assert [title[:2] for title in titles] == [f"{letter})" for letter in "abcdefgh"]
    assert all(axes.axison for axes in drawn.axes)
    assert drawn.get_figwidth() <= 10
    sizes = {text.get_fontsize() for text in drawn.findobj(Text) if text.get_text()}
    assert min(sizes) >= 7


@pytest.mark.parametrize("values", [(0.11, 0.19), (0.02, 0.09), (0.3, 4.0), (1e-6, 1.0), (0.5,)])
def test_a_log_axis_has_numbers_whatever_it_spans(values):
    axes = axes_of()
    axes.plot(range(len(values)), values)
    axes.set_yscale("log")
    log_ticks(axes.yaxis, np.array(values))
    low, high = axes.get_ylim()
    ticks = [
        tick.get_text()
        for tick, at in zip(axes.get_yticklabels(), axes.get_yticks(), strict=True)
        if low <= at <= high
    ]
    assert sum(map(bool, ticks)) >= 2


@pytest.mark.parametrize("number", [2, 6])
def test_the_whole_figure_has_its_panes(number, tmp_path):
    selection = select(FIGURES[number], [*grid(), *grid(rows=30)])
    drawn = training_figure(FIGURES[number], selection)
    titles = [axes.get_title(loc="left")[:1] for axes in drawn.axes if axes.get_title(loc="left")]
    assert "".join(titles) == FIGURES[number].panes
    assert "which in the paper is resnet20/mnist" in drawn.get_suptitle()
    paths = write(drawn, tmp_path, "figure")
    assert [path.suffix for path in paths] == [".pdf", ".png"]
    assert paths[0].read_bytes().startswith(b"%PDF")


def test_a_pane_without_measurements_says_so():
    axes = axes_of()
    shown = curves(select(FIGURES[6], grid()))
    for curve in shown:
        for row in curve.record.content.metrics:
            row.values.pop("invariant_norm", None)
    over_epochs(axes, "a", "a", shown, smooth=True)
    assert [text.get_text() for text in axes.texts] == ["not measured"]
    assert set(OVER_EPOCHS) == set("abcde")


def test_a_pane_without_a_trained_network_says_so():
    axes = axes_of()
    over_epochs(axes, "c", "c", curves(select(FIGURES[6], [record("uniform", 10.0)])), smooth=True)
    assert [text.get_text() for text in axes.texts] == ["no network reached 99% training accuracy"]


def test_exported_trainings_are_drawn_from_their_documents():
    results = ROOT / "validation" / "results"
    names = ("resnet20-collapsed", "resnet20-not-collapsed")
    records = find_records(results / f"{name}.json" for name in names)
    kept = json.loads((results / f"{names[0]}.json").read_text())
    np.testing.assert_allclose(records[0].series("NC1"), kept["trajectory"]["NC1"], rtol=1e-4)
    assert records[0].last("NC1_papyan") == kept["last"]["NC1_papyan"]
    assert records[0].last("alignment_features") == kept["kernels"][-1]["alignment"]
    drawn = training_figure(FIGURES[7], select(FIGURES[7], records))
    titles = [axes.get_title(loc="left") for axes in drawn.axes if axes.get_title(loc="left")]
    # Nobody wrote down the moments: no empty pane, and no letter is left out.
    assert [title[:2] for title in titles] == [f"{letter})" for letter in "abcdefg"]
    assert not any("moments" in title for title in titles)
    with pytest.raises(InputError, match="an exported training"):
        find_records([results / "sweeps" / "digits.json"])


TINY = RunConfig.from_dict(
    {
        "data": {"name": "block", "classes": 2, "per_class": 3},
        "model": {"name": "linear", "features": 3},
        "training": {"steps": 200, "learning_rate": 0.3, "snapshots": 4},
        "kernels": {"count": 2, "while_training": True},
    }
)


@pytest.fixture
def few(monkeypatch):
    import ntkflow_validation.paper.reproduce as module

    monkeypatch.setattr(module, "PAPER_INITS", ("lecun-normal",))
    return Scale(TINY, False, (0.1, 1.0), 6, 3, kernel_rate=0.3)


def here(grid, directory):
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as executor:
        return run_sweep(grid, directory, executor)


@pytest.mark.slow
def test_reproduce_runs_rates_then_the_chosen_and_draws_from_both(few, tmp_path):
    grids = []

    def run_grid(sweep, directory):
        grids.append((directory.name, len(sweep.cells)))
        return here(sweep, directory)

    written = reproduce(FIGURES[6], few, tmp_path, run_grid)
    assert grids == [("rates", 2), ("epochs", 2)]
    assert [path.name for path in written] == [
        "figure-6.pdf", "figure-6.png", "figure-6-raw.pdf", "figure-6-raw.png",
    ]  # fmt: skip
    cells = [json.loads(p.read_text()) for p in (tmp_path / "epochs" / "cells").glob("*.json")]
    assert {len(cell["metrics"]) for cell in cells} == {6}
    assert {len(cell["kernels"]) for cell in cells} == {3}
    # A command that is given again finds everything done.
    reproduce(FIGURES[6], few, tmp_path, lambda sweep, directory: here(sweep, directory))


def test_reproduce_measures_and_draws_one_network(few, tmp_path):
    written = reproduce(FIGURES[13], few, tmp_path, here)
    assert [path.name for path in written] == ["figure-13.pdf", "figure-13.png"]
    assert (tmp_path / "run" / "measurements").is_dir()
    with pytest.raises(InputError, match="no curves to smooth"):
        draw_figure(1, [tmp_path / "run"], tmp_path, raw=True)
    with pytest.raises(InputError, match="give one run directory"):
        draw_figure(1, [tmp_path / "run", tmp_path], tmp_path)


def test_the_papers_scale_has_the_papers_numbers():
    paper = scale_named("paper")
    assert [len(rates_of(FIGURES[n], paper).cells) for n in (3, 6, 7, 12)] == [90, 90, 60, 90]
    config = rates_of(FIGURES[6], paper).cells[0].run
    assert (config.data.per_class, config.training.epochs, config.training.batch_per_class) == (5412, 400, 12)
    assert rates_of(FIGURES[12], paper).cells[0].run.training.loss == "cross-entropy"
    assert kernels_of(FIGURES[13], paper).kernels.per_class == 4
    assert kernels_of(FIGURES[13], paper).training.learning_rate == 0.131
    detailed = epochs_of(FIGURES[6], paper, select(FIGURES[6], grid()))
    assert len(detailed.cells) == 6
    assert all(cell.run.training.snapshots == 201 for cell in detailed.cells)
    with pytest.raises(InputError, match="must be one of paper, paper-small, digits"):
        scale_named("tiny")
    assert all(isinstance(rates_of(f, s), TrainingSweep) for f in FIGURES.values() for s in SCALES.values())


def test_the_chosen_trainings_replay_from_their_file():
    from ntkflow_validation.sweep import sweep_from_tables

    sweep = epochs_of(FIGURES[6], SCALES["digits"], select(FIGURES[6], grid()))
    again = sweep_from_tables(sweep.tables())
    assert [cell.key for cell in again.cells] == [cell.key for cell in sweep.cells]
    with pytest.raises(InputError, match="no meaning beside"):
        replace(sweep, inits=("uniform",))

from itertools import pairwise

import numpy as np
import pytest
from ntkflow_validation.figures.comparison import PANES, comparison_figure
from ntkflow_validation.metrics.compare import compare

from ntkflow.problem.sizes import Sizes
from ntkflow.problem.state import State

SIZES = Sizes(C=3, m=4, n=5)


def comparison(start, points=12):
    rng = np.random.default_rng(0)
    H, W, b = rng.normal(size=(5, 12)), rng.normal(size=(3, 5)), rng.normal(size=3)
    times = np.concatenate([[start], start + np.geomspace(1e-3, 1, points)])
    seen = [State(H * (1 + t), W / (1 + t), b * np.exp(-t)) for t in times]
    foretold = [State(H * (1 + 2 * t), W / (1 + t), b * np.exp(-40 * t)) for t in times]
    return compare(times, seen, foretold, SIZES)


def test_all_panes_are_drawn_labelled_and_inside_the_figure():
    windows = {0: comparison(0.0), 30: comparison(0.5)}
    figure = comparison_figure(windows[0], windows, "title")
    figure.canvas.draw()
    assert len(figure.axes) == len(PANES) + 2
    box = figure.bbox
    for axes in figure.axes:
        assert axes.get_title()
        assert axes.get_xlabel()
        assert len(axes.get_lines()) >= 2
        tight = axes.get_tightbbox(figure.canvas.get_renderer())
        assert box.x0 <= tight.x0 <= tight.x1 <= box.x1
        assert box.y0 <= tight.y0 <= tight.y1 <= box.y1


def test_no_pane_runs_into_its_neighbour():
    windows = {0: comparison(0.0)}
    figure = comparison_figure(windows[0], windows, "title")
    figure.canvas.draw()
    boxes = [axes.get_tightbbox(figure.canvas.get_renderer()) for axes in figure.axes]
    for row in (boxes[:4], boxes[4:]):
        for left, right in pairwise(row):
            assert left.x1 < right.x0 + 1


@pytest.mark.parametrize("start", [0.0, 0.25])
def test_points_are_observations_and_lines_are_predictions(start):
    scores = comparison(start)
    axes = comparison_figure(scores, {0: scores}, "title").axes[1]
    points, line = axes.get_lines()[:2]
    shown = scores.times > 0
    np.testing.assert_array_equal(points.get_ydata(), scores.observed["M_norm"][shown])
    np.testing.assert_array_equal(line.get_ydata(), scores.predicted["M_norm"][shown])
    assert points.get_marker() == "o"
    assert line.get_linestyle() == "-"


def test_every_log_axis_has_numbers_however_little_it_spans():
    scores = comparison(0.5)
    figure = comparison_figure(scores, {0: scores}, "title", panes=["loss", "weights", "NC1", "skill"])
    for axes in figure.axes:
        for axis, scale in ((axes.xaxis, axes.get_xscale()), (axes.yaxis, axes.get_yscale())):
            low, high = axis.get_view_interval()
            shown = [t.get_text() for t in axis.get_ticklabels() if low <= axis_place(t, axis) <= high]
            assert scale != "log" or sum(map(bool, shown)) >= 2


def axis_place(label, axis):
    return label.get_position()[0 if axis.axis_name == "x" else 1]

import base64
import io
import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.image import imread
from ntkflow_validation.report.drawing.heat import data_uri, heat_map, palette, png, thinned
from ntkflow_validation.report.drawing.palette import styles
from ntkflow_validation.report.drawing.plots import HEIGHT, WIDTH, Curve, Frame, pane
from ntkflow_validation.report.drawing.scales import Axis, label, linear_ticks, log_ticks, value_range
from ntkflow_validation.report.frontier import on_frontier
from ntkflow_validation.report.tables import score_cell, tint
from ntkflow_validation.runs.compared import ComparedRung, Point, Skill


@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6), st.integers(2, 8))
def test_linear_ticks_are_round_inside_and_about_as_many_as_asked(low, span, count):
    high = low + span
    if high <= low or span < 1e-9 * abs(low):
        return
    ticks = linear_ticks(low, high, count)
    assert all(low - 1e-6 * span <= t <= high + 1e-6 * span for t in ticks)
    assert count // 3 <= len(ticks) <= 2 * count + 1
    assert np.allclose(np.diff(ticks, 2), 0, atol=1e-5 * span)


@given(st.floats(-12, 8), st.floats(0.2, 12))
def test_logarithmic_ticks_lie_inside(start, decades):
    low, high = 10.0**start, 10.0 ** (start + decades)
    ticks = log_ticks(low, high, 5)
    assert 1 <= len(ticks) <= 11
    assert all(low * (1 - 1e-6) <= t <= high * (1 + 1e-6) for t in ticks)


def test_labels_are_short():
    values = (0.0, 0.25, -3.0, 1e-5, 2.5e7, -1e-4)
    assert [label(v) for v in values] == ["0", "0.25", "−3", "10⁻⁵", "2.5·10⁷", "−1·10⁻⁴"]


def test_an_axis_maps_its_ends_and_keeps_far_values_near():
    axis = Axis(1.0, 100.0, 10.0, 210.0, log=True)
    assert axis(1.0) == 10.0
    assert axis(10.0) == pytest.approx(110.0)
    assert axis(1e300) < 1000
    assert axis(0.0) == axis(-5.0) > -1000


def test_a_prediction_far_off_does_not_hide_what_was_observed():
    low, high = value_range([1.0, 2.0, None], [1e9, -1e9])
    assert -0.1 < low < 1 < 2 < high < 3.1
    low, high = value_range([1e-3, 1.0], [1e30, 0.0, -1.0], log=True)
    assert low >= 1e-5
    assert high < 1e2
    assert value_range([], []) == (0.0, 1.0)


def points_of(text):
    (path,) = re.findall(r'<path d="([^"]*)" fill="none"', text)
    return path


def test_a_curve_is_drawn_where_its_values_are_and_gaps_lift_the_pen():
    frame = Frame("says", "x", y_range=(0.0, 1.0))
    path = points_of(pane(frame, [Curve("a", [0, 1, 2, 3], [0.0, 1.0, None, 0.5])]))
    assert path.count("M") == 2
    assert path.count("L") == 1
    numbers = [float(v) for v in re.findall(r"[\d.]+", path)]
    assert all(0 <= v <= max(WIDTH, HEIGHT) for v in numbers)
    # Upwards is up.
    assert numbers[1] > numbers[3]


def test_a_band_surrounds_its_line_and_observations_are_dots():
    curve = Curve("a", [1, 2], [2.0, 3.0], low=[1.0, 2.0], high=[3.0, 4.0])
    text = pane(
        Frame("says", "x"), [curve, Curve("o", [1, 2], [2.0, 2.5], line=False, points=True, leads=True)]
    )
    assert text.count("<circle") == 2
    assert re.search(r'<path d="M[^"]*Z"[^>]*fill-opacity', text)
    assert 'aria-label="says"' in text


def test_png_holds_the_colours_of_its_levels():
    levels = np.arange(6, dtype=np.uint8).reshape(2, 3) * 50
    image = imread(io.BytesIO(png(levels, palette())), format="png")
    assert np.allclose(image[..., :3] * 255, palette()[levels], atol=0.6)
    assert base64.b64decode(data_uri(levels).split(",")[1]) == png(levels, palette())


def test_the_colour_scale_grows_lighter_all_along():
    lightness = palette().astype(float) @ [0.2126, 0.7152, 0.0722]
    assert np.all(np.diff(lightness) >= -0.5)
    assert lightness[-1] - lightness[0] > 180


def test_heat_maps_have_lines_between_classes():
    assert heat_map(np.eye(12), 4, "says").count("<line") == 6
    assert heat_map(np.zeros((4, 4)), 2, "constant").count("<image") == 2


def test_thinning_keeps_the_first_samples_of_every_class():
    K, labels = np.arange(144.0).reshape(12, 12), np.repeat([0, 1, 2], 4)
    assert np.array_equal(thinned(K, labels, side=6), K[np.ix_([0, 1, 4, 5, 8, 9], [0, 1, 4, 5, 8, 9])])
    assert np.array_equal(thinned(K, labels), K)


def test_rungs_are_told_apart_by_colour_or_dash():
    rungs = [ComparedRung(f"r{i}", f"r{i}", i, None, ()) for i in range(20)]
    rungs.append(replace(rungs[3], modifications=("decay",)))
    found = styles(rungs, wanted=["r15"])
    drawn = {(s.colour, s.dash) for s in found.values()}
    assert len(drawn) == len(found) == 21
    assert found["r15"].shown
    assert not found["r16"].shown
    modified = found[rungs[-1].key]
    assert modified.colour == found["r3"].colour
    assert (modified.title, modified.shown) == ("r3, with decay", False)


def test_the_frontier_holds_what_no_smaller_rung_reaches():
    points = [("a", 3, 0.4), ("b", 3, 0.5), ("c", 10, 0.5), ("d", 20, -2.0), ("e", 30, 0.9)]
    best = on_frontier([Point(*point, None) for point in points])
    assert [p.rung for p in best] == ["b", "e"]


@pytest.mark.parametrize(
    ("value", "words"), [(0.5, "0.50"), (0.9999, "1.00"), (0.999, "0.999"), (-1234.5, "−1200"), (None, "–")]
)
def test_scores_in_cells(value, words):
    assert words in score_cell(Skill(value, 0.02))


@given(st.floats(-1e3, 1e3))
def test_tints_are_light_enough_for_dark_text(share):
    channels = [int(tint(share)[i : i + 2], 16) for i in (1, 3, 5)]
    assert np.dot(channels, [0.2126, 0.7152, 0.0722]) > 150

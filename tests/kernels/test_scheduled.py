import numpy as np
import pytest

import ntkflow as nf
from ntkflow import kernels
from ntkflow.kernels.timeline import bracket
from tests.kernels import ladder

SIZES = nf.Sizes(3, 3, 4)
G = np.random.default_rng(5).standard_normal((4, 9))


@pytest.mark.parametrize("name", ladder.NAMES)
def test_between_knots_the_operator_is_the_mixture(name):
    first, last = ladder.make(name, SIZES, 0), ladder.make(name, SIZES, 1)
    schedule = kernels.ScheduledKernel((1.0, 3.0), (first, last))
    schedule.check(SIZES)
    assert schedule.at(0.0) is first
    assert schedule.at(7.0) is last
    if name != "kronecker":
        mixture = 0.25 * ladder.dense(last, SIZES) + 0.75 * ladder.dense(first, SIZES)
        want = (mixture @ G.ravel()).reshape(G.shape)
        np.testing.assert_allclose(schedule.at(1.5).apply(G, SIZES), want, atol=1e-12)


@pytest.mark.parametrize("name", ladder.NAMES)
def test_the_slope_is_the_time_derivative_of_the_operator(name):
    schedule = kernels.ScheduledKernel((1.0, 3.0), (ladder.make(name, SIZES, 0), ladder.make(name, SIZES, 1)))
    h = 1e-3
    # The operator is at most quadratic in t, so central differences are exact up to rounding.
    difference = (schedule.at(1.7 + h).apply(G, SIZES) - schedule.at(1.7 - h).apply(G, SIZES)) / (2 * h)
    np.testing.assert_allclose(schedule.slope(1.7, G, SIZES), difference, atol=1e-10)
    np.testing.assert_array_equal(schedule.slope(3.0, G, SIZES), 0 * G)
    backward = (schedule.at(3.0).apply(G, SIZES) - schedule.at(3.0 - h).apply(G, SIZES)) / h
    tolerance = 1e-2 if name == "kronecker" else 1e-10
    np.testing.assert_allclose(schedule.slope(3.0, G, SIZES, before=True), backward, atol=tolerance)
    np.testing.assert_array_equal(schedule.slope(1.0, G, SIZES, before=True), 0 * G)


@pytest.mark.parametrize("name", ["block", "class-block"])
def test_thin_coefficients_follow_the_schedule(name):
    knots = (ladder.make(name, SIZES, 0), nf.BlockKernel(2.0, 0.7, 0.0))
    if name == "class-block":
        knots = (knots[0], ladder.make(name, SIZES, 1))
    schedule = kernels.ScheduledKernel((0.0, 2.0), knots)
    for t in (-1.0, 0.0, 0.5, 2.0, 9.0):
        got, want = schedule.thin(SIZES).at(t), schedule.at(t).thin(SIZES)
        np.testing.assert_allclose(got.class_kernel, want.class_kernel, atol=1e-13)
        np.testing.assert_allclose(got.within, want.within, atol=1e-13)


def test_classes_share_a_factor_only_if_their_rates_agree_at_all_times():
    B = 0.5 * np.eye(3)
    first = kernels.ClassBlockKernel([1.0, 1.0, 1.0], B)
    last = kernels.ClassBlockKernel([1.0, 2.0, 1.0], B)
    groups = kernels.ScheduledKernel((0.0, 1.0), (first, last)).thin(SIZES).groups
    assert groups[0] == groups[2] != groups[1]


def test_a_schedule_of_kernels_without_thin_form_has_none():
    knots = (ladder.make("sample", SIZES, 0), ladder.make("sample", SIZES, 1))
    assert kernels.ScheduledKernel((0.0, 1.0), knots).thin(SIZES) is None


@pytest.mark.parametrize(
    ("t", "expected"),
    [(-1, (0, 0, 0)), (0, (0, 1, 0)), (1, (0, 1, 0.5)), (2, (1, 2, 0)), (3, (2, 2, 0)), (9, (2, 2, 0))],
)
def test_bracket_takes_the_segment_to_the_right(t, expected):
    assert tuple(bracket((0.0, 2.0, 3.0), t)) == expected


BLOCK = nf.BlockKernel(1, 0.5, 0.1)


@pytest.mark.parametrize(
    ("times", "knots", "message"),
    [
        ((0.0,), (BLOCK, BLOCK), "times = 1 knots: must be one per kernel"),
        ((), (), "times = 0 knots"),
        ((1.0, 1.0), (BLOCK, BLOCK), "must increase"),
        (
            (0.0, 1.0),
            (BLOCK, kernels.SampleKernel(np.eye(2))),
            r"kernels = \['block', 'sample'\]: must be constant",
        ),
        ((0.0,), (kernels.ScheduledKernel((0.0,), (BLOCK,)),), "must be constant kernels"),
    ],
)
def test_bad_schedules_are_refused(times, knots, message):
    with pytest.raises(nf.InputError, match=message):
        kernels.ScheduledKernel(times, knots)


def test_a_bad_knot_is_found():
    schedule = kernels.ScheduledKernel((0.0, 1.0), (BLOCK, nf.BlockKernel(0.5, 0.5, 0.1)))
    with pytest.raises(nf.InputError, match="equals kappa_c"):
        schedule.check(SIZES)

"""Steps that are even in log time, of systems of more than 20 features: their start, their accuracy, and how they end."""

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import ntkflow as nf
from ntkflow.dynamics.packed import ThinFlow
from ntkflow.integrate.engines.structured import StructuredBDF, clock, formulas, projection, start
from ntkflow.integrate.engines.structured.clock import PLAIN_TIME, LogClock
from ntkflow.integrate.engines.structured.coordinates import Coordinates
from tests.integrate.engines.test_structured_bdf import absolute, error, finish, reference
from tests.integrate.engines.test_structured_newton import NO_DECAY, random_system

NEVER = math.inf


def begun(system, y, t_end, rtol, **options):
    return StructuredBDF(system, 0.0, y, t_end, rtol, absolute(system, y, rtol), **options)


def relu_flow(C=4, m=8, n=24, seed=0, kernel=(1.3, 0.5, 0.1)):
    sizes, blocks = nf.Sizes(C, m, n), nf.BlockKernel(*kernel)
    return ThinFlow.build(nf.Problem(sizes, blocks, nf.initial.relu(sizes, np.random.default_rng(seed))))


@given(begin=st.floats(-5, 5), unit=st.floats(1e-6, 1e6), s=st.floats(0, 30))
def test_a_log_clock_reads_what_it_says(begin, unit, s):
    log = LogClock(begin, unit)
    t = log.time(s)
    # A time may have lost the digits that it has beyond its beginning.
    lost = 1e-15 * (abs(begin) + abs(t)) / log.pace(s)
    assert log.read(t) == pytest.approx(s, rel=1e-13, abs=4 * lost + 1e-15)
    np.testing.assert_array_equal(log.reads(np.array([t])), [log.read(t)])
    assert log.pace(s) == pytest.approx(unit + unit * math.expm1(s), rel=1e-13)


@settings(max_examples=12, deadline=None)
@given(
    C=st.integers(2, 5),
    n=st.integers(1, 12),
    r=st.integers(0, 6),
    seed=st.integers(0, 99),
    decays=st.booleans(),
)
def test_the_series_is_that_of_the_solution(C, n, r, seed, decays):
    system, y = random_system(C, n, r, seed, (0.3, 0.2, 0.1) if decays else NO_DECAY)
    coordinates = Coordinates.build(system)
    unit = 0.2 / system.spectral_radius(system.unpack(y))
    s = 0.1
    coefficients = start.series(coordinates, coordinates.enter(y), unit)
    found = coordinates.leave(s ** np.arange(start.TERMS + 1) @ coefficients)
    expected = reference(system, y, [unit * math.expm1(s)])[0]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12 * np.abs(y).max())


@given(h=st.floats(0.01, 0.2), seed=st.integers(0, 99))
def test_differences_of_a_series_are_those_of_its_values(h, seed):
    coefficients = np.random.default_rng(seed).standard_normal((start.TERMS + 1, 3))
    values = (-h * np.arange(7.0))[:, None] ** np.arange(start.TERMS + 1) @ coefficients
    D = start.differences(coefficients, h, 7)
    for row in D:
        np.testing.assert_allclose(row, values[0], rtol=0, atol=1e-13 * 2**7)
        values = values[:-1] - values[1:]


@given(k=st.integers(1, 5), h=st.floats(0.01, 0.15))
def test_leaving_log_time_goes_on_along_the_same_solution(k, h):
    """On exp(s), which is the time itself: the new history is the old polynomial at even times."""
    at = 2.0
    past = np.exp(-(at - h * np.arange(k + 1)))
    old = np.array([np.diff(past[::-1], j)[-1] for j in range(k + 1)])[:, None]
    new, step = formulas.in_time(old, h, math.exp(at))
    assert 0 < step <= h * math.exp(at)
    times = math.exp(at) - step * np.arange(k + 1)
    assert math.log(times[-1]) >= at - k * h - 1e-12
    values = np.array([formulas.evaluate(old, (math.log(t) - at) / h)[0] for t in times])
    expected = [np.diff(values[::-1], j)[-1] for j in range(k + 1)]
    np.testing.assert_allclose(new[:, 0], expected, rtol=0, atol=1e-14)


@settings(max_examples=6, deadline=None)
@given(
    C=st.integers(2, 5),
    n=st.integers(21, 30),
    r=st.integers(0, 9),
    seed=st.integers(0, 99),
    decays=st.booleans(),
)
@pytest.mark.slow
def test_log_time_agrees_with_dop853(C, n, r, seed, decays):
    system, y = random_system(C, n, r, seed, (0.3, 0.2, 0.1) if decays else NO_DECAY)
    stepper = begun(system, y, 6.0, 1e-9)
    assume(isinstance(stepper._clock, LogClock))
    times = np.array([0.003, 0.03, 0.3, 1.5, 6.0])
    expected, k = reference(system, y, times), 0
    while stepper.status == "running":
        stepper.step()
        inside = stepper.dense()
        while k < len(times) and times[k] <= stepper.t:
            assert error(system, inside(times[k]), expected[k]) < 1e-7
            k += 1
    assert k == len(times)


def test_it_takes_fewer_steps_to_no_larger_errors(monkeypatch):
    f = relu_flow()
    y, t_end = f.start(), 30.0
    exact = finish(begun(f.system, y, t_end, 1e-12)).y
    even = finish(begun(f.system, y, t_end, 1e-8))
    monkeypatch.setattr(clock, "EVEN_FROM", NEVER)
    plain = finish(begun(f.system, y, t_end, 1e-8))
    assert even.steps < 0.8 * plain.steps
    assert even.nfev < plain.nfev
    assert error(f.system, even.y, exact) < 1.5 * error(f.system, plain.y, exact) + 1e-9


def test_the_first_step_is_of_the_highest_order():
    f = relu_flow()
    stepper = begun(f.system, f.start(), 20.0, 1e-8)
    stepper.step()
    assert stepper.order == formulas.HIGHEST_ORDER
    assert error(f.system, stepper.y, reference(f.system, f.start(), [stepper.t])[0]) < 1e-7
    asked = begun(f.system, f.start(), 20.0, 1e-8, first_step=1e-8)
    asked.step()
    assert (asked.order, asked.t) == (1, pytest.approx(1e-8, rel=1e-6))


def test_the_invariant_stays_in_log_time():
    f = relu_flow(3, 9, 26)
    stepper = begun(f.system, f.start(), 20.0, 1e-8)
    initial = projection.leaf(stepper._coordinates, stepper._D[0])
    while stepper.status == "running":
        stepper.step()
        final = projection.leaf(stepper._coordinates, stepper._D[0])
        assert np.linalg.norm(final - initial) < 1e-7 * np.linalg.norm(initial)


@pytest.mark.parametrize("seed", [0, 1, pytest.param(2, marks=pytest.mark.slow)])
def test_rest_is_noticed_when_it_comes(monkeypatch, seed):
    """A run that steps evenly in log time ends no later than 15 % after one that steps evenly in time."""
    sizes, kernel = nf.Sizes(4, 8, 24), nf.BlockKernel(1.3, 0.5, 0.1)
    problem = nf.Problem(sizes, kernel, nf.initial.relu(sizes, np.random.default_rng(seed)))
    even = nf.solve(problem, t_end=1e4, engine="structured")
    monkeypatch.setattr(clock, "EVEN_FROM", NEVER)
    plain = nf.solve(problem, t_end=1e4, engine="structured")
    assert even.reason is plain.reason is nf.Reason.STATIONARY
    assert 0.85 < even.times[-1] / plain.times[-1] < 1.15


def test_near_rest_it_steps_in_time_itself_and_stays_on_the_solution():
    f = relu_flow()
    stepper, before = begun(f.system, f.start(), 1e3, 1e-8), None
    while stepper.status == "running" and stepper._clock is not PLAIN_TIME:
        before = stepper.t
        stepper.step()
    assert before is not None
    assert before < stepper.t < 1e3
    middle = (before + stepper.t) / 2
    exact = begun(f.system, f.start(), middle, 1e-12)
    finish(exact)
    assert error(f.system, stepper.dense()(middle), exact.y) < 1e-7


def test_a_state_that_is_nothing_or_at_rest_is_no_trouble():
    system, y = random_system(3, 24, 4)
    for state in (
        np.zeros_like(y),
        np.concatenate([np.zeros(y.size - 3), system.masses / system.masses.sum()]),
    ):
        stepper = finish(StructuredBDF(system, 0.0, state, 10.0, 1e-8, 1e-11))
        np.testing.assert_allclose(system.unpack(stepper.y).b, system.masses / system.masses.sum(), atol=1e-7)


def test_a_moving_kernel_is_stepped_in_time_itself_until_it_rests():
    sizes, first, last = nf.Sizes(3, 6, 24), nf.BlockKernel(1.3, 0.5, 0.1), nf.BlockKernel(2.0, 0.9, 0.2)
    kernel = nf.ScheduledKernel((0.0, 0.05), (first, last))
    problem = nf.Problem(sizes, kernel, nf.initial.relu(sizes, np.random.default_rng(0)))
    times = [0.02, 0.05, 0.08, 1.0]
    ours = nf.solve(problem, save_at=times, rtol=1e-8, engine="structured")
    exact = nf.solve(problem, save_at=times, rtol=1e-11, engine="DOP853")
    np.testing.assert_allclose(ours.packed, exact.packed, rtol=0, atol=1e-8 * np.abs(exact.packed).max())

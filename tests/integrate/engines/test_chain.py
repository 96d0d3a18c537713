"""Steps end at every knot of a moving kernel: every engine, form, rung and loss against scipy knot by knot."""

from dataclasses import fields, replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import solve_ivp

import ntkflow as nf
from ntkflow.dynamics.packed import RawFlow, ThinFlow
from ntkflow.integrate.engines import chain, choose, scipy_engine
from ntkflow.integrate.run import Run
from ntkflow.integrate.task import Task
from ntkflow.problem import kernels
from tests import oracle
from tests.problem.kernels import ladder
from tests.steppers import Wrapped
from tests.strategies import costly

SIZES = nf.Sizes(2, 2, 2)
NEVER = nf.Stop(None, None, None)
LOSSES = {"mse": nf.MSE(), "cross-entropy": nf.CrossEntropy()}
THIN = {"block": choose.NAMES, "class-block": choose.NAMES, "sample": choose.NAMES}
LEVELS = dict.fromkeys(("kronecker", "matrix-block"), ("auto", *scipy_engine.METHODS))
RAW = ("auto", *scipy_engine.METHODS)
# A peak a thousandth of the run wide, whose area is as large as that of all the rest.
WIDTH = 1e-3
PEAK = (0.0, 0.3, 0.3 + WIDTH / 2, 0.3 + WIDTH, 0.6)
HEIGHTS = (0.01, 0.01, 2 / WIDTH, 0.01, 0.01)
RTOL = 1e-5


def example(name):
    """One kernel of the rung; of Kronecker kernels one that has a thin form."""
    kernel = ladder.make(name, SIZES)
    return kernels.KroneckerKernel(ladder.make("block", SIZES), kernel.A) if name == "kronecker" else kernel


def times_of(factor, kernel):
    """The kernel times a number."""
    if isinstance(kernel, nf.KroneckerKernel):
        return kernels.KroneckerKernel(times_of(factor, kernel.K), kernel.A)
    return type(kernel)(**{field.name: factor * getattr(kernel, field.name) for field in fields(kernel)})


def peaked(name, knots=PEAK, heights=HEIGHTS):
    return nf.ScheduledKernel(knots, tuple(times_of(h, example(name)) for h in heights))


def start(scale=0.3, seed=3):
    rng = np.random.default_rng(seed)
    return nf.State(*(scale * rng.standard_normal(shape) for shape in ((2, 4), (2, 2), (2,))))


def by_intervals(problem, times, rtol=1e-11):
    """States at the times by the raw field with the operator written out, from knot to knot, each in its own clock."""
    sizes, kernel, cross = problem.sizes, problem.kernel, isinstance(problem.loss, nf.CrossEntropy)
    Y = np.eye(sizes.C)[:, sizes.labels]
    shapes = [part.shape for part in (problem.state.H, problem.state.W, problem.state.b)]
    cuts = np.cumsum([sizes.n * sizes.N, sizes.C * sizes.n])
    inner = [knot for knot in kernel.times if 0 < knot < times[-1]]
    y = np.concatenate([problem.state.H.ravel(), problem.state.W.ravel(), problem.state.b])
    found = [problem.state] if times[0] == 0 else []
    for begin, end in pairwise([0.0, *inner, times[-1]]):
        ends = [ladder.dense(kernel.at(t), sizes) for t in (begin, end)]

        def field(s, y, ends=ends, width=end - begin):
            H, W, b = (part.reshape(shape) for part, shape in zip(np.split(y, cuts), shapes, strict=True))
            F = W @ H + b[:, None]
            R = F - Y
            if cross:
                soft = np.exp(F - F.max(axis=0))
                R = soft / soft.sum(axis=0) - Y
            share = s / width
            dH = -((1 - share) * ends[0] + share * ends[1]) @ (W.T @ R).ravel()
            return np.concatenate([dH, -(R @ H.T).ravel(), -R.sum(axis=1)])

        wanted = [min(t - begin, end - begin) for t in times if begin < t <= end]
        stops = wanted if wanted and wanted[-1] == end - begin else [*wanted, end - begin]
        run = solve_ivp(field, (0, end - begin), y, "DOP853", stops, rtol=rtol, atol=1e-3 * rtol)
        assert run.success
        y = run.y[:, -1]
        for row in run.y.T[: len(wanted)]:
            found.append(
                nf.State(*(p.reshape(shape) for p, shape in zip(np.split(row, cuts), shapes, strict=True)))
            )
    return found


def cases():
    for loss in LOSSES:
        for rung in ladder.NAMES:
            thin = {**THIN, **LEVELS}.get(rung, ()) if loss == "mse" else ()
            yield from (
                (loss, rung, "thin", engine) for engine in thin if rung == "block" or engine != "diffrax"
            )
            yield from ((loss, rung, "raw", engine) for engine in RAW)


@pytest.fixture(scope="module")
def references():
    """States at the middle of the peak, inside its flank, at a knot and at the end."""
    made = {}

    def reference(loss, rung):
        if (loss, rung) not in made:
            problem = nf.Problem(SIZES, peaked(rung), start(), LOSSES[loss])
            times = np.array([0.1, 0.3 + 0.4 * WIDTH, 0.3 + WIDTH / 2, 0.6])
            made[loss, rung] = problem, times, by_intervals(problem, times)
        return made[loss, rung]

    return reference


@pytest.mark.parametrize(("loss", "rung", "form", "engine"), list(cases()))
def test_no_engine_steps_over_a_narrow_peak(loss, rung, form, engine, references):
    problem, times, expected = references(loss, rung)
    found = nf.solve(problem, save_at=times, form=form, engine=engine, rtol=RTOL)
    # The peak is where most of the motion is.
    assert oracle.distance(expected[0], expected[-1]) > 0.1
    for i, state in enumerate(expected):
        assert oracle.distance(found.state(i), state) < 10 * RTOL


gaps = st.one_of(st.floats(0.01, 0.3), st.sampled_from([1e-16, 1e-15, 1e-12, 1e-8, 1e-4]))
areas = st.sampled_from([0.0, 0.2, 1.0])


@given(st.lists(st.tuples(gaps, areas), min_size=1, max_size=3), st.sampled_from(choose.NAMES[:-1]))
@costly(20)
@pytest.mark.slow
def test_intervals_of_any_width_are_followed(pieces, engine):
    """Kernels whose integral over each pair of intervals is given, however narrow these are."""
    knots, heights = [0.0], [0.1]
    for gap, area in pieces:
        for height in (0.1 + area / gap, 0.1):
            after = max(knots[-1] + gap, np.nextafter(knots[-1], 9))
            # The width that is left after rounding, so that the area is the one meant.
            heights.append(0.1 + (height - 0.1) * gap / (after - knots[-1]))
            knots.append(float(after))
    problem = nf.Problem(SIZES, peaked("block", tuple(knots), tuple(heights)), start())
    times = np.array([knots[-1] + 0.1])
    found = nf.solve(problem, save_at=times, engine=engine, rtol=1e-5)
    assert oracle.distance(found.final, by_intervals(problem, times, 1e-9)[-1]) < 1e-4
    if engine != "auto":
        assert found.stats.engine == engine


@pytest.mark.parametrize("engine", choose.NAMES[:-1])
def test_intervals_near_the_smallest_float_are_followed(engine):
    knots = (0.0, 1e-300, 2e-300, 1.0)
    problem = nf.Problem(SIZES, peaked("block", knots, (1.0, 2.0, 3.0, 1.0)), start())
    simple = nf.Problem(SIZES, peaked("block", (0.0, 1.0), (3.0, 1.0)), start())
    found = nf.solve(problem, save_at=[1.0], engine=engine, rtol=1e-8)
    assert oracle.distance(found.final, by_intervals(simple, np.array([1.0]))[-1]) < 1e-7


def run_of(problem, t_end, observe=None, engine="auto", save_at=None, progress=None, raw=False):
    form = "raw" if raw else "thin"
    return Run(Task(problem, t_end, NEVER, save_at, 1e-8, engine, form, 10**6), progress, observe)


@pytest.mark.parametrize("engine", choose.NAMES[:-1])
def test_steps_tile_the_run_and_none_crosses_a_knot(engine):
    problem, steps, ends = nf.Problem(SIZES, peaked("block"), start()), [], []

    def observe(step):
        steps.append((step.t_old, step.t))
        first, last = (step.inside(local) for local in step.span)
        ends.append((first, last))
        # The interval's own flow is the run's, in its own clock.
        here = step.interval
        middle = step.span[0] + 0.5 * (step.span[1] - step.span[0])
        np.testing.assert_allclose(
            here.flow.field(middle, first), run.flow.field(here.begin + middle, first), rtol=1e-9, atol=1e-9
        )

    run = run_of(problem, 1.0, observe, engine)
    assert run.march() is nf.Reason.T_END
    assert [a for a, _ in steps] == [0.0, *[b for _, b in steps[:-1]]]
    assert steps[-1][1] == 1.0
    assert set(PEAK) <= {0.0, *[b for _, b in steps]}
    for (_, left), (right, _) in pairwise(ends):
        np.testing.assert_allclose(left, right, rtol=1e-6, atol=1e-7)
    assert len(steps) == run.steps
    assert [(i.begin, i.end) for i in run.stepper.intervals] == list(pairwise([*PEAK, 1.0]))


def test_evaluations_are_counted_over_all_intervals(monkeypatch):
    called, field = [0], RawFlow.field

    def counted(self, t, y):
        called[0] += 1
        return field(self, t, y)

    monkeypatch.setattr(RawFlow, "field", counted)
    found = nf.solve(
        nf.Problem(SIZES, peaked("tensor"), start()), t_end=1.0, engine="RK45", form="raw", stop=NEVER
    )
    assert found.stats.evaluations == called[0]


def test_the_limit_on_steps_and_the_progress_are_those_of_the_whole_run():
    problem, seen = nf.Problem(SIZES, peaked("block"), start()), []
    whole = nf.solve(problem, t_end=1.0, progress=lambda *called: seen.append(called))
    assert np.all(np.diff([t for _, t, _ in seen]) > 0)
    assert seen[-1] == ("integrating", 1.0, 1.0)
    assert len(seen) == whole.stats.steps
    part = nf.solve(problem, t_end=1.0, max_steps=whole.stats.steps - 1, throw=False)
    assert part.reason is nf.Reason.MAX_STEPS
    assert part.stats.steps == whole.stats.steps - 1
    assert PEAK[-1] < part.times[-1] < 1.0


@pytest.mark.parametrize("engine", ["auto", "structured", "LSODA"])
def test_saves_between_and_at_knots_are_of_one_trajectory(engine):
    problem = nf.Problem(SIZES, peaked("block"), start())
    times = np.array([0.0, 0.2, 0.3, 0.3 + WIDTH / 4, 0.3 + WIDTH / 2, 0.35, 0.6, 0.9])
    expected = by_intervals(problem, times)
    found = nf.solve(problem, save_at=times, engine=engine, rtol=1e-8)
    np.testing.assert_array_equal(found.times, times)
    own = nf.solve(problem, t_end=0.9, engine=engine, rtol=1e-8, stop=NEVER)
    assert set(PEAK) <= set(own.times)
    for i, state in enumerate(expected):
        assert oracle.distance(found.state(i), state) < 1e-7
        if times[i] in PEAK:
            at = list(own.times).index(times[i])
            assert oracle.distance(own.state(at), state) < 1e-7


def test_an_engine_is_chosen_for_each_interval_and_the_reason_says_so():
    """Mild, then stiff, then mild again."""
    kernel = peaked("block", (0.0, 1.0, 1.1, 3.0, 3.1), (0.1, 0.1, 500.0, 500.0, 0.1))
    problem = nf.Problem(SIZES, kernel, start(1.0))
    found = nf.solve(problem, t_end=4.0, stop=NEVER, rtol=1e-7)
    assert found.stats.engine == "DOP853+structured"
    assert found.stats.because.startswith("5 intervals between knots, 14 unknowns: DOP853 in 4, not stiff")
    assert (
        "structured in 1, stiff, and the thin form has block elimination (rho T up to" in found.stats.because
    )
    assert found.stats.rtol_internal == pytest.approx(1e-7 * chain.TOLERANCE_SAFETY)
    assert oracle.distance(found.final, by_intervals(problem, np.array([4.0]))[-1]) < 1e-6
    asked = nf.solve(problem, t_end=4.0, stop=NEVER, rtol=1e-7, engine="LSODA")
    assert "LSODA in 5, requested (rho T up to" in asked.stats.because


def test_over_many_knots_the_structured_engine_works_to_a_smaller_share_of_rtol():
    knots = np.linspace(0.0, 6.0, 201)
    problem = nf.Problem(SIZES, peaked("block", tuple(knots), tuple(1 + 0.2 * np.sin(knots))), start(1.0))
    for asked, share in (("structured", chain.STRUCTURED_SAFETY / 4), ("DOP853", chain.TOLERANCE_SAFETY)):
        (interval,) = run_of(problem, 6.0, engine=asked).stepper.intervals
        assert interval.rtol == pytest.approx(1e-8 * share)
    # Its tolerance is never below what it can do.
    assert nf.solve(problem, save_at=[0.1], rtol=1e-12, engine="structured").stats.rtol_internal >= 1e-14


def test_a_loose_tolerance_gives_the_structured_engine_a_larger_share():
    shares = [chain.structured_rtol(rtol) / rtol for rtol in (1e-10, 1e-8, 1e-7, 1e-6, 1e-3)]
    assert shares == pytest.approx([1 / 20, 1 / 20, 2**0.5 / 20, 1 / 10, 1 / 10])
    state = nf.initial.make("balanced", SIZES, nf.BlockKernel(1.0, 0.5, 0.1), seed=1)
    problem = nf.Problem(SIZES, nf.BlockKernel(1.0, 0.5, 0.1), state)
    # The errors that are left: below the tolerance asked for, at both.
    strict = nf.solve(problem, save_at=[3.0], rtol=1e-11, engine="structured").packed
    for rtol in (1e-6, 1e-8):
        found = nf.solve(problem, save_at=[3.0], rtol=rtol, engine="structured").packed
        assert np.linalg.norm(found - strict) < rtol * np.linalg.norm(strict)


def test_times_of_an_interval_are_the_same_one_by_one():
    problem = nf.Problem(SIZES, ladder.make("block", SIZES), start())
    run = run_of(problem, 1.0)
    interval = replace(run.stepper.intervals[0], begin=0.3, end=1.1)
    local = np.array([0.0, 1e-17, 0.5, np.nextafter(0.8, 0.0), interval.width, 2.0])
    np.testing.assert_array_equal(interval.times(local), [interval.time(t) for t in local.tolist()])
    t = np.array([0.0, 0.3, 0.7, 1.1, 2.0])
    np.testing.assert_array_equal(interval.locals(t), [interval.local(one) for one in t.tolist()])


@pytest.mark.slow
def test_over_many_knots_the_structured_engine_keeps_its_rtol():
    """At every knot it starts anew at order one; the errors of these starts add up."""
    knots = np.linspace(0.0, 3.0, 301)
    kernel = peaked("block", tuple(knots), tuple(1 + 0.2 * np.sin(knots)))
    problem, rtol = nf.Problem(SIZES, kernel, start(1.0)), 1e-8
    found = nf.solve(problem, save_at=[3.0], rtol=rtol, engine="structured")
    assert found.law.error < rtol
    exact = nf.solve(problem, save_at=[3.0], rtol=1e-11, engine="DOP853")
    assert oracle.distance(found.final, exact.final) < 3 * rtol


def test_a_constant_kernel_is_one_interval_with_the_reason_as_it_was():
    problem = nf.Problem(SIZES, ladder.make("block", SIZES), start())
    run = run_of(problem, 1.0)
    run.march()
    (interval,) = run.stepper.intervals
    assert interval.flow is run.flow
    assert nf.solve(problem, t_end=1.0).stats.because.startswith("not stiff on this horizon (rho T =")


def test_what_rests_under_the_kernel_of_now_goes_on_when_a_later_one_moves_it():
    """Frozen features: W and b are fitted and rest long before the kernel wakes."""
    kernel = peaked("block", (0.0, 400.0, 401.0), (1e-14, 1e-14, 1.0))
    problem = nf.Problem(SIZES, kernel, start(1.0))
    stop = nf.Stop(nc1=None, stationarity=1e-5)
    early = nf.solve(problem, t_end=399.0, stop=stop)
    assert early.reason is nf.Reason.STATIONARY
    woken = nf.solve(problem, t_end=2000.0, stop=stop)
    assert woken.times[-1] > 401.0
    assert woken.series["loss"][-1] < 0.9 * early.series["loss"][-1]


def test_among_many_knots_the_one_that_wakes_a_run_is_asked_first(monkeypatch):
    """Otherwise every step at rest would evaluate the field at all the knots before it."""
    count, knots = [0], np.linspace(0.0, 40.0, 61)
    kernel = peaked("block", (*knots, 41.0), (*(1e-14 for _ in knots), 1.0))
    problem = nf.Problem(SIZES, kernel, start(1.0))
    right = ThinFlow.field

    def counted(self, t, y):
        count[0] += 1
        return right(self, t, y)

    stop = nf.Stop(nc1=None, stationarity=1e-3)
    monkeypatch.setattr(ThinFlow, "field", counted)
    found = nf.solve(problem, t_end=42.0, stop=stop, rtol=1e-4)
    assert found.times[-1] > 41.0
    assert count[0] < 2 * found.stats.evaluations + 10 * found.stats.steps


def test_a_state_that_is_not_finite_is_not_carried_into_the_next_interval(monkeypatch):
    honest = choose.start

    class Broken(Wrapped):
        @property
        def y(self):
            return (
                np.full_like(self.stepper.y, np.nan) if self.stepper.status == "finished" else self.stepper.y
            )

    monkeypatch.setattr(choose, "start", lambda *given: Broken(honest(*given)))
    found = nf.solve(nf.Problem(SIZES, peaked("block"), start()), t_end=1.0, stop=NEVER, throw=False)
    assert found.reason is nf.Reason.NOT_FINITE
    assert found.times[-1] < 0.3

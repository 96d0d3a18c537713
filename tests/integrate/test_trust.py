"""Failures are said: every result code, from situations that provoke it, and runs that lie are caught."""

import warnings

import numpy as np
import pytest

import ntkflow as nf
from ntkflow.dynamics.packed import RawFlow, ThinFlow
from ntkflow.integrate import trust
from ntkflow.integrate import watch as marching
from ntkflow.integrate.engines import choose
from ntkflow.integrate.stopping import FAILURES
from ntkflow.problem.decay import Decay
from tests.metrics.test_quantities import random_state
from tests.problem.kernels import ladder
from tests.steppers import Wrapped

SIZES = nf.Sizes(3, 3, 5)
NEVER = nf.Stop(None, None, None)


def problem(kernel=None, scale=1.0, **options):
    state = random_state(SIZES)
    scaled = nf.State(scale * state.H, scale * state.W, state.b)
    return nf.Problem(SIZES, kernel or nf.BlockKernel(1.3, 0.5, 0.1), scaled, **options)


class Crooked(Wrapped):
    """An engine whose every second step has been tampered with."""

    def __init__(self, stepper, harm):
        super().__init__(stepper)
        self.harm = harm

    @property
    def y(self):
        return self.harm(self.stepper.t, self.stepper.y)


def tampered(monkeypatch, harm):
    honest = choose.start
    monkeypatch.setattr(choose, "start", lambda *given: Crooked(honest(*given), harm))


def grown(t, y):
    """Off the leaf of constant E, by more the later."""
    return y * (1 + 1e-6 * min(t, 1.0))


def test_a_drift_beyond_rtol_is_a_failure_of_its_own(monkeypatch):
    tampered(monkeypatch, grown)
    with pytest.raises(nf.SolveError, match=r"accuracy was lost.*lower rtol or choose another engine"):
        nf.solve(problem(), t_end=2.0, rtol=1e-8)
    assert nf.solve(problem(), t_end=2.0, rtol=1e-8, throw=False).reason is nf.Reason.INACCURATE
    assert nf.solve(problem(), t_end=2.0, rtol=1e-5).reason is nf.Reason.T_END


def test_the_drift_allowed_is_rtol_itself_and_rounding_at_least(monkeypatch):
    here = problem()
    flow = ThinFlow.build(here)
    y0 = flow.start()
    harmed = np.stack([y0, y0 * (1 + 1e-6)])
    found = trust.drift(here, flow, harmed)
    assert 1e-6 < found < 2e-6
    # Larger outputs may raise the loss; here E alone is asked.
    monkeypatch.setattr(trust, "ERROR_IN_RTOL", 1e30)
    assert trust.lost_accuracy(here, flow, TIMES, harmed, found / 1.1)
    assert not trust.lost_accuracy(here, flow, TIMES, harmed, found * 1.1)
    # Whatever rtol says, E is not known better than to some hundreds of roundings.
    for size, lost in ((2e-14, False), (2e-13, True)):
        assert trust.lost_accuracy(here, flow, TIMES, np.stack([y0, y0 * (1 + size)]), 1e-30) is lost


def test_the_rise_allowed_to_the_loss_is_the_error_of_the_outputs():
    here = problem(loss=nf.CrossEntropy())
    flow = RawFlow.build(here)
    y0 = flow.start()
    speed = -flow.field(0.0, y0)
    rtol, residual = 1e-6, np.sqrt(2 * flow.loss(y0))
    allowed = 30 * rtol * (3 + residual) * residual
    # Uphill by a step so short that E stays to its square.
    slope = (flow.loss(y0 + 1e-7 * speed) - flow.loss(y0)) / 1e-7
    for share, lost in ((0.5, False), (2.0, True)):
        uphill = np.stack([y0, y0 + share * allowed / slope * speed])
        assert trust.drift(here, flow, uphill) < rtol
        assert trust.lost_accuracy(here, flow, TIMES, uphill, rtol) is lost


@pytest.mark.parametrize("decay", [Decay(W=30.0), Decay(40.0, 20.0, 10.0)], ids=str)
def test_the_rise_allowed_to_the_penalty_is_twice_the_error_of_E_s_terms(decay):
    here = problem(decay=decay)
    flow = RawFlow.build(here)
    y0, known = flow.start(), 1e-5

    def total(y):
        return flow.loss(y) + trust.penalty(here, flow.state(y))

    speed = -flow.field(0.0, y0)
    slope = (total(y0 + 1e-7 * speed) - total(y0)) / 1e-7
    allowed = 2 * known * trust.penalty(here, flow.state(y0))
    for share, lost in ((0.5, False), (2.0, True)):
        uphill = np.stack([y0, y0 + share * allowed / slope * speed])
        assert trust.lost_accuracy(here, flow, TIMES, uphill, 1e-12, known) is lost


@pytest.mark.parametrize("save_at", [[2.0], [0.0, 2.0]])
def test_a_single_saved_state_is_compared_with_the_start(save_at, monkeypatch):
    tampered(monkeypatch, grown)
    assert nf.solve(problem(), save_at=save_at, throw=False).reason is nf.Reason.INACCURATE


@pytest.mark.parametrize("loss", [nf.MSE(), nf.CrossEntropy()])
def test_a_loss_that_rises_is_a_failure_though_E_stays(loss):
    """Time running backwards keeps E, since any residual does."""
    here = problem(loss=loss)
    flow = RawFlow.build(here)
    ahead = nf.solve(here, save_at=[0.2], form="raw").packed[-1]
    y0 = flow.start()
    assert not trust.lost_accuracy(here, flow, np.array([0.0, 0.2]), np.stack([y0, ahead]), 1e-8)
    assert trust.drift(here, flow, np.stack([ahead, y0])) < 1e-9
    assert trust.lost_accuracy(here, flow, np.array([0.0, 0.2, 0.4]), np.stack([y0, ahead, y0]), 1e-8)


def test_of_a_user_s_loss_only_E_is_asked():
    """Nobody knows whether its residual is its derivative."""
    odd = nf.LossPair(lambda F, Y: -np.sum((F - Y) ** 2), lambda F, Y: F - Y)
    assert nf.solve(problem(loss=odd), t_end=1.0).reason is nf.Reason.T_END


@pytest.mark.parametrize("form", ["thin", "raw"])
@pytest.mark.parametrize("name", ["block", "class-block", "sample"])
def test_the_audited_drift_is_the_reported_one(name, form):
    here = problem(ladder.make(name, SIZES))
    solution = nf.solve(here, save_at=[0.0, 0.3, 1.0], form=form, engine="RK45", rtol=1e-4)
    found = trust.drift(here, solution.flow, solution.packed)
    assert found == pytest.approx(solution.series["E_drift"].max(), rel=1e-6)
    assert found > 1e-12
    assert isinstance(solution.flow, ThinFlow if form == "thin" else RawFlow)


def test_where_E_moves_in_truth_nothing_is_suspected():
    moving = nf.ScheduledKernel((0.0, 1.0), (nf.BlockKernel(1, 0.5, 0.1), nf.BlockKernel(3, 1, 0.1)))
    for here in (problem(decay=Decay(0.1, 0.2, 0.3)), problem(moving)):
        solution = nf.solve(here, t_end=2.0)
        assert solution.series["E_drift"].max() > 1e-2
        assert solution.reason is nf.Reason.T_END


TIMES = np.array([0.0, 0.2])
LOW, HIGH = nf.BlockKernel(1, 0.5, 0.1), nf.BlockKernel(3, 1, 0.1)


@pytest.mark.parametrize(
    ("times", "kernels"),
    [((0.5, 0.6), (LOW, HIGH)), ((0.0, 0.5, 1.0), (HIGH, LOW, LOW)), ((0.0, 0.1), (LOW, HIGH))],
)
@pytest.mark.parametrize("save_at", [None, [0.2, 0.4, 0.7, 0.9, 1.5]])
def test_a_moving_kernel_is_examined_where_it_stands_still(times, kernels, save_at, monkeypatch):
    here = problem(nf.ScheduledKernel(times, kernels))
    assert not nf.solve(here, save_at=save_at, t_end=1.5).reason.failed
    tampered(monkeypatch, grown)
    assert nf.solve(here, save_at=save_at, t_end=1.5, throw=False).reason is nf.Reason.INACCURATE


def test_the_loss_of_a_moving_kernel_may_not_rise():
    here = problem(nf.ScheduledKernel((0.0, 9.0), (LOW, HIGH)))
    flow = ThinFlow.build(here)
    y0, ahead = flow.start(), nf.solve(here, save_at=[0.2]).packed[-1]
    assert not trust.lost_accuracy(here, flow, np.array([0.0, 0.2]), np.stack([y0, ahead]), 1e-8)
    assert trust.lost_accuracy(here, flow, np.array([0.0, 0.2, 0.4]), np.stack([y0, ahead, y0]), 1e-8)


DECAYS = {
    "equal": Decay.equal(0.3),
    "unequal": Decay(0.1, 0.4, 0.2),
    "W": Decay(0.3),
    "H": Decay(0.0, 0.3),
    "b": Decay(0.0, 0.0, 0.3),
}


@pytest.mark.parametrize("schedule", [None, ((0.0, 2.5), (LOW, HIGH)), ((0.5, 0.6), (LOW, HIGH))])
@pytest.mark.parametrize("decay", list(DECAYS))
@pytest.mark.parametrize("save_at", [None, [2.0]])
def test_runs_with_decay_are_examined_whatever_moves(decay, schedule, save_at, monkeypatch):
    """By the law of E's motion, which warns; with decay of the biases alone E rests and may not drift."""
    kernel = None if schedule is None else nf.ScheduledKernel(*schedule)
    here = problem(kernel, decay=DECAYS[decay])
    assert nf.solve(here, save_at=save_at, t_end=2.0).reason is nf.Reason.T_END
    tampered(monkeypatch, grown)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        found = nf.solve(here, save_at=save_at, t_end=2.0, throw=False)
    warned = any(issubclass(one.category, nf.LawWarning) for one in said)
    assert warned != (found.reason is nf.Reason.INACCURATE)


@pytest.mark.parametrize("loss", [nf.MSE(), nf.CrossEntropy()])
@pytest.mark.parametrize("decay", list(DECAYS))
@pytest.mark.parametrize("name", ladder.NAMES)
def test_loss_and_penalty_fall_together_in_the_metric_of_the_kernel(name, decay, loss):
    """Their sum V falls as dV/dt = -<dW, dW> - <dH, K^-1 dH> - <db, db>; neither falls by itself."""
    here = problem(ladder.make(name, SIZES), loss=loss, decay=DECAYS[decay])
    flow, state = RawFlow.build(here), here.state
    y, h = flow.start(), 1e-5
    dH, dW, db = flow.blocks(flow.field(0.0, y))
    want = -(np.vdot(dW, dW) + np.vdot(dH, here.kernel.solve(dH, SIZES)) + np.vdot(db, db))
    ends = [
        nf.State(*(x + s * d for x, d in zip((state.H, state.W, state.b), (dH, dW, db), strict=True)))
        for s in (-h, h)
    ]

    def both(s):
        return flow.loss(np.concatenate([s.H.ravel(), s.W.ravel(), s.b])) + trust.penalty(here, s)

    assert (both(ends[1]) - both(ends[0])) / (2 * h) == pytest.approx(want, rel=1e-6)


@pytest.mark.parametrize("decay", list(DECAYS))
def test_a_sum_of_loss_and_penalty_that_rises_is_a_failure(decay):
    here = problem(decay=DECAYS[decay])
    flow = RawFlow.build(here)
    times = np.array([0.0, 0.2, 0.4])
    y0, ahead = flow.start(), nf.solve(here, save_at=[0.2], form="raw").packed[-1]
    for kernel in (here.kernel, nf.ScheduledKernel((-1.0, 0.0, 9.0), (HIGH, here.kernel, here.kernel))):
        now = nf.Problem(SIZES, kernel, here.state, here.loss, here.decay)
        assert not trust.lost_accuracy(now, flow, times[:2], np.stack([y0, ahead]), 1e-8)
        assert trust.lost_accuracy(now, flow, times, np.stack([y0, ahead, y0]), 1e-8)


def test_a_loss_that_decay_lets_rise_is_no_failure():
    """From zero loss decay of all raises the loss and lowers the penalty by more."""
    fitted = nf.solve(problem(), t_end=50.0).final
    here = nf.Problem(SIZES, nf.BlockKernel(1.3, 0.5, 0.1), fitted, decay=Decay.equal(0.3))
    for kernel in (here.kernel, nf.ScheduledKernel((1.0, 1.1), (here.kernel, HIGH))):
        run = nf.solve(nf.Problem(SIZES, kernel, fitted, decay=here.decay), t_end=5.0)
        assert run.series["loss"][-1] > 100 * run.series["loss"][0]
        assert not run.reason.failed


@pytest.mark.parametrize("falling", [1e-3, 1.0])
def test_a_penalty_that_a_falling_kernel_raises_is_no_failure(falling):
    here = problem(
        nf.ScheduledKernel((0.0, 0.1), (HIGH, nf.BlockKernel(3 * falling, falling, 0.1 * falling))),
        decay=Decay.equal(0.3),
    )
    assert not nf.solve(here, t_end=1.0).reason.failed


@pytest.mark.parametrize("engine", ["structured", "DOP853", "BDF"])
def test_steps_that_get_nowhere_are_said(engine):
    """With kernels of 1e50 features move by rounding alone once the labels are fitted, at any step.

    Whether the engine then goes on with tiny steps or gives up at one of them is chance; the remedy is the same.
    """
    with pytest.raises(nf.SolveError, match=r"stalled.*stationarity target"):
        nf.solve(problem(nf.BlockKernel(1e50, 5e49, 1e49)), t_end=1e3, stop=NEVER, engine=engine, rtol=1e-9)


def test_an_engine_that_loses_its_way_at_rest_fails_with_a_remedy():
    """LSODA leaves the fitted labels by chance, or stays there; neither ends in silence."""
    part = nf.solve(
        problem(nf.BlockKernel(1e50, 5e49, 1e49)),
        t_end=1e3,
        stop=NEVER,
        engine="LSODA",
        rtol=1e-9,
        throw=False,
    )
    assert part.reason in (nf.Reason.STALLED, nf.Reason.STEP_FAILED)


class Weary(Crooked):
    """An engine that gives up at a certain time."""

    def __init__(self, stepper, at):
        super().__init__(stepper, lambda t, y: y)
        self.at = at

    @property
    def status(self):
        return "failed" if self.stepper.t > self.at else self.stepper.status


@pytest.mark.parametrize(("at", "t_end"), [(0.0, 1e3), (0.3, 1e3), (0.3, 2.0)])
def test_a_step_that_fails_on_the_way_is_no_stall(at, t_end, monkeypatch):
    honest = choose.start
    monkeypatch.setattr(choose, "start", lambda *given: Weary(honest(*given), at))
    with pytest.raises(nf.SolveError, match=r"rounding; loosen rtol"):
        nf.solve(problem(), t_end=t_end, stop=NEVER, engine="DOP853", rtol=1e-12)


def test_many_steps_on_the_way_are_not_stalled(monkeypatch):
    monkeypatch.setattr(marching, "STALL_STEPS", 10)
    solution = nf.solve(problem(), t_end=3.0, engine="RK45", rtol=1e-9)
    assert solution.stats.steps > 300
    assert solution.reason is nf.Reason.T_END
    # At rest, but the end is within reach.
    rest = nf.solve(problem(), t_end=1e4, stop=NEVER, rtol=1e-5)
    assert rest.reason is nf.Reason.T_END


@pytest.mark.parametrize("engine", ["structured", "DOP853", "LSODA", "BDF", "Radau"])
def test_states_that_stop_being_finite_are_said_and_not_kept(engine, monkeypatch):
    tampered(monkeypatch, lambda t, y: y if t < 0.1 else np.full_like(y, np.nan))
    with pytest.raises(nf.SolveError, match=r"stopped being finite.*lower rtol or the scale"):
        nf.solve(problem(), t_end=2.0, engine=engine)
    part = nf.solve(problem(), t_end=2.0, engine=engine, throw=False)
    assert part.reason is nf.Reason.NOT_FINITE
    assert np.all(np.isfinite(part.packed))
    assert part.series["loss"][-1] < part.series["loss"][0]


def test_overflow_from_the_first_step_keeps_what_is_finite():
    """Entries of 1e60 are allowed, but not their products."""
    part = nf.solve(problem(scale=1e58), save_at=[2.0], engine="structured", throw=False)
    assert part.reason in (nf.Reason.NOT_FINITE, nf.Reason.STEP_FAILED, nf.Reason.STALLED)
    assert 0 <= part.times[-1] < 1e-90
    assert np.all(np.isfinite(part.packed))


@pytest.mark.parametrize("save_at", [[5.0], [0.0, 5.0], [0.0, 1e-9, 5.0]])
def test_a_run_that_ends_before_a_saved_time_hands_over_where_it_got(save_at):
    part = nf.solve(problem(), save_at=save_at, max_steps=8, throw=False)
    assert part.reason is nf.Reason.MAX_STEPS
    assert part.times[:-1].tolist() == save_at[:-1]
    assert 0 < part.times[-1] < 5.0
    with pytest.raises(nf.SolveError, match=r"of 5: the step limit was reached"):
        nf.solve(problem(), save_at=save_at, max_steps=8)


def test_a_target_met_between_saved_times_is_where_the_solution_ends():
    sizes, kernel = nf.Sizes(3, 3, 5), nf.BlockKernel(1.3, 0.5, 0.1)
    start = nf.initial.make("balanced-contrast", sizes, kernel)
    done = nf.solve(nf.Problem(sizes, kernel, start), save_at=[0.0, 1e3], stop=nf.Stop(nc1=1e-3))
    assert done.reason is nf.Reason.NC1
    assert done.series["NC1"][-1] <= 1e-3 < done.series["NC1"][0]


def test_every_reason_has_a_sentence_and_every_failure_a_remedy():
    for reason in nf.Reason:
        assert reason.sentence
        assert reason.failed == (reason in FAILURES)
        if reason.failed:
            assert any(verb in reason.sentence for verb in ("lower", "loosen", "raise", "choose", "set"))

"""Tasks in lockstep end where, when and why `solve` lets them end, and none depends on a digit of another."""

import warnings
from dataclasses import replace

import numpy as np
import pytest

import ntkflow as nf
from ntkflow.integrate.solve import run_alone, settle
from ntkflow.integrate.stopping import Reason
from ntkflow.integrate.task import Task
from ntkflow.integrate.together import fits, many, solve_many
from ntkflow.problem.decay import Decay

SIZES, KERNEL = nf.Sizes(3, 4, 6), nf.BlockKernel(1.0, 0.5, 0.1)
SAVED = [0.0, 0.05, 0.5, 2.0]


def scheduled(times):
    kernels = [nf.BlockKernel(1.0 + 0.3 * (k % 2), 0.5, 0.1) for k in range(len(times))]
    return nf.ScheduledKernel(tuple(times), tuple(kernels))


# With a knot at a time that is asked for, one before the first step, and some closer together than rounding.
MOVING = scheduled([0.02, 0.5, 1.0])
KNOTS = scheduled([0.1, 0.1 + 1e-12, 0.3, 0.300000001, 1.9])


def problem(seed=0, init="gaussian", sizes=SIZES, kernel=KERNEL, scale=1.0, **options):
    state = nf.initial.make(init, sizes, kernel, seed=seed, scale=scale)
    return nf.Problem(sizes, kernel, state, **options)


def task(of, **options):
    return Task.of(of, **{"rtol": 1e-4, **options})


TASKS = {
    "to-rest": task(problem()),
    "saved": task(problem(1), save_at=SAVED),
    "saved-later": task(problem(1), save_at=SAVED[1:]),
    "loss": task(problem(2), stop=nf.Stop(None, 1e-2, None)),
    "nc1": task(problem(3, "balanced"), stop=nf.Stop(1e-3, None, None)),
    "too-few-steps": task(problem(4), max_steps=12),
    "decay": task(problem(5, decay=Decay(0.3, 0.1, 0.1)), save_at=SAVED),
    "equal-decay": task(problem(5, decay=Decay(0.2, 0.2, 0.0)), t_end=2.0),
    "held-biases": task(problem(6, train_bias=False), save_at=SAVED),
    "imbalanced": task(problem(7, sizes=nf.Sizes(3, (2, 5, 4), 6)), save_at=SAVED),
    "one-sample": task(problem(8, sizes=nf.Sizes(3, 1, 5)), save_at=SAVED),
    "moving": task(problem(10, kernel=MOVING), save_at=SAVED),
    "moving-to-rest": task(problem(10, kernel=MOVING)),
    "moving-and-decay": task(problem(11, kernel=MOVING, decay=Decay(0.1, 0.3, 0.0)), t_end=2.0),
    "many-knots": task(problem(12, kernel=KNOTS), save_at=SAVED),
    "tiny": task(problem(9, scale=1e-160), save_at=SAVED),
    "already-there": task(problem(), stop=nf.Stop(None, 1e9, None)),
}


@pytest.fixture(scope="module")
def together():
    return dict(zip(TASKS, solve_many(list(TASKS.values()), slots=3), strict=True))


@pytest.mark.parametrize("name", TASKS)
def test_each_ends_as_it_would_alone(together, name):
    found, alone = together[name], run_alone(replace(TASKS[name], engine="structured"))
    assert found.stats.engine == "lockstep"
    assert found.reason is alone.reason
    assert len(found) == pytest.approx(len(alone), abs=3)
    # The end of a run that a target ends is as certain as the step that meets it; the states there are asked below.
    assert found.times[-1] == pytest.approx(alone.times[-1], rel=0.05)
    if TASKS[name].times is not None:
        np.testing.assert_array_equal(found.times, alone.times)
        scale = np.abs(alone.packed).max()
        np.testing.assert_allclose(found.packed, alone.packed, rtol=0, atol=1e-3 * scale)
        for series, values in alone.series.items():
            if name != "tiny":
                np.testing.assert_allclose(found.series[series], values, rtol=1e-2, atol=1e-3)
    if alone.law is not None:
        assert found.law.error <= found.law.tolerance
        assert found.law.motion == pytest.approx(alone.law.motion, rel=1e-2)


def test_no_digit_depends_on_the_others(together):
    names = ["saved", "decay", "loss", "imbalanced"]
    shuffled = solve_many([TASKS[name] for name in reversed(names)], slots=2)
    for name, found in zip(reversed(names), shuffled, strict=True):
        np.testing.assert_array_equal(found.times, together[name].times)
        np.testing.assert_array_equal(found.packed, together[name].packed)


def test_where_much_is_saved_fewer_go_at_a_time(monkeypatch):
    monkeypatch.setattr(many, "SAVED_BYTES", 1)
    tasks = [task(problem(seed), save_at=SAVED) for seed in (1, 2)]
    seen = []

    class Counted(many.Lockstep):
        def __init__(self, shape, slots):
            seen.append(slots)
            super().__init__(shape, slots)

    monkeypatch.setattr(many, "Lockstep", Counted)
    assert [solution.reason for solution in solve_many(tasks)] == 2 * [Reason.T_END]
    assert seen == [1]


def test_states_are_those_of_a_far_stricter_run():
    of = problem(1)
    found = solve_many([task(of, save_at=SAVED, rtol=1e-6)])[0]
    strict = nf.solve(of, save_at=SAVED, rtol=1e-10, engine="DOP853")
    np.testing.assert_allclose(found.packed, strict.packed, rtol=0, atol=1e-5)


def test_what_cannot_go_in_lockstep_is_solved_alone():
    cross = problem(loss=nf.CrossEntropy())
    wide = problem(sizes=nf.Sizes(3, 10, 30), decay=Decay(0.1, 0.1))
    tasks = [
        task(wide, save_at=SAVED),
        task(problem(), save_at=SAVED, engine="DOP853"),
        task(problem(), form="raw"),
        task(cross),
    ]
    assert not any(fits(one) for one in tasks)
    seen = []

    def keep(number, solution):
        seen.append(number)
        return solution

    found = solve_many([*tasks[:2], task(problem(), save_at=SAVED)], keep)
    assert [solution.stats.engine for solution in found] == ["structured", "DOP853", "lockstep"]
    assert seen == [2, 0, 1]


def test_what_fails_in_lockstep_is_asked_of_solve(monkeypatch):
    asked = []

    def alone(one, progress=None):
        asked.append(one)
        return run_alone(one, progress)

    monkeypatch.setattr(many, "run_alone", alone)
    monkeypatch.setattr(many, "DOUBTFUL", (Reason.T_END,))
    one = task(problem(), save_at=SAVED)
    found = solve_many([one])[0]
    assert asked == [one]
    assert (found.reason, found.stats.engine) == (Reason.T_END, "DOP853")


def test_failures_are_raised_and_broken_laws_told_when_they_are_handed_out(together):
    with pytest.raises(nf.SolveError, match="the step limit was reached"):
        settle(together["too-few-steps"])
    assert settle(together["too-few-steps"], throw=False) is together["too-few-steps"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        settle(together["decay"])

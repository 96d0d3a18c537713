"""Generic states in lockstep, without L: their results are those of solve, and what E can't tell is solved alone."""

from dataclasses import replace

import numpy as np
import pytest

import ntkflow as nf
from ntkflow.integrate.solve import run_alone
from ntkflow.integrate.stopping import Reason
from ntkflow.integrate.task import Task
from ntkflow.integrate.together import fits, many, solve_many, worth

SIZES, KERNEL, TIMES = nf.Sizes(3, 12, 22), nf.BlockKernel(1.0, 0.5, 0.1), [0.0, 0.01, 0.3, 5.0]


def problem(seed=0, init="relu", sizes=SIZES, kernel=KERNEL, weights=1.0, biases=0.0, **options):
    state = nf.initial.make(init, sizes, kernel, seed)
    state = nf.State(state.H, weights * state.W, state.b + biases)
    return nf.Problem(sizes, kernel, state, **options)


def task(of, **options):
    return Task.of(of, **{"save_at": TIMES, "rtol": 1e-6, **options})


PROBLEMS = {
    "features of a ReLU": problem(),
    "Gaussian": problem(1, "gaussian"),
    "large weights": problem(2, weights=2.0),
    "two classes": problem(3, sizes=nf.Sizes(2, 30, 25)),
    "unequal classes": problem(4, sizes=nf.Sizes(4, (5, 9, 20, 12), 24)),
    "held biases": problem(5, train_bias=False, biases=0.3),
    "no kernel between classes": problem(6, kernel=nf.BlockKernel(1.0, 0.3, 0.0)),
}


@pytest.fixture(scope="module")
def strict():
    return {name: run_alone(task(of, rtol=1e-12)) for name, of in PROBLEMS.items()}


@pytest.mark.parametrize("rtol", [1e-5, 1e-8])
def test_states_are_as_good_as_those_of_solve(rtol, strict):
    tasks = {name: task(of, rtol=rtol) for name, of in PROBLEMS.items()}
    for found, (name, one) in zip(solve_many(list(tasks.values())), tasks.items(), strict=True):
        assert found.stats.engine == "lockstep"
        assert "generic" in found.stats.because
        assert found.reason is Reason.T_END
        np.testing.assert_array_equal(found.times, TIMES)
        flow, alone, exact = one.flow, run_alone(one), strict[name]

        def error(solution, exact=exact, flow=flow):
            pairs = zip(solution.packed, exact.packed, strict=True)
            blocks = [zip(flow.blocks(x), flow.blocks(y), strict=True) for x, y in pairs]
            return max(np.abs(x - y).max() / np.abs(y).max() for pair in blocks for x, y in pair if y.any())

        assert error(found) <= 3 * max(error(alone), rtol)
        for series, values in exact.series.items():
            np.testing.assert_allclose(found.series[series], values, rtol=1e3 * rtol, atol=1e2 * rtol)


@pytest.fixture(scope="module")
def together():
    return dict(zip(PROBLEMS, solve_many([task(of) for of in PROBLEMS.values()], slots=2), strict=True))


def test_no_digit_depends_on_the_others(together):
    names = ["held biases", "Gaussian", "features of a ReLU"]
    stopped = task(problem(7), max_steps=12)
    shuffled = solve_many([stopped, *(task(PROBLEMS[name]) for name in names)], slots=3)[1:]
    for name, found in zip(names, shuffled, strict=True):
        np.testing.assert_array_equal(found.packed, together[name].packed)
        (alone,) = solve_many([task(PROBLEMS[name])])
        np.testing.assert_array_equal(alone.packed, together[name].packed)


def test_a_target_for_the_loss_ends_them_where_it_ends_solve():
    one = task(problem(), stop=nf.Stop(None, 0.02, None), save_at=np.linspace(0.0, 5.0, 40))
    (found,), alone = solve_many([one]), run_alone(one)
    assert found.stats.engine == "lockstep"
    assert found.reason is alone.reason is Reason.LOSS
    # Each at the end of the first of its steps that meets it.
    assert found.times[-1] == pytest.approx(alone.times[-1], rel=0.1)
    assert found.series["loss"][-1] <= 0.02 < found.series["loss"][-2]


def test_too_few_steps_end_them_as_they_end_solve():
    one = task(problem(), max_steps=30)
    (found,), alone = solve_many([one]), run_alone(one)
    assert found.reason is alone.reason is Reason.MAX_STEPS
    assert (found.stats.engine, found.stats.steps) == ("lockstep", 30)
    assert found.times[-1] < TIMES[-1]
    strict = run_alone(task(problem(), rtol=1e-11, save_at=found.times))
    np.testing.assert_allclose(found.packed, strict.packed, rtol=0, atol=1e-5)


UNFIT = {
    "decay": task(problem(decay=nf.Decay(0.1, 0.1))),
    "too many features": task(problem(sizes=nf.Sizes(3, 100, 260))),
    "too many classes": task(problem(sizes=nf.Sizes(12, 4, 24))),
    "rates of their own": task(
        problem(kernel=nf.ClassBlockKernel(np.array([1.0, 1.0, 1.5]), np.full((3, 3), 0.1) + 0.4 * np.eye(3)))
    ),
    "a target for NC1": task(problem(), stop=nf.Stop(1e-8, None, None)),
    "a target for rest": task(problem(), stop=nf.Stop(None, None, 1e-8)),
    "times of its own": task(problem(), save_at=None, t_end=1.0, stop=nf.Stop(None, None, None)),
    "another engine": task(problem(), engine="structured"),
    "raw": task(problem(), form="raw"),
    "a moving kernel": task(
        problem(kernel=nf.ScheduledKernel((0.0, 1.0), (KERNEL, nf.BlockKernel(1.2, 0.5, 0.1))))
    ),
}


@pytest.mark.parametrize("name", UNFIT)
def test_what_has_no_such_law_does_not_go_in_lockstep(name):
    assert not fits(UNFIT[name])
    assert worth(UNFIT[name]) is None


def test_what_E_cannot_tell_is_solved_alone():
    heavy, long = problem(weights=30.0), task(problem(), save_at=[0.0, 1e9], rtol=1e-8)
    assert fits(long)
    for one in (task(heavy), replace(long, max_steps=20)):
        (found,), alone = solve_many([one]), run_alone(one)
        assert found.stats.engine == alone.stats.engine != "lockstep"
        np.testing.assert_array_equal(found.packed, alone.packed)


def test_what_fails_on_its_leaf_is_asked_of_solve(monkeypatch):
    monkeypatch.setattr(many, "DOUBTFUL", (Reason.T_END,))
    (found,) = solve_many([task(problem())])
    assert (found.reason, found.stats.engine) == (Reason.T_END, "structured")


def test_few_of_them_are_not_worth_it():
    assert worth(task(problem())) == (many.FEW_GENERIC, many.GENERIC_TOGETHER)
    assert worth(task(problem(sizes=nf.Sizes(3, 4, 6)))) == (many.FEW, 1)

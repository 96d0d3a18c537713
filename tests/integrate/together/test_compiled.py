"""Tasks by compiled programs end as they do in the lockstep engine; what that does not take is refused by name."""

import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import ntkflow as nf
from ntkflow.integrate.solve import run_alone
from ntkflow.integrate.task import Task
from ntkflow.integrate.together import compiled, many, solve_many
from ntkflow.integrate.together.carried import arrive, depart
from ntkflow.integrate.together.compiled import solve_compiled
from tests.integrate.engines.test_tiny import saddle
from tests.integrate.together.test_many import SAVED, TASKS, problem, task

# The program of tests/integrate/engines/test_compiled.py.
SIZES = nf.Sizes(3, 4, 2)


def small(seed=0, **options):
    return task(problem(seed, sizes=SIZES), save_at=SAVED, **options)


def solutions(tasks):
    return solve_compiled(tasks, lambda _, solution: solution, slots=8)


def test_tasks_are_those_of_the_lockstep_engine_and_limits_are_told():
    tasks = [small(seed) for seed in range(4)] + [small(4, max_steps=12)]
    expected = solve_many(tasks)
    for found, other in zip(solutions(tasks), expected, strict=True):
        assert found.stats.engine == "jax"
        assert (found.reason, found.stats.steps) == (other.reason, other.stats.steps)
        np.testing.assert_allclose(found.times, other.times, rtol=1e-9)
        np.testing.assert_allclose(found.packed, other.packed, rtol=0, atol=1e-9 * np.abs(other.packed).max())
    assert expected[-1].reason is nf.Reason.MAX_STEPS


def test_what_fails_there_and_what_is_tiny_is_solved_alone(monkeypatch):
    asked = []

    def alone(one):
        asked.append(one.engine)
        return run_alone(one)

    monkeypatch.setattr(compiled, "run_alone", alone)
    monkeypatch.setattr(many, "DOUBTFUL", (nf.Reason.MAX_STEPS,))
    lost = small(1, max_steps=12)
    tiny = task(problem(2, sizes=SIZES, scale=1e-160), save_at=SAVED)
    found = solutions([small(0), lost, tiny])
    assert asked == ["auto", "auto"]
    assert [one.stats.engine for one in found] == ["jax", "DOP853", "DOP853"]
    assert [one.reason for one in found] == [nf.Reason.T_END, nf.Reason.MAX_STEPS, nf.Reason.T_END]


@pytest.mark.parametrize(
    ("one", "message"),
    [
        (task(problem(sizes=nf.Sizes(3, 10, 30)), save_at=SAVED), "at most 20 feature coordinates"),
        (task(problem(), save_at=SAVED, form="raw"), "form='raw' was asked for"),
        (
            task(problem(loss=nf.CrossEntropy()), save_at=SAVED),
            "block kernel with the cross-entropy loss",
        ),
        (task(problem()), "no targets"),
        (task(problem(), save_at=SAVED, stop=nf.Stop(None, 1e-2, None)), "no targets"),
    ],
    ids=["large", "raw", "cross-entropy", "own-times", "target"],
)
def test_what_it_does_not_take_is_refused_with_what_does(one, message):
    with pytest.raises(nf.InputError, match=rf"engine = 'jax': .*{message}.*; use engine='auto'"):
        solutions([one])


def test_a_refusal_elsewhere_is_told_here():
    wide = problem(sizes=nf.Sizes(3, 10, 30))
    with pytest.raises(nf.InputError, match="at most 20 feature coordinates"):
        nf.ensemble([wide], executor=ThreadPoolExecutor(1), times=[0.1], engine="jax")


def test_a_single_run_is_told_where_it_belongs():
    with pytest.raises(nf.InputError, match=r"integrates ensembles; use nf\.ensemble or --ensemble"):
        nf.solve(problem(), engine="jax")


def test_what_is_prepared_and_evaluated_elsewhere_is_the_same(monkeypatch):
    """Jobs have no watch on the device: who should be asked is solved alone, and so are those that it does not take."""
    tasks = [small(seed) for seed in range(3)] + [task(problem(2, sizes=SIZES, scale=1e-160), save_at=SAVED)]
    whole = solutions(tasks)
    most = max(solution.stats.steps for solution in whole[:3]) - 1
    monkeypatch.setattr(compiled, "UNWATCHED_STEPS", most)
    jobs = [pickle.loads(pickle.dumps(depart(one))) for one in tasks]
    assert jobs[3] is None
    assert sorted(map(id, compiled.integrate(jobs[:3]))) == sorted(map(id, jobs[:3]))
    found = [arrive(one, job) for one, job in zip(tasks, jobs, strict=True)]
    long = [solution.stats.steps > most for solution in whole[:3]]
    assert any(long)
    assert not all(long)
    for one, other, too_long in zip(found[:3], whole, long, strict=False):
        assert one.reason is other.reason is nf.Reason.T_END
        assert one.stats.engine == ("DOP853" if too_long else "jax")
        if not too_long:
            np.testing.assert_array_equal(one.packed, other.packed)
            assert one.stats.evaluations == other.stats.evaluations
    np.testing.assert_array_equal(found[3].packed, whole[3].packed)


@pytest.mark.slow
def test_every_task_of_the_lockstep_engine_that_saves_at_given_times():
    """Decay and moving kernels with the law of E's motion, held biases, unequal classes; each of another shape."""
    named = {name: TASKS[name] for name in ("decay", "held-biases", "imbalanced", "moving", "many-knots")}
    expected = solve_many(list(named.values()))
    for name, found, other in zip(named, solutions(list(named.values())), expected, strict=True):
        assert (found.stats.engine, found.reason) == ("jax", other.reason), name
        assert found.stats.steps == pytest.approx(other.stats.steps, abs=2), name
        np.testing.assert_array_equal(found.times, other.times)
        # Of kinks a rounding error apart the steps are chosen by rounding: within rtol.
        np.testing.assert_allclose(found.packed, other.packed, rtol=0, atol=1e-4 * np.abs(other.packed).max())
        assert (found.law is None) == (other.law is None)
        if other.law is not None:
            assert found.law.error <= found.law.tolerance
            assert found.law.motion == pytest.approx(other.law.motion, rel=1e-6)


@pytest.mark.slow
def test_who_falls_into_the_saddle_is_stopped_there():
    one = Task.of(saddle(), save_at=[0.5, 100.0], rtol=1e-4)
    found, other = solutions([one])[0], solve_many([one])[0]
    assert found.reason is other.reason is nf.Reason.SADDLE
    assert found.times[-1] == pytest.approx(other.times[-1])

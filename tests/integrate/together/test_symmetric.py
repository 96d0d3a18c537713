from dataclasses import replace

import numpy as np
import pytest

import ntkflow as nf
from ntkflow.integrate.solve import run_alone
from ntkflow.integrate.task import Task
from ntkflow.integrate.together import fits, solve_many
from ntkflow.integrate.together.symmetric import Symmetric

SIZES, KERNEL, TIMES = nf.Sizes(3, 2, 4), nf.BlockKernel(1.0, 0.5, 0.1), np.geomspace(1e-2, 6.0, 12)


def problem(beta=0.1, share=0.4, kernel=KERNEL, sizes=SIZES, **options):
    state = nf.initial.equal_bias(sizes, kernel, np.random.default_rng(1), share=share, beta=beta)
    return nf.Problem(sizes, kernel, state, **options)


# The strict runs cost, and are shared.
PROBLEMS = {
    "inside": problem(),
    "far bias": problem(beta=-0.5),
    "no deviations": problem(share=1.0),
    "classes apart": problem(kernel=nf.BlockKernel(1.0, 0.5, 0.0)),
    "two classes": problem(sizes=nf.Sizes(2, 3, 5)),
}


@pytest.fixture(scope="module")
def strict():
    return {name: run_alone(Task.of(p, save_at=TIMES, rtol=1e-11)) for name, p in PROBLEMS.items()}


@pytest.mark.parametrize("rtol", [1e-6, 1e-8])
def test_seven_numbers_give_what_the_general_path_gives(rtol, strict):
    tasks = [Task.of(p, save_at=TIMES, rtol=rtol) for p in PROBLEMS.values()]
    for expected, found in zip(strict.values(), solve_many(tasks), strict=True):
        assert "seven numbers" in found.stats.because
        size = np.abs(expected.packed).max()
        np.testing.assert_allclose(found.packed, expected.packed, rtol=0, atol=2 * rtol * size)
        assert np.ptp(found.final.b) == 0.0
        assert found.reason is expected.reason


def test_they_stop_where_the_general_path_stops():
    tasks = [Task.of(problem(), rtol=1e-6), Task.of(problem(beta=1 / 3), rtol=1e-6)]
    for task, found in zip(tasks, solve_many(tasks), strict=True):
        alone = run_alone(task)
        assert found.reason is alone.reason
        assert found.times[-1] == pytest.approx(alone.times[-1], rel=0.1)
        for name in ("loss", "NC2", "NC3"):
            assert found.ends[name][-1] == pytest.approx(alone.ends[name][-1], abs=1e-5)


def test_what_breaks_the_symmetry_is_not_taken_for_symmetric():
    good = problem()
    assert Symmetric.of(Task.of(good)) is not None
    state = good.state
    W = state.W.copy()
    W[0, 0] += 1e-6
    for other in (
        replace(good, state=replace(state, W=W)),
        replace(good, state=replace(state, b=state.b + np.array([0, 0, 1e-6]))),
        problem(decay=nf.Decay(0.1, 0.1)),
        problem(train_bias=False),
        replace(good, kernel=nf.ClassBlockKernel(np.array([1.0, 1.0, 2.0]), 0.1 + 0.4 * np.eye(3))),
    ):
        assert Symmetric.of(Task.of(other)) is None


def test_a_symmetric_state_of_many_classes_goes_in_lockstep_too():
    sizes = nf.Sizes(24, 2, 30)
    assert fits(Task.of(problem(sizes=sizes)))
    (found,) = solve_many([Task.of(problem(sizes=sizes), save_at=[0.5], rtol=1e-6)])
    assert found.stats.engine == "lockstep"

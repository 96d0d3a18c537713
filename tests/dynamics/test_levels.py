import numpy as np
import pytest

import ntkflow as nf
from ntkflow.dynamics.levels import LevelFlow, has_levels
from ntkflow.dynamics.packed import RawFlow
from ntkflow.problem.kernels import ScheduledKernel
from tests.flows import integrate
from tests.metrics.test_quantities import random_state
from tests.problem.kernels import ladder

BLOCK = nf.BlockKernel(1.3, 0.6, 0.2)


def kernel_named(name, sizes, seed=0):
    if name == "matrix-block":
        return ladder.make(name, sizes, seed)
    A = np.random.default_rng(seed).standard_normal((sizes.n, sizes.n))
    return nf.KroneckerKernel(BLOCK, A @ A.T / sizes.n + np.eye(sizes.n))


def problem_named(name, sizes, **changes):
    return nf.Problem(sizes, kernel_named(name, sizes), random_state(sizes), **changes)


@pytest.mark.parametrize(("C", "m", "n"), [(2, 1, 3), (3, 4, 2), (3, 4, 20)])
@pytest.mark.parametrize("name", ["matrix-block", "kronecker"])
def test_the_reduced_field_is_the_field(name, C, m, n):
    problem = problem_named(name, nf.Sizes(C, m, n), decay=nf.Decay(0.3, 0.2, 0.1))
    thin, raw = LevelFlow.build(problem), RawFlow.build(problem)
    y = thin.start()
    moved = thin.state(thin.field(0.0, y))
    full = raw.field(0.0, raw.start())
    np.testing.assert_allclose(np.concatenate([moved.H.ravel(), moved.W.ravel(), moved.b]), full, atol=1e-11)
    assert thin.loss(y) == pytest.approx(raw.loss(raw.start()), rel=1e-12)
    assert thin.within_rms(y) == pytest.approx(raw.within_rms(raw.start()), rel=1e-10, abs=1e-14)


def test_a_moving_kernel_is_taken_at_its_time():
    sizes = nf.Sizes(3, 2, 4)
    kernel = ScheduledKernel((0.0, 2.0), tuple(kernel_named("kronecker", sizes, seed) for seed in (0, 1)))
    problem = nf.Problem(sizes, kernel, random_state(sizes))
    thin, raw = LevelFlow.build(problem), RawFlow.build(problem)
    moved, full = thin.state(thin.field(0.7, thin.start())), raw.blocks(raw.field(0.7, raw.start()))
    np.testing.assert_allclose(moved.H, full[0], atol=1e-12)
    assert not np.allclose(moved.H, raw.blocks(raw.field(0.0, raw.start()))[0], atol=1e-3)


@pytest.mark.parametrize("name", ["matrix-block", "kronecker"])
def test_solve_takes_the_reduced_form_by_itself_and_ends_where_the_raw_system_does(name):
    problem = problem_named(name, nf.Sizes(3, 7, 3))
    solution = nf.solve(problem, save_at=[0.5, 3.0], rtol=1e-10)
    assert solution.stats.form == "thin"
    assert solution.stats.unknowns < nf.solve(problem, save_at=[0.01], form="raw").stats.unknowns
    for i, end in enumerate(integrate(problem, [0.0, 0.5, 3.0])[1:]):
        np.testing.assert_allclose(solution.state(i).H, end.H, atol=1e-8)
        np.testing.assert_allclose(solution.state(i).W, end.W, atol=1e-8)
    assert solution.series["E_drift"].max() < 1e-9


@pytest.mark.parametrize("name", ["sample base", "tensor", "cross-entropy"])
def test_problems_without_levels_are_refused_with_the_reason(name):
    sizes = nf.Sizes(2, 2, 3)
    kernels = {"sample base": ladder.make("kronecker", sizes), "tensor": ladder.make("tensor", sizes)}
    kernel = kernels.get(name, kernel_named("matrix-block", sizes))
    loss = nf.CrossEntropy() if name == "cross-entropy" else nf.MSE()
    problem = nf.Problem(sizes, kernel, random_state(sizes), loss)
    assert not has_levels(problem)
    with pytest.raises(nf.InputError, match="does not exist for"):
        nf.solve(problem, t_end=1.0, form="thin")

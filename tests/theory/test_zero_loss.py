import numpy as np
import pytest

import ntkflow as nf
from ntkflow.metrics.quantities import conserved
from ntkflow.problem.state import class_means
from ntkflow.theory import zero_loss
from tests import oracle
from tests.problem.kernels import ladder

SIZES = nf.Sizes(3, 3, 5)


def started(name, sizes=SIZES):
    kernel = ladder.make(name, sizes)
    return nf.Problem(sizes, kernel, nf.initial.make("gaussian", sizes, None, 2))


def invariant_of(problem):
    weights, features = conserved(problem.kernel, problem.sizes).terms(problem.state)
    return weights - features


@pytest.mark.parametrize("name", ["block", "class-block", "sample"])
def test_every_zero_of_the_loss_obeys_the_equations_with_the_initial_E(name):
    problem = started(name)
    end = oracle.integrate_raw(problem, np.array([400.0]), rtol=1e-13)[0]
    found = zero_loss.gaps(end, invariant_of(problem), SIZES, problem.kernel)
    assert max(found.as_dict().values()) < 1e-10
    half = oracle.integrate_raw(problem, np.array([0.3]), rtol=1e-10)[0]
    early = zero_loss.gaps(half, invariant_of(problem), SIZES, problem.kernel)
    assert min(early.as_dict().values()) > 1e-3


def test_each_equation_notices_its_own_error():
    problem = started("block")
    end = oracle.integrate_raw(problem, np.array([400.0]), rtol=1e-12)[0]
    E = invariant_of(problem)
    wrong_E = zero_loss.gaps(end, 1.1 * E, SIZES, problem.kernel)
    assert min(wrong_E.weights, wrong_E.means) > 1e-3
    assert zero_loss.gaps(nf.State(end.H, end.W, end.b + 0.1), E, SIZES, problem.kernel).biases > 1e-2
    assert zero_loss.gaps(nf.State(end.H, 1.1 * end.W, end.b), E, SIZES, problem.kernel).duality > 1e-2


def test_what_a_slow_kernel_has_not_fitted_yet_counts():
    # mu_single = 1e-6: a loss of 1e-4 within classes is far from zero in the norm that the equations see.
    kernel = nf.BlockKernel(1.0, 1 - 1e-6, 0.1)
    x, P = nf.theory.limits.x_star(SIZES, kernel), nf.metrics.centring(3)
    W = np.sqrt(x) * P @ np.eye(3, 5)
    end = nf.State(np.repeat(W.T / x, 3, axis=1), W, np.full(3, 1 / 3))
    assert zero_loss.excess(end, SIZES, kernel) < 1e-20
    wiggle = 1e-3 * np.tile([1.0, -1.0, 0.0], 3)
    far = nf.State(end.H + np.outer(end.W[0], wiggle), end.W, end.b)
    assert 0.5 * np.sum((far.logits - end.logits) ** 2) < 1e-4
    assert zero_loss.excess(far, SIZES, kernel) > 1e-1


def test_the_class_gram_is_that_of_the_closed_forms():
    kernel = nf.BlockKernel(2.0, 1.1, 0.4)
    mu, m = kernel.eigenvalues(SIZES), 3
    P = nf.metrics.centring(3)
    want = m * (P / mu.mu_class + (np.eye(3) - P) / mu.mu_global)
    np.testing.assert_allclose(nf.theory.limits.class_gram(SIZES, kernel), want, rtol=1e-12)
    np.testing.assert_allclose(want, 3 * np.linalg.inv(kernel.class_kernel(SIZES)), rtol=1e-12)
    dense, Y = ladder.make("sample", SIZES), np.eye(3)[:, SIZES.labels]
    np.testing.assert_allclose(
        nf.theory.limits.class_gram(SIZES, dense), Y @ np.linalg.inv(dense.K) @ Y.T, rtol=1e-11
    )


def test_duality_gives_the_third_metric():
    problem = started("block")
    end = oracle.integrate_raw(problem, np.array([400.0]), rtol=1e-12)[0]
    M = class_means(end.H, SIZES) @ nf.metrics.centring(3)
    want = np.sqrt(2 - 2 * 2 / (np.linalg.norm(M) * np.linalg.norm(end.W)))
    assert nf.metrics.nc(end, SIZES)["NC3"] == pytest.approx(want, rel=1e-9)


@pytest.mark.parametrize("name", ["kronecker", "matrix-block", "tensor"])
def test_kernels_on_features_have_no_such_equations(name):
    with pytest.raises(nf.InputError, match="is no constant kernel on samples"):
        nf.theory.limits.class_gram(SIZES, ladder.make(name, SIZES))

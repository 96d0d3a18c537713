import numpy as np
import pytest

import ntkflow as nf
from ntkflow.metrics.neural_collapse import centring
from ntkflow.theory import limits
from ntkflow.theory.exact import aligned_eigenvalues, aligned_state
from tests import oracle

TIMES = [0.0, 0.05, 0.3, 0.8]
CASES = [
    (nf.Sizes(2, 3, 4), nf.BlockKernel(1.3, 0.4, 0.4)),
    (nf.Sizes(4, 2, 3), nf.BlockKernel(1.3, 0.4, 0.0)),
    (nf.Sizes(3, 4, 5), nf.BlockKernel(0.4 + 1e-6, 0.4, 0.1)),
    (nf.Sizes(5, 1, 7), nf.BlockKernel(1.0, 1.0, 0.2)),
]


def weights(sizes, seed=0):
    return centring(sizes.C) @ np.random.default_rng(seed).standard_normal((sizes.C, sizes.n))


def independent(sizes, kernel, W, sign):
    x = np.sqrt(sizes.m / (kernel.kappa_d - kernel.kappa_c + sizes.m * (kernel.kappa_c - kernel.kappa_n)))
    state = nf.State(np.repeat(sign * W.T / x, sizes.m, axis=1), W, np.full(sizes.C, 1 / sizes.C))
    return oracle.integrate_raw(nf.Problem(sizes, kernel, state), np.array(TIMES), rtol=1e-13)


@pytest.mark.parametrize(("sizes", "kernel"), CASES)
@pytest.mark.parametrize("sign", [1, -1])
def test_both_manifolds_are_solved_for_all_times(sizes, kernel, sign):
    W = weights(sizes)
    for t, state in zip(TIMES, independent(sizes, kernel, W, sign), strict=True):
        # Rounding leaves the way into the saddle at the rate sqrt(m mu_class).
        assert oracle.distance(aligned_state(sizes, kernel, W, t, sign), state) < 1e-10


def test_rank_deficient_weights_stay_so():
    sizes, kernel = nf.Sizes(4, 2, 5), nf.BlockKernel(1.3, 0.4, 0.1)
    W = np.outer([1.0, -1.0, 0.5, -0.5], np.arange(5.0))
    state = independent(sizes, kernel, W, 1)[-1]
    ours = aligned_state(sizes, kernel, W, TIMES[-1])
    assert oracle.distance(ours, state) < 1e-10
    assert np.linalg.matrix_rank(ours.W, tol=1e-10) == 1


def test_the_end_is_collapse_or_the_saddle_at_any_time():
    sizes, kernel = nf.Sizes(3, 2, 4), nf.BlockKernel(1.3, 0.4, 0.1)
    W = weights(sizes)
    end = aligned_state(sizes, kernel, W, 1e4)
    np.testing.assert_allclose(end.W @ end.W.T, limits.collapsed(sizes, kernel).X, atol=1e-14)
    assert np.all(aligned_state(sizes, kernel, W, 1e4, -1).W == 0)


def test_two_classes_run_into_the_saddle_as_printed():
    sizes, kernel, t = nf.Sizes(2, 3, 4), nf.BlockKernel(1.3, 0.4, 0.1), 0.4
    w2, x = 1.7, limits.x_star(sizes, kernel)
    mu = kernel.eigenvalues(sizes).mu_class
    expected = 1 / ((1 / w2 + 1 / x) * np.exp(2 * np.sqrt(3 * mu) * t) - 1 / x)
    assert aligned_eigenvalues(sizes, kernel, np.array([w2]), t, -1)[0] == pytest.approx(expected, rel=1e-13)


def test_bad_input_is_refused_with_a_reason():
    sizes, kernel = nf.Sizes(3, 2, 4), nf.BlockKernel(1.3, 0.4, 0.1)
    with pytest.raises(nf.InputError, match="sum to zero"):
        aligned_state(sizes, kernel, np.ones((3, 4)), 1.0)
    with pytest.raises(nf.InputError, match="1 or -1"):
        aligned_state(sizes, kernel, weights(sizes), 1.0, 0)

"""The convex problem of decay against closed forms, against scipy, and against its own conditions of optimality."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize

import ntkflow as nf
from ntkflow.problem.decay import Decay
from ntkflow.theory.exact import minimum, regularised_limit
from tests import strategies

rates = st.floats(0.05, 3.0)


def by_classes(kernel, sizes, decay):
    coefficients, roots = kernel.thin(sizes), np.sqrt(sizes.masses)
    K = coefficients.class_kernel * roots / roots[:, None]
    return minimum((K + K.T) / 2, np.diag(roots), roots, decay)


@given(strategies.sizes(), strategies.kernels(), rates, rates, st.sampled_from([0.0, 0.3, 20.0]))
def test_it_is_the_closed_form_for_balanced_classes(sizes, kernel, lw, lh, lb):
    decay = Decay(lw, lh, lb)
    found = by_classes(kernel, sizes, decay)
    assert found.gap < 1e-7
    if lw * lh >= 0.98 * sizes.per_class * kernel.eigenvalues(sizes).mu_class:
        return
    limit = regularised_limit(sizes, kernel, decay)
    scale = np.linalg.norm(limit.X)
    assert np.linalg.norm(found.W @ found.W.T - limit.X) < 1e-6 * scale
    assert np.abs(found.b - limit.b).max() < 1e-7


@given(st.integers(0, 10**6), rates, rates, st.sampled_from([0.0, 0.5]))
def test_no_other_point_of_the_functional_lies_lower(seed, lw, lh, lb):
    # Descent of W, Z and b from a random start, by another method.
    rng = np.random.default_rng(seed)
    C, k, n = 3, 4, 5
    A = rng.standard_normal((k, k + 1))
    K, target, row = (
        A @ A.T / k + 0.1 * np.eye(k),
        rng.standard_normal((C, k)),
        np.abs(rng.standard_normal(k)) + 0.3,
    )
    decay = Decay(lw, lh, lb)
    found = minimum(K, target, row, decay)

    def functional(y):
        W, Z, b = y[: C * n].reshape(C, n), y[C * n : n * (C + k)].reshape(n, k), y[n * (C + k) :]
        R = W @ Z @ found.root + np.outer(b, row) - target
        value = (np.sum(R**2) + lw * np.sum(W**2) + lh * np.sum(Z**2) + lb * np.sum(b**2)) / 2
        grad = (R @ found.root @ Z.T + lw * W, W.T @ R @ found.root + lh * Z, R @ row + lb * b)
        return value, np.concatenate([part.ravel() for part in grad])

    least = found.loss + np.sqrt(lw * lh) * found.s.sum() + lb * np.sum(found.b**2) / 2
    start = rng.standard_normal(n * (C + k) + C)
    other = minimize(functional, start, jac=True, method="L-BFGS-B", options={"maxiter": 3000, "ftol": 1e-15})
    assert least <= other.fun * (1 + 1e-9)
    assert least == pytest.approx(other.fun, rel=1e-4)
    at = np.concatenate(
        [
            np.pad(found.W, ((0, 0), (0, n - found.rank))).ravel(),
            np.pad(found.Z, ((0, n - found.rank), (0, 0))).ravel(),
            found.b,
        ]
    )
    value, slope = functional(at)
    assert value == pytest.approx(least, rel=1e-9)
    assert np.abs(slope).max() < 1e-6


def test_without_biases_each_class_has_its_own_threshold():
    # Theory 17d: kappa_n = 0 and no bias, which a fast decay of b comes close to.
    sizes, kernel, decay = nf.Sizes(3, (9, 4, 2), 5), nf.BlockKernel(1.0, 0.5, 0.0), Decay(2.0, 1.5, 1e9)
    found = by_classes(kernel, sizes, decay)
    mu = 0.5 + 0.5 * sizes.masses
    expected = np.maximum(
        0, (1 - np.sqrt(3.0 / (sizes.masses * mu))) * np.sqrt(1.5 * sizes.masses / (2.0 * mu))
    )
    np.testing.assert_allclose(np.sum(found.W**2, axis=1), expected, atol=1e-7)
    assert (expected[2], found.rank) == (0, 2)


def test_decay_of_one_alone_has_no_such_minimum():
    with pytest.raises(nf.InputError, match="must pull on W and on H here"):
        by_classes(nf.BlockKernel(1.0, 0.5, 0.1), nf.Sizes(3, 2, 4), Decay(0.1, 0.0))

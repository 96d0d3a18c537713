import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import solve_ivp

import ntkflow as nf
from ntkflow.theory.exact import FrozenClass

SIZES, KERNEL = nf.Sizes(3, 2, 4), nf.BlockKernel(1.3, 0.5, 0.1)


def independent(W, L, mu_single, times):
    """eq. (44) integrated: dL = -mu_s W^T W L, dW = -W L L^T."""
    shapes = (W.shape, L.shape)

    def field(_, y):
        W, L = y[: np.prod(shapes[0])].reshape(shapes[0]), y[np.prod(shapes[0]) :].reshape(shapes[1])
        return np.concatenate([-(W @ L @ L.T).ravel(), -mu_single * (W.T @ W @ L).ravel()])

    y0 = np.concatenate([W.ravel(), L.ravel()])
    result = solve_ivp(field, (0, times[-1]), y0, "DOP853", times, rtol=1e-13, atol=1e-14)
    for y in result.y.T:
        yield y[: W.size].reshape(W.shape), y[W.size :].reshape(L.shape)


@pytest.mark.parametrize("r", [1, 3, 6])
@pytest.mark.parametrize("kernel", [KERNEL, nf.BlockKernel(0.5 + 1e-6, 0.5, 0.1)])
def test_S_and_W_follow_the_closed_form(r, kernel):
    rng = np.random.default_rng(r)
    W, L = rng.standard_normal((3, 4)), rng.standard_normal((4, r))
    flow, times = FrozenClass(SIZES, kernel, W, L), [0.0, 0.2, 1.0, 5.0]
    for t, (W_t, L_t) in zip(times, independent(W, L, flow.mu_single, times), strict=True):
        np.testing.assert_allclose(flow.S(t), L_t @ L_t.T / 2, atol=1e-11)
        if kernel is KERNEL:
            np.testing.assert_allclose(flow.WtW(t), W_t.T @ W_t, atol=1e-10)


@given(st.integers(0, 10**6), st.floats(0.01, 3.0))
def test_the_closed_form_solves_the_corrected_riccati_equation(seed, t):
    rng = np.random.default_rng(seed)
    flow = FrozenClass(SIZES, KERNEL, rng.standard_normal((3, 4)), rng.standard_normal((4, 5)))
    h = 1e-4 * t
    slope = (flow.S(t + h) - flow.S(t - h)) / (2 * h)
    S = flow.S(t)
    right = -(flow.Et @ S + S @ flow.Et) - 4 * S @ S
    np.testing.assert_allclose(slope, right, atol=1e-5 * (1 + np.abs(right).max()))


def test_each_sign_of_Et_has_its_own_end():
    # Et = mu_s W^T W - m S, diagonal: positive, zero and negative.
    W = np.diag([1.0, 1.0, 0.5])
    L = np.diag([0.5, np.sqrt(0.8), 1.0])
    sizes = nf.Sizes(3, 2, 3)
    flow, t = FrozenClass(sizes, KERNEL, W, L), 400.0
    c = np.diag(flow.Et)
    assert c[0] > 0.5
    assert c[1] == pytest.approx(0, abs=1e-15)
    assert c[2] < -0.5
    end = np.diag(flow.S(t))
    assert end[0] < 1e-150
    assert end[1] == pytest.approx(1 / (1 / 0.4 + 4 * t), rel=1e-10)
    assert end[2] == pytest.approx(-c[2] / 2, rel=1e-14)
    np.testing.assert_allclose(np.sort(flow.rates), np.sort(c), atol=1e-15)
    decay = np.log(np.diag(flow.S(6.0))[0] / np.diag(flow.S(7.0))[0])
    assert decay == pytest.approx(2 * c[0], rel=1e-3)
    assert np.all(np.isfinite(flow.S(1e9)))


def test_nothing_within_classes_stays_nothing():
    flow = FrozenClass(nf.Sizes(3, 1, 4), KERNEL, np.eye(3, 4), np.zeros((4, 0)))
    np.testing.assert_array_equal(flow.S(2.0), np.zeros((4, 4)))
    np.testing.assert_allclose(flow.WtW(2.0), np.eye(3, 4).T @ np.eye(3, 4))

import numpy as np
import pytest
from scipy.integrate import solve_ivp

import ntkflow as nf
from ntkflow.metrics.neural_collapse import centring
from ntkflow.problem.decay import Decay
from ntkflow.theory import limits
from ntkflow.theory.exact import decay_rates, feature_decay_drift, regularised_limit, weight_decay_drift

SIZES, KERNEL = nf.Sizes(3, 2, 4), nf.BlockKernel(3.3, 0.9, 0.3)


def independent(state, decay, t, rtol=1e-11):
    """dH = -W^T R K - lh H and so on, with the N x N kernel written out."""
    K, Y = KERNEL.matrix(SIZES), np.repeat(np.eye(3), 2, axis=1)
    cuts = np.cumsum([state.H.size, state.W.size])

    def split(y):
        H, W, b = np.split(y, cuts)
        return H.reshape(state.H.shape), W.reshape(state.W.shape), b

    def field(_, y):
        H, W, b = split(y)
        R = W @ H + b[:, None] - Y
        dH, dW = -W.T @ R @ K - decay.H * H, -R @ H.T - decay.W * W
        return np.concatenate([dH.ravel(), dW.ravel(), -R.sum(axis=1) - decay.b * b])

    y0 = np.concatenate([state.H.ravel(), state.W.ravel(), state.b])
    y = solve_ivp(field, (0, t), y0, "DOP853", rtol=rtol, atol=rtol / 100).y[:, -1]
    return nf.State(*(part.copy() for part in split(y)))


def test_decay_enforces_collapse_from_a_random_start():
    state, decay = nf.initial.make("gaussian", SIZES, KERNEL, seed=1), Decay(0.5, 0.3, 0.0)
    end, limit = independent(state, decay, 80.0), regularised_limit(SIZES, KERNEL, decay)
    H1 = end.H[:, ::2]
    np.testing.assert_allclose(end.W @ end.W.T, limit.X, atol=1e-9)
    np.testing.assert_allclose(H1.T @ H1, limit.G, atol=1e-9)
    np.testing.assert_allclose(end.b, limit.b, atol=1e-10)
    mu = KERNEL.eigenvalues(SIZES).mu_class
    np.testing.assert_allclose(H1, np.sqrt(0.5 * mu / (0.3 * 2)) * end.W.T, atol=1e-9)
    np.testing.assert_allclose(
        end.W @ H1 + end.b[:, None] - np.eye(3), -np.sqrt(0.15 / (2 * mu)) * centring(3), atol=1e-9
    )
    metrics = nf.metrics.nc(end, SIZES)
    assert max(metrics["NC1"], metrics["NC2"], metrics["NC3"]) < 1e-7
    assert (limit.NC1, limit.NC3, limit.NC4) == (0, 0, True)
    features = end.H @ np.linalg.solve(KERNEL.matrix(SIZES), end.H.T)
    E = nf.metrics.invariant_terms(end, SIZES, KERNEL).E
    np.testing.assert_allclose(2 * E, (0.3 / 0.5 - 1) * features, atol=1e-9)


@pytest.mark.parametrize("b", [0.05, 4.0])
def test_decay_of_the_biases_too_leaves_the_mean_to_W_beyond_its_threshold(b):
    # lb/(N + lb) is below and above sqrt(lw lh/(m mu_global)), here 0.12.
    state, decay = nf.initial.make("gaussian", SIZES, KERNEL, seed=1), Decay(0.5, 0.3, b)
    end, limit = independent(state, decay, 120.0), regularised_limit(SIZES, KERNEL, decay)
    H1 = end.H[:, ::2]
    np.testing.assert_allclose(end.W @ end.W.T, limit.X, atol=1e-8)
    np.testing.assert_allclose(H1.T @ H1, limit.G, atol=1e-8)
    np.testing.assert_allclose(end.b, limit.b, atol=1e-8)
    metrics = nf.metrics.nc(end, SIZES)
    assert metrics["NC3"] == pytest.approx(limit.NC3, abs=1e-7)
    assert (limit.NC3 > 0.05) == (b > 1)


@pytest.mark.parametrize("n", [4, 2])
@pytest.mark.parametrize("decay", [Decay(0.5, 0.3), Decay(2.0, 1.0), Decay(9.0, 7.0)])
def test_the_rates_are_those_of_the_linearised_flow(n, decay):
    # Jacobian of the whole field by central differences; its zeros are rotations of the features.
    sizes, K, Y = nf.Sizes(3, 2, n), KERNEL.matrix(SIZES), np.repeat(np.eye(3), 2, axis=1)
    rng = np.random.default_rng(0)
    alive = 2 * KERNEL.eigenvalues(sizes).mu_class > decay.W * decay.H
    W = np.zeros((3, n))
    if alive:
        values, vectors = np.linalg.eigh(regularised_limit(sizes, KERNEL, decay).X)
        frame = np.linalg.qr(rng.standard_normal((n, 2)))[0]
        W = (vectors[:, 1:] * np.sqrt(values[1:])) @ frame.T
    H = np.repeat(np.sqrt(decay.W * KERNEL.eigenvalues(sizes).mu_class / (decay.H * 2)) * W.T, 2, axis=1)
    y0 = np.concatenate([H.ravel(), W.ravel(), np.full(3, 1 / 3)])

    def field(y):
        H, W, b = y[: 6 * n].reshape(n, 6), y[6 * n : 9 * n].reshape(3, n), y[9 * n :]
        R = W @ H + b[:, None] - Y
        dH, dW = -W.T @ R @ K - decay.H * H, -R @ H.T - decay.W * W
        return np.concatenate([dH.ravel(), dW.ravel(), -R.sum(axis=1) - decay.b * b])

    assert np.abs(field(y0)).max() < 1e-12
    columns = [(field(y0 + d) - field(y0 - d)) / 2e-4 for d in 1e-4 * np.eye(len(y0))]
    found = np.sort(-np.linalg.eigvals(np.array(columns).T).real)
    moving = found[np.abs(found) > 1e-6]
    rates = decay_rates(sizes, KERNEL, decay)
    assert rates[0] == pytest.approx(moving[0], rel=1e-6)
    for rate in rates:
        assert np.abs(moving - rate).min() < 1e-6 * rate


def test_equal_small_decay_ends_near_the_limit_without_decay():
    limit = regularised_limit(SIZES, KERNEL, Decay(1e-6, 1e-6, 0.0))
    np.testing.assert_allclose(limit.X, limits.collapsed(SIZES, KERNEL).X, atol=1e-6)


def test_the_drift_solves_its_equation():
    mu, m, rate, t = KERNEL.eigenvalues(SIZES).mu_class, 2, 0.03, 40.0
    result = solve_ivp(
        lambda _, x: -2 * rate * mu * x**3 / (mu * x**2 + m), (0, t), [1.3], "DOP853", rtol=1e-12, atol=1e-14
    )
    assert weight_decay_drift(SIZES, KERNEL, 1.3, rate, t) == pytest.approx(result.y[0, -1], rel=1e-11)
    assert weight_decay_drift(SIZES, KERNEL, 1.3, rate, 0.0) == pytest.approx(1.3, rel=1e-14)
    assert 0 < weight_decay_drift(SIZES, KERNEL, 1.3, rate, 1e12) < 1e-5


def test_the_drift_is_that_of_the_whole_flow_to_leading_order():
    rate, t, x = 0.01, 30.0, limits.x_star(SIZES, KERNEL)
    V = np.linalg.qr(np.random.default_rng(0).standard_normal((4, 3)))[0]
    W = np.sqrt(x) * centring(3) @ V.T
    state = nf.State(np.repeat(W.T / x, 2, axis=1), W, np.full(3, 1 / 3))
    end = independent(state, Decay(rate, 0.0, 0.0), t)
    observed = np.linalg.norm(end.W) ** 2 / 2
    assert observed < 0.9 * x
    assert weight_decay_drift(SIZES, KERNEL, x, rate, t) == pytest.approx(observed, rel=3e-3)


def test_bad_input_is_refused_with_a_reason():
    for decay in (Decay(0.1, 0.0, 0.0), Decay(0.0, 0.1, 0.0)):
        with pytest.raises(nf.InputError, match="must pull on W and on H"):
            regularised_limit(SIZES, KERNEL, decay)
    with pytest.raises(nf.InputError, match="too strong"):
        regularised_limit(SIZES, KERNEL, Decay(100.0, 100.0, 0.0))
    with pytest.raises(nf.InputError, match="must be positive"):
        weight_decay_drift(SIZES, KERNEL, 0.0, 0.1, 1.0)


def test_the_drift_of_a_decay_of_H_is_the_mirror_of_that_of_W():
    rate, t, x = 0.01, 30.0, limits.x_star(SIZES, KERNEL)
    V = np.linalg.qr(np.random.default_rng(0).standard_normal((4, 3)))[0]
    W = np.sqrt(x) * centring(3) @ V.T
    state = nf.State(np.repeat(W.T / x, 2, axis=1), W, np.full(3, 1 / 3))
    observed = np.linalg.norm(independent(state, Decay(0.0, rate, 0.0), t).W) ** 2 / 2
    assert observed > 1.1 * x
    assert feature_decay_drift(SIZES, KERNEL, x, rate, t) == pytest.approx(observed, rel=3e-3)
    with pytest.raises(nf.InputError, match="must be positive"):
        feature_decay_drift(SIZES, KERNEL, -1.0, rate, t)


def test_rates_need_decay_of_W_and_H_alone():
    for decay in (Decay(0.1, 0.0), Decay(0.1, 0.1, 0.1)):
        with pytest.raises(nf.InputError, match="must pull on W and on H alone"):
            decay_rates(SIZES, KERNEL, decay)

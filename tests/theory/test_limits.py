import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import ntkflow as nf
from ntkflow.metrics.neural_collapse import centring
from ntkflow.problem.thin import decompose
from ntkflow.theory import limits
from tests import oracle, strategies

SIZES, KERNEL = nf.Sizes(3, 2, 5), nf.BlockKernel(2.6, 1.1, 0.4)
# kc = kn, kn = 0, a small mu_single, one sample per class with kd = kc.
CASES = [
    (nf.Sizes(2, 3, 4), nf.BlockKernel(1.3, 0.4, 0.4)),
    (nf.Sizes(4, 2, 6), nf.BlockKernel(1.3, 0.4, 0.0)),
    (nf.Sizes(3, 4, 5), nf.BlockKernel(0.4 + 1e-6, 0.4, 0.1)),
    (nf.Sizes(5, 1, 7), nf.BlockKernel(1.0, 1.0, 0.2)),
    (SIZES, KERNEL),
]


def final(sizes, kernel, state, t):
    """Thin state and metrics at time t by an independent integration."""
    end = oracle.integrate_raw(nf.Problem(sizes, kernel, state), np.array([t]), rtol=1e-13)[0]
    return decompose(end, sizes, subspace=False)[0], nf.metrics.nc(end, sizes)


def check(limit, thin, metrics, tolerance=1e-10, skip=()):
    M = thin.H1 - thin.H1.mean(axis=1, keepdims=True)
    observed = {"X": thin.W @ thin.W.T, "G": thin.H1.T @ thin.H1, "MtM": M.T @ M, "b": thin.b}
    for name, value in observed.items():
        np.testing.assert_allclose(getattr(limit, name), value, atol=tolerance, err_msg=name)
    for name in {"NC1", "NC2", "NC3"} - set(skip):
        assert getattr(limit, name) == pytest.approx(metrics[name], abs=1e-7), name


@pytest.mark.parametrize("m", [1, 2])
@pytest.mark.parametrize("seed", [0, 1])
def test_zero_invariant_is_where_a_balanced_flow_ends(m, seed):
    sizes = nf.Sizes(3, m, 5)
    kernel = nf.BlockKernel(5.0, 1.1, 0.4)
    state = nf.initial.make("balanced", sizes, kernel, seed=seed)
    # Away from 1^T b = 1, where the last within-class direction would fade only like t^{-1/2}.
    state = nf.State(state.H, state.W, np.array([-1.0, -0.7, -0.4]))
    thin, metrics = final(sizes, kernel, state, 80.0)
    limit = limits.zero_invariant(sizes, kernel, thin.b)
    check(limit, thin, metrics)
    assert np.ptp(thin.b) > 1e-3
    assert not limit.NC4
    H1 = limits.means_from_weights(sizes, kernel, thin.W, thin.b)
    np.testing.assert_allclose(H1, thin.H1, atol=1e-9)


def test_general_kernel_is_where_a_balanced_flow_ends_and_needs_no_blocks():
    sizes, rng = nf.Sizes(3, 2, 4), np.random.default_rng(3)
    root = rng.standard_normal((6, 6)) / 2 + np.eye(6)
    kernel = nf.SampleKernel(root @ root.T + np.eye(6))
    values, vectors = np.linalg.eigh(kernel.K)
    W = rng.standard_normal((3, 4))
    Z = np.linalg.qr(rng.standard_normal((6, 3)))[0].T
    H = W.T @ Z @ (vectors * np.sqrt(values)) @ vectors.T

    class Dense:
        def matrix(self, sizes):
            return kernel.K

    class Given:
        pass

    problem = Given()
    problem.sizes, problem.kernel, problem.state = sizes, Dense(), nf.State(H, W, np.zeros(3))
    end = oracle.integrate_raw(problem, np.array([40.0]), rtol=1e-13)[0]
    limit = limits.general_kernel(sizes, kernel, end.b)
    check(limit, decompose(end, sizes, subspace=False)[0], nf.metrics.nc(end, sizes), 1e-9)
    # Samples of a class in another order, kernel permuted with them.
    order = np.array([1, 0, 2, 3, 5, 4])
    again = limits.general_kernel(sizes, nf.SampleKernel(kernel.K[np.ix_(order, order)]), end.b)
    np.testing.assert_allclose(again.X, limit.X, atol=1e-12)


@pytest.mark.parametrize(("sizes", "kernel"), CASES)
def test_general_kernel_with_blocks_is_zero_invariant(sizes, kernel):
    if kernel.kappa_d == kernel.kappa_c:
        kernel = nf.BlockKernel(1.5, 1.0, 0.2)
    b = np.linspace(-0.3, 0.5, sizes.C)
    a = limits.zero_invariant(sizes, kernel, b)
    c = limits.general_kernel(sizes, nf.SampleKernel(kernel.matrix(sizes)), b)
    scale = np.abs(a.X).max() + np.abs(a.G).max()
    np.testing.assert_allclose(c.X, a.X, atol=1e-9 * scale)
    np.testing.assert_allclose(c.G, a.G, atol=1e-9 * scale)


def test_equal_bias_is_where_a_symmetric_flow_ends():
    kernel = nf.BlockKernel(5.0, 1.1, 0.4)
    state = nf.initial.make("equal-bias", SIZES, kernel)
    thin, metrics = final(SIZES, kernel, state, 25.0)
    assert np.ptp(thin.b) < 1e-10
    limit = limits.equal_bias(SIZES, kernel, float(thin.b.mean()))
    check(limit, thin, metrics)
    assert pytest.approx(metrics["NC3"], rel=1e-8) == limit.NC3
    assert limit.NC3 > 0.05
    assert limit.NC4


@pytest.mark.parametrize(("sizes", "kernel"), CASES)
@pytest.mark.parametrize("beta", [-0.4, 0.0, 0.2, 0.9])
def test_equal_bias_is_zero_invariant_with_equal_biases(sizes, kernel, beta):
    a = limits.equal_bias(sizes, kernel, beta)
    c = limits.zero_invariant(sizes, kernel, np.full(sizes.C, beta))
    C, x = sizes.C, limits.x_star(sizes, kernel)
    ones, eye = np.ones((C, C)), np.eye(C)
    for name in ("X", "G", "MtM"):
        np.testing.assert_allclose(
            getattr(a, name), getattr(c, name), atol=1e-12 * np.abs(getattr(a, name)).max()
        )
    np.testing.assert_allclose(
        a.X, x * (eye - limits.gamma(sizes, kernel, beta) * ones), rtol=1e-11, atol=1e-13 * x
    )
    np.testing.assert_allclose(
        a.G, (eye - limits.theta(sizes, kernel, beta) * ones) / x, rtol=1e-11, atol=1e-13 / x
    )
    assert pytest.approx(c.NC3, abs=1e-7) == a.NC3
    assert a.NC4
    assert c.NC4
    closed = np.sqrt(2 - 2 * np.sqrt((C - 1) / (C - C * limits.gamma(sizes, kernel, beta))))
    assert pytest.approx(closed, rel=1e-9) == a.NC3


@pytest.mark.parametrize(("sizes", "kernel"), CASES)
def test_collapsed_is_the_equal_bias_limit_at_one_over_C(sizes, kernel):
    limit, x = limits.collapsed(sizes, kernel), limits.x_star(sizes, kernel)
    np.testing.assert_allclose(limit.X, x * centring(sizes.C), atol=1e-15 * x)
    for other in (
        limits.zero_invariant(sizes, kernel, np.full(sizes.C, 1 / sizes.C)),
        limits.equal_bias(sizes, kernel, 1 / sizes.C),
        limits.projector_invariant(sizes, kernel, 0.0, sizes.C),
    ):
        np.testing.assert_allclose(limit.X, other.X, atol=1e-14 * x)
        np.testing.assert_allclose(limit.G, other.G, atol=1e-14 / x)
        assert other.NC3 < 1e-6
    assert (limit.NC1, limit.NC3, limit.trace_S, limit.NC4) == (0, 0, 0, True)
    assert limit.NC2 < 1e-15


def test_collapsed_is_where_a_centred_balanced_flow_ends():
    kernel = nf.BlockKernel(5.0, 1.1, 0.4)
    state = nf.initial.make("balanced-contrast", SIZES, kernel)
    check(limits.collapsed(SIZES, kernel), *final(SIZES, kernel, state, 20.0))


def projector_state(sizes, kernel, e, d, rng, centred=True):
    """A state with E = e Pi_V on the manifold g = 0, b = 1/C, row(W) in V of dimension d."""
    C, m = sizes.C, sizes.per_class
    V = np.linalg.qr(rng.standard_normal((sizes.n, d)))[0]
    # H K^{-1} H^T = V B V^T with B = (W^T W) - m e on V; W = T V^T with T^T T - m e positive.
    T = rng.standard_normal((C, d))
    if d == C - 1 and centred:
        T -= T.mean(axis=0)
    T *= 1.2 * np.sqrt(max(m * e, 0.0) + 0.3) / np.linalg.svd(T)[1].min()
    B = T.T @ T - m * e * np.eye(d)
    values, vectors = np.linalg.eigh(B)
    Z = rng.standard_normal((sizes.N, d))
    Z = np.linalg.qr(Z - Z.mean(axis=0))[0].T
    kvalues, kvectors = np.linalg.eigh(kernel.matrix(sizes))
    H = V @ (vectors * np.sqrt(values)) @ vectors.T @ Z @ (kvectors * np.sqrt(kvalues)) @ kvectors.T
    state = nf.State(H, T @ V.T, np.full(C, 1 / C))
    E = nf.metrics.invariant_terms(state, sizes, kernel).E
    np.testing.assert_allclose(E, e * V @ V.T, atol=1e-13)
    return state


@pytest.mark.parametrize(("e", "lower"), [(0.4, True), (-0.4, True), (0.4, False), (-0.4, False)])
def test_projector_invariant_is_where_such_flows_end(e, lower):
    sizes, kernel = nf.Sizes(3, 3, 5), nf.BlockKernel(5.0, 1.1, 0.4)
    d = 2 if lower else 3
    state = projector_state(sizes, kernel, e, d, np.random.default_rng(5))
    thin, metrics = final(sizes, kernel, state, 20.0)
    limit = limits.projector_invariant(sizes, kernel, e, d)
    frozen = limit.trace_S > 0
    assert frozen == (e < 0 and d == 3)
    check(limit, thin, metrics, skip=("NC1",) if frozen else ())
    assert limit.trace_S == pytest.approx(np.sum(thin.L**2) / 3, abs=1e-10)
    assert (limit.NC3 > 1e-2) == (e > 0 and d == 3)
    assert limit.NC4


def test_deviation_bound_holds_to_first_order():
    # A zero-loss point with NC1 and E != 0: any W of rank C, H1 = W^+ A, X and E follow.
    rng, sizes, kernel = np.random.default_rng(0), nf.Sizes(3, 3, 3), KERNEL
    b = np.array([0.3, 0.2, 0.6])
    balanced = limits.zero_invariant(sizes, kernel, b)
    U, s, Vt = np.linalg.svd(balanced.X)
    for size in (1e-2, 1e-3):
        W = (U * np.sqrt(s)) @ Vt + size * rng.standard_normal((3, 3))
        H1 = np.linalg.solve(W, np.eye(3) - b[:, None])
        Mc = kernel.inverse_class_kernel(sizes)
        E = (W.T @ W - H1 @ Mc @ H1.T) / 3
        gap = np.linalg.norm(W @ W.T - balanced.X)
        assert (
            0.02 * limits.deviation_bound(sizes, E)
            < gap
            <= limits.deviation_bound(sizes, E) * (1 + 20 * size)
        )


def test_the_deviation_bound_is_attained_by_a_small_projector():
    sizes, kernel, e = nf.Sizes(4, 3, 6), KERNEL, 1e-6
    moved = limits.projector_invariant(sizes, kernel, e, 3).X - limits.collapsed(sizes, kernel).X
    E = np.diag([e, e, e, 0.0, 0.0, 0.0])
    assert np.linalg.norm(moved) == pytest.approx(limits.deviation_bound(sizes, E), rel=1e-5)


@example(nf.Sizes(5, 1, 1), nf.BlockKernel(1.0, 0.0, 0.0), [0.0, 0.0, 0.0, 1.0, 1e-06])
@given(strategies.sizes(), strategies.kernels(), st.lists(st.floats(-1, 1), min_size=5, max_size=5))
def test_zero_invariant_solves_both_gram_equations(sizes, kernel, biases):
    b = np.array(biases[: sizes.C])
    limit = limits.zero_invariant(sizes, kernel, b)
    A, Mc = np.eye(sizes.C) - b[:, None], kernel.inverse_class_kernel(sizes)
    X2, A2 = A @ Mc @ A.T, A.T @ A
    np.testing.assert_allclose(limit.X @ limit.X, X2, atol=1e-11 * np.abs(X2).max())
    np.testing.assert_allclose(limit.G @ Mc @ limit.G, A2, atol=1e-10 * np.abs(A2).max())
    assert np.linalg.eigvalsh(limit.X)[0] > -1e-12 * np.abs(limit.X).max()
    mean = limits.geometric_mean(kernel.class_kernel(sizes) / sizes.per_class, A2)
    np.testing.assert_allclose(mean, limit.G, atol=2e-7 * np.abs(limit.G).max())
    assert limit.NC3 >= 0


@given(strategies.sizes(), strategies.kernels(), st.floats(-50, 50))
def test_x_e_solves_its_equation_for_either_sign(sizes, kernel, e):
    x, mu, m = limits.lambda_balanced_x(sizes, kernel, e), kernel.eigenvalues(sizes), sizes.per_class
    assert x > 0
    scale = abs(e) + 1 / (mu.mu_class * x)
    assert x / m - 1 / (mu.mu_class * x) == pytest.approx(e, abs=1e-12 * scale)
    assert limits.lambda_balanced_x(sizes, kernel, 0.0) == pytest.approx(
        limits.x_star(sizes, kernel), rel=1e-14
    )


def random_psd(rng, C, rank):
    F = rng.standard_normal((C, rank))
    return F @ F.T


@given(st.integers(0, 10**6), st.integers(2, 5))
def test_the_geometric_mean_solves_its_equation_and_is_symmetric_in_its_arguments(seed, C):
    rng = np.random.default_rng(seed)
    A, B = random_psd(rng, C, C + 3) + 0.1 * np.eye(C), random_psd(rng, C, C)
    mean = limits.geometric_mean(A, B)
    np.testing.assert_allclose(mean @ np.linalg.solve(A, mean), B, atol=1e-9 * np.abs(B).max())
    np.testing.assert_allclose(mean, limits.geometric_mean(B, A), atol=1e-10 * np.abs(mean).max())
    np.testing.assert_allclose(limits.geometric_mean(A, A), A, atol=1e-10 * np.abs(A).max())


@pytest.mark.parametrize("ranks", [(3, 2), (3, 3), (2, 4), (1, 1)])
def test_the_geometric_mean_of_singular_matrices_is_the_limit(ranks):
    rng = np.random.default_rng(7)
    A, B = (random_psd(rng, 4, r) for r in ranks)
    mean = limits.geometric_mean(A, B)
    gaps = []
    for shift in (1e-4, 1e-6, 1e-8):
        near = limits.geometric_mean(A + shift * np.eye(4), B + shift * np.eye(4))
        gaps.append(np.linalg.norm(near - mean))
    assert gaps[2] < 0.3 * gaps[1] < 0.1 * gaps[0]
    assert gaps[2] < 2e-3


def test_commuting_matrices_have_the_geometric_mean_of_their_eigenvalues():
    a, b = np.diag([4.0, 1.0, 9.0]), np.diag([9.0, 16.0, 0.0])
    np.testing.assert_allclose(limits.geometric_mean(a, b), np.diag([6.0, 4.0, 0.0]), atol=1e-12)


def test_bad_input_is_refused_with_a_reason():
    with pytest.raises(nf.InputError, match="mu_class > 0"):
        limits.x_star(nf.Sizes(3, 1, 4), nf.BlockKernel(1.0, 1.0, 1.0))
    with pytest.raises(nf.InputError, match="equals kappa_c"):
        limits.collapsed(nf.Sizes(3, 2, 4), nf.BlockKernel(1.0, 1.0, 0.2))
    with pytest.raises(nf.InputError, match="must be equal for all classes"):
        limits.collapsed(nf.Sizes(2, (1, 2), 4), KERNEL)
    with pytest.raises(nf.InputError, match="one bias per class"):
        limits.zero_invariant(SIZES, KERNEL, np.zeros(4))
    with pytest.raises(nf.InputError, match="C - 1 = 2 or C = 3"):
        limits.projector_invariant(SIZES, KERNEL, 0.1, 1)
    with pytest.raises(nf.InputError, match="no feature is left"):
        limits.projector_invariant(nf.Sizes(3, 1, 5), KERNEL, -0.1, 3)
    with pytest.raises(nf.InputError, match="positive semidefinite"):
        limits.geometric_mean(np.diag([1.0, -1.0]), np.eye(2))
    with pytest.raises(nf.InputError, match="singular"):
        limits.general_kernel(nf.Sizes(2, 2, 3), nf.SampleKernel(np.ones((4, 4))), np.zeros(2))


def test_a_collapsed_limit_has_equal_biases_and_says_of_what_it_is():
    found = limits.collapsed(SIZES, KERNEL)
    assert found.b.tolist() == [1 / 3] * 3
    assert found.NC1 == 0
    assert "E = 0" in found.hypotheses


@pytest.mark.parametrize("e", [-1e7, -1e10])
def test_x_e_keeps_its_digits_when_E_is_very_negative(e):
    # x = 1/(mu_class |e|) to leading order; the textbook root of the quadratic would cancel.
    mu = KERNEL.eigenvalues(SIZES).mu_class
    assert limits.lambda_balanced_x(SIZES, KERNEL, e) == pytest.approx(-1 / (mu * e), rel=1e-12)


def agreement(W, H1, b):
    """Share of random feature vectors for which argmax(W h + b) is the nearest class mean."""
    h = 3 * np.random.default_rng(0).standard_normal((H1.shape[0], 4000))
    nearest = np.linalg.norm(h[:, None, :] - H1[:, :, None], axis=0).argmin(axis=0)
    return np.mean((W @ h + b[:, None]).argmax(axis=0) == nearest)


@pytest.mark.parametrize(
    "b",
    [(0.0, 0.0, 0.0), (0.9, 0.9, 0.9), (0.1, 0.3, 0.6), (-0.4, 0.3, 0.2), (0.2, 0.6), (0.3, 0.7), (0.4, 0.4)],
)
def test_NC4_says_whether_every_feature_vector_goes_to_its_nearest_mean(b):
    b = np.array(b)
    sizes = nf.Sizes(len(b), 2, len(b))
    limit = limits.zero_invariant(sizes, KERNEL, b)
    values, vectors = np.linalg.eigh(limit.X)
    W = vectors * np.sqrt(np.maximum(values, 0)) @ vectors.T
    share = agreement(W, limits.means_from_weights(sizes, KERNEL, W, b), b)
    assert (share == 1) == limit.NC4


def test_NC4_holds_for_unequal_biases_that_a_global_mean_along_the_class_means_explains():
    # W = k M^T and H1 = M + g 1^T at zero loss: b = 1/C - W g is unequal, and makes up for |h_c|^2.
    frame, k = np.linalg.qr(np.random.default_rng(1).standard_normal((4, 3)))[0], 1.7
    M = frame @ centring(3) / np.sqrt(k)
    W, g = k * M.T, M @ np.array([0.5, -0.2, 0.1])
    H1, b = M + g[:, None], 1 / 3 - W @ g
    np.testing.assert_allclose(W @ H1 + b[:, None], np.eye(3), atol=1e-14)
    assert np.ptp(b) > 0.1
    limit = limits.complete(W @ W.T, H1.T @ H1, b, "by hand")
    assert limit.NC4
    assert agreement(W, H1, b) == 1
    assert not limits.complete(W @ W.T, H1.T @ H1, b + np.array([0.1, 0.0, 0.0]), "by hand").NC4

"""18.4, 18.6 and 18.7 against the network written out: all parameters, gradients by hand, scipy's integrator."""

import numpy as np
import pytest
from scipy.integrate import solve_ivp

import ntkflow as nf
from ntkflow.theory.layers import course, limits
from ntkflow.theory.layers.frozen import frozen
from tests.linear_layers import Network

C, M = 3, 3
N = C * M
KERNEL = nf.BlockKernel(1.0, 0.4, 0.15)
WIDTHS = {1: (4,), 2: (5, 4), 3: (3, 5, 4)}
P = np.eye(C) - 1 / C
CONTRASTS = np.linalg.qr(np.eye(C)[:, 1:] - 1 / C)[0]


def sizes_of(L):
    return nf.Sizes(C, M, WIDTHS[L][-1])


def frames_of(L, count, seed=0):
    rng = np.random.default_rng(seed)
    return [np.linalg.qr(rng.standard_normal((n, n)))[0][:, :count] for n in WIDTHS[L]]


def aligned(L, s, kernel=KERNEL, beside=0.0):
    """The network of an aligned start: s (L + 1, C - 1) has the singular values of V_1 .. V_L, W on each contrast.

    `beside` is the size of spectators: a chain of layers, and deviations in the first, orthogonal to the contrasts.
    """
    s = np.broadcast_to(s, (L + 1, C - 1))
    mu = kernel.eigenvalues(sizes_of(L))
    frames = frames_of(L, C)
    seen = [frame[:, : C - 1] for frame in frames]
    H = np.repeat((seen[0] * s[0]) @ CONTRASTS.T * np.sqrt(mu.mu_class / M), M, axis=1)
    V = [(seen[l] * s[l]) @ seen[l - 1].T for l in range(1, L)]
    if beside:
        D = np.array([1, -1, 0, 2, -1, -1, 0, 1, -1]) / 3
        H = H + beside * np.sqrt(mu.mu_single) * np.outer(frames[0][:, -1], D / np.linalg.norm(D))
        V = [
            layer + beside * np.outer(frames[l][:, -1], frames[l - 1][:, -1]) for l, layer in enumerate(V, 1)
        ]
    W = (CONTRASTS * s[L]) @ seen[-1].T
    state = nf.LayeredState(H, tuple(V), W, np.full(C, 1 / C))
    return Network(nf.LayeredProblem(sizes_of(L), kernel, state))


def balanced(L, kernel, scale, seed=1, centred=False):
    """The network of layers with all Q_l = 0 under any kernel, W^T 1 = 0, b = 1/C: its layers share their singular values.

    With `centred` the mean of the features is zero too, so that under kernels that keep contrasts apart from it b stays 1/C.
    """
    rng = np.random.default_rng(seed)
    root = np.linalg.cholesky(kernel.matrix(sizes_of(L))).T
    columns = rng.standard_normal((N, C - 1))
    if centred:
        mean = root.sum(axis=1) / np.linalg.norm(root.sum(axis=1))
        columns = columns - np.outer(mean, mean @ columns)
    frames = [np.linalg.qr(columns)[0], *frames_of(L, C - 1, seed)]
    s = scale * np.array([1.2, 0.8])
    H = (frames[1] * s) @ frames[0].T @ root
    V = tuple((frames[l] * s) @ frames[l - 1].T for l in range(2, L + 1))
    state = nf.LayeredState(H, V, (CONTRASTS * s) @ frames[-1].T, np.full(C, 1 / C))
    return Network(nf.LayeredProblem(sizes_of(L), kernel, state))


def class_parts(H):
    """Class means and deviations of features."""
    means = H.reshape(len(H), C, M).mean(axis=2)
    return means, H - np.repeat(means, M, axis=1)


def ends_at(network, times, rtol=1e-10, method="DOP853"):
    found = solve_ivp(network.field, (0, times[-1]), network.start, method, times, rtol=rtol, atol=1e-13)
    assert found.success
    return list(found.y.T)


@pytest.mark.parametrize("L", [1, 2, 3])
def test_balanced_layers_of_any_kernel_end_where_18_4_says(L):
    rng = np.random.default_rng(4)
    A = rng.standard_normal((N, N))
    kernel = nf.SampleKernel(A.T @ A / N + np.eye(N))
    network = balanced(L, kernel, 0.9)
    end = ends_at(network, [120.0], 1e-9, "LSODA")[0]
    parts, features = network.split(end), network.features(end)
    assert np.abs(network.outputs(end) - np.repeat(np.eye(C), M, axis=1)).max() < 1e-6
    limit = limits.balanced_limit(sizes_of(L), kernel, L, parts[L + 1])
    np.testing.assert_allclose(parts[L] @ parts[L].T, limit.X, atol=1e-6)
    for H, G in zip(features[1:], limit.G, strict=True):
        means, within = class_parts(H)
        # All Q_l >= 0: constant within classes in every layer.
        assert np.linalg.norm(within) < 1e-5 * np.linalg.norm(means)
        np.testing.assert_allclose(means.T @ means, G, atol=1e-5)


@pytest.mark.parametrize("L", [1, 2, pytest.param(3, marks=pytest.mark.slow)])
def test_depth_replaces_block_structure(L):
    # Class contrasts of unequal strength, blocks elsewhere, so that b stays 1/C: what is left of NC2 shrinks layer by layer.
    B = 0.4 * np.eye(C) + CONTRASTS @ np.diag([0.5, 0.0]) @ CONTRASTS.T
    kernel = nf.ClassBlockKernel(1.0 + np.diag(B), B)
    network = balanced(L, kernel, 0.9, centred=True)
    end = ends_at(network, [40.0], 1e-9, "LSODA")[0]
    np.testing.assert_allclose(network.split(end)[L + 1], 1 / C, atol=1e-9)
    # Mc = M (M B + 1)^{-1} on the two contrasts, whose B is 0.9 and 0.4.
    Mc = M / (M * np.array([0.9, 0.4]) + 1)
    ratio = np.log(max(Mc) / min(Mc))
    for l, H in enumerate(network.features(end)[1:], 1):
        values = np.linalg.eigvalsh(P @ class_parts(H)[0].T @ class_parts(H)[0] @ P)[1:]
        assert np.log(values[1] / values[0]) == pytest.approx((L + 1 - l) / (L + 1) * ratio, rel=1e-4)


@pytest.mark.parametrize("L", [1, 2, 3])
def test_deviations_stay_below_the_ceiling_in_the_first_and_the_last_layer(L):
    network = balanced(L, KERNEL, 1.0)
    times = np.array([0.0, 0.3, 1.0, 5.0])
    trace = []
    for t, y in zip(times, ends_at(network, times), strict=True):
        features = [class_parts(H)[1] for H in network.features(y)[1:]]
        first, last = (float(np.sum(D**2)) / M for D in (features[0], features[-1]))
        trace.append(first)
        assert first <= limits.ceiling(network.problem, t, trace[0], C) * (1 + 1e-9)
        R2 = network.split(y)[L] @ features[-1]
        assert last <= first ** (1 / L) * float(np.sum(R2**2)) ** ((L - 1) / L) * (1 + 1e-9)
    assert trace[-1] < 0.5 * trace[0]


@pytest.mark.parametrize("L", [1, 2, 3])
def test_aligned_contrasts_of_any_sizes_follow_one_equation_each(L):
    s = 0.2 + 0.15 * np.arange((L + 1) * (C - 1)).reshape(L + 1, C - 1)[::-1]
    network, mu_c = aligned(L, s), KERNEL.eigenvalues(sizes_of(L)).mu_class
    times = [0.0, 0.4, 1.0, 3.0]

    def field(_, y, a):
        product = np.sqrt(np.maximum(y + a, 0)).prod()
        return [2 * np.sqrt(M * mu_c) * product * (1 - np.sqrt(mu_c / M) * product)]

    for k in range(C - 1):
        run = solve_ivp(field, (0, 3), [0.0], "DOP853", times, args=(s[:, k] ** 2,), rtol=1e-11, atol=1e-13)
        for y, state in zip(run.y[0], ends_at(network, times), strict=True):
            W = network.split(state)[L]
            sizes = np.sqrt(y + s[:, k] ** 2)
            u = CONTRASTS[:, k]
            assert np.linalg.norm(u @ W) == pytest.approx(sizes[L], rel=1e-8)
            assert u @ network.outputs(state).reshape(C, C, M).mean(axis=2) @ u == pytest.approx(
                np.sqrt(mu_c / M) * sizes.prod(), rel=1e-8
            )


@pytest.mark.parametrize("L", [1, 2, 3])
def test_the_time_of_the_fit_is_that_of_the_layers(L):
    star = np.sqrt(limits.collapse_x(sizes_of(L), KERNEL, L))
    t = course.time_between(sizes_of(L), KERNEL, L, 0.15 * star, 0.9 * star)
    network = aligned(L, 0.15 * star)
    W = network.split(ends_at(network, [t])[0])[L]
    np.testing.assert_allclose(np.linalg.svd(W, compute_uv=False)[: C - 1], 0.9 * star, rtol=1e-7)


@pytest.mark.parametrize("L", [2, 3])
def test_the_kernel_of_an_aligned_start_and_its_alignment_are_explicit_in_s(L):
    network, mu = aligned(L, 0.3, beside=0.5), KERNEL.eigenvalues(sizes_of(L))
    y = ends_at(network, [0.9])[0]
    n = WIDTHS[L][-1]
    theta = network.tensor(y, lambda z: network.features(z)[-1])
    K = np.einsum("aiaj->ij", theta) / n
    s2 = float(np.sum(network.split(y)[L] ** 2)) / (C - 1)
    assert s2 > 1.2 * 0.3**2
    # w_l n_L = (C - 1) s^{2(L-l)} + spectators; for l = L it is n_L, whatever they are.
    w = [((C - 1) * s2 ** (L - l) + 0.5 ** (2 * (L - l))) / n for l in range(1, L)] + [1.0]
    spread = [mu.mu_single * 0.5 ** (2 * l) for l in range(1, L)]
    mu_s = w[0] * mu.mu_single + sum(a * b for a, b in zip(w[1:], spread, strict=True)) / (N - C)
    mu_c = mu.mu_class * sum(w[l - 1] * s2 ** (l - 1) for l in range(1, L + 1))
    blocks = np.kron(np.eye(C), np.ones((M, M))) / M
    found_s = np.trace(K - blocks @ K) / (N - C)
    centred = np.kron(P, np.ones((M, M))) / M
    assert found_s == pytest.approx(mu_s, rel=1e-7)
    assert np.trace(centred @ K) / (C - 1) == pytest.approx(mu_c, rel=1e-7)
    # Of the block kernel with these constants: the cosine with the labels.
    labels = M * centred
    cosine = (1 + (N - C) / (C - 1) * (mu_s / mu_c) ** 2) ** -0.5
    block = mu_s * (np.eye(N) - blocks) + mu_c * centred
    assert np.sum(labels * block) / np.linalg.norm(labels) / np.linalg.norm(block) == pytest.approx(cosine)


@pytest.mark.slow
def test_the_kernel_aligns_before_the_fit_as_the_law_says():
    # Inputs that know little of the classes; spectators of twice the size of the start.
    kernel, L = nf.BlockKernel(1.0, 0.2, 0.0), 2
    mu, n = kernel.eigenvalues(sizes_of(L)), WIDTHS[L][-1]
    off = []
    for eps in (0.1, 0.03, 0.01):
        network = aligned(L, eps, kernel, beside=2 * eps)

        def s2(y, network=network):
            return float(np.sum(network.split(y)[L] ** 2)) / (C - 1)

        def cosine(y, eps=eps, s2=s2):
            w, spread = ((C - 1) * s2(y) + 4 * eps**2) / n, mu.mu_single * 4 * eps**2
            mu_s, mu_c = w * mu.mu_single + spread / (N - C), mu.mu_class * (w + s2(y))
            return (1 + (N - C) / (C - 1) * (mu_s / mu_c) ** 2) ** -0.5

        events = [
            lambda _, y, c=cosine: c(y) - 0.9,
            lambda _, y: s2(y) ** 1.5 * np.sqrt(mu.mu_class / M) - 0.5,
        ]
        run = solve_ivp(
            network.field, (0, 2 / eps), network.start, "DOP853", rtol=1e-8, atol=1e-13, events=events
        )
        aligned_at, fitted_at = (float(t[0]) for t in run.t_events)
        law = course.alignment_law(eps, np.sqrt(s2(run.y_events[0][0])), L)
        loss = np.sum((network.outputs(run.y_events[0][0]) - np.repeat(np.eye(C), M, axis=1)) ** 2)
        first = np.sum((network.outputs(network.start) - np.repeat(np.eye(C), M, axis=1)) ** 2)
        off.append((abs(aligned_at / fitted_at - law), 1 - loss / first))
    off = np.array(off)
    assert np.all(np.diff(off, axis=0) < 0)
    # The law to 3 s_0/s*, and the loss has not moved.
    assert off[-1, 0] < 0.01
    assert off[-1, 1] < 1e-4


@pytest.mark.parametrize(
    "L", [1, pytest.param(2, marks=pytest.mark.slow), pytest.param(3, marks=pytest.mark.slow)]
)
def test_small_contrasts_are_learned_one_at_a_time(L):
    # t_k/t_1 -> (s_1/s_k)^{L-1}, and one after the other only for L >= 2.
    small = {1: 0.02, 2: 0.03, 3: 0.15}[L]
    network = aligned(L, small * np.array([1.5, 1.0]))

    def fitted(k):
        def event(_, y):
            u = CONTRASTS[:, k]
            return u @ network.outputs(y).reshape(C, C, M).mean(axis=2) @ u - 0.5

        return event

    events = [fitted(0), fitted(1)]
    events[1].terminal = L > 1
    horizon = 4 * small ** (1 - L) + 10
    run = solve_ivp(network.field, (0, horizon), network.start, "DOP853", rtol=1e-6, atol=1e-9, events=events)
    first, second = (float(t[0]) for t in run.t_events)
    law = 1.5 ** (L - 1)
    assert second / first == pytest.approx(law, rel=0.12)


@pytest.mark.parametrize("L", [2, 3])
def test_collapse_of_a_hidden_layer_is_motion_of_the_kernel_of_the_next(L):
    rng = np.random.default_rng(2)
    scales = [
        0.7 * rng.standard_normal((n, k)) / np.sqrt(k) for n, k in zip(WIDTHS[L][1:], WIDTHS[L], strict=False)
    ]
    H = rng.standard_normal((WIDTHS[L][0], N)) / 2
    W = rng.standard_normal((C, WIDTHS[L][-1])) / 2
    network = Network(
        nf.LayeredProblem(sizes_of(L), KERNEL, nf.LayeredState(H, tuple(scales), W, np.zeros(C)))
    )
    for y in ends_at(network, [0.0, 0.6]):
        features = network.features(y)
        for H in features[1:L]:
            means, within = class_parts(H)
            ratio = (np.sum(within**2) / M) / np.trace(P @ means.T @ means)
            K = H.T @ H  # of the layer above, up to a factor
            blocks = np.kron(np.eye(C), np.ones((M, M))) / M
            mu_s = np.trace(K - blocks @ K) / (N - C)
            mu_c = np.trace(np.kron(P, np.ones((M, M))) @ K) / M / (C - 1)
            assert ratio == pytest.approx((N - C) / (C - 1) * mu_s / mu_c, rel=1e-10)


@pytest.mark.parametrize("L", [1, 2, 3])
def test_the_end_under_the_kernel_of_the_start_is_the_closed_form(L):
    star = np.sqrt(limits.collapse_x(sizes_of(L), KERNEL, L))
    s0 = 0.6 * star
    network = aligned(L, s0)
    # All of Theta^h, by finite differences, held.
    theta = network.tensor(network.start, lambda y: network.features(y)[-1])
    n, Y = WIDTHS[L][-1], np.repeat(np.eye(C), M, axis=1)
    theta = theta.reshape(n * N, n * N)
    parts = network.split(network.start)

    def field(_, y):
        H, W, b = y[: n * N].reshape(n, N), y[n * N : -C].reshape(C, n), y[-C:]
        R = W @ H + b[:, None] - Y
        return -np.concatenate([theta @ (W.T @ R).ravel(), (R @ H.T).ravel(), R.sum(axis=1)])

    start = np.concatenate([network.features(network.start)[-1].ravel(), parts[L].ravel(), parts[L + 1]])
    run = solve_ivp(field, (0, 30), start, "LSODA", rtol=1e-9, atol=1e-12)
    W = run.y[n * N : -C, -1].reshape(C, n)
    known = frozen(sizes_of(L), KERNEL, L, s0)
    np.testing.assert_allclose(W @ W.T, known.x_frozen * P, atol=1e-7)
    # Deviations fall at mu_single times what W sees of the kernel, moving against frozen.
    seen = np.einsum("piqj,cp,cq->ij", theta.reshape(n, N, n, N), W, W) / (C - 1)
    blocks = np.kron(np.eye(C), np.ones((M, M))) / M
    slow = np.trace(seen - blocks @ seen) / (N - C)
    moving = KERNEL.eigenvalues(sizes_of(L)).mu_single * known.x**L
    assert moving / slow == pytest.approx(known.rate, rel=1e-6)


def gaussian(L, eps, seed=0):
    """The network of a small generic start, b = 0."""
    rng = np.random.default_rng(seed)
    n = (8,) * L
    V = tuple(eps / np.sqrt(8) * rng.standard_normal((8, 8)) for _ in range(L - 1))
    H = eps / np.sqrt(8) * rng.standard_normal((8, N)) @ np.linalg.cholesky(KERNEL.matrix(sizes_of(L))).T
    state = nf.LayeredState(H, V, eps / np.sqrt(8) * rng.standard_normal((C, 8)), np.zeros(C))
    return Network(nf.LayeredProblem(nf.Sizes(C, M, n[-1]), KERNEL, state))


@pytest.mark.slow
def test_depth_deepens_the_floor_of_small_starts():
    # tr S[l]/tr(P G[l]) ~ eps^{2l} and |X/x - P| ~ eps^2, seen at L = 2.
    L, floors = 2, []
    for eps in (0.1, 0.05):
        network = gaussian(L, eps)
        end = ends_at(network, [60 + 30 / eps], 1e-8, "LSODA")[0]
        row = []
        for H in network.features(end)[1:]:
            means, within = class_parts(H)
            row.append((np.sum(within**2) / M) / np.trace(P @ means.T @ means))
        W = network.split(end)[L]
        x = limits.collapse_x(network.problem.sizes, KERNEL, L)
        floors.append([*row, np.linalg.norm(W @ W.T / x - P)])
    slopes = np.log(np.array(floors[0]) / floors[1]) / np.log(2)
    np.testing.assert_allclose(slopes, [2, 4, 2], rtol=0.1)


@pytest.mark.slow
def test_the_kernel_of_the_last_layer_aligns_by_steps():
    # After k contrasts the alignment of K_L with the labels is sqrt(k/(C - 1)).
    network = gaussian(2, 0.01)
    run = solve_ivp(network.field, (0, 1000), network.start, "LSODA", rtol=1e-7, atol=1e-10)
    labels, seen = np.kron(P, np.ones((M, M))), []
    for y in run.y.T:
        F, H = network.outputs(y).reshape(C, C, M).mean(axis=2), network.features(y)[-1]
        H = H - H.mean(axis=1, keepdims=True)
        cosine = np.sum(H.T @ H * labels) / np.linalg.norm(H.T @ H) / np.linalg.norm(labels)
        seen.append((*np.linalg.svd(P @ F @ P, compute_uv=False)[:2], cosine))
    one = [cosine for first, second, cosine in seen if first > 0.97 and second < 0.01]
    assert len(one) > 20
    np.testing.assert_allclose(one, np.sqrt(1 / (C - 1)), rtol=5e-3)
    np.testing.assert_allclose(seen[-1], 1.0, rtol=1e-4)

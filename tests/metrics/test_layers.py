"""The kernel of linear layers against finite differences of the network, and what it is at collapse (theory 18.2, 18.4)."""

import numpy as np
import pytest

import ntkflow as nf
from ntkflow.dynamics.layers import LayeredFlow
from ntkflow.metrics.layers import kernels
from ntkflow.problem.layers import initial
from tests.linear_layers import Network

SIZES = nf.Sizes(3, 3, 4)
KERNEL = nf.BlockKernel(1.0, 0.4, 0.15)


def constants(K):
    """Means over pairs of a sample, of samples of one class, of two classes."""
    same = SIZES.labels[:, None] == SIZES.labels
    off = same & ~np.eye(SIZES.N, dtype=bool)
    return np.trace(K) / SIZES.N, K[off].mean(), K[~same].mean()


def facts(K):
    """kappas, residual and centred alignment of an N x N kernel, from its entries."""
    Y, P = SIZES.Y, np.eye(SIZES.N) - 1 / SIZES.N
    block = nf.BlockKernel(*constants(K)).matrix(SIZES)
    labels, centred = P @ Y.T @ Y @ P, P @ K @ P
    cosine = np.sum(labels * centred) / np.linalg.norm(labels) / np.linalg.norm(centred)
    return constants(K), np.linalg.norm(K - block) / np.linalg.norm(K), cosine


@pytest.mark.parametrize("form", ["thin", "raw"])
@pytest.mark.parametrize(("widths", "biases"), [((4,), False), ((5, 4), True), ((3, 5, 4), False)])
def test_kernels_are_those_of_finite_differences(form, widths, biases):
    state = initial.make("gaussian", SIZES, widths, KERNEL, 1, 1.0)
    rng = np.random.default_rng(0)
    if biases:
        state = nf.LayeredState(
            state.H, state.V, state.W, state.b, tuple(rng.standard_normal(n) for n in widths)
        )
    problem = nf.LayeredProblem(SIZES, KERNEL, state)
    network = Network(problem)
    # Without W and b, which the features do not see.
    theta = network.tensor(network.start, lambda y: network.features(y)[-1])
    n, (C, N) = widths[-1], (SIZES.C, SIZES.N)
    mean = np.einsum("aiaj->ij", theta) / n
    output = network.tensor(network.start, network.outputs)
    own = np.einsum("aiaj->ij", output)
    last = C * (network.features(network.start)[-1].T @ network.features(network.start)[-1] + 1)
    flow = LayeredFlow.build(problem, form)
    found = kernels(flow, flow.start)
    for kernel, K in (
        (found.mean, mean),
        (found.outputs, own / C),
        (found.weighted, (own - last) / np.sum(state.W**2)),
        *zip(found.of_layers, (H.T @ H for H in state.layers), strict=True),
    ):
        kappas, residual, cosine = facts(K)
        np.testing.assert_allclose(kernel.kappas, kappas, rtol=1e-8, atol=1e-9)
        assert kernel.block_residual == pytest.approx(residual, abs=1e-8)
        assert kernel.alignment == pytest.approx(cosine, abs=1e-8)
    rest = theta - np.einsum("ab,ij->aibj", np.eye(n), mean)
    assert found.off_neuron == pytest.approx(np.linalg.norm(rest) / np.linalg.norm(theta), abs=1e-7)
    assert N == 9


@pytest.mark.parametrize("L", [1, 2, 3])
def test_at_the_balanced_collapse_point(L):
    # 18.4: Theta^h = x^{L-1} [Pi (x) K0 + ((L-2) Pi + I) (x) mu_c Y^T P Y/m] for L >= 2.
    widths = (5, 4, 4)[:L]
    sizes = nf.Sizes(3, 3, widths[-1])
    mu, n, C = KERNEL.eigenvalues(sizes), widths[-1], 3
    x = (3 / mu.mu_class) ** (1 / (L + 1))
    state = initial.make("aligned", sizes, widths, KERNEL, 0, np.sqrt(x))
    flow = LayeredFlow.build(nf.LayeredProblem(sizes, KERNEL, state))
    assert np.linalg.norm(flow.field(0.0, flow.start)) < 1e-12
    found = kernels(flow, flow.start)
    weighted, scale, a = found.weighted, x ** (L - 1), (L - 1) * (C - 1) / n
    assert weighted.mu_class / weighted.mu_single == pytest.approx(L * mu.mu_class / mu.mu_single)
    assert weighted.mu_single == pytest.approx(scale * mu.mu_single)
    assert weighted.mu_global == pytest.approx(scale * mu.mu_global)
    share = (C - 1) / n if L > 1 else 1.0
    assert found.mean.mu_single == pytest.approx(share * scale * mu.mu_single)
    assert found.mean.mu_class == pytest.approx((1 + a if L > 1 else 1.0) * scale * mu.mu_class)
    assert found.mean.mu_global == pytest.approx(share * scale * mu.mu_global)
    assert (found.mean.kappas[2] < 0) == (L > 1)
    # The paper's E with this kernel is a/(1+a) W^T W/m: the mark of depth and no failed collapse (18.3).
    kernel = nf.BlockKernel(*found.mean.kappas)
    E = nf.metrics.invariant.terms(nf.State(state.layers[-1], state.W, state.b), sizes, kernel).E
    np.testing.assert_allclose(3 * E, a / (1 + a) * state.W.T @ state.W, atol=1e-12)


def test_spectators_are_frozen_and_enter_the_kernel_alone():
    # 18.6: w_l n_L = (C - 1) s^{2(L-l)} + const.
    state = initial.make("aligned", SIZES, (5, 4), KERNEL, 0, 0.1, spectators=0.7)
    solution = nf.solve_layers(nf.LayeredProblem(SIZES, KERNEL, state), t_end=30.0)
    s2 = np.array([np.linalg.norm(solution.state(i).W) ** 2 / 2 for i in range(len(solution))])
    mu = KERNEL.eigenvalues(SIZES)
    want = ((2 * s2 + 0.7**2) * mu.mu_single + 4 * 0.7**2 * mu.mu_single / 6) / 4
    np.testing.assert_allclose(solution.series["mu_single"], want, rtol=1e-7)
    assert solution.series["alignment"][0] < solution.series["alignment"][-1]
    np.testing.assert_allclose(solution.series["p_most"], s2**1.5 * np.sqrt(mu.mu_class / 3), rtol=1e-7)


def test_unequal_classes_have_no_three_constants():
    sizes = nf.Sizes(3, (2, 4, 3), 4)
    problem = nf.LayeredProblem(sizes, KERNEL, initial.make("gaussian", sizes, (5, 4), KERNEL))
    flow = LayeredFlow.build(problem)
    assert kernels(flow, flow.start) is None

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ntkflow as nf
from ntkflow.collapse import centring
from ntkflow.kernels import ClassBlockKernel, SampleKernel
from ntkflow.spectrum import Spectrum, zero_loss_spectrum
from ntkflow.systems import RawFlow
from tests.kernels import ladder


def zero_loss_state(sizes, seed=0, rank=None):
    """Features of the given rank and weights with W H + b 1^T = Y; W^T 1 and the within-class part generic."""
    rng = np.random.default_rng(seed)
    Y = np.eye(sizes.C)[:, sizes.labels]
    if sizes.n >= sizes.N:
        H = rng.standard_normal((sizes.n, sizes.N))
        if rank == "collapsed":
            H = (H @ Y.T / sizes.masses) @ Y
    else:
        H = rng.standard_normal((sizes.n, sizes.C)) @ Y
    b = 0.3 * rng.standard_normal(sizes.C)
    particular = (Y - b[:, None]) @ np.linalg.pinv(H)
    free = np.eye(sizes.n) - H @ np.linalg.pinv(H)
    state = nf.State(H, particular + 0.5 * rng.standard_normal((sizes.C, sizes.n)) @ free, b)
    np.testing.assert_allclose(state.logits, Y, atol=1e-10)
    return state


def jacobian_rates(problem):
    """Minus the eigenvalues of the raw flow's finite-difference Jacobian, decreasing."""
    flow = RawFlow.build(problem)
    y, step = flow.start(), 1e-5
    columns = [
        (flow.field(0.0, y + step * e) - flow.field(0.0, y - step * e)) / (2 * step) for e in np.eye(y.size)
    ]
    eigenvalues = np.linalg.eigvals(np.stack(columns, axis=1))
    return np.sort(-eigenvalues.real)[::-1]


CASES = [
    (name, sizes, rank)
    for name in ladder.NAMES
    for sizes, rank in (
        (nf.Sizes(2, 3, 7), None),
        (nf.Sizes(2, 3, 7), "collapsed"),
        (nf.Sizes(3, 2, 4), None),
        (nf.Sizes(3, 1, 4), None),
        (nf.Sizes(2, (1, 4), 6), None),
        (nf.Sizes(3, (2, 1, 3), 4), "collapsed"),
    )
    if sizes.balanced or name not in ladder.BALANCED_ONLY
]


@pytest.mark.parametrize(("name", "sizes", "rank"), CASES)
def test_the_spectrum_is_that_of_the_flow_s_jacobian(name, sizes, rank):
    state, kernel = zero_loss_state(sizes, rank=rank), ladder.make(name, sizes)
    spectrum = zero_loss_spectrum(kernel, state.H, state.W, sizes)
    assert spectrum.multiplicities.sum() == len(spectrum.all) == sizes.C * sizes.N
    want = jacobian_rates(nf.Problem(sizes, kernel, state))
    # The Jacobian has as many unknowns as (H, W, b); its further eigenvalues, and some of T, vanish.
    size = max(len(want), len(spectrum.all))
    got = np.concatenate([spectrum.all, np.zeros(size - len(spectrum.all))])
    want = np.concatenate([want, np.zeros(size - len(want))])
    # Zero eigenvalues of a Jacobian with Jordan blocks are known to the root of the rounding only.
    np.testing.assert_allclose(got, want, atol=2e-4 * got[0])
    fast = got > 1e-2 * got[0]
    np.testing.assert_allclose(got[fast], want[fast], rtol=1e-7)


@given(st.integers(2, 4), st.integers(1, 4), st.integers(2, 9), st.integers(0, 10**6))
def test_the_thin_spectrum_is_the_dense_one(C, m, n, seed):
    sizes = nf.Sizes(C, m, n)
    rng = np.random.default_rng(seed)
    H, W = rng.standard_normal((n, sizes.N)), rng.standard_normal((C, n))
    block = nf.BlockKernel(1.3, 0.5, 0.1)
    thin = zero_loss_spectrum(block, H, W, sizes)
    dense = zero_loss_spectrum(SampleKernel(block.matrix(sizes)), H, W, sizes)
    np.testing.assert_allclose(thin.all, dense.all, atol=1e-11 * thin.fastest)
    promoted = zero_loss_spectrum(ClassBlockKernel.from_block(block, C), H, W, sizes)
    np.testing.assert_allclose(promoted.all, dense.all, atol=1e-11 * thin.fastest)


@given(st.lists(st.integers(1, 4), min_size=2, max_size=4), st.integers(1, 8), st.integers(0, 10**6))
def test_class_dependent_rates_are_the_dense_ones(counts, n, seed):
    sizes = nf.Sizes(len(counts), tuple(counts), n)
    rng = np.random.default_rng(seed)
    H, W = rng.standard_normal((n, sizes.N)), rng.standard_normal((sizes.C, n))
    kernel = ladder.make("class-block", sizes, seed)
    thin = zero_loss_spectrum(kernel, H, W, sizes)
    dense = zero_loss_spectrum(SampleKernel(kernel.matrix(sizes)), H, W, sizes)
    np.testing.assert_allclose(thin.all, dense.all, atol=1e-11 * thin.fastest)


def test_at_neural_collapse_the_rates_are_those_of_the_table():
    # X = x* P, G = P / x*, H2 = 0, b = 1/C.
    sizes, kernel = nf.Sizes(4, 5, 6), nf.BlockKernel(1.5, 0.6, 0.2)
    C, m, N, mu = 4, 5, 20, kernel.eigenvalues(nf.Sizes(4, 5, 6))
    x = np.sqrt(m / mu.mu_class)
    frame = np.linalg.qr(np.random.default_rng(0).standard_normal((6, C)))[0]
    W = np.sqrt(x) * centring(C) @ frame.T
    spectrum = zero_loss_spectrum(kernel, np.repeat(W.T / x, m, axis=1), W, sizes)
    table = [
        (2 * np.sqrt(m * mu.mu_class), (C - 1) ** 2),
        (N + mu.mu_global * x, C - 1),
        (np.sqrt(m * mu.mu_class), C - 1),
        (N, 1),
        (mu.mu_single * x, (C - 1) * (N - C)),
        (0.0, N - C),
    ]
    want = np.sort(np.repeat([rate for rate, _ in table], [count for _, count in table]))[::-1]
    np.testing.assert_allclose(spectrum.all, want, atol=1e-12 * want[0])
    assert spectrum.frozen == N - C
    assert spectrum.slowest == pytest.approx(mu.mu_single * x)
    assert spectrum.fastest == pytest.approx(want[0])
    assert spectrum.stiffness == pytest.approx(want[0] / (mu.mu_single * x))
    assert spectrum.as_dict()["frozen"] == N - C


def test_a_point_without_any_rate_has_no_slowest():
    assert np.isnan(Spectrum(np.zeros(2), np.ones(2, dtype=np.int64)).slowest)


def test_shapes_and_kernels_are_checked():
    sizes = nf.Sizes(2, 2, 3)
    with pytest.raises(nf.InputError, match="K is singular"):
        zero_loss_spectrum(SampleKernel(np.ones((4, 4))), np.zeros((3, 4)), np.zeros((2, 3)), sizes)
    with pytest.raises(nf.InputError, match=r"H = array of shape \(3, 5\)"):
        zero_loss_spectrum(nf.BlockKernel(1, 0.5, 0), np.zeros((3, 5)), np.zeros((2, 3)), sizes)

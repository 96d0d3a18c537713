import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ntkflow as nf
from ntkflow.dynamics.fields import ThinSystem, raw_field, residual
from ntkflow.problem import thin as reduction
from ntkflow.problem.state import ThinState
from ntkflow.problem.thin import decompose, remembering
from tests import strategies


@given(strategies.problems())
def test_composing_undoes_decomposing(problem):
    thin, frame = decompose(problem.state, problem.sizes)
    back = frame.compose(thin)
    for name in ("H", "W", "b"):
        np.testing.assert_allclose(getattr(back, name), getattr(problem.state, name), atol=1e-12)


@given(strategies.problems())
def test_the_frame_is_orthonormal_and_sums_to_zero_over_classes(problem):
    _, frame = decompose(problem.state, problem.sizes)
    np.testing.assert_allclose(frame.Q.T @ frame.Q, np.eye(frame.Q.shape[1]), atol=1e-12)
    np.testing.assert_allclose(frame.V.T @ frame.V, np.eye(frame.n_eff), atol=1e-12)
    sums = np.add.reduceat(frame.Q, problem.sizes.starts, axis=0)
    np.testing.assert_allclose(sums, 0, atol=1e-12)
    np.testing.assert_allclose(frame.class_grams.sum(axis=0), np.eye(frame.Q.shape[1]), atol=1e-12)


@given(strategies.problems())
def test_theorem_5_1_in_thin_form_is_theorem_4_1(problem):
    # eq. (19) -> eq. (25): the reduced field, composed, equals the raw field.
    sizes, state, kernel = problem.sizes, problem.state, problem.kernel
    Y = np.repeat(np.eye(sizes.C), sizes.counts, axis=1)
    raw = raw_field(state.H, state.W, residual(state.H, state.W, state.b, Y), kernel, sizes)
    thin, frame = decompose(state, sizes)
    system = ThinSystem.build(kernel.thin(sizes), sizes, frame.column_class, frame.n_eff)
    reduced = frame.compose(ThinState(*system.field(thin.H1, thin.L, thin.W, thin.b)))
    scale = max(np.abs(part).max() for part in raw)
    for got, want in zip((reduced.H, reduced.W, reduced.b), raw, strict=True):
        np.testing.assert_allclose(got, want, atol=1e-11 * scale)


@pytest.mark.parametrize(("init", "n_eff"), [("balanced", 10), ("balanced-contrast", 9), ("gaussian", 64)])
def test_balanced_states_live_in_the_row_space_of_W(init, n_eff):
    sizes, kernel = nf.Sizes(10, 12, 64), nf.BlockKernel(1, 0.5, 0.1)
    _, frame = decompose(nf.initial.make(init, sizes, kernel), sizes)
    assert frame.n_eff == n_eff


def test_one_sample_per_class_has_no_within_class_part():
    sizes = nf.Sizes(3, 1, 5)
    thin, _ = decompose(nf.initial.make("gaussian", sizes, nf.BlockKernel(1, 0.5, 0.1)), sizes)
    assert thin.L.shape == (5, 0)


def test_classes_with_different_rates_get_factors_of_their_own():
    sizes = nf.Sizes(3, (4, 3, 5), 6)
    state = nf.initial.gaussian(sizes, np.random.default_rng(1))
    thin, frame = decompose(state, sizes, within=np.array([1.0, 2.0, 1.0]))
    assert set(frame.column_class) == {0, 1}
    own = np.flatnonzero(np.array(frame.column_class) == 1)
    assert np.all(frame.Q[np.ix_(sizes.labels != 1, own)] == 0)
    np.testing.assert_allclose(frame.compose(thin).H, state.H, atol=1e-12)


@pytest.mark.parametrize("spread", [1.0, 1e-3, 1e-6, 1e-12])
@pytest.mark.parametrize("rank", [2, 4])
def test_many_samples_are_factored_as_well_as_few(rank, spread, monkeypatch):
    """By the Gram matrix where no digits are lost; singular values that it cannot resolve go another way."""
    sizes, rng = nf.Sizes(3, 100, 4), np.random.default_rng(rank)
    values = np.geomspace(1.0, spread, rank)
    H = np.linalg.qr(rng.standard_normal((4, 4)))[0][:, :rank] * values @ rng.standard_normal((rank, 300))
    state = nf.State(H, rng.standard_normal((3, 4)), np.zeros(3))
    thin, frame = decompose(state, sizes, subspace=False)
    np.testing.assert_allclose(frame.Q.T @ frame.Q, np.eye(rank), atol=1e-13)
    np.testing.assert_allclose(frame.compose(thin).H, H, atol=1e-13)
    monkeypatch.setattr(reduction, "MANY", 1e9)
    slow, _ = decompose(state, sizes, subspace=False)
    assert thin.L.shape == slow.L.shape == (4, rank)
    np.testing.assert_allclose(
        np.linalg.svd(thin.L, compute_uv=False), np.linalg.svd(slow.L, compute_uv=False), rtol=1e-9
    )
    monkeypatch.setattr(reduction, "MANY", 5)
    fast = reduction._by_gram(H - np.repeat(thin.H1, 100, axis=1), 1e-13 * np.linalg.norm(H))
    assert (fast is None) == (spread <= 1e-6)


def test_what_is_remembered_is_of_the_very_state_and_only_inside():
    sizes, kernel = nf.Sizes(2, 3, 4), nf.BlockKernel(1.0, 0.5, 0.1)
    states = [nf.initial.make("gaussian", sizes, kernel, seed) for seed in range(3)]
    apart = [decompose(state, sizes)[0].L for state in states]
    with remembering():
        first = [decompose(state, sizes)[1].Q for state in states]
        again = [decompose(state, sizes, subspace=False)[1].Q for state in states]
        for state, L in zip(states, apart, strict=True):
            np.testing.assert_array_equal(decompose(state, sizes)[0].L, L)
    assert all(one is other for one, other in zip(first, again, strict=True))
    assert decompose(states[0], sizes)[1].Q is not first[0]


@given(st.integers(0, 9), st.integers(0, 3), st.integers(0, 10), st.integers(0, 2**32 - 1))
def test_low_rank_is_found_from_images_as_by_a_decomposition(rank, more, decades, seed):
    rng = np.random.default_rng(seed)
    n, N, most = 18 + more, 20 + 2 * more, 9
    values = np.logspace(0, -decades, rank)
    left, right = (np.linalg.qr(rng.standard_normal((k, k)))[0][:, :rank] for k in (n, N))
    D = (left * values) @ right.T
    cutoff = 1e-13
    L, Q = reduction._by_images(D, cutoff, most)
    L0, _ = reduction._by_svd(D, cutoff)
    assert L.shape == L0.shape == (n, rank)
    assert Q.shape == (N, rank)
    np.testing.assert_allclose(L @ Q.T, D, atol=1e-15)
    np.testing.assert_allclose(Q.T @ Q, np.eye(rank), atol=1e-14)
    # Columns are orthogonal to each other, and those that are small have digits of their own.
    gram, smallest = L.T @ L, values[-1] if rank else 1.0
    np.testing.assert_allclose(gram, np.diag(values**2), atol=1e-15, rtol=1e-14 / smallest)


def test_a_rank_above_that_of_the_images_is_left_to_the_decomposition():
    rng = np.random.default_rng(0)
    D = rng.standard_normal((30, 10)) @ rng.standard_normal((10, 40))
    assert reduction._by_images(D, 1e-12, 9) is None
    assert reduction._by_images(D, 1e-11, 12) is not None
    # Matrices so small that it would not pay, and a rank that is complete but for what all but vanishes.
    assert reduction._by_images(D[:23], 1e-11, 12) is None
    D += 1e-11 * rng.standard_normal((30, 40))
    assert reduction._by_images(D, 1e-11, 12) is None

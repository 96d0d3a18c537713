import numpy as np
import pytest
from hypothesis import given

import ntkflow as nf
from ntkflow.metrics import invariant
from ntkflow.metrics.quantities import conserved
from ntkflow.problem.kernels import ClassBlockKernel, ScheduledKernel
from ntkflow.theory import bounds
from tests import strategies
from tests.metrics.test_quantities import random_state
from tests.problem.kernels import ladder

SIZES = nf.Sizes(3, 4, 5)
BLOCK = nf.BlockKernel(1.3, 0.5, 0.1)


@given(strategies.problems())
def test_E_is_the_sum_of_its_three_eigenvalue_terms(problem):
    # E = W^T W/m - H1 P H1^T/mu_c - (C/mu_g) g g^T - S/mu_s, and m E = W^T W - H K^{-1} H^T.
    s, k, state = problem.sizes, problem.kernel, problem.state
    mu, m = k.eigenvalues(s), s.per_class
    H1 = state.H.reshape(s.n, s.C, m).mean(axis=2)
    g = H1.mean(axis=1)
    H2 = state.H - np.repeat(H1, m, axis=1)
    terms = invariant.terms(state, s, k)
    scale = 1 + terms.scale
    np.testing.assert_allclose(terms.weights, state.W.T @ state.W / m, atol=1e-13 * scale)
    np.testing.assert_allclose(terms.global_mean, s.C / mu.mu_global * np.outer(g, g), atol=1e-13 * scale)
    contrast = (H1 - g[:, None]) @ (H1 - g[:, None]).T / mu.mu_class
    np.testing.assert_allclose(terms.means - terms.global_mean, contrast, atol=1e-12 * scale)
    np.testing.assert_allclose(terms.within, H2 @ H2.T / m / mu.mu_single, atol=1e-12 * scale)
    whole = state.W.T @ state.W - state.H @ np.linalg.solve(k.matrix(s), state.H.T)
    np.testing.assert_allclose(m * terms.E, whole, atol=1e-11 * m * scale)


@pytest.mark.parametrize("counts", [(1, 4, 2), (3, 3, 3)])
def test_class_dependent_terms_add_up_to_E_of_the_written_out_kernel(counts):
    sizes = nf.Sizes(3, counts, 5)
    kernel, state = ladder.make("class-block", sizes), random_state(sizes)
    terms = invariant.terms(state, sizes, kernel)
    whole = state.W.T @ state.W - state.H @ np.linalg.solve(kernel.matrix(sizes), state.H.T)
    np.testing.assert_allclose(terms.E * sizes.N / 3, whole, atol=1e-12 * terms.scale * sizes.N)


def test_a_moving_kernel_has_the_E_of_its_time():
    kernel = ScheduledKernel((0.0, 2.0), (BLOCK, nf.BlockKernel(2.0, 0.9, 0.3)))
    state = random_state(SIZES)
    for t in (0.0, 0.7, 5.0):
        E = invariant.terms(state, SIZES, kernel, t).E
        np.testing.assert_allclose(E, invariant.terms(state, SIZES, kernel.at(t)).E, atol=1e-13)
        np.testing.assert_allclose(
            E[np.triu_indices(5)], conserved(kernel, SIZES).values(state, t), atol=1e-12
        )


def test_balanced_states_have_alignment_one():
    state = nf.initial.make("balanced", SIZES, BLOCK)
    terms = invariant.terms(state, SIZES, BLOCK)
    assert terms.alignment == pytest.approx(1, abs=1e-12)
    assert np.linalg.norm(terms.E) < 1e-13 * terms.scale
    assert invariant.terms(random_state(SIZES), SIZES, BLOCK).alignment < 0.9


def test_alignment_of_the_zero_state_is_undefined():
    zero = nf.State(np.zeros((5, 12)), np.zeros((3, 5)), np.zeros(3))
    terms = invariant.terms(zero, SIZES, BLOCK)
    assert np.isnan(terms.alignment)
    assert invariant.drift(terms, terms) == 0


def test_E_at_the_end_of_training_is_conserved_when_class_residuals_are_frozen_at_zero():
    # eq. (20) with R1 = 0: dH = -mu_single W^T W (H - H1 Y), dW = -W (H - H1 Y)(H - H1 Y)^T.
    from scipy.integrate import solve_ivp

    state, mu_single = random_state(SIZES), 0.8

    def field(_, y):
        H, W = y[:60].reshape(5, 12), y[60:].reshape(3, 5)
        D = H - np.repeat(H.reshape(5, 3, 4).mean(axis=2), 4, axis=1)
        return np.concatenate([(-mu_single * W.T @ W @ D).ravel(), (-W @ D @ D.T).ravel()])

    y0 = np.concatenate([state.H.ravel(), state.W.ravel()])
    y = solve_ivp(field, (0, 1), y0, "DOP853", rtol=1e-12, atol=1e-13).y[:, -1]
    final = nf.State(y[:60].reshape(5, 12).copy(), y[60:].reshape(3, 5).copy(), state.b)
    before, after = (invariant.end_of_training(s, SIZES, BLOCK) for s in (state, final))
    np.testing.assert_allclose(after, before, atol=1e-9)
    assert np.linalg.norm(final.W - state.W) > 0.1


def test_eigenvalues_are_counted_by_sign_within_rounding():
    E = np.diag([2.0, 1e-12, -1e-12, -3.0, -0.1])
    found = bounds.inertia(E, 1e-10)
    assert (found.positive, found.negative, found.zero) == (1, 2, 2)


def test_a_generic_wide_state_has_C_positive_eigenvalues_at_most():
    sizes = nf.Sizes(3, 10, 9)
    signs = bounds.inertia_of_E(sizes, BLOCK, random_state(sizes))
    assert signs.positive <= 3
    assert signs.negative >= 6


def test_kernels_without_blocks_are_sent_to_their_own_invariants():
    state = random_state(SIZES)
    with pytest.raises(
        nf.InputError, match=r"kernel = sample: has no blocks.*use ntkflow\.metrics\.conserved"
    ):
        invariant.terms(state, SIZES, ladder.make("sample", SIZES))
    with pytest.raises(nf.InputError, match="kernel = class-block: has no mu_single common"):
        invariant.end_of_training(state, SIZES, ladder.make("class-block", SIZES))
    equal = ClassBlockKernel.from_block(BLOCK, 3)
    np.testing.assert_allclose(
        invariant.end_of_training(state, SIZES, equal), invariant.end_of_training(state, SIZES, BLOCK)
    )

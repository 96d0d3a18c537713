"""Closed forms of theory 17 against integration: unaligned starts, the cross-entropy's clock, classes that live or die."""

import math

import numpy as np
import pytest

import ntkflow as nf
from ntkflow.theory import exact

SIZES, KERNEL = nf.Sizes(4, 3, 6), nf.BlockKernel(1.0, 0.5, 0.1)
MU = KERNEL.eigenvalues(SIZES).mu_class


def unaligned(seed=0, scale=0.4):
    """E = 0, H2 = 0, no mean: W^T W/m = H1 H1^T/mu_class with frames of their own in class space."""
    rng = np.random.default_rng(seed)
    P = np.linalg.qr(np.eye(4)[:, 1:] - 1 / 4)[0]
    frame = np.linalg.qr(rng.standard_normal((6, 3)))[0]
    s = scale * np.array([1.0, 0.6, 0.3])
    turned = np.linalg.qr(rng.standard_normal((3, 3)))[0]
    W = P @ np.diag(s) @ frame.T
    H1 = np.sqrt(MU / 3) * frame @ np.diag(s) @ turned @ P.T
    return nf.State(np.repeat(H1, 3, axis=1), W, np.full(4, 1 / 4))


def test_unaligned_balanced_starts_have_their_grams_at_all_times():
    start = unaligned()
    times = [0.0, 0.3, 1.5, 4.0]
    solution = nf.solve(nf.Problem(SIZES, KERNEL, start), save_at=times, rtol=1e-10)
    for i, t in enumerate(times):
        X, G, F = exact.unaligned_grams(SIZES, KERNEL, start, t)
        state = solution.state(i)
        H1 = state.H[:, ::3]
        np.testing.assert_allclose(X, state.W @ state.W.T, atol=1e-7)
        np.testing.assert_allclose(G, H1.T @ H1, atol=1e-7)
        np.testing.assert_allclose(F, state.W @ H1, atol=1e-7)
    # No power of e^tau is formed: where every contrast has been lifted the end is that of collapse.
    X, _, F = exact.unaligned_grams(SIZES, KERNEL, start, 1e4)
    np.testing.assert_allclose(F, np.eye(4) - 1 / 4, atol=1e-9)
    np.testing.assert_allclose(X, math.sqrt(3 / MU) * F, atol=1e-9)


def test_aligned_starts_are_the_known_case_and_others_are_refused():
    start = exact.aligned_state(SIZES, KERNEL, unaligned().W, 0.0)
    later = exact.aligned_state(SIZES, KERNEL, start.W, 0.7)
    X, _, _ = exact.unaligned_grams(SIZES, KERNEL, start, 0.7)
    np.testing.assert_allclose(X, later.W @ later.W.T, atol=1e-12)
    for name, what in (("gaussian", "H2"), ("balanced-contrast", "H2")):
        with pytest.raises(nf.InputError, match=what):
            exact.unaligned_grams(SIZES, KERNEL, nf.initial.make(name, SIZES, KERNEL, 0), 1.0)
    bent = nf.State(start.H, 1.1 * start.W, start.b)
    with pytest.raises(nf.InputError, match=r"\|E\|"):
        exact.unaligned_grams(SIZES, KERNEL, bent, 1.0)


def symmetric(p):
    """The balanced symmetric state of margin p."""
    P = np.linalg.qr(np.eye(4)[:, 1:] - 1 / 4)[0]
    w = math.sqrt(p) * (3 / MU) ** 0.25
    W = np.zeros((4, 6))
    W[:, :3] = w * P
    H1 = W.T / math.sqrt(3 / MU)
    return nf.State(np.repeat(H1, 3, axis=1), W, np.full(4, 1 / 4))


@pytest.mark.parametrize(("epsilon", "p0"), [(0.0, 0.2), (0.1, 0.2), (0.1, 6.0)])
def test_the_margin_under_the_cross_entropy_follows_its_clock(epsilon, p0):
    loss = nf.Smoothed(nf.CrossEntropy(), epsilon) if epsilon else nf.CrossEntropy()
    times = [0.2, 1.0, 5.0]
    solution = nf.solve(nf.Problem(SIZES, KERNEL, symmetric(p0), loss), save_at=times, rtol=1e-10)
    for i, t in enumerate(times):
        state = solution.state(i)
        p = float(np.trace(state.W @ state.H[:, ::3])) / 3
        assert exact.margin_at(SIZES, KERNEL, p0, t, epsilon) == pytest.approx(p, abs=1e-7)
        assert exact.margin_time(SIZES, KERNEL, p0, p, epsilon) == pytest.approx(t, rel=1e-5)


def test_margins_end_where_the_smoothed_labels_say_and_grow_like_a_logarithm_without():
    end = exact.final_margin(4, 0.1)
    assert end == pytest.approx(math.log(4 / 0.1 - 4 + 1))
    assert exact.margin_at(SIZES, KERNEL, 0.3, 1e6, 0.1) == pytest.approx(end, abs=1e-9)
    assert exact.final_margin(4, 0.0) == math.inf
    late = [exact.margin_at(SIZES, KERNEL, 0.3, t) for t in (1e6, 1e8)]
    assert (late[1] - late[0]) / math.log(100) == pytest.approx(1.0, abs=0.1)
    for p0, p1 in ((0.3, 5.0), (6.0, 1.0), (-1.0, 2.0)):
        with pytest.raises(nf.InputError):
            exact.margin_time(SIZES, KERNEL, p0, p1, 0.1)


def test_classes_that_do_not_see_each_other_live_or_die_by_their_own_threshold():
    sizes, kernel = nf.Sizes(3, (8, 3, 1), 5), nf.BlockKernel(1.0, 0.4, 0.0)
    # lw lh = 1.7: class 3 has m mu = 1, the others 8 x 3.8 and 3 x 1.8.
    lw, lh = 1.0, 1.7
    norms = exact.separate_classes(sizes, kernel, lw, lh)
    assert norms[2] == 0
    assert np.all(norms[:2] > 0)
    start = nf.initial.make("gaussian", sizes, kernel, 0)
    problem = nf.Problem(
        sizes, kernel, nf.State(start.H, start.W, np.zeros(3)), decay=nf.Decay(lw, lh), train_bias=False
    )
    end = nf.solve(problem, t_end=22.0, rtol=1e-8).final
    np.testing.assert_allclose(end.W @ end.W.T, np.diag(norms), atol=1e-6)
    with pytest.raises(nf.InputError, match="kappa_n"):
        exact.separate_classes(sizes, nf.BlockKernel(1.0, 0.4, 0.1), lw, lh)


def test_theory_says_where_smoothed_labels_take_the_margin():
    problem = nf.Problem(SIZES, KERNEL, symmetric(0.5), nf.Smoothed(nf.CrossEntropy(), 0.1))
    said = nf.theory.prediction.sample_conditions(problem)["NC2"].sentence
    assert "ln(C/epsilon - C + 1) = 3.611" in said

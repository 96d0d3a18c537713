"""Closed forms at exact zeros, denormal numbers and where exponentials overflow, against many digits."""

import math

import mpmath
import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

import ntkflow as nf
from ntkflow.problem.decay import Decay
from ntkflow.theory import limits, rates
from ntkflow.theory.exact import (
    FrozenClass,
    Sector,
    aligned_eigenvalues,
    aligned_state,
    feature_decay_drift,
    regularised_limit,
    weight_decay_drift,
)
from ntkflow.theory.exact.lambert import lambert_w_of_exp

SIZES, KERNEL = nf.Sizes(3, 2, 4), nf.BlockKernel(2.3, 1.1, 0.4)
# Products of two smallest numbers have 648 zeros.
DIGITS = 700


def signed(low, high):
    """Numbers of either sign whose logarithm is uniform, and zero."""
    return st.one_of(
        st.just(0.0),
        st.tuples(st.floats(low, high), st.sampled_from([1.0, -1.0])).map(lambda p: p[1] * 10.0 ** p[0]),
    )


def sector(wP=0.0, hP=0.0, wJ=0.0, hJ=0.0, beta=0.0, kernel=KERNEL):
    return Sector(SIZES, kernel, wP, hP, 0.0, wJ, hJ, 0.0, beta)


def contrast_of_many_digits(s, t):
    """wP and hP by the sum of hyperbolic functions that 1/(1 - p) is."""
    with mpmath.workdps(DIGITS):
        m, mu = s.sizes.m, mpmath.mpf(s.kernel.eigenvalues(s.sizes).mu_class)
        w, h, rate = mpmath.mpf(s.wP), mpmath.mpf(s.hP), mpmath.sqrt(m * mu)
        # (sqrt(mu) w + sqrt(m) h)(sqrt(mu) w - sqrt(m) h) stays.
        kept = mu * w**2 - m * h**2
        a, p = abs(kept) / (2 * rate), w * h
        s2, z = 1 + a**2, 2 * rate * t
        root = mpmath.sqrt(s2)
        growing = root * mpmath.sqrt(p**2 + a**2) * mpmath.sinh(root * z)
        p = 1 - s2 * (1 - p) / (1 - p + (a**2 + p) * mpmath.cosh(root * z) + growing)
        size = 2 * mpmath.sqrt((2 * rate * p) ** 2 + kept**2)
        plus, minus = mpmath.sqrt(size / 2 + 2 * rate * p), mpmath.sqrt(max(size / 2 - 2 * rate * p, 0))
        plus *= mpmath.sign(mpmath.sqrt(mu) * w + mpmath.sqrt(m) * h)
        minus *= mpmath.sign(mpmath.sqrt(mu) * w - mpmath.sqrt(m) * h)
        return float((plus + minus) / (2 * mpmath.sqrt(mu))), float((plus - minus) / (2 * mpmath.sqrt(m)))


@given(signed(-320, 12), signed(-320, 12), st.floats(0, 500))
@example(wP=0.0, hP=2.2e-313, t=1.0)
@example(wP=0.0, hP=2.2e-313, t=400.0)
@example(wP=1e-170, hP=-3e-171, t=170.0)
@example(wP=5e-324, hP=0.0, t=500.0)
@example(wP=0.0, hP=1e-158, t=0.0)
@example(wP=1e12, hP=-1e-320, t=1e-9)
def test_contrasts_start_from_any_size(wP, hP, t):
    mu = KERNEL.eigenvalues(SIZES).mu_class
    w, h = math.sqrt(mu) * abs(wP), math.sqrt(2) * abs(hP)
    # Beside the way into the saddle the state itself does not say to which side it goes.
    assume(wP * hP >= 0 or abs(w - h) > 1e-6 * max(w, h))
    found, want = sector(wP, hP).contrast_at(t), contrast_of_many_digits(sector(wP, hP), t)
    size = max(map(abs, want))
    # Denormal numbers have fewer digits.
    np.testing.assert_allclose(found, want, rtol=0, atol=size * (1e-9 + 1e-322 / max(w, h, 1e-322)))


@given(signed(-320, 12), signed(-320, 12), st.floats(-100, 100))
@example(wJ=1e-170, hJ=1e-170 * math.sqrt(KERNEL.eigenvalues(SIZES).mu_global / 2), beta=0.0)
@example(wJ=0.0, hJ=5e-324, beta=-1.0)
@example(wJ=1e12, hJ=-1e12, beta=100.0)
def test_sums_of_any_size_end_where_the_loss_is_zero(wJ, hJ, beta):
    s = sector(wJ=wJ, hJ=hJ, beta=beta)
    end = s.beta_limit()
    k = math.sqrt(KERNEL.eigenvalues(SIZES).mu_global / 2)
    with mpmath.workdps(DIGITS):

        def excess(at):
            z = k * (mpmath.mpf(at) - beta)
            w = wJ * mpmath.cosh(z) + mpmath.mpf(hJ) / k * mpmath.sinh(z)
            h = hJ * mpmath.cosh(z) + mpmath.mpf(k) * wJ * mpmath.sinh(z)
            return w * h + 3 * mpmath.mpf(at) - 1

        near = 1e-12 * (1 + abs(end) + abs(beta))
        assert excess(end - near) < 0 < excess(end + near)
    assert np.all(np.isfinite(s.sums_at(end)))


def test_small_and_large_kernels_do_not_cancel_in_the_common_bias():
    for scale in (1e-30, 1e-8, 1e8):
        s = sector(wJ=0.7, hJ=0.9, beta=0.1, kernel=nf.BlockKernel(2.3 * scale, 1.1 * scale, 0.4 * scale))
        wJ, hJ = s.sums_at(s.beta_limit())
        assert wJ * hJ + 3 * s.beta_limit() == pytest.approx(1, abs=1e-7 if scale > 1 else 1e-12)


def test_sums_overflow_to_infinity_and_not_to_an_exception():
    assert sector(wJ=1.0, hJ=1.0).sums_at(1e6) == (math.inf, math.inf)
    assert sector(wJ=1.0, hJ=1.0).sums_at(-1e6)[1] == -math.inf
    with pytest.raises(nf.InputError, match="beta"):
        sector(wJ=1.0).sums_at(math.nan)


@given(st.floats(-1e5, 1e12), st.sampled_from([1.0, 1e-9, 1e9]))
def test_lambert_w_at_both_ends(z, scale):
    z *= scale
    w = lambert_w_of_exp(z)
    assert w >= 0
    if z > -700:
        assert w + math.log(w) == pytest.approx(z, rel=1e-14, abs=1e-14)
    assert lambert_w_of_exp(math.inf) == math.inf


@given(signed(-320, 12).map(abs), st.floats(0, 600), st.sampled_from([1, -1]))
@example(x0=1e-310, t=400.0, sign=1)
@example(x0=0.0, t=1e60, sign=1)
@example(x0=5e-324, t=0.0, sign=-1)
def test_aligned_eigenvalues_of_any_size(x0, t, sign):
    end = limits.x_star(SIZES, KERNEL)
    with mpmath.workdps(DIGITS):
        e, x = mpmath.exp(-2 * mpmath.mpf(rates.class_rate(SIZES, KERNEL)) * t), mpmath.mpf(x0)
        want = x / (e + sign * (1 - e) * x / end) if sign == 1 else x * e / (1 + (1 - e) * x / end)
    found = aligned_eigenvalues(SIZES, KERNEL, np.array([x0]), t, sign)[0]
    assert found == pytest.approx(float(want), rel=2e-12, abs=1e-320)


def test_weights_too_small_to_be_squared_grow_all_the_same():
    W = 1e-200 * np.array([[1.0, 0, 2, 0], [-1, 1, 0, 0], [0, -1, -2, 0]])
    early, late = aligned_state(SIZES, KERNEL, W, 0.0), aligned_state(SIZES, KERNEL, W, 1e4)
    np.testing.assert_allclose(early.W, W, rtol=1e-12, atol=1e-212)
    np.testing.assert_allclose(late.W @ late.W.T, limits.collapsed(SIZES, KERNEL).X, atol=1e-12)


def test_decay_of_any_two_sizes_has_its_limit():
    for w, h in ((1e-320, 1e-3), (1e-3, 1e-320), (1e-200, 1e-200), (5e-324, 5e-324)):
        limit = regularised_limit(SIZES, KERNEL, Decay(w, h, 0.0))
        ratio = math.sqrt(h / w) if h / w < math.inf else math.sqrt(h) / math.sqrt(w)
        assert np.trace(limit.X) == pytest.approx(2 * ratio * limits.x_star(SIZES, KERNEL), rel=1e-12)
        assert limit.NC2 < 1e-12
    with pytest.raises(nf.InputError, match="too strong"):
        regularised_limit(SIZES, KERNEL, Decay(1e60, 1e60, 0.0))


def test_the_drift_has_no_size_at_which_it_fails():
    assert weight_decay_drift(SIZES, KERNEL, 1e-200, 0.1, 3.0) == 1e-200
    assert weight_decay_drift(SIZES, KERNEL, 5e-324, 0.1, 3.0) == 5e-324
    # From far above 1/x^2 grows by 4 lw mu_class/m per unit of time only once x has come down.
    assert weight_decay_drift(SIZES, KERNEL, 1e60, 0.0, 1.0) == pytest.approx(1e60, rel=1e-12)
    assert weight_decay_drift(SIZES, KERNEL, 1e60, 1.0, 1e3) < 0.1
    assert 0 < weight_decay_drift(SIZES, KERNEL, 1.0, 1e60, 1e60) < 1e-59
    grown = feature_decay_drift(SIZES, KERNEL, 1e-200, 0.1, 3.0) / 1e-200
    assert grown == pytest.approx(math.exp(0.6), rel=1e-12)
    assert feature_decay_drift(SIZES, KERNEL, 5e-324, 0.1, 0.0) == 5e-324
    assert feature_decay_drift(SIZES, KERNEL, 1e60, 1.0, 1e3) == pytest.approx(1e60, rel=1e-12)
    assert feature_decay_drift(SIZES, KERNEL, 1.0, 1e60, 1e60) == pytest.approx(
        2e60 * limits.x_star(SIZES, KERNEL)
    )


def test_algebraic_tails_of_nothing_are_nothing():
    t = np.array([0.0, 1.0, 1e200])
    assert np.all(rates.tail_column_sums(t, SIZES, KERNEL, 0.0) == 0)
    assert rates.tail_column_sums(t, SIZES, KERNEL, 0.7)[0] == 0.7
    assert np.all(np.isfinite(rates.tail_column_sums(t, SIZES, KERNEL)) == [False, True, True])
    assert rates.tail_loss(np.array([1e-150]), SIZES, KERNEL)[0] == pytest.approx(1 / (8 * 1.2 * 1e-300))
    assert rates.plateau_time(SIZES, KERNEL, 5e-324) == pytest.approx(
        744.44 / rates.class_rate(SIZES, KERNEL), rel=1e-4
    )


@pytest.mark.parametrize("t", [-1.0, math.nan, math.inf])
def test_times_that_are_none_are_refused(t):
    flow = FrozenClass(SIZES, KERNEL, np.ones((3, 4)), np.ones((4, 2)))
    for call in (
        sector(1.0, 1.0).contrast_at,
        flow.S,
        lambda t: aligned_eigenvalues(SIZES, KERNEL, np.ones(2), t),
        lambda t: weight_decay_drift(SIZES, KERNEL, 1.0, 0.1, t),
    ):
        with pytest.raises(nf.InputError, match="t ="):
            call(t)


def test_other_numbers_that_are_none_are_refused():
    for x0 in (-1.0, math.nan, math.inf):
        with pytest.raises(nf.InputError, match="x0"):
            aligned_eigenvalues(SIZES, KERNEL, np.array([x0]), 1.0)
    with pytest.raises(nf.InputError, match="rate"):
        weight_decay_drift(SIZES, KERNEL, 1.0, -0.1, 1.0)
    with pytest.raises(nf.InputError, match="wP"):
        sector(1e61)

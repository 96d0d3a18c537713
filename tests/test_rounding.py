import math
from fractions import Fraction
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ntkflow.discrete import Momentum
from ntkflow.rounding import SLACK, whole_up

DIGITS = ("1", "1.2", "1.25", "1.5", "2", "2.5", "3", "4", "5", "6", "7", "8", "9")
STEP_SIZES = [f"{d}e-{k}" for d, k in product(DIGITS, range(1, 5))]
TIMES = [f"{d}e{k}" for d, k in product(DIGITS, range(-3, 2))]
MOMENTA = ("0", "0.5", "0.9", "0.99", "0.999")


@pytest.mark.parametrize("beta", MOMENTA)
def test_ordinary_step_sizes_reach_ordinary_times_in_as_many_steps_as_on_paper(beta):
    for eta, t in product(STEP_SIZES, TIMES):
        on_paper = math.ceil(Fraction(t) * (1 - Fraction(beta)) / Fraction(eta))
        assert Momentum(float(eta), float(beta)).steps_to(float(t)) == on_paper, (eta, t)


def test_the_grid_has_quotients_whose_ceiling_is_one_step_too_many():
    pairs = product(STEP_SIZES, TIMES)
    assert sum(math.ceil(float(t) / float(eta)) > Fraction(t) / Fraction(eta) + 0.99 for eta, t in pairs) > 30
    assert math.ceil(0.003 / 0.0003) == 11


@given(st.integers(1, 10**8), st.floats(-0.9 * SLACK, 0.9 * SLACK))
def test_whole_quotients_stay_whole_whatever_their_last_digits(k, off):
    assert whole_up(k * (1 + off)) == k


@given(st.integers(0, 10**6), st.floats(0.01, 0.99))
def test_a_part_of_a_step_is_a_step(k, part):
    assert whole_up(k + part) == k + 1


def test_there_is_always_a_step():
    assert whole_up(1e-12) == 1

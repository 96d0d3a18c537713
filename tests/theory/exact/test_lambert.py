import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import lambertw

from ntkflow.theory.exact.lambert import lambert_w_of_exp


@given(st.floats(-600, 600))
def test_it_is_lambert_w_of_the_exponential(z):
    assert lambert_w_of_exp(z) == pytest.approx(lambertw(math.exp(z)).real, rel=1e-14)


@given(st.floats(-600, 1e300))
def test_it_solves_its_equation_beyond_overflow(z):
    w = lambert_w_of_exp(z)
    assert w + math.log(w) == pytest.approx(z, rel=1e-14, abs=1e-14)


def test_it_underflows_quietly():
    assert lambert_w_of_exp(-1e6) == 0
    assert lambert_w_of_exp(-705.0) == math.exp(-705.0)

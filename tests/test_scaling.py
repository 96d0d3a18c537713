import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ntkflow.scaling import cosine, unit


@given(st.integers(-300, 300), st.integers(-300, 300), st.integers(0, 2**32 - 1))
def test_cosines_see_no_units(a, b, seed):
    A, B = np.random.default_rng(seed).standard_normal((2, 3, 4))
    expected = np.vdot(A, B) / (np.linalg.norm(A) * np.linalg.norm(B))
    assert cosine(10.0**a * A, 10.0**b * B) == pytest.approx(expected, rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("size", [5e-324, 1e-310, 1e-150, 1.0, 3.0, 1e150, 1.7e308])
def test_units_change_no_digit(size):
    A, found = unit(np.array([size, -size / 2]))
    assert np.array_equal(A * found, [size, -size / 2])
    assert 1 <= np.abs(A).max() < 2


def test_what_has_no_size_stays():
    assert np.isnan(cosine(np.zeros(3), np.ones(3)))
    assert unit(np.zeros(2))[1] == 1.0
    assert np.isnan(unit(np.array([np.nan, 1.0]))[0][0])

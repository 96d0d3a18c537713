"""Directions that span little go back as a basis."""

import numpy as np
import pytest
from ntkflow_validation.kernels.backends.combined import combined_directions

rng = np.random.default_rng(0)
W = rng.normal(size=(4, 9))
ROWS = np.linalg.svd(W, full_matrices=False)[2]
# Directions, the most that go back at once, and how many of a basis go back; None where they go as they are.
CASES = {
    "a head and its row space": (np.concatenate([W, ROWS]), 8, 4),
    "a head and all else": (np.concatenate([W, rng.normal(size=(4, 9))]), 8, None),
    "the same twice": (np.concatenate([W - W.mean(axis=0)] * 2), 8, 3),
    "no room for the basis": (np.concatenate([W, ROWS]), 3, None),
    "independent": (W, 8, None),
    "one": (W[:1], 8, None),
    "zero": (np.zeros((3, 9)), 8, None),
}


@pytest.mark.parametrize("name", CASES)
def test_combinations_of_the_basis_are_the_directions(name):
    V, most, rank = CASES[name]
    found = combined_directions(V, most)
    if rank is None:
        assert found is None
        return
    basis, mix = found
    assert basis.shape == (rank, 9)
    np.testing.assert_allclose(mix @ basis, V, atol=1e-6)
    np.testing.assert_allclose(basis @ basis.T, np.eye(rank), atol=1e-6)

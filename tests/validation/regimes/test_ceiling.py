import numpy as np
import pytest
from ntkflow_validation.regimes.ceiling import ceiling, described

from ntkflow.problem.kernels import BlockKernel
from ntkflow.problem.sizes import Sizes
from ntkflow.problem.state import State

SIZES = Sizes(3, 4, 5)


def kernel(unequal=0.0, seed=0):
    """A block kernel, then one whose classes differ."""
    Y = np.eye(3)[SIZES.labels]
    weights = np.array([1.0, 1 + unequal, 1 + 3 * unequal])
    return 0.2 + Y @ np.diag(weights) @ Y.T + 0.5 * np.eye(12)


def state():
    rng = np.random.default_rng(1)
    return State(0.05 * rng.normal(size=(5, 12)), 0.3 * rng.normal(size=(3, 5)), np.zeros(3))


def test_a_block_kernel_is_described_by_itself():
    found = described(kernel(), SIZES)
    assert isinstance(found["block"], BlockKernel)
    for rung in found.values():
        G = np.random.default_rng(0).normal(size=(5, 12))
        np.testing.assert_allclose(rung.apply(G, SIZES), G @ kernel(), atol=1e-12)


def test_class_constants_are_those_of_the_classes():
    found = described(kernel(0.4), SIZES)["class-block"]
    np.testing.assert_allclose(found.kappa_d, [1.7, 2.1, 2.9])
    np.testing.assert_allclose(np.diag(found.B), [1.2, 1.6, 2.4])
    G = np.random.default_rng(0).normal(size=(5, 12))
    np.testing.assert_allclose(found.apply(G, SIZES), G @ kernel(0.4), atol=1e-12)


def test_nothing_is_missed_but_what_the_description_leaves_out():
    exact = ceiling(kernel(), state(), SIZES, 3.0, 1 / 10)
    assert exact["block"] == pytest.approx(1, abs=1e-6)
    unequal = ceiling(kernel(0.6), state(), SIZES, 3.0, 1 / 10)
    assert unequal["class-block"] == pytest.approx(1, abs=1e-6)
    assert 0 < unequal["block"] < 0.999


def test_a_flow_that_does_not_get_there_has_no_ceiling():
    assert ceiling(kernel(), state(), SIZES, 1e-4, 1 / 10) == {}

"""Visible and invisible variability: identities on random states, and the law of Q along an exact flow."""

import numpy as np
import pytest
from ntkflow_validation.metrics.variability import (
    Readout,
    foretold,
    row_projector,
    variability,
    variability_metrics,
)

from ntkflow.metrics.neural_collapse import measure
from ntkflow.problem.sizes import Sizes
from ntkflow.problem.state import State

RNG = np.random.default_rng(0)
SIZES = Sizes(C=3, m=4, n=6)


def state(sizes=SIZES):
    return State(RNG.normal(size=(6, sizes.N)), RNG.normal(size=(3, 6)), RNG.normal(size=3))


@pytest.mark.parametrize("sizes", [SIZES, Sizes(C=3, m=(2, 4, 5), n=6)], ids=["equal", "unequal"])
def test_the_visible_part_is_that_of_the_residual_and_both_add_up(sizes):
    one = state(sizes)
    found = variability(one, sizes)
    assert found.of_residual == pytest.approx(found.visible, rel=1e-10)
    means = np.stack([one.H[:, sizes.labels == c].mean(axis=1) for c in range(3)], axis=1)
    whole = np.sum((one.H - means[:, sizes.labels]) ** 2) / (sizes.N / 3)
    assert found.visible + found.invisible == pytest.approx(whole)


def test_with_a_classifier_of_full_rank_all_is_visible():
    W, one = RNG.normal(size=(6, 6)), state()
    found = variability(State(one.H, W, np.zeros(6)), SIZES)
    assert found.invisible == pytest.approx(0, abs=1e-20)
    assert found.NC1_visible == pytest.approx(measure(one, SIZES)["NC1_tirer"])


def test_lines_have_them():
    assert set(variability_metrics(state(), SIZES)) == {
        "variability_visible", "variability_invisible", "variability_of_residual", "NC1_visible",
    }  # fmt: skip


def test_the_invisible_part_is_bounded_by_the_imbalance():
    a = RNG.normal(size=(5, SIZES.N))
    readout = Readout(RNG.normal(size=(3, 6)), RNG.normal(size=(6, 5)), RNG.normal(size=6))
    H = readout.V @ a + readout.c[:, None]
    found = variability(State(H, readout.W, np.zeros(3)), SIZES)
    told = foretold(readout.invisible_norm(), a, SIZES)
    assert found.invisible <= told.bound
    assert told.estimate < told.bound
    Pi_ = np.eye(6) - row_projector(readout.W)
    assert readout.invisible_norm() == pytest.approx(np.trace(Pi_ @ readout.written @ Pi_))

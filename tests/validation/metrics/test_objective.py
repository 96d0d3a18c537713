"""Residuals of other losses and heads, against differences of the loss."""

import numpy as np
import pytest
from ntkflow_validation.metrics.compare import observables, quantities
from ntkflow_validation.metrics.objective import PLAIN, Objective

import ntkflow as nf

SIZES = nf.Sizes(3, (2, 4, 3), 5)
STATE = nf.initial.make("gaussian", SIZES, None, seed=2)
OTHERS = {
    "plain": PLAIN,
    "held": Objective(biased=False),
    "smoothed": Objective(nf.Smoothed(nf.MSE(), 0.3)),
    "cross-entropy": Objective(nf.CrossEntropy()),
    "smoothed cross-entropy": Objective(nf.Smoothed(nf.CrossEntropy(), 0.3), biased=False),
}


@pytest.mark.parametrize("name", OTHERS)
def test_the_residual_is_the_slope_of_the_loss_and_curves_as_it_does(name):
    objective, h = OTHERS[name], 1e-5
    V = np.random.default_rng(0).standard_normal((3, SIZES.N))
    R = objective.residual(STATE, SIZES)

    def at(step):
        # Outputs moved along V: by what H and b cannot do, so in place of them W = I on other features.
        F = STATE.logits + step * V
        return nf.State(F, np.eye(3), np.zeros(3))

    sizes = nf.Sizes(3, SIZES.m, 3)
    slope = (objective.value(at(h), sizes) - objective.value(at(-h), sizes)) / (2 * h)
    assert np.vdot(R, V) == pytest.approx(slope, rel=1e-7)
    curved = (objective.residual(at(h), sizes) - objective.residual(at(-h), sizes)) / (2 * h)
    np.testing.assert_allclose(objective.curved(STATE, SIZES, 50 * V), 50 * curved, atol=1e-6)
    np.testing.assert_array_equal(objective.of_outputs(STATE.logits.copy(), SIZES), R)
    np.testing.assert_allclose(objective.of_biases(R), R.sum(axis=1) * objective.biased)


@pytest.mark.parametrize("name", OTHERS)
def test_losses_and_scored_residuals_are_of_the_objective(name):
    objective = OTHERS[name]
    found, parts = observables(STATE, SIZES, objective), quantities(STATE, SIZES, objective)
    assert found["loss"] == pytest.approx(objective.value(STATE, SIZES))
    names = ("global", "class", "individual")
    for part in names:
        half = 0.5 * np.sum(parts[f"residual_{part}"] ** 2)
        assert found[f"loss_{part}"] == pytest.approx(half)
    np.testing.assert_allclose(
        sum(parts[f"residual_{part}"] for part in names), objective.residual(STATE, SIZES)
    )
    if objective.squares:
        assert sum(found[f"loss_{part}"] for part in names) == pytest.approx(found["loss"])

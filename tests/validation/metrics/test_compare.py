import json

import numpy as np
import pytest
from ntkflow_validation.metrics.compare import QUANTITIES, compare, quantities, series

from ntkflow.errors import InputError
from ntkflow.problem.sizes import Sizes
from ntkflow.problem.state import State

SIZES = Sizes(C=3, m=4, n=5)
TIMES = np.array([0.5, 1.0, 2.0])


def state(seed):
    rng = np.random.default_rng(seed)
    return State(rng.normal(size=(5, 12)), rng.normal(size=(3, 5)), rng.normal(size=3))


STATES = [state(seed) for seed in range(3)]


def test_a_perfect_prediction_has_skill_one_and_no_change_has_skill_zero():
    perfect = compare(TIMES, STATES, STATES, SIZES)
    constant = compare(TIMES, STATES, [STATES[0]] * 3, SIZES)
    for name in QUANTITIES:
        assert perfect.pooled[name] == 1
        assert constant.pooled[name] == pytest.approx(0)
        np.testing.assert_allclose(constant.skill[name][1:], 0, atol=1e-12)
        assert np.isnan(perfect.skill[name][0])


def test_skill_is_one_minus_error_over_change():
    halfway = State(STATES[1].H, (STATES[0].W + 3 * STATES[1].W) / 4, STATES[1].b)
    scores = compare(TIMES[:2], STATES[:2], [STATES[0], halfway], SIZES)
    assert scores.skill["W"][1] == pytest.approx(1 - 1 / 16)
    assert scores.pooled["W"] == pytest.approx(1 - 1 / 16)
    assert scores.skill["M"][1] == 1


def test_pooled_skill_weighs_times_by_their_change():
    predicted = [STATES[0], STATES[1], STATES[0]]
    scores = compare(TIMES, STATES, predicted, SIZES)
    changes = [np.sum((s.b - STATES[0].b) ** 2) for s in STATES]
    assert scores.pooled["b"] == pytest.approx(1 - changes[2] / (changes[1] + changes[2]))


def test_what_never_changes_has_no_skill():
    scores = compare(TIMES[:2], [STATES[0], STATES[0]], [STATES[0], STATES[1]], SIZES)
    assert all(np.isnan(value) for value in scores.pooled.values())
    assert json.dumps(scores.to_dict(), allow_nan=False).count("null") >= len(QUANTITIES)


def test_parts_of_the_residual_are_the_parts_of_the_loss():
    values, parts = quantities(STATES[0], SIZES), series([STATES[0]], SIZES)
    for name in ("global", "class", "individual"):
        assert np.sum(values[f"residual_{name}"] ** 2) / 2 == pytest.approx(
            parts[f"loss_{name}"][0], rel=1e-12
        )
    R = STATES[0].logits - np.repeat(np.eye(3), 4, axis=1)
    assert parts["loss"][0] == pytest.approx(np.sum(R**2) / 2, rel=1e-12)
    assert np.linalg.norm(values["M"]) == pytest.approx(parts["M_norm"][0], rel=1e-12)
    assert np.linalg.norm(values["H2"]) / np.sqrt(SIZES.m) == pytest.approx(parts["H2_norm"][0], rel=1e-12)


def test_lengths_must_agree():
    with pytest.raises(InputError, match="one state per time"):
        compare(TIMES, STATES, STATES[:2], SIZES)

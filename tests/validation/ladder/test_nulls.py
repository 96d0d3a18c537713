"""Baselines: what they predict where the answer is known, and when they say that a window tests little."""

import numpy as np
import pytest
from ntkflow_validation.ladder.nulls import CLASSLESS, FROZEN, baselines, says_little
from ntkflow_validation.ladder.rungs import build
from ntkflow_validation.ladder.score.scores import Horizon

from tests.validation.ladder.networks import measured


@pytest.fixture(scope="module")
def known():
    found = measured()
    times = np.array([0.0, 0.01, 0.03])
    motion = np.full_like(found.state.H, 2.0)
    return found, times, {p.key[0]: p for p in baselines(found, found.state, times, motion)}


def test_persistence_and_constant_velocity(known):
    found, _, predictions = known
    assert all(state is found.state for state in predictions["persistence"].states)
    last = predictions["constant-velocity"].states[-1]
    np.testing.assert_allclose(last.H, found.state.H + 0.03 * 2.0)
    np.testing.assert_allclose(last.W, found.state.W - 0.03 * found.residual @ found.state.H.T)
    np.testing.assert_allclose(last.b, found.state.b - 0.03 * found.residual.sum(axis=1))


def test_frozen_features_are_the_regression_on_them(known):
    found, times, predictions = known
    last = predictions["frozen-features"].states[-1]
    np.testing.assert_allclose(last.H, found.state.H, rtol=0, atol=1e-13)
    # [W b] follows a linear flow towards the labels: its residual is R exp(-t (H^T H + 1 1^T)).
    A = np.vstack([found.state.H, np.ones(found.sizes.N)])
    values, vectors = np.linalg.eigh(A.T @ A)
    decayed = found.residual @ (vectors * np.exp(-times[-1] * values)) @ vectors.T
    np.testing.assert_allclose(last.logits - found.sizes.Y, decayed, rtol=0, atol=5e-5)


def test_without_class_structure_all_pairs_have_their_mean(known):
    found, _, _ = known
    kernel, full = build(CLASSLESS, found).operator.kernel, found.kernel.block()
    assert kernel.kappa_c == kernel.kappa_n
    K = full.matrix(found.sizes)
    off = K[~np.eye(len(K), dtype=bool)]
    assert kernel.kappa_n == pytest.approx(off.mean())
    assert build(FROZEN, found).constants == 0


def horizon(skill):
    return Horizon({"M": np.array([[0.0, 1.0 - skill]])}, {"M": np.array([[0.0, 1.0]])}, {})


def test_a_window_that_a_baseline_predicts_says_little():
    said = says_little([("nothing changes", horizon(0.0)), ("frozen", horizon(0.9))], horizon(0.95))
    assert said is not None
    assert "'frozen' has skill 0.90" in said
    assert says_little([("nothing changes", horizon(0.0)), ("frozen", horizon(0.3))], horizon(0.95)) is None
    assert "frozen" in (says_little([("frozen", horizon(0.3))], horizon(0.2)) or "")
    assert says_little([("nothing changes", horizon(0.0))], horizon(-0.4)) is None
    assert says_little([("refused", None)], horizon(0.5)) is None

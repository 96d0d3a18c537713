from dataclasses import replace

import numpy as np
import pytest
from ntkflow_validation.regimes import inputs
from ntkflow_validation.regimes.cells import BASE, SMALL, Recipe, Scale

from ntkflow.problem.sizes import Sizes
from ntkflow.problem.state import class_means

SIZES = Sizes(3, 4, 1)


def test_equalised_means_are_orthogonal_and_alike_and_nothing_else_changes():
    X = np.random.default_rng(0).normal(size=(12, 7)) + 1
    made = inputs.equalised(X, SIZES.labels, SIZES)
    before, after = class_means(X.T, SIZES), class_means(made.T, SIZES)
    gram = after.T @ after
    np.testing.assert_allclose(gram, gram[0, 0] * np.eye(3), atol=1e-12)
    assert np.sum(after**2) == pytest.approx(np.sum(before**2))
    np.testing.assert_allclose(made - after.T[SIZES.labels], X - before.T[SIZES.labels], atol=1e-12)
    # The nearest such: what is so already stays.
    np.testing.assert_allclose(inputs.equalised(made, SIZES.labels, SIZES), made, atol=1e-12)


def test_files_are_made_once(tmp_path, monkeypatch):
    base = replace(BASE, data=replace(BASE.data, classes=3, per_class=4))
    scale = Scale(base, 2, widths_made=(8,), made=("equalised",), recipes={SMALL: Recipe(0.1, 5, 5)})
    inputs.ensure(scale, tmp_path)
    with np.load(tmp_path / "equalised-seed1.npz") as found:
        assert found["X"].shape == (12, 64)
        assert found["X"].dtype == np.float32
        gram = class_means(found["X"].T.astype(float), SIZES)
        np.testing.assert_allclose(gram.T @ gram / (gram[:, 0] @ gram[:, 0]), np.eye(3), atol=1e-5)
        np.testing.assert_array_equal(found["y"], SIZES.labels)
    monkeypatch.setattr(inputs, "make", lambda *_: 1 / 0)
    inputs.ensure(scale, tmp_path)


@pytest.mark.slow
def test_features_of_a_collapsed_network_have_hardly_any_variability(tmp_path):
    base = replace(
        BASE, data=replace(BASE.data, classes=3, per_class=4), model=replace(BASE.model, features=5)
    )
    scale = Scale(base, 1, widths_made=(32,), made=("collapsed",), recipes={SMALL: Recipe(0.1, 200, 200)})
    inputs.ensure(scale, tmp_path)
    with np.load(tmp_path / "collapsed-seed0.npz") as found:
        H = found["X"].T.astype(float)
    assert H.shape == (5, 12)
    assert np.mean(H**2) == pytest.approx(1)
    means = class_means(H, SIZES)
    within = np.mean(np.sum((H - means[:, SIZES.labels]) ** 2, axis=0))
    assert within < 0.05 * np.mean(np.sum((means - means.mean(axis=1, keepdims=True)) ** 2, axis=0))

"""Kernels that are summed layer by layer on a CPU are those of the Jacobian's rows."""

import threading

import numpy as np
import pytest
from ntkflow_validation.kernels.backends import by_layer, differences
from ntkflow_validation.kernels.backends.layers import Layer

from ntkflow.integrate.engines.precision import x64
from tests.validation.kernels.backends.test_layers import LABELS, backend
from tests.validation.kernels.nets import cnn, inputs, mlp, parameters, residual

COUNTS, LIMIT = np.bincount(LABELS), 2**20
V = np.random.default_rng(3).normal(size=(3, 4))
# Ten directions of two dimensions, which go back as two.
SPANNED = np.random.default_rng(4).normal(size=(10, 2)) @ V[:2]


def wanted(found, x, V):
    J = found.rows(x, V).astype(float).transpose(1, 0, 2)
    ends = np.cumsum(COUNTS)[:-1]
    moved = np.concatenate([own - own.mean(1, keepdims=True) for own in np.split(J, ends, axis=1)], axis=1)
    return J @ J.transpose(0, 2, 1), (moved**2).sum(2)


KEPT = ["by size", "all", "none", "winning"]


@pytest.mark.parametrize("kept", KEPT)
def test_they_are_those_of_the_rows_however_layers_are_kept(kept, monkeypatch):
    if kept in ("all", "none"):
        monkeypatch.setattr(
            by_layer, "apart", lambda layers: tuple(layer.leaf for layer in layers if kept == "all")
        )
    monkeypatch.setattr(Layer, "wins", property(lambda layer: kept == "winning" and layer.leaf == 1))
    # Two of three directions go back together, and then the last and one that was there; samples by four.
    for place, name, value in (
        (by_layer, "TOGETHER", 2),
        (by_layer, "CALL", 8),
        (by_layer, "SPACE", 1),
        (by_layer, "COLUMNS", 20),
        (differences, "COLUMNS", 20),
    ):
        monkeypatch.setattr(place, name, value)
    x = inputs(LABELS)
    # A computation of its own, since what is compiled is found again.
    size = 1.0 + KEPT.index(kept)
    found = backend(lambda p, x: size * cnn(p, x), parameters(cnn), x)
    assert found.contractible(x, 3, LIMIT) == 3
    K, deviations = found.contracted(x, V, COUNTS, LIMIT)
    kernel, squares = wanted(found, x, V)
    np.testing.assert_allclose(K, kernel, atol=2e-6 * np.abs(kernel).max())
    np.testing.assert_allclose(deviations, squares, rtol=1e-4)
    alone, nothing = found.contracted(x, V, None, LIMIT)
    np.testing.assert_allclose(alone, kernel, atol=2e-6 * np.abs(kernel).max())
    assert not nothing.any()


def test_combinations_of_few_directions_go_back_as_these():
    x = inputs(LABELS)
    found, passed = backend(residual, parameters(residual), x), []
    own = found._executable
    found._executable = lambda name, x, *V: passed.append((name, *(len(v) for v in V))) or own(name, x, *V)
    K, deviations = found.contracted(x, SPANNED, COUNTS, LIMIT)
    assert {k for name, k in passed if name == "pieces"} <= {10, 2}
    assert passed[-1] == ("pieces", 2)
    kernel, squares = wanted(found, x, SPANNED)
    np.testing.assert_allclose(K, kernel, atol=1e-5 * np.abs(kernel).max())
    np.testing.assert_allclose(deviations, squares, rtol=1e-3)


def test_deviations_have_their_digits_where_samples_of_a_class_are_nearly_one():
    x = inputs(LABELS)
    near = (x[:1] + 1e-4 * x).astype(np.float32)
    found = backend(residual, parameters(residual), near)
    _, deviations = found.contracted(near, np.eye(4), np.array([6]), LIMIT)
    J = found.rows(near, np.eye(4)).astype(float)
    np.testing.assert_allclose(deviations.T, ((J - J.mean(0)) ** 2).sum(2), rtol=0.05)
    assert deviations.max() < 1e-5 * (J**2).sum(2).min()


def test_two_calls_run_side_by_side(monkeypatch):
    x = inputs(LABELS)
    found = backend(residual, parameters(residual), x)
    monkeypatch.setattr(by_layer, "CALL", 3)
    once, own, both = found.contracted(x, V, COUNTS, LIMIT), found._executable, threading.Barrier(2)

    def beside(program):
        def call(*given):
            # Whoever comes alone waits for the other one, but not for ever.
            both.wait(timeout=20)
            return program(*given)

        return call

    found._executable = lambda *given: beside(own(*given))
    for first, second in zip(once, found.contracted(x, V, COUNTS, LIMIT), strict=True):
        np.testing.assert_array_equal(first, second)


def test_calls_have_the_settings_of_whoever_asked():
    x = inputs(LABELS).astype(float)
    # 64 bits are a setting of the thread.
    with x64():
        found = backend(lambda p, x: cnn(p, x.astype("float32")), parameters(cnn), x)
        K, _ = found.contracted(x, V, COUNTS, LIMIT)
    kernel, _ = wanted(backend(cnn, parameters(cnn), inputs(LABELS)), inputs(LABELS), V)
    np.testing.assert_allclose(K, kernel, atol=2e-6 * np.abs(kernel).max())


def test_what_goes_wrong_in_a_call_is_said_to_whoever_asked():
    x = inputs(LABELS)
    found = backend(residual, parameters(residual), x)
    before, own = threading.active_count(), found._executable

    def failing(name, *given):
        def call(*_):
            raise MemoryError("no room")

        return call if name == "pieces" else own(name, *given)

    found._executable = failing
    with pytest.raises(MemoryError, match="no room"):
        found._by_layer(x, V, COUNTS, LIMIT)
    assert threading.active_count() == before


def test_what_does_not_fit_or_has_nothing_to_gain_is_not_contracted(monkeypatch):
    x = inputs(LABELS)
    assert backend(residual, parameters(residual), x).contractible(x, 3, 2**10) == 0
    monkeypatch.setattr(Layer, "wins", property(lambda _: True))
    assert backend(mlp, parameters(mlp), x).contractible(x, 3, LIMIT) == 0


def test_memory_that_is_asked_for_holds_two_groups_of_directions():
    layers = [Layer(0, (1, 4, 4, 2), 16, 9, 2), Layer(1, (1, 2, 2, 3), 4, 18, 3)]
    P, N = 9 * 2 + 18 * 3 + 5, 7
    assert by_layer.apart(layers) == (1,)
    inputs_and_rows, direction = 4 * 18 + 18 * 3, 9 * 2 + 5 + 4 * 3
    for k in (1, 5):
        assert by_layer.together(layers, P, N, 4 * N * (inputs_and_rows + 2 * k * direction)) == k
        assert by_layer.together(layers, P, N, 4 * N * (inputs_and_rows + 2 * k * direction) - 1) == k - 1

"""What a function computes has one name, and everything it closes over is in it."""

import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ntkflow_validation.kernels import FolderStore, JaxBackend, measure
from ntkflow_validation.kernels.backends.computation import computation

from tests.validation.kernels.nets import inputs, mlp, parameters

LABELS = np.repeat([0, 1, 2], 4)
HERE = Path(__file__).resolve()


def one_layer(p, x):
    return jnp.tanh(x.reshape(len(x), -1) @ p["a"])


def two_layers(p, x):
    return jnp.tanh(2 * x.reshape(len(x), -1) @ p["a"])


def value(function, store=None):
    return measure(function, {"a": parameters(mlp)["a"]}, inputs(LABELS), LABELS, store=store).kappa_d.value


def test_a_store_knows_functions_apart(tmp_path):
    alone = [value(f) for f in (one_layer, two_layers)]
    assert alone[0] != pytest.approx(alone[1], rel=0.01)
    store = FolderStore(tmp_path)
    assert [value(f, store) for f in (one_layer, two_layers, one_layer)] == [*alone, alone[0]]
    # The third was found there.
    assert len(list(tmp_path.iterdir())) == 2


def closed_over(kind):
    """A function over a number that can change in place, and what changes it."""
    if kind == "numpy":
        shift = np.zeros(5, np.float32)
        return lambda p, x: one_layer(p, x) * (1 + shift), lambda: shift.__iadd__(1)
    if kind == "object":
        shift = type("Shift", (), {"by": 0.0})
        return lambda p, x: one_layer(p, x) * (1 + shift.by), lambda: setattr(shift, "by", 1.0)
    from flax import nnx

    norm = nnx.BatchNorm(5, rngs=nnx.Rngs(0), use_running_average=True)

    def change():
        norm.var[...] = norm.var[...] / 4

    return lambda p, x: norm(one_layer(p, x)), change


@pytest.mark.parametrize("kind", ["numpy", "object", "nnx"])
def test_what_a_function_closes_over_is_seen_to_change(kind, tmp_path):
    function, change = closed_over(kind)
    backend = JaxBackend(lambda p, _, x: function(p, x), {"a": parameters(mlp)["a"]})
    x, store = inputs(LABELS), FolderStore(tmp_path)

    def found():
        again = measure(backend, None, x, LABELS)
        return again.kappa_d.value, value(function), value(function, store)

    before = found()
    change()
    after = found()
    assert len(set(before)) == len(set(after)) == 1
    assert after[0] == pytest.approx(4 * before[0], rel=1e-3)


@partial(jax.custom_jvp, nondiff_argnums=(1,))
def twice_or(x, slope):
    del slope
    return 2 * x


@twice_or.defjvp
def _(slope, primals, tangents):
    return 2 * primals[0], slope * tangents[0]


@partial(jax.custom_vjp, nondiff_argnums=(1,))
def twice_back(x, slope):
    del slope
    return 2 * x


twice_back.defvjp(lambda x, slope: (2 * x, None), lambda slope, rest, g: (slope * g,))


@pytest.mark.parametrize("own", [twice_or, twice_back])
def test_a_derivative_of_its_own_is_part_of_a_function(own, tmp_path):
    # The same outputs, and other gradients.
    def scaled(slope):
        return lambda p, x: own(one_layer(p, x), slope)

    store = FolderStore(tmp_path)
    assert value(scaled(3.0), store) == pytest.approx(9 * value(scaled(1.0), store), rel=1e-5)


def test_what_cannot_be_seen_is_never_found(tmp_path):
    shift = [0.0]

    def shifted(x):
        return x + np.float32(shift[0])

    def function(p, x):
        given = jax.pure_callback(
            shifted, jax.ShapeDtypeStruct(x.shape, x.dtype), x, vmap_method="sequential"
        )
        return one_layer(p, given)

    store = FolderStore(tmp_path)
    before = value(function, store)
    shift[0] = 1.0
    assert value(function, store) != before


def test_names_and_places_are_not_part_of_it():
    def one(p, x):
        return jnp.where(x > 0, jax.nn.relu(x @ p), jnp.ones(3) * 2)

    other = lambda weights, given: jnp.where(given > 0, jax.nn.relu(given @ weights), jnp.ones(3) * 2)  # noqa: E731
    p, x = jnp.ones((3, 3)), jnp.ones((2, 3))
    first, second = computation(one, p, x), computation(other, p, x)
    assert first == second
    assert first.custom
    assert (
        computation(lambda p, x: one(p, x) + 0.5, p, x).digest
        != computation(lambda p, x: one(p, x) + 0.25, p, x).digest
    )
    assert computation(one, p, x).digest != computation(one, p, jnp.ones((4, 3))).digest


def keep(folder, scale):
    """In a process of its own."""
    table = scale * np.arange(1, 6, dtype=np.float32)
    print(value(lambda p, x: jax.nn.relu(one_layer(p, x)) * table, FolderStore(folder)))


def test_processes_share_what_is_the_same_and_nothing_else(tmp_path):
    def child(seed, scale):
        code = f"import sys; sys.path.insert(0, {str(HERE.parents[4])!r}); "
        code += "from tests.validation.kernels.backends.test_computation import keep; "
        code += f"keep({str(tmp_path)!r}, {scale})"
        environment = {**os.environ, "PYTHONHASHSEED": str(seed)}
        done = subprocess.run(
            [sys.executable, "-c", code], check=True, capture_output=True, text=True, env=environment
        )
        return float(done.stdout), {p.name: p.stat().st_mtime_ns for p in tmp_path.iterdir()}

    first, stored = child(1, 1)
    assert len(stored) == 1
    assert child(2, 1) == (first, stored)
    other, both = child(3, 2)
    assert other == pytest.approx(4 * first, rel=1e-5)
    assert len(both) == 2


def test_the_next_snapshot_compiles_nothing(monkeypatch):
    from ntkflow_validation.kernels.backends import jax_backend

    compiled = []
    monkeypatch.setattr(jax_backend, "release", lambda: compiled.append(1))
    for scale in (1.0, 2.0):
        # A new function object every time, and other parameters.
        params = {"a": scale * parameters(mlp)["a"]}
        measure(lambda p, x: 7 * one_layer(p, x), params, inputs(LABELS), LABELS)
        compiled.append(scale)
    assert compiled[0] == 1
    assert compiled[-2:] == [1.0, 2.0]

"""What is observed is float32 wherever products are TensorFloat-32 by default; of training a setting decides."""

import os
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ntkflow_validation import datasets
from ntkflow_validation.config.config import DataConfig, ModelConfig, RunConfig, TrainConfig
from ntkflow_validation.models import build
from ntkflow_validation.models.base import named_leaves
from ntkflow_validation.precision import DETERMINISTIC, full, in_order
from ntkflow_validation.runs.measurement_run import measure_snapshot
from ntkflow_validation.training.objective import stable_rate
from ntkflow_validation.training.train import accuracy, make_step, probe, recalibrated, start

from ntkflow.errors import InputError
from tests.emulated import emulated, plain, tf32

CONFIG = RunConfig(
    data=DataConfig(classes=2, per_class=2),
    model=ModelConfig(name="cnn", features=3, width=2, norm="batch", readout="pool"),
    training=TrainConfig(steps=1, learning_rate=0.1),
)
DATA = datasets.load(CONFIG.data, 0)


def network():
    """A new one, for which nothing has been compiled."""
    return build(CONFIG.model, DATA.input_shape, 2, 0)


def observed():
    """Everything that is seen of a network at its start."""
    net = network()
    state = start(net, CONFIG.training)
    x = jnp.asarray(DATA.x)
    return {
        "features": probe(net, state.variables, DATA.x),
        "accuracy": accuracy(net, state.variables, DATA.x, DATA.labels),
        **named_leaves(recalibrated(net, DATA, state).variables.statistics),
        "stable rate": stable_rate(net, CONFIG.training, state.variables, x, 2),
        "kernel": measure_snapshot(net, state.variables, DATA, CONFIG.kernels).sample().K,
    }


def stepped(precision):
    """Parameters after one step."""
    state, recipe = start(net := network(), CONFIG.training), replace(CONFIG.training, precision=precision)
    labels = jnp.asarray(DATA.labels.astype(np.int32))
    return named_leaves(make_step(net, recipe, 2)(state, jnp.asarray(DATA.x), labels).variables.params)


def test_the_emulation_rounds_products_unless_they_ask_for_float32():
    x = jnp.asarray(np.random.default_rng(0).standard_normal((5, 5)), jnp.float32)
    # jnp.matmul is a program that is kept, and would keep what it was compiled to.
    dot = jax.lax.dot
    with plain():
        unrounded, exact = dot(x, x), dot(jnp.ones((5, 5)), x.T)
    with emulated("tf32"):
        np.testing.assert_array_equal(
            jax.jit(lambda a: dot(a, a))(x), dot(tf32(x), tf32(x), precision="float32")
        )
        np.testing.assert_array_equal(jax.jit(full(lambda a: dot(a, a)))(x), unrounded)
        gradient = jax.grad(lambda a: jnp.sum(dot(a, x)))(x)
    with plain():
        np.testing.assert_array_equal(dot(x, x), unrounded)
    # The transposed product rounds too: exactly 1^T x^T otherwise.
    off = float(jnp.abs(gradient - exact).max() / jnp.abs(exact).max())
    assert 1e-5 < off < 2e-3


def test_nothing_that_is_observed_is_rounded():
    with plain("tf32"):
        exact = observed()
    with emulated("tf32"):
        again = observed()
    for name, value in exact.items():
        np.testing.assert_array_equal(again[name], value, err_msg=name)


@pytest.mark.parametrize("precision", ["float32", "tensorfloat32"])
def test_training_multiplies_as_its_setting_says(precision):
    with plain():
        exact = stepped(precision)
    with emulated("tf32"):
        found = stepped(precision)
    # As one vector: biases before a normalisation have no gradient, and what they have is rounding.
    off, size = (
        np.sqrt(sum(np.sum(v**2) for v in vs))
        for vs in ((found[k] - exact[k] for k in exact), exact.values())
    )
    assert off == 0 if precision == "float32" else 1e-6 < off / size < 1e-2


def test_another_precision_is_refused():
    with pytest.raises(InputError, match="float32, tensorfloat32"):
        TrainConfig(precision="bfloat16")


def test_the_order_of_sums_is_told_to_xla_in_time(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--mine")
    monkeypatch.setattr("jax._src.xla_bridge.backends_are_initialized", lambda: False)
    in_order()
    in_order()
    assert os.environ["XLA_FLAGS"] == f"--mine {DETERMINISTIC}"
    monkeypatch.setenv("XLA_FLAGS", "--mine")
    monkeypatch.setattr("jax._src.xla_bridge.backends_are_initialized", lambda: True)
    with plain():
        in_order()  # on a CPU sums have their order anyway
    assert os.environ["XLA_FLAGS"] == "--mine"
    with emulated("gpu"), pytest.raises(InputError, match=f"start with XLA_FLAGS={DETERMINISTIC}"):
        in_order()

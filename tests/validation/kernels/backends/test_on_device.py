"""Kernels contracted where an accelerator has their derivatives, against those that the host contracts."""

import jax
import numpy as np
import pytest
from ntkflow_validation.config.config import ModelConfig
from ntkflow_validation.kernels.backends import jax_backend
from ntkflow_validation.kernels.backends.jax_backend import JaxBackend
from ntkflow_validation.kernels.budget import Budget
from ntkflow_validation.kernels.methods.gram import contractible, grams, group_size
from ntkflow_validation.kernels.task import Task
from ntkflow_validation.models import build

from tests.emulated import emulated


def task(name, labels, **model):
    rng = np.random.default_rng(0)
    network = build(ModelConfig(name=name, **model), (8, 8, 1), 3, 0)
    x = (rng.normal(size=(3, 8, 8, 1))[labels] + 0.5 * rng.normal(size=(len(labels), 8, 8, 1))).astype(
        np.float32
    )
    backend = JaxBackend(network.body_features, network.initial.params["body"], network.initial).check(x)
    return Task(backend, x, labels, budget=Budget.parse("1GiB"))


@pytest.mark.parametrize(
    ("name", "counts", "model"),
    [
        ("cnn", (3, 3), {"features": 5, "width": 2, "norm": "none"}),
        ("mlp", (2, 1, 3), {"features": 3, "width": 4, "depth": 1}),
        pytest.param("resnet8", (3, 3, 3), {"width": 2}, marks=pytest.mark.slow),
    ],
)
def test_the_device_contracts_what_the_host_does(name, counts, model):
    measured = task(name, np.repeat(np.arange(len(counts)), counts), **model)
    V = np.eye(measured.backend.n)
    expected = grams(measured, V)
    with emulated("gpu"):
        assert contractible(measured, len(V)) == len(V)
        found = grams(measured, V)
    np.testing.assert_allclose(found.mean, expected.mean, rtol=1e-6, atol=1e-6 * np.abs(expected.mean).max())
    np.testing.assert_allclose(found.norms, expected.norms, rtol=1e-6)
    for part in ("diagonal", "within", "means"):
        own, other = getattr(found.sums, part), getattr(expected.sums, part)
        np.testing.assert_allclose(own, other, rtol=1e-5, atol=1e-6 * np.nanmax(np.abs(other)))


def test_directions_are_as_many_as_the_memory_of_the_device_holds(monkeypatch):
    measured = task("cnn", np.repeat([0, 1], 2), features=40, width=2, norm="none")
    one = jax_backend.ROWS * 4 * measured.N * measured.backend.P
    with monkeypatch.context() as patch:
        patch.setattr(jax, "default_backend", lambda: "cpu")
        # That memory is the host's.
        assert contractible(measured, 40) == 40
    with emulated("gpu"):
        assert jax_backend.device_memory() == int(0.8 * 2**31)
        assert contractible(measured, 40) == jax_backend.CONTRACTED
        monkeypatch.setattr(jax_backend, "device_memory", lambda: 3 * one + 1)
        assert group_size(measured, 40, 8 * measured.N**2, "a kernel", "raise it") == 3
        # Not even one: the host does it in chunks.
        monkeypatch.setattr(jax_backend, "device_memory", lambda: one - 1)
        assert contractible(measured, 40) == 0
        assert group_size(measured, 40, 8 * measured.N**2, "a kernel", "raise it") >= 1

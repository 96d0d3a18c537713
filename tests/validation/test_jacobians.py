import jax.numpy as jnp
import numpy as np
import pytest

from ntkflow.errors import InputError
from validation import jacobians
from validation.config import ModelConfig
from validation.jacobians import neuron_kernels, pairwise_kernel
from validation.models import build

LABELS = np.array([1, 0, 1, 0, 0, 1])


def setup(**model):
    network = build(ModelConfig(features=3, width=2, **model), (4, 4, 1), classes=2, seed=1)
    x = np.random.default_rng(2).normal(size=(6, 4, 4, 1)).astype(np.float32)
    return network, network.initial, x


@pytest.mark.parametrize(
    "model",
    [{}, {"readout": "pool"}, {"norm": "group"}, {"norm": "batch"}, {"name": "mlp"}, {"name": "linear"}],
    ids=str,
)
def test_chunked_gram_is_the_pairwise_one(model, monkeypatch):
    # Several chunks of parameters and of samples, neither dividing evenly.
    monkeypatch.setattr(jacobians, "COLUMNS", 11)
    monkeypatch.setattr(jacobians, "SAMPLES", 4)
    network, variables, x = setup(**model)
    arguments = (network.body_features, variables.params["body"], variables, x)
    for kernel in neuron_kernels(*arguments, LABELS, [0, 2]):
        expected = pairwise_kernel(*arguments, kernel.neuron)
        np.testing.assert_allclose(kernel.gram, expected, rtol=1e-5, atol=2e-6 * np.abs(expected).max())


def test_within_is_the_difference_of_diagonal_and_class_entries():
    network, variables, x = setup()
    kernel = next(neuron_kernels(network.body_features, variables.params["body"], variables, x, LABELS, [1]))
    for c in (0, 1):
        block = kernel.gram[np.ix_(c == LABELS, c == LABELS)]
        off = (block.sum() - np.trace(block)) / (len(block) * (len(block) - 1))
        assert kernel.within[c] == pytest.approx(np.trace(block) / len(block) - off, rel=1e-5)


def linear_features(V, constants, x):
    return x @ V.T


def test_within_does_not_lose_digits_when_samples_nearly_coincide():
    # Samples that differ by 2^-11 of their size: kappa_d - kappa_c is 2e-7 of kappa_d, all of it float32 rounding.
    rng = np.random.default_rng(0)
    base = rng.normal(size=(2, 50))
    deviations = np.float64(2**-11) * rng.choice([-1.0, 1.0], size=(2, 20, 50))
    x = (base[:, None] + deviations).reshape(40, 50).astype(np.float32)
    labels = np.repeat([0, 1], 20)
    exact = [np.var(x[labels == c].astype(float), axis=0, ddof=1).sum() for c in (0, 1)]
    kernel = next(neuron_kernels(linear_features, jnp.ones((1, 50)), None, x, labels, [0]))
    np.testing.assert_allclose(kernel.within, exact, rtol=1e-3)


def test_parameters_and_inputs_that_are_not_finite_are_refused_by_name():
    network, variables, x = setup()
    body = {**variables.params["body"]}
    body["conv1"] = {**body["conv1"], "kernel": body["conv1"]["kernel"].at[0, 0, 0, 0].set(jnp.nan)}
    with pytest.raises(InputError, match=r"conv1\.kernel"):
        next(neuron_kernels(network.body_features, body, variables, x, LABELS, [0]))
    x[3, 0, 0, 0] = np.inf
    with pytest.raises(InputError, match=r"^x = "):
        next(neuron_kernels(network.body_features, variables.params["body"], variables, x, LABELS, [0]))

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ntkflow_validation.config.config import ModelConfig, TrainConfig
from ntkflow_validation.models import build
from ntkflow_validation.training.objective import objective, sum_cross_entropy, sum_loss

OUTPUTS = jnp.asarray(np.random.default_rng(0).normal(size=(5, 3)), jnp.float32)
LABELS = jnp.asarray([0, 2, 1, 1, 0], jnp.int32)


def test_the_sum_losses_against_their_definitions():
    Y = np.eye(3)[np.asarray(LABELS)]
    f = np.asarray(OUTPUTS, dtype=float)
    softmax = np.exp(f) / np.exp(f).sum(axis=1, keepdims=True)
    assert float(sum_loss(OUTPUTS, LABELS)) == pytest.approx(0.5 * np.sum((f - Y) ** 2), rel=1e-6)
    assert float(sum_cross_entropy(OUTPUTS, LABELS)) == pytest.approx(-np.sum(Y * np.log(softmax)), rel=1e-6)
    np.testing.assert_allclose(jax.grad(sum_cross_entropy)(OUTPUTS, LABELS), softmax - Y, atol=1e-6)


@pytest.mark.parametrize("epsilon", [0.0, 0.1, 0.9])
def test_smoothed_labels_against_their_definition(epsilon):
    Y = (1 - epsilon) * np.eye(3)[np.asarray(LABELS)] + epsilon / 3
    f = np.asarray(OUTPUTS, dtype=float)
    logs = f - np.log(np.exp(f).sum(axis=1, keepdims=True))
    assert float(sum_loss(OUTPUTS, LABELS, epsilon)) == pytest.approx(0.5 * np.sum((f - Y) ** 2), rel=1e-6)
    assert float(sum_cross_entropy(OUTPUTS, LABELS, epsilon)) == pytest.approx(-np.sum(Y * logs), rel=1e-6)
    np.testing.assert_allclose(jax.grad(sum_loss)(OUTPUTS, LABELS, epsilon), f - Y, atol=1e-6)
    np.testing.assert_allclose(
        jax.grad(sum_cross_entropy)(OUTPUTS, LABELS, epsilon), np.exp(logs) - Y, atol=1e-6
    )


def test_the_smoothed_cross_entropy_is_least_at_the_margin_of_the_theory():
    # theory 17c: ln(C/epsilon - C + 1)
    margin = np.log(3 / 0.2 - 3 + 1)
    still = margin * jax.nn.one_hot(LABELS, 3)
    np.testing.assert_allclose(jax.grad(sum_cross_entropy)(still, LABELS, 0.2), 0, atol=1e-6)


def test_cross_entropy_stands_huge_outputs():
    assert float(sum_cross_entropy(1e4 * OUTPUTS, LABELS)) < np.inf


@pytest.mark.parametrize(
    ("settings", "divisor"),
    [
        ({"loss": "mse", "reduction": "mean"}, 15),
        ({"loss": "mse", "reduction": "sum"}, 1),
        ({"loss": "cross-entropy", "reduction": "mean"}, 5),
        ({"loss": "cross-entropy", "reduction": "sum"}, 1),
    ],
)
def test_means_are_those_of_the_papers_code(settings, divisor):
    network = build(ModelConfig(name="linear", features=4), (6,), 3, seed=0)
    params, statistics = network.initial
    x = jnp.asarray(np.random.default_rng(1).normal(size=(5, 6)), jnp.float32)
    loss, _ = objective(network, TrainConfig(**settings), params, statistics, x, LABELS)
    total = (sum_loss if settings["loss"] == "mse" else sum_cross_entropy)(
        network.outputs(params, statistics, x), LABELS
    )
    assert float(loss) == pytest.approx(float(total) / divisor, rel=1e-6)
    smoothed, _ = objective(
        network, TrainConfig(**settings, label_smoothing=0.3), params, statistics, x, LABELS
    )
    assert float(smoothed) != pytest.approx(float(loss), rel=1e-3)

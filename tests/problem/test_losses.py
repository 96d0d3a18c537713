import jax.numpy as jnp
import numpy as np
import pytest

import ntkflow as nf
from ntkflow.problem.losses import LOSSES, MSE, CrossEntropy, Loss, LossPair, gradient_error, loss_named

RNG = np.random.default_rng(0)
F, Y = 3 * RNG.standard_normal((3, 5)), np.eye(3)[:, [0, 1, 2, 0, 2]]
COSH = LossPair(lambda F, Y: float(np.sum(np.cosh(F - Y) - 1)), lambda F, Y: np.sinh(F - Y), "cosh")


@pytest.mark.parametrize("loss", [*LOSSES.values(), COSH], ids=lambda loss: loss.name)
def test_the_residual_is_the_derivative_of_the_value(loss):
    assert isinstance(loss, Loss)
    assert gradient_error(loss, F, Y) < 1e-8


def test_a_wrong_derivative_is_seen():
    wrong = LossPair(MSE().value, lambda F, Y: 1.01 * (F - Y))
    assert gradient_error(wrong, F, Y) == pytest.approx(0.01 / 1.01, rel=1e-3)


def test_cross_entropy_is_minus_the_log_probability_and_survives_large_outputs():
    p = np.exp(F) / np.exp(F).sum(axis=0)
    assert CrossEntropy().value(F, Y) == pytest.approx(-np.sum(Y * np.log(p)), rel=1e-12)
    np.testing.assert_allclose(CrossEntropy().residual(F, Y), p - Y, atol=1e-14)
    np.testing.assert_allclose(CrossEntropy().residual(F, Y).sum(axis=0), 0, atol=1e-14)
    assert CrossEntropy().value(1e4 * F, Y) < np.inf
    assert np.all(np.isfinite(CrossEntropy().residual(1e4 * F, Y)))


@pytest.mark.parametrize("loss", list(LOSSES.values()), ids=list(LOSSES))
def test_jax_arrays_give_jax_arrays_with_the_same_numbers(loss):
    F32, Y32 = F.astype("float32"), Y.astype("float32")
    assert isinstance(loss.residual(jnp.asarray(F32), jnp.asarray(Y32)), jnp.ndarray)
    np.testing.assert_allclose(
        loss.residual(jnp.asarray(F32), jnp.asarray(Y32)), loss.residual(F, Y), atol=1e-5
    )
    assert float(loss.value(jnp.asarray(F32), jnp.asarray(Y32))) == pytest.approx(loss.value(F, Y), rel=1e-5)


def test_losses_are_found_by_name():
    assert loss_named("cross-entropy") == CrossEntropy()
    with pytest.raises(nf.InputError, match="loss = 'hinge': must be one of mse, cross-entropy"):
        loss_named("hinge")

import jax.numpy as jnp
import numpy as np
import pytest

import ntkflow as nf
from ntkflow.problem.losses import (
    LOSSES,
    MSE,
    SQUARED_ERROR,
    CrossEntropy,
    Loss,
    LossPair,
    Smoothed,
    gradient_error,
    loss_named,
    smoothed,
)

RNG = np.random.default_rng(0)
F, Y = 3 * RNG.standard_normal((3, 5)), np.eye(3)[:, [0, 1, 2, 0, 2]]
COSH = LossPair(lambda F, Y: float(np.sum(np.cosh(F - Y) - 1)), lambda F, Y: np.sinh(F - Y), "cosh")


SMOOTHED = (Smoothed(MSE(), 0.1), Smoothed(CrossEntropy(), 0.3))


@pytest.mark.parametrize("loss", [*LOSSES.values(), COSH, *SMOOTHED], ids=lambda loss: loss.name)
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


@pytest.mark.parametrize("loss", [*LOSSES.values(), *SMOOTHED], ids=lambda loss: loss.name)
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


@pytest.mark.parametrize("loss", SMOOTHED, ids=lambda loss: loss.name)
def test_smoothed_targets_are_those_of_the_definition_and_found_by_name(loss):
    target = (1 - loss.epsilon) * Y + loss.epsilon / 3
    np.testing.assert_allclose(loss.residual(F, Y), loss.loss.residual(F, target), rtol=1e-15)
    np.testing.assert_allclose(loss.targets(Y).sum(axis=0), 1)
    assert loss_named(loss.name) == loss
    assert smoothed(loss.loss, loss.epsilon) == loss
    assert smoothed(SQUARED_ERROR, 0.0) is SQUARED_ERROR
    for wrong in (-0.1, 1.0):
        with pytest.raises(nf.InputError, match="0 <= epsilon < 1"):
            Smoothed(MSE(), wrong)


def test_with_held_biases_smoothed_targets_are_a_change_of_scale():
    # W, H by sqrt(1 - e), time by 1/(1 - e), b by e/C: the same flow of one-hot targets; not so where b is trained.
    sizes, kernel, e = nf.Sizes(3, 4, 5), nf.BlockKernel(1.5, 0.9, 0.2), 0.3
    start = nf.initial.make("gaussian", sizes, kernel, seed=1)
    scale = np.sqrt(1 - e)
    inner = nf.State(start.H / scale, start.W / scale, (start.b - e / 3) / (1 - e))
    gaps = []
    for trained in (False, True):
        problem = nf.Problem(sizes, kernel, start, Smoothed(MSE(), e), train_bias=trained)
        ours = nf.solve(problem, save_at=[0.0, 0.4], rtol=1e-11).final
        theirs = nf.solve(
            nf.Problem(sizes, kernel, inner, train_bias=trained), save_at=[0.0, 0.4 * (1 - e)], rtol=1e-11
        ).final
        gaps.append(max(np.abs(ours.H / scale - theirs.H).max(), np.abs(ours.W / scale - theirs.W).max()))
    assert gaps[0] < 1e-8
    assert gaps[1] > 1e-3

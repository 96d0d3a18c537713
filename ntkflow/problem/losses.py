"""Losses, seen by the dynamics only through the residual R = dL/dF; sums over samples, never means.

Every result about the invariant holds for any R. Closed limits, rates and the thin form need the squared error.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np

from ntkflow import checks
from ntkflow._types import Array
from ntkflow.errors import InputError
from ntkflow.named import imported, is_named

# A float, or a jax array without axes.
Scalar = Any


@runtime_checkable
class Loss(Protocol):
    """A sum over samples of a function of the outputs F = W H + b 1^T and the targets Y, both C x N."""

    @property
    def name(self) -> str:
        """What summaries call it."""
        ...

    def value(self, F: Array, Y: Array) -> Scalar:
        """The loss."""
        ...

    def residual(self, F: Array, Y: Array) -> Array:
        """R = dL/dF, shape (C, N)."""
        ...


@dataclass(frozen=True)
class MSE:
    """Half the squared error, 1/2 |F - Y|_F^2, so that R = F - Y. Source: eqs. (4) and (16).

    >>> float(MSE().value(np.array([[3.0]]), np.array([[1.0]])))
    2.0
    """

    name: ClassVar[str] = "mse"

    def value(self, F: Array, Y: Array) -> Scalar:
        """1/2 |F - Y|_F^2."""
        return 0.5 * ((F - Y) ** 2).sum()

    def residual(self, F: Array, Y: Array) -> Array:
        """F - Y."""
        return F - Y


@dataclass(frozen=True)
class CrossEntropy:
    """Softmax cross-entropy, - sum Y log softmax(F), so that R = softmax(F) - Y (not in the paper's theory).

    Columns of R sum to zero, hence W^T 1 and 1^T b are constant besides E. W and H diverge like sqrt(log t).
    """

    name: ClassVar[str] = "cross-entropy"

    def value(self, F: Array, Y: Array) -> Scalar:
        """Sum over samples of log sum exp F minus the output of the true class."""
        xp = _namespace(F)
        # exp of the largest output would overflow; a common shift changes neither softmax nor loss.
        shifted = F - F.max(axis=0)
        return (xp.log(xp.exp(shifted).sum(axis=0)) - (Y * shifted).sum(axis=0)).sum()

    def residual(self, F: Array, Y: Array) -> Array:
        """Softmax over classes minus Y."""
        weights = _namespace(F).exp(F - F.max(axis=0))
        return weights / weights.sum(axis=0) - Y


@dataclass(frozen=True)
class LossPair:
    """Any loss, given by two functions of (F, Y).

    Args:
        function: the loss summed over samples.
        gradient: its derivative with respect to F, shape (C, N). It is not compared with `function`;
            `gradient_error` does that.
        name: what summaries call it.

    >>> huber = LossPair(lambda F, Y: np.sum(np.cosh(F - Y) - 1), lambda F, Y: np.sinh(F - Y), "cosh")
    >>> huber.residual(np.zeros((2, 1)), np.zeros((2, 1)))
    array([[0.],
           [0.]])
    """

    function: Callable[[Array, Array], Scalar]
    gradient: Callable[[Array, Array], Array]
    name: str = "user"

    def __repr__(self) -> str:
        return f"LossPair({self.name!r})"

    def value(self, F: Array, Y: Array) -> Scalar:
        """The loss."""
        return self.function(F, Y)

    def residual(self, F: Array, Y: Array) -> Array:
        """R = dL/dF."""
        return self.gradient(F, Y)


@dataclass(frozen=True)
class Smoothed:
    """A loss of smoothed targets, (1 - epsilon) Y + epsilon/C in place of Y; E is conserved as under any loss.

    No problem of one-hot targets is the same: of squares, b - epsilon/C takes up the constant, but the factor 1 - epsilon
    goes into W, H and the time only where the biases are held; trained ones would have a clock of their own.
    Source: theory 17c.

    Args:
        loss: of the targets.
        epsilon: 0 <= epsilon < 1.

    Raises:
        InputError: epsilon is out of range.

    >>> Smoothed(MSE(), 0.2).residual(np.zeros((2, 1)), np.array([[1.0], [0.0]]))
    array([[-0.9],
           [-0.1]])
    """

    loss: Loss
    epsilon: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "epsilon", checks.smoothing("epsilon", self.epsilon))

    @property
    def name(self) -> str:
        """What summaries call it, and `loss_named` finds it by."""
        return f"{self.loss.name} smoothed {self.epsilon!r}"

    def targets(self, Y: Array) -> Array:
        """(1 - epsilon) Y + epsilon/C, (C, N)."""
        return (1 - self.epsilon) * Y + self.epsilon / len(Y)

    def value(self, F: Array, Y: Array) -> Scalar:
        """The loss of the smoothed targets."""
        return self.loss.value(F, self.targets(Y))

    def residual(self, F: Array, Y: Array) -> Array:
        """R = dL/dF, of the smoothed targets."""
        return self.loss.residual(F, self.targets(Y))


def smoothed(loss: Loss, epsilon: float) -> Loss:
    """The loss itself for epsilon = 0, which keeps its closed forms; otherwise that of smoothed targets."""
    return Smoothed(loss, epsilon) if epsilon else loss


SQUARED_ERROR: Loss = MSE()
LOSSES: dict[str, Loss] = {"mse": SQUARED_ERROR, "cross-entropy": CrossEntropy()}


_SMOOTHED = re.compile(r"(?P<loss>.+) smoothed (?P<epsilon>\d+(\.\d*)?(e[-+]?\d+)?)")


def loss_named(name: str) -> Loss:
    """The loss of that name, or the user's own as 'module:object', for example 'mylosses:huber'.

    "mse smoothed 0.1" is that of smoothed targets, see `Smoothed`.

    Raises:
        InputError: there is none, the module cannot be imported, or the object is no loss.
    """
    if name in LOSSES:
        return LOSSES[name]
    if known := _SMOOTHED.fullmatch(str(name)):
        return Smoothed(loss_named(known["loss"]), float(known["epsilon"]))
    if not is_named(name):
        checks.choice("loss", name, LOSSES, "choose one of these, or name your own as module:object")
    found = imported("loss", name)
    if isinstance(found, type) or not isinstance(found, Loss):
        raise InputError(
            "loss", repr(name), "is no loss", "give an object with name, value and residual, as LossPair"
        )
    return found


def gradient_error(loss: Loss, F: Array, Y: Array, step: float = 1e-5) -> float:
    """Largest gap between `residual` and central differences of `value`, over the largest residual.

    Args:
        loss: the loss to test.
        F: outputs at which to test, (C, N).
        Y: targets, (C, N).
        step: half width of the differences.
    """
    R = np.asarray(loss.residual(F, Y))
    # Central differences are off by step^2 and by eps/step: 1e-5 balances the two.
    differences = np.empty_like(R)
    for index in np.ndindex(R.shape):
        bump = np.zeros_like(R)
        bump[index] = step
        differences[index] = (loss.value(F + bump, Y) - loss.value(F - bump, Y)) / (2 * step)
    return float(np.abs(R - differences).max() / max(float(np.abs(R).max()), np.finfo(float).tiny))


def _namespace(array: Array) -> ModuleType:
    """numpy, or the module of a jax array, so that one formula serves both."""
    return array.__array_namespace__() if hasattr(array, "__array_namespace__") else np

"""Gradients that are not finite, and kernels outside single precision: named, or measured in another unit.

Products of gradients are formed in float32, where squares of 1e25 are infinite and those of 1e-25 zero. A measurement
that meets either starts again with gradients in a unit, a power of two, in which they are about one; its kernels are
taken back to the old unit in float64. Gradients that are NaN or infinite themselves are a refusal that names them.
"""

import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

import numpy as np

from ntkflow.errors import InputError
from ntkflow_validation.kernels.backends.base import Backend, Directions, Inputs
from ntkflow_validation.kernels.backends.moments import Moments
from ntkflow_validation.kernels.backends.tiles import padded
from ntkflow_validation.kernels.task import OutOfRangeError, Task

Result = TypeVar("Result")
# Largest unit: directions in it, and parts of them, are still numbers that processors do not round to zero.
REACH = 2.0**100
# Gradients below this are looked for in the unit.
SMALLEST = 2.0**-100


class GradientWarning(UserWarning):
    """Features that no parameter moves: their kernel is 0, which is seldom what was to be measured."""


def in_range(task: Task, measured: Callable[[Task], Result]) -> Result:
    """What is measured, in another unit of gradients where single precision does not hold the kernels.

    Raises:
        InputError: a gradient is NaN or infinite, or a kernel in every unit.

    Warns:
        GradientWarning: all gradients are exactly 0.
    """
    # What is not finite is looked for in the results.
    with np.errstate(over="ignore", invalid="ignore"):
        try:
            found = measured(task)
            if not task.lost:
                return found
        except OutOfRangeError:
            if task.settled:
                raise
        return measured(_rescaled(task))


def _rescaled(task: Task) -> Task:
    largest = largest_gradient(task)
    if largest < SMALLEST:
        # Below single precision's own end gradients come out as zero, also those that are none.
        raised = replace(task, backend=Scaled(task.backend, REACH))
        largest = largest_gradient(raised) / REACH
    if largest == 0:
        _warn_of_zero(task.backend)
        return replace(task, settled=True)
    unit = float(np.clip(2.0 ** -round(np.log2(largest)), 1 / REACH, REACH))
    backend = Scaled(task.backend, unit)
    return replace(task, backend=backend, unit=unit, settled=True, _parts=[], _largest=[])


def _warn_of_zero(backend: Backend) -> None:
    # A network whose units are all dead is a network; most often, though, the gradient was cut off on the way.
    warnings.warn(
        f"none of the {backend.P} parameters moves the features, whose kernel is 0: look for torch.no_grad, detach or "
        "stop_gradient in the function, for another network in it than the one that it is given, for units that are all "
        "dead, or for factors that single precision does not hold",
        GradientWarning,
        stacklevel=2,
    )


def largest_gradient(task: Task) -> float:
    """Largest entry of the gradients of all features.

    Raises:
        InputError: one is NaN or infinite; names its neuron, sample and parameter.
    """
    V, largest = np.eye(task.backend.n, dtype=np.float32), 0.0
    if task.coupled:
        for p, v in enumerate(V):
            G = task.backend.pull(task.x, np.broadcast_to(v, (1, task.N, len(v))))
            largest = max(largest, _largest(task, G[0], p, None))
        return largest
    B, k = task.backend.tile(task.x, len(V), task.budget.workspace)
    for _, rows in padded(task.N, B):
        for _, chosen in padded(len(V), k):
            G = task.backend.rows(task.x[rows], V[chosen])
            for i, q in np.ndindex(*G.shape[:2]):
                largest = max(largest, _largest(task, G[i, q], int(chosen[q]), int(rows[i])))
    return largest


def _largest(task: Task, gradient: np.ndarray, neuron: int, row: int | None) -> float:
    found = float(np.abs(gradient).max())
    if np.isfinite(found):
        return found
    bad = np.flatnonzero(~np.isfinite(gradient))
    where = "the batch" if row is None else f"sample {task.given(row)}"
    raise InputError(
        "gradients",
        f"{len(bad)} NaN or infinite values at neuron {neuron} of {where}, by {_name(task.backend, int(bad[0]))}",
        "must be finite",
        "look for a square root, norm or logarithm at 0: finite features can have such gradients",
    )


def _name(backend: Backend, column: int) -> str:
    end = 0
    for name, size in getattr(backend, "columns", ()):
        end += size
        if column < end:
            return name or "params"
    return f"parameter {column}"


class Scaled:
    """A backend whose features are multiplied by a unit as far as gradients go.

    It gives no factors: a layer's inputs and its outputs' gradients may each lie outside single precision.

    Args:
        backend: the network.
        unit: power of two.
    """

    def __init__(self, backend: Backend, unit: float) -> None:
        self._backend, self._unit = backend, unit
        self.n, self.P = backend.n, backend.P
        self.features, self.tile, self.batch = backend.features, backend.tile, backend.batch
        self.pull_bytes, self.fingerprint = backend.pull_bytes, backend.fingerprint
        self.total = getattr(backend, "total", backend.P)

    def rows(self, x: Inputs, V: Directions) -> np.ndarray:
        """Gradients of v_k . h(x_i)."""
        return self._backend.rows(x, V * self._unit)

    def pull(self, x: Inputs, cotangents: np.ndarray) -> np.ndarray:
        """Gradients of sum_i cotangent_ki . h(x_i)."""
        return self._backend.pull(x, cotangents * self._unit)

    def moments(self, x: Inputs, V: Directions, fresh: np.ndarray) -> Moments:
        """Of the rows of the fresh samples."""
        return self._backend.moments(x, V * self._unit, fresh)

"""Slices of parameter tensors along their input and output axes, and sums over each of them."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np

Tensors = Mapping[str, np.ndarray]


class Slice(NamedTuple):
    """One slice of a tensor: all entries whose index along an axis is fixed.

    Attributes:
        tensor: path of the parameter.
        axis: the axis that is fixed.
        index: where.
    """

    tensor: str
    axis: int
    index: int  # type: ignore[assignment]  # a tuple's method, which nobody asks of a slice

    def __str__(self) -> str:
        return f"{self.tensor}[{':, ' * self.axis}{self.index}]"


class Layout:
    """Which axes of each tensor are channels, and what each slice's place in a vector of coefficients is.

    Args:
        tensors: parameters by path.
        outputs_first: whether weights are (out, in, ...), as in torch and Equinox; else (..., in, out).
    """

    def __init__(self, tensors: Tensors, outputs_first: bool) -> None:
        self.outputs_first = outputs_first
        self.shapes = {name: tensor.shape for name, tensor in tensors.items()}
        self.axes = {name: self._channels(shape) for name, shape in self.shapes.items()}
        self.slices = [
            Slice(n, a, i) for n, axes in self.axes.items() for a in axes for i in range(self.shapes[n][a])
        ]
        self.place = {s: j for j, s in enumerate(self.slices)}

    def output_axis(self, name: str) -> int:
        """The axis along which a tensor's outputs are counted."""
        return 0 if self.outputs_first or len(self.shapes[name]) == 1 else len(self.shapes[name]) - 1

    def writes(self, piece: Slice) -> bool:
        """Whether a slice makes a channel, rather than reads one."""
        return piece.axis == self.output_axis(piece.tensor)

    def _channels(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        first = 0 if self.outputs_first else max(len(shape) - 2, 0)
        axes = tuple(range(first, min(first + 2, len(shape))))
        # A slice along an axis of length 1 is the whole tensor, which the slices of another axis add up to.
        return tuple(a for a in axes if shape[a] > 1) or axes[-1:]

    def sums(self, tensors: Tensors) -> np.ndarray:
        """Sum over every slice, in the order of `slices`."""
        parts = [
            tensors[name].sum(axis=tuple(b for b in range(len(shape)) if b != a))
            for name, shape in self.shapes.items()
            for a in self.axes[name]
        ]
        return np.concatenate(parts)

    def identities(self) -> Iterator[np.ndarray]:
        """Coefficients that generate nothing: a tensor by one axis minus the same tensor by the other."""
        for name, axes in self.axes.items():
            if len(axes) == 2:
                vector = np.zeros(len(self.slices))
                for axis, sign in zip(axes, (1.0, -1.0), strict=True):
                    vector[[self.place[Slice(name, axis, i)] for i in range(self.shapes[name][axis])]] = sign
                yield vector

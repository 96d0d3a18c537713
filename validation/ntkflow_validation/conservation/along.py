"""Laws along a training: their values, and what the flow with decay makes of each.

Under gradient flow dq/dt = -2 lambda q where all that is in a law decays. What steps of finite length add is in
`ntkflow_validation.conservation.steps`. Source: docs/conservation-laws.md.
"""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64

from ntkflow._types import FeatureMatrix
from ntkflow_validation.conservation.law import Law

Series = Float64[np.ndarray, "T k"]
Matrices = Float64[np.ndarray, "T n n"]


class Values(NamedTuple):
    """Laws at one set of parameters, (k,) each.

    Attributes:
        q: sum_g d_g |theta_g|^2/r_g, where r_g is 1 but for groups with rates of their own.
        still: what is left of it without sum_g d_g |theta_g|^2 of the tensors that decay, since dq/dt is -2 lambda times that:
            without rates of their own the part in tensors that do not.
        size: sum_g |d_g| |theta_g|^2/r_g, against which errors are read.
    """

    q: Float64[np.ndarray, " k"]
    still: Float64[np.ndarray, " k"]
    size: Float64[np.ndarray, " k"]


class Tables:
    """Some laws as sums over slices, so that all are evaluated at once.

    Args:
        laws: at least one.
        tensors: parameters by path, for their shapes.
        decaying: paths of the tensors that decay.
    """

    def __init__(
        self, laws: Sequence[Law], tensors: Mapping[str, np.ndarray], decaying: Sequence[str]
    ) -> None:
        self.laws = tuple(laws)
        self._shapes = {name: tensor.ndim for name, tensor in tensors.items()}
        self._decaying = frozenset(decaying)

    @cached_property
    def _entries(self) -> dict[tuple[str, int], tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
        """For each axis of each tensor: law, index, coefficient and rate of every slice."""
        found: dict[tuple[str, int], list[tuple[int, int, float, float]]] = {}
        for k, law in enumerate(self.laws):
            for piece, d in law.coefficients.items():
                rate = law.rates.get(piece.tensor, 1.0)
                found.setdefault((piece.tensor, piece.axis), []).append((k, piece.index, d, rate))
        return {
            key: tuple(np.array(column) for column in zip(*rows, strict=True))  # type: ignore[misc]
            for key, rows in found.items()
        }

    def at(self, tensors: Mapping[str, np.ndarray]) -> Values:
        """Values of the laws."""
        q, still, size = np.zeros((3, len(self.laws)))
        for (name, axis), (law, index, d, rate) in self._entries.items():
            squares = self._along(name, axis, tensors[name], tensors[name])[index]
            np.add.at(q, law, d * squares / rate)
            np.add.at(size, law, np.abs(d) * squares / rate)
            np.add.at(still, law, d * squares * (1 / rate - (name in self._decaying)))
        return Values(q, still, size)

    def pair(self, x: Mapping[str, np.ndarray], y: Mapping[str, np.ndarray]) -> Float64[np.ndarray, " k"]:
        """The laws' bilinear form, sum_g d_g <x_g, y_g>/r_g."""
        found = np.zeros(len(self.laws))
        for (name, axis), (law, index, d, rate) in self._entries.items():
            np.add.at(found, law, d * self._along(name, axis, x[name], y[name])[index] / rate)
        return found

    def _along(self, name: str, axis: int, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        others = tuple(a for a in range(self._shapes[name]) if a != axis)
        found: np.ndarray = np.sum(np.asarray(x, np.float64) * np.asarray(y, np.float64), axis=others)
        return found


def expected(values: Sequence[Values], decay: Float64[np.ndarray, " T"]) -> Series:
    """What every law should be at every time by the flow with decay, from the first on.

    Args:
        values: along the training.
        decay: int lambda dt from the start, at every time.
    """
    return _decayed(values[0].q, decay, np.stack([v.still for v in values]))


def law_of_Q(
    Q0: FeatureMatrix, decay: Float64[np.ndarray, " T"], forcing: Matrices | None = None
) -> Matrices:
    """Q along a training whose decay is known: dQ/dt = -2 lambda (Q + c c^T) where the bias c does not decay.

    Args:
        Q0: at the start.
        decay: int_0^t lambda dt at every time, rising from 0.
        forcing: c c^T at every time where W and V decay but c does not; None where all of them do, or without c.
    """
    return _decayed(Q0, decay, np.zeros((len(decay), *Q0.shape)) if forcing is None else -forcing)


def _decayed(start: np.ndarray, decay: np.ndarray, still: np.ndarray) -> np.ndarray:
    """Solution of dq/dt = -2 lambda (q - still), by the trapezoidal rule in e^{2 decay}: exact where what is still stands."""
    grown = np.exp(2 * decay).reshape(-1, *(1 for _ in start.shape))
    added = np.zeros_like(still)
    added[1:] = np.diff(grown, axis=0) * (still[1:] + still[:-1]) / 2
    found: np.ndarray = (start + np.cumsum(added, axis=0)) / grown
    return found


def families(laws: Sequence[Law]) -> dict[str, list[int]]:
    """Positions of the laws that tie the same tensors: a layer's neurons, a stream's channels, a readout."""
    found: dict[str, list[int]] = {}
    for k, law in enumerate(laws):
        tensors = sorted({piece.tensor for piece in law.coefficients})
        found.setdefault(f"{law.kind}: {', '.join(tensors)}", []).append(k)
    return found

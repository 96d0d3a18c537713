"""Puts states back on their leaves of constant E, as `structured.projection` does one."""

import numpy as np

from ntkflow._types import Floats, Integers
from ntkflow.integrate.engines.lockstep.slots import PerSlot, Shape, Systems, transposed
from ntkflow.integrate.engines.structured.projection import TINY, WEAK


class Leaves(PerSlot):
    """Matrices m E of the initial states.

    Attributes:
        target: m E of every slot.
    """

    target: Floats

    def __init__(self, shape: Shape, slots: int) -> None:
        super().__init__(slots)
        self.shape = shape
        self.hold("target", shape.n, shape.n)

    def take(self, i: Integers, z: Floats, systems: Systems) -> None:
        """Those of states z."""
        weights, features = systems.terms(i, z)
        self.target[i] = weights - features

    def restoring(self, i: Integers, z: Floats, systems: Systems) -> Floats:
        """What moves states z to m E = target; nothing where it can't be told."""
        moved = np.zeros_like(z)
        weights, features = systems.terms(i, z)
        total = weights + features
        good = np.all(np.isfinite(total), axis=(1, 2))
        e, V = np.linalg.eigh(np.where(good[:, None, None], total, 0.0))
        sums = np.maximum(e[:, :, None] + e[:, None, :], 0.0)
        gap = transposed(V) @ (self.target[i] - weights + features) @ V
        shift = V @ (gap * sums / (sums**2 + (WEAK * e[:, -1, None, None]) ** 2 + TINY)) @ transposed(V)
        (B, A), (dB, dA), n = self.shape.blocks(z), self.shape.blocks(moved), self.shape.n
        dB[:, :n] = -(shift @ B[:, :n])
        dA[..., :n] = A[..., :n] @ shift
        moved[~good] = 0.0
        return moved

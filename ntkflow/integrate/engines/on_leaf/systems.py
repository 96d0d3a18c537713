"""The systems in the slots on their leaves; see `coordinates`."""

import numpy as np

from ntkflow._types import Floats, Integers
from ntkflow.integrate.engines.lockstep.slots import Shape, Systems, transposed
from ntkflow.integrate.engines.on_leaf.coordinates import OnLeaf
from ntkflow.integrate.engines.structured.coordinates import Coordinates


class LeafSystems(Systems):
    """The constants of the systems in the slots, and their field.

    Attributes:
        mE: eigenvalues of m E.
        delta: the rate of L.
        share: delta / kd.
    """

    mE: Floats
    delta: Floats
    share: Floats

    def __init__(self, shape: Shape, slots: int) -> None:
        super().__init__(shape, slots)
        self.hold("mE", shape.n)
        self.hold("delta")
        self.hold("share", shape.q)

    def put(self, slot: int, coordinates: Coordinates) -> None:
        """Fill a slot."""
        assert isinstance(coordinates, OnLeaf)
        super().put(slot, coordinates)
        self.mE[slot], self.delta[slot] = coordinates.mE, coordinates.delta
        self.share[slot] = coordinates.delta / coordinates.d
        # The states are on their leaves by construction: nothing is to be restored.
        self.conserves[slot] = False

    def field(self, i: Integers | slice, t: Floats, z: Floats, out: Floats) -> Floats:
        """dz/dt of slots, written to `out`."""
        del t
        n = self.shape.n
        (B, A), (dB, dA) = self.shape.blocks(z), self.shape.blocks(out)
        W, G, e = A[..., :n], B[:, :n], B[:, n]
        features = W @ G
        P = features + A[..., n:] * e[:, None]
        P -= self.T[i]
        dA[..., n] = -(P * e[:, None]).sum(axis=2)
        features *= self.share[i][:, None]
        features -= P
        # W S = delta (W (W^T W - m E) - W G1 kd^-1 G1^T).
        stretched = (W @ transposed(W)) @ W
        stretched -= W * self.mE[i][:, None]
        stretched *= self.delta[i][:, None, None]
        np.subtract(features @ transposed(G), stretched, out=dA[..., :n])
        P *= -self.d[i][:, None]
        np.matmul(transposed(W), P, out=dB[:, :n])
        dB[:, n] = 0.0
        return out

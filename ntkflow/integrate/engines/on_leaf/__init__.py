"""Many systems of generic states at once, in lockstep on their leaves of constant E: without L, which E gives the square of."""

from ntkflow.integrate.engines.on_leaf.coordinates import LeafShape, OnLeaf
from ntkflow.integrate.engines.on_leaf.engine import LeafLockstep

__all__ = ["LeafLockstep", "LeafShape", "OnLeaf"]

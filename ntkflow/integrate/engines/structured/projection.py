"""Puts a state back on the leaf of constant E without changing its outputs.

The invariant m E = W^T W - G diag(d)^-1 G^T changes by Lambda T + T Lambda, T = W^T W + G diag(d)^-1 G^T, when
W becomes W (I + Lambda) and G becomes (I - Lambda) G with a small symmetric Lambda, and W G changes only to
second order. So Lambda solves a Lyapunov equation, in the eigenbasis of T entry by entry (not in the paper).
"""

import math

import numpy as np

from ntkflow._types import FeatureMatrix
from ntkflow.integrate.engines.structured.coordinates import Coordinates, Flat

# Directions in which T is this small beside its largest eigenvalue carry no E worth restoring.
WEAK = 1e-6
TINY = np.finfo(np.float64).tiny


def leaf(coordinates: Coordinates, z: Flat) -> FeatureMatrix:
    """Matrix m E at a flat vector."""
    weights, features = _terms(coordinates, z)
    return weights - features


def restore(coordinates: Coordinates, z: Flat, target: FeatureMatrix, allowed: float = 0.0) -> float:
    """Move z, in place, to m E = target; one step of a quadratically convergent iteration.

    Args:
        coordinates: the system's constants.
        z: flat vector.
        target: m E, as from `leaf`.
        allowed: distance, as a share of the norms of both terms of m E, up to which z stays where it is.

    Returns:
        The distance at which z was found, as that share.
    """
    weights, features = _terms(coordinates, z)
    gap = target - weights
    gap += features
    size = _norm(weights) + _norm(features)
    distance = _norm(gap) / size if size > 0 else 0.0
    if allowed and distance <= allowed:
        return distance
    weights += features
    t, V = np.linalg.eigh(weights)
    sums = np.maximum(t[:, None] + t, 0.0)
    # T Lambda + Lambda T = gap, entry by entry in T's eigenbasis; damped where T is next to nothing.
    gap = V.T @ gap @ V
    shift = V @ (gap * sums / (sums**2 + (WEAK * t[-1]) ** 2 + TINY)) @ V.T
    B, A = coordinates.blocks(z)
    n = coordinates.n
    B[:n] -= shift @ B[:n]
    A[:, :n] += A[:, :n] @ shift
    return distance


def _norm(matrix: FeatureMatrix) -> float:
    return math.sqrt(np.vdot(matrix, matrix))


def _terms(coordinates: Coordinates, z: Flat) -> tuple[FeatureMatrix, FeatureMatrix]:
    B, A = coordinates.blocks(z)
    G, W = B[: coordinates.n], A[:, : coordinates.n]
    return W.T @ W, (G / coordinates.d) @ G.T

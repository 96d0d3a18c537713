"""Low-rank operators that are exact where the residual goes: a few directions, found by passes through the network.

Near a snapshot the residual obeys dR/dt = -T[R] with T[R] = R (H^T H + 11^T) + W Op[W^T R], so it stays in the
Krylov space of T from R. On G = W^T R for a basis of that space the operator is measured exactly, one pass through
the network and back each; everywhere else another, smaller description stands in. Not in the paper.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float64

from ntkflow._types import Features
from ntkflow.problem.sizes import Sizes
from ntkflow.problem.state import State
from ntkflow_validation.kernels.methods.components import split
from ntkflow_validation.ladder.operators.base import Operator, Residual
from ntkflow_validation.metrics.objective import PLAIN, Objective

Stack = Float64[np.ndarray, "k n N"]


@dataclass(frozen=True, eq=False)
class CorrectedOperator(Operator):
    """Exact on the span of Z, another operator elsewhere.

    Y (Z^T Y)^{-1} Y^T + P Op0 P with Y = Op Z and P = I - Z Z^T: symmetric, positive semidefinite, and its first
    term never more than the operator itself.

    Attributes:
        Z: orthonormal directions, one a row, (k, nN).
        Y: their images.
        inverse: (Z^T Y)^{-1}, (k, k).
        rest: Op0.
        sizes: of the samples.
    """

    Z: Float64[np.ndarray, "k nN"]
    Y: Float64[np.ndarray, "k nN"]
    inverse: Float64[np.ndarray, "k k"]
    rest: Operator
    sizes: Sizes

    @property
    def knots(self) -> tuple[float, ...]:
        """Those of the rest."""
        return self.rest.knots

    def between(self, begin: float, end: float) -> "CorrectedOperator":
        """The same with the rest between the two times."""
        return replace(self, rest=self.rest.between(begin, end))

    def act(self, G: Features, t: float = 0.0) -> Features:
        """Op[G]."""
        flat = G.reshape(-1)
        outside = flat - (self.Z @ flat) @ self.Z
        other = self.rest.act(outside.reshape(G.shape), t).reshape(-1)
        other = other - (self.Z @ other) @ self.Z
        found: np.ndarray = ((self.inverse @ (self.Y @ flat)) @ self.Y + other).reshape(G.shape)
        return found


def corrected(Z: Stack, images: Stack, rest: Operator) -> CorrectedOperator:
    """`rest` made exact on the directions Z.

    Args:
        Z: directions; dependent ones are merged.
        images: what the operator makes of them.
        rest: for everything else.
    """
    z, y = Z.reshape(len(Z), -1), images.reshape(len(Z), -1)
    norms = np.maximum(np.linalg.norm(z, axis=1, keepdims=True), np.finfo(float).tiny)
    z, y = z / norms, y / norms
    left, s, right = np.linalg.svd(z, full_matrices=False)
    kept = s > 1e-5 * s.max(initial=0.0)
    mix = left[:, kept] / s[kept]
    Z_kept, Y = right[kept], mix.T @ y
    values, vectors = np.linalg.eigh(Z_kept @ Y.T)
    good = values > 1e-7 * values.max(initial=0.0)
    inverse = (vectors[:, good] / values[good]) @ vectors[:, good].T
    return CorrectedOperator(Z_kept, Y, inverse, rest, rest.sizes)


def residual_krylov(
    act: Callable[[Features], Features],
    state: State,
    sizes: Sizes,
    blocks: int,
    known: Float64[np.ndarray, "j n N"] | None = None,
    objective: Objective = PLAIN,
) -> tuple[Stack, Stack]:
    """G = W^T R and Op[G] for R in the Krylov space of the linearised residual dynamics.

    Args:
        act: Op.
        state: H, W, b.
        sizes: of the samples.
        blocks: how often T is applied, the start included; each block has the three components of the residual.
        known: images found before with fewer blocks; they are not made again.
        objective: what is minimised.

    Returns:
        Directions and images, (3 blocks, n, N) each.
    """
    R = split(objective.residual(state, sizes), sizes.labels)
    gram = state.H.T @ state.H + float(objective.biased)
    there = 0 if known is None else len(known)
    found: list[np.ndarray] = []
    images: list[np.ndarray] = []
    before = np.empty((0, R[0].size))
    for _ in range(blocks):
        fresh = []
        for component in R:
            component = _orthogonal(component, before)
            before = np.vstack([before, component.reshape(1, -1)])
            G = state.W.T @ component
            # In C order whether made or known: the rounding of the products below depends on it.
            image = np.ascontiguousarray(act(G)) if len(images) >= there else known[len(images)]  # type: ignore[index]
            found.append(G)
            images.append(image)
            fresh.append(objective.curved(state, sizes, component @ gram + state.W @ image))
        R = np.stack(fresh)
    return np.stack(found), np.stack(images)


def _orthogonal(R: np.ndarray, before: np.ndarray) -> np.ndarray:
    """R without what is known already, of norm 1; zero if nothing is left."""
    flat = R.reshape(-1)
    size = float(np.linalg.norm(flat))
    if size == 0:
        return R
    flat = flat / size
    for _ in range(2):
        flat = flat - before.T @ (before @ flat)
    left = float(np.linalg.norm(flat))
    return (flat / left if left > 1e-6 else 0 * flat).reshape(R.shape)


def sample_basis(R: Residual, sizes: Sizes) -> Float64[np.ndarray, "q N"]:
    """Orthonormal sample vectors: the classes, and the residual's directions within them; at most 2 C."""
    Y = sizes.Y / np.sqrt(sizes.masses)[:, None]
    within = split(R, sizes.labels)[0]
    _, s, right = np.linalg.svd(within, full_matrices=False)
    kept = right[s > 1e-6 * max(float(s[0]), np.finfo(float).tiny)] if s[0] > 0 else right[:0]
    return np.vstack([Y, kept])

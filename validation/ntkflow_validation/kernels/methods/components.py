"""The kernel seen by the residual: Rayleigh quotients along its three components."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from ntkflow import views
from ntkflow._types import Biases, Features, Json, Weights
from ntkflow.problem.sizes import one_hot
from ntkflow.scaling import unit, units
from ntkflow_validation.kernels.task import Task

NAMES = ("within", "contrast", "mean")


@dataclass(frozen=True, eq=False)
class Head:
    """The linear classifier on top of the features.

    Attributes:
        W: weights, C x n.
        b: biases (C,), or None for a layer without.
    """

    W: Weights
    b: Biases | None

    __repr__ = views.short

    def residual(self, H: Features, labels: np.ndarray) -> Float64[np.ndarray, "C N"]:
        """R = W H + b 1^T - Y."""
        outputs = self.W @ H + (0.0 if self.b is None else self.b[:, None])
        return outputs - one_hot(labels, len(self.W))

    @property
    def row_space(self) -> Float64[np.ndarray, "r n"]:
        """Orthonormal basis of the row space of W, one direction a row."""
        _, s, Vt = np.linalg.svd(unit(self.W)[0], full_matrices=False)
        # W comes from float32 networks.
        return Vt[s > s[0] * 1e-6] if s[0] > 0 else Vt[:0]


@dataclass(frozen=True)
class Rayleigh:
    """Rayleigh quotients of the features' and the output NTK along the components of the residual.

    For an exact block kernel, the same for all neurons, the features' ones are mu_single, mu_class and
    mu_global. NaN where a component vanishes.

    Attributes:
        features: <G_k, Theta^h[G_k]> / |G_k|^2 with G_k = W^T R_k.
        outputs: <R_k, Theta[R_k]> / |R_k|^2, the head's own parameters included.
        shares: |R_k|^2 / |R|^2.
    """

    features: dict[str, float]
    outputs: dict[str, float]
    shares: dict[str, float]

    def to_dict(self) -> Json:
        """Plain values; None for NaN."""
        parts = {"features": self.features, "outputs": self.outputs, "shares": self.shares}
        return {k: {n: v if np.isfinite(v) else None for n, v in d.items()} for k, d in parts.items()}


def split(R: Float64[np.ndarray, "C N"], labels: np.ndarray) -> Float64[np.ndarray, "3 C N"]:
    """R as deviations within classes, contrasts of class means, and the mean over samples."""
    counts = np.bincount(labels)
    means = (R @ one_hot(labels, len(counts)).T) / counts
    mean = R.mean(axis=1, keepdims=True)
    spread = means[:, labels]
    return np.stack([R - spread, spread - mean, np.broadcast_to(mean, R.shape)])


def rayleigh(task: Task, head: Head, H: Features) -> Rayleigh:
    """One backward pass for each component: <G, Theta^h[G]> = |sum_i grad(G_i . h(x_i))|^2.

    Works in every mode of batch normalisation, since no sample is looked at alone.
    """
    # Quotients have no unit, so that the residual, W and what is pulled back are each taken in one of their own.
    R, _ = unit(task.finite("residual W H + b - Y", head.residual(H, task.labels)))
    R, (W, of_W) = split(R, task.labels), unit(head.W)
    G, of_G = units(np.einsum("cn,kcN->kNn", W, R))
    gradients = task.gradients(G)
    moved = task.products("rayleigh", np.einsum("kp,kp->k", gradients, gradients))
    own = np.array([np.sum((r @ H.T) ** 2) for r in R])
    own += 0.0 if head.b is None else np.sum(R.sum(axis=2) ** 2, axis=1)
    sizes, pulled = np.sum(R**2, axis=(1, 2)), np.sum(G**2, axis=(1, 2))
    # Below float32 rounding of the residual a component is not there.
    there = sizes > 1e-12 * sizes.sum()
    with np.errstate(divide="ignore", invalid="ignore"):
        features = np.where(there, moved / pulled, np.nan)
        body = moved / sizes * of_G * of_G * of_W * of_W
        quotients = features, np.where(there, body + own / sizes, np.nan)
    values = (*quotients, sizes / sizes.sum())
    return Rayleigh(*(dict(zip(NAMES, (float(x) for x in v), strict=True)) for v in values))

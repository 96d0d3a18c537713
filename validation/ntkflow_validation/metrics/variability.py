"""Variability that the classifier sees, in the row space of W, and that which it does not see.

W H2 = R2, the part of the residual within classes, so that what is visible is slaved to the training residual, while
nothing of the loss moves the rest but through the hidden layers. With a linear readout, h = V a + c, the matrix
Q = W^T W - V V^T - c c^T is conserved whatever the feature kernel does, and what is invisible is a forgotten or not
forgotten imbalance. S is C times the within-class covariance. Not in the paper (theory 16.1, 16.3).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from ntkflow._types import FeatureMatrix, Features, Weights
from ntkflow.problem.sizes import Sizes
from ntkflow.problem.state import State, class_means, spread
from ntkflow_validation.metrics.compare import observables

# W comes from float32 networks: singular values below this share of the largest are none.
RANK = 1e-6


def row_projector(W: Weights) -> FeatureMatrix:
    """Pi, the orthogonal projector on the row space of W."""
    _, s, Vt = np.linalg.svd(W, full_matrices=False)
    kept = Vt[s > RANK * max(float(s[0]), np.finfo(float).tiny)]
    found: FeatureMatrix = kept.T @ kept
    return found


@dataclass(frozen=True)
class Variability:
    """tr S in two parts, and NC1 within the row space of W.

    Attributes:
        visible: tr Pi S.
        invisible: tr (I - Pi) S.
        of_residual: |W^+ R2|^2, which is `visible`: the two differ by rounding alone.
        NC1_visible: as NC1_tirer, of Pi H: squared deviations from the class means over N, over the mean square of the
            centred class means; NaN where these are zero.
    """

    visible: float
    invisible: float
    of_residual: float
    NC1_visible: float


def variability(state: State, sizes: Sizes) -> Variability:
    """The parts of a state's variability."""
    Pi, m = row_projector(state.W), sizes.N / sizes.C
    means = class_means(state.H, sizes)
    deviations = state.H - spread(means, sizes)
    seen = Pi @ deviations
    F = state.W @ state.H
    within = np.linalg.pinv(state.W, rcond=RANK) @ (F - spread(class_means(F, sizes), sizes))
    visible = float(np.sum(seen**2)) / m
    # As NC1_tirer has it: classes count alike.
    between = float(np.sum((Pi @ (means - means.mean(axis=1, keepdims=True))) ** 2)) / sizes.C
    return Variability(
        visible,
        float(np.sum((deviations - seen) ** 2)) / m,
        float(np.sum(within**2)) / m,
        float(np.sum(seen**2)) / sizes.N / between if between > 0 else float("nan"),
    )


def variability_metrics(state: State, sizes: Sizes) -> dict[str, float]:
    """The same for metrics.jsonl."""
    found = variability(state, sizes)
    return {
        "variability_visible": found.visible,
        "variability_invisible": found.invisible,
        "variability_of_residual": found.of_residual,
        "NC1_visible": found.NC1_visible,
    }


def line_metrics(state: State, sizes: Sizes) -> dict[str, float]:
    """What every line of metrics.jsonl has of a state: `observables` and its variability."""
    return {**observables(state, sizes), **variability_metrics(state, sizes)}


@dataclass(frozen=True, eq=False)
class Readout:
    """A classifier on a linear readout: f = W (V a + c) + b.

    Attributes:
        W: (C, n).
        V: (n, w).
        c: (n,); None without a bias.
        layer: path of V's layer among the network's parameters; "" where it is of none.
    """

    W: Weights
    V: Float64[np.ndarray, "n w"]
    c: Float64[np.ndarray, " n"] | None = None
    layer: str = ""

    @property
    def written(self) -> FeatureMatrix:
        """V V^T + c c^T."""
        found: FeatureMatrix = self.V @ self.V.T
        return found if self.c is None else found + np.outer(self.c, self.c)

    @property
    def Q(self) -> FeatureMatrix:
        """W^T W - V V^T - c c^T, constant under gradient flow of any loss."""
        found: FeatureMatrix = self.W.T @ self.W - self.written
        return found

    def pair(self, x: Mapping[str, np.ndarray], y: Mapping[str, np.ndarray]) -> FeatureMatrix:
        """The bilinear form whose square is Q, of parameters or their gradients by path."""

        def product(name: str, *, written: bool) -> FeatureMatrix:
            left, right = (np.atleast_2d(np.asarray(tensors[name], np.float64)) for tensors in (x, y))
            found: FeatureMatrix = left.T @ right if written else left @ right.T
            return (found + found.T) / 2

        bias = 0.0 if self.c is None else product(f"{self.layer}.bias", written=True)
        # Kernels are (in, out): W is the transpose of the head's.
        return product("head.kernel", written=False) - product(f"{self.layer}.kernel", written=True) - bias

    def invisible_norm(self, Q: FeatureMatrix | None = None) -> float:
        """tr (I - Pi)(-Q)(I - Pi); with its own Q this is tr (I - Pi)(V V^T + c c^T)(I - Pi).

        Args:
            Q: another one, such as that which a law foretells.
        """
        Pi_ = np.eye(self.W.shape[1]) - row_projector(self.W)
        return float(-np.trace(Pi_ @ (self.Q if Q is None else Q) @ Pi_))


@dataclass(frozen=True)
class Foretold:
    """What an imbalance Q says of the invisible variability.

    Attributes:
        bound: lambda_max(A2 A2^T) tr (I - Pi)(-Q)(I - Pi), never below it.
        estimate: tr(A2 A2^T)/w in place of the largest eigenvalue; no bound.
    """

    bound: float
    estimate: float


def foretold(invisible_norm: float, activations: Features, sizes: Sizes) -> Foretold:
    """Bound and estimate of the invisible variability.

    Args:
        invisible_norm: see `Readout.invisible_norm`.
        activations: a, inputs of the readout, (w, N), samples sorted by class.
        sizes: of the samples.
    """
    A2 = (activations - spread(class_means(activations, sizes), sizes)) / np.sqrt(sizes.N / sizes.C)
    largest, trace = float(np.linalg.norm(A2, 2)) ** 2, float(np.sum(A2**2))
    return Foretold(largest * invisible_norm, trace / len(activations) * invisible_norm)

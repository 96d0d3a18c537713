"""Norms |Theta_pq|_F for every pair of neurons or outputs, without the tensor.

For an orthonormal basis u_v of the samples' space, |Theta_pq|^2 = sum_vw (u_v^T Theta_pq u_w)^2, and
u_v^T Theta_pq u_w = <sum_i u_vi J_pi, sum_j u_wj J_qj>. The class indicators, where kernels of trained networks
are large, are taken exactly; what is left of the space is probed by random signs that sum to zero in each class:
E (z^T A z')^2 = |Q A Q|^2 for independent z, z' of covariance Q, the projector on it. Not in the paper.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float, Float64
from numpy.typing import ArrayLike

from ntkflow import views
from ntkflow._types import FeatureMatrix, Json, SampleKernel
from ntkflow.errors import InputError
from ntkflow.problem.sizes import one_hot
from ntkflow.scaling import units
from ntkflow_validation.kernels.backends.base import Directions
from ntkflow_validation.kernels.backends.tiles import padded
from ntkflow_validation.kernels.budget import COLUMNS
from ntkflow_validation.kernels.methods.class_sums import sum_zero_signs
from ntkflow_validation.kernels.methods.head_kernel import HeadKernel
from ntkflow_validation.kernels.store import Chunk
from ntkflow_validation.kernels.task import Task
from ntkflow_validation.kernels.threads import blas

Replicates = Float64[np.ndarray, "r k k"]


@dataclass(frozen=True, eq=False)
class PairNorms:
    """Squared norms of the kernels between directions p and q, over all pairs of the measured samples.

    Attributes:
        squares: |Theta_pq|_F^2, exact or unbiased estimates, (k, k).
        without: the same estimates without each probe in turn, for errors; None when they are exact or of
            fewer than three probes.
        probes: random sample vectors used; 0 when exact.
    """

    squares: FeatureMatrix
    without: Replicates | None = None
    probes: int = 0

    __repr__ = views.short

    @property
    def norms(self) -> FeatureMatrix:
        """|Theta_pq|_F, panes c and d of the paper's Figure 1."""
        return np.sqrt(self.squares)

    @property
    def total(self) -> float:
        """|Theta|_F^2 over all pairs."""
        return float(self.squares.sum())

    @property
    def squares_error(self) -> FeatureMatrix | None:
        """Standard error of every entry of `squares` (jackknife over probes); None when it cannot be told."""
        return self._error(self.squares, lambda squares: squares)

    @property
    def share(self) -> float:
        """Share of |Theta|^2 between different directions, which kernels traced over neurons drop."""
        return _share(self.squares)

    @cached_property
    def share_error(self) -> float | None:
        """Standard error of `share` (jackknife over probes); 0 when exact, None when it cannot be told."""
        error = self._error(np.asarray(self.share), _share)
        return None if error is None else float(error)

    def block_residual(self, block_square: float) -> float:
        """|Theta - K_block (x) I|_F / |Theta|_F.

        Args:
            block_square: |K_block|_F^2 of the projection of the mean kernel on block kernels.
        """
        # The squares of a projection and of the rest add up.
        lost = self.total - len(self.squares) * block_square
        return float(np.sqrt(lost / self.total)) if lost > 0 else 0.0

    def to_dict(self) -> Json:
        """Plain values."""
        return {
            "share": self.share,
            "standard_error": self.share_error,
            "probes": self.probes,
            "reduction": f"sums of squares over all pairs of samples and of {len(self.squares)} directions",
        }

    def _error(self, value: np.ndarray, function: Callable[[FeatureMatrix], ArrayLike]) -> np.ndarray | None:
        if not self.probes:
            return np.zeros_like(value)
        if self.without is None:
            return None
        values = np.array([function(squares) for squares in self.without])
        return np.asarray(np.sqrt((len(values) - 1) * values.var(axis=0)))


def _share(squares: FeatureMatrix) -> float:
    whole = squares.sum()
    # Of a kernel that is 0, as that of dead units, nothing is between different directions.
    return float(1 - np.trace(squares) / whole) if whole else 0.0


def pair_norms(
    task: Task,
    V: Directions,
    probes: int,
    rng: np.random.Generator,
    what: str = "pair norms",
    added: HeadKernel | None = None,
) -> PairNorms:
    """Norms for all pairs of the directions V; exact when the probes would span the samples' space.

    Time: one gradient for each sample and direction, repeated when the memory does not hold C + probes
    gradients for every direction.

    Args:
        task: network and samples.
        V: directions, of any size each; rows of the identity for neurons, W for outputs.
        probes: random sample vectors, two at least.
        rng: their source.
        what: name for progress and stored chunks.
        added: kernel that every direction has besides, such as H^T H + 1 of the head's own parameters.

    Raises:
        InputError: there are fewer than two probes.
    """
    if probes < 2:
        raise InputError("probes", probes, "norms of pairs need at least 2", "raise it")
    if task.C + probes >= task.N:
        U, exact = np.eye(task.N), task.N
    else:
        U, exact = np.concatenate([class_indicators(task), centred_signs(task, probes, rng)]), task.C
    V, sizes = units(V)
    S = _products(task, V, U, what)
    S *= sizes[:, None, None, None]
    S *= sizes[:, None]
    if added is not None:
        for p in range(len(V)):
            S[p, :, p, :] += added.between(U)
    return _estimate(S, exact)


def class_indicators(task: Task) -> Float64[np.ndarray, "C N"]:
    """Orthonormal basis of the vectors that are constant in every class."""
    found: np.ndarray = one_hot(task.labels, task.C) / np.sqrt(task.counts)[:, None]
    return found


def centred_signs(task: Task, probes: int, rng: np.random.Generator) -> Float64[np.ndarray, "k N"]:
    """Random vectors whose covariance projects on what is orthogonal to these indicators."""
    m = task.counts[task.labels]
    found: np.ndarray = np.stack([sum_zero_signs(task.counts, rng) for _ in range(probes)]) * np.sqrt(
        (m - 1) / m
    )
    return found


def _products(
    task: Task, V: Directions, U: Float64[np.ndarray, "r N"], what: str
) -> Float64[np.ndarray, "k r k r"]:
    """<sum_i U_vi J_pi, sum_j U_wj J_qj>, summed in float64 over ranges of parameters."""
    k, r = len(V), len(U)
    task.budget.require(3 * 8 * (k * r) ** 2, task.budget.bytes // 4, f"pair norms of {k} directions",
                        "raise it, or give fewer neurons or probes")  # fmt: skip
    S = np.zeros((k * r, k * r))
    columns = task.budget.columns((k + 2) * r, task.backend.P)
    for done, (a, b) in enumerate(columns):

        def compute(a: int = a, b: int = b, done: int = done) -> Chunk:
            def progress(p: int) -> None:
                task.progress(what, done * k + p, len(columns) * k)

            return {"S": _gram(_projected(task, V, U, a, b, progress))}

        S += task.stored(f"pairs-{a}-{b}", (V, U), compute)["S"]
        task.progress(what, (done + 1) * k, len(columns) * k)
    return ((S + S.T) / 2).reshape(k, r, k, r)


def _projected(
    task: Task,
    V: Directions,
    U: Float64[np.ndarray, "r N"],
    a: int,
    b: int,
    progress: Callable[[int], object],
) -> Float[np.ndarray, "kr w"]:
    """U J_p of every direction p, columns a..b; summed over batches of samples in float64."""
    G = np.empty((len(V), len(U), b - a), np.float32)
    weights = U.astype(np.float32)
    B, _ = task.backend.tile(task.x, 1, task.budget.workspace)
    for p, v in enumerate(V):
        total = np.zeros((len(U), b - a))
        for first, rows in padded(task.N, B):
            part = task.backend.rows(task.x[rows], v[None])[first:, 0, a:b]
            total += weights[:, rows[first:]] @ part
        G[p] = total
        progress(p + 1)
    return G.reshape(-1, b - a)


def _gram(G: Float[np.ndarray, "kr w"]) -> SampleKernel:
    S = np.zeros((len(G), len(G)))
    with blas(len(G)):
        for s in range(0, G.shape[1], COLUMNS):
            block = np.ascontiguousarray(G[:, s : s + COLUMNS])
            S += block @ block.T
    return S


def _estimate(S: Float64[np.ndarray, "k r k r"], exact: int) -> PairNorms:
    """From products along `exact` orthonormal vectors and, after them, random ones of the rest."""
    squares = S**2
    known = squares[:, :exact, :, :exact].sum(axis=(1, 3))
    probes = S.shape[1] - exact
    if not probes:
        return PairNorms(known)
    half = squares[:, :exact, :, exact:].sum(axis=1).transpose(2, 0, 1)
    cross = half + half.transpose(0, 2, 1)
    # Probes a and b of the two sides; equal ones are not independent and stay out.
    rest = squares[:, exact:, :, exact:].transpose(1, 3, 0, 2).copy()
    rest[np.arange(probes), np.arange(probes)] = 0.0
    pairs, lines = rest.sum(axis=(0, 1)), rest.sum(axis=0) + rest.sum(axis=1)
    found = known + cross.mean(axis=0) + pairs / (probes * (probes - 1))
    if probes < 3:
        return PairNorms(found, None, probes)
    fewer = (probes - 1) * (probes - 2)
    without = known + (cross.sum(axis=0) - cross) / (probes - 1) + (pairs - lines) / fewer
    return PairNorms(found, without, probes)

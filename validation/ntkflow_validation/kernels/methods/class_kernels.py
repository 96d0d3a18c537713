"""The kernel between classes with all its feature structure, from gradients of class sums. Not in the paper."""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float32, Float64

from ntkflow import views
from ntkflow._types import Json, SampleKernel
from ntkflow.problem.sizes import Sizes
from ntkflow_validation.kernels.backends.base import Directions
from ntkflow_validation.kernels.budget import COLUMNS
from ntkflow_validation.kernels.task import Task

# T[p, c, q, d]: feature p of class c with feature q of class d; D[c, p, q]: within class c.
ClassTensor = Float64[np.ndarray, "n C n C"] | Float32[np.ndarray, "n C n C"]
WithinTensor = Float64[np.ndarray, "C n n"] | Float32[np.ndarray, "C n n"]


@dataclass(frozen=True, eq=False)
class ClassKernels:
    """What the features' NTK does to class means, and what it does within classes.

    Attributes:
        T: <mean gradient of feature p over class c, mean gradient of feature q over class d>, (n, C, n, C):
            exact for the samples measured, at any number of them.
        D: covariance of the gradients within classes between features p and q, (C, n, n); divisor m_c - 1, so
            that for a block kernel every D_c is mu_single I. Estimated by probes.
        D_error: relative standard error of tr D from the probes; None for one probe, and where they all agree.
        sizes: of the samples measured.
        whole: whether all directions of feature space were measured; otherwise T and D vanish outside some.
    """

    T: ClassTensor
    D: WithinTensor
    D_error: float | None
    sizes: Sizes
    whole: bool = True

    __repr__ = views.short

    def to_dict(self) -> Json:
        """What is no array."""
        return {"D_error": self.D_error, "whole": self.whole}

    def levelled(self, K: SampleKernel) -> "ClassKernels":
        """D with the exact traces, from the mean of the N x N kernels: only its shape is then estimated."""
        sizes, m, labels = self.sizes, self.sizes.masses, self.sizes.labels
        own = np.array([K[np.ix_(labels == c, labels == c)].mean() for c in range(sizes.C)])
        diagonal = np.array([np.diag(K)[labels == c].mean() for c in range(sizes.C)])
        exact = np.maximum((diagonal - own) * m / np.maximum(m - 1, 1), 0.0)
        traces = np.einsum("cpp->c", self.D) / sizes.n
        # Single samples have no deviations from their class mean.
        factors = np.where(m > 1, exact / np.maximum(traces, np.finfo(float).tiny), 1.0)
        return replace(self, D=self.D * factors[:, None, None])

    def for_data_set(self, m: float) -> "ClassKernels":
        """As operators on these s samples of each class in the clock (m/s) t of m of them.

        The mean gradient of s samples holds 1/s of their covariance, that of m holds 1/m; deviations feel
        themselves only once, not m/s times.
        """
        s = self.sizes.N / self.sizes.C
        T, diagonal = self.T.copy(), np.arange(self.sizes.C)
        T[:, diagonal, :, diagonal] -= self.D * (1 / s - 1 / m)
        return ClassKernels(T, self.D * (s / m), self.D_error, self.sizes, self.whole)

    @property
    def off_neuron_share_of_means(self) -> float:
        """Share of |T|^2 between different features, which every scalar kernel drops; of |Theta|^2 see `PairNorms.share`."""
        squares = np.einsum("pcqd,pcqd->pq", self.T, self.T)
        return float(1 - np.trace(squares) / squares.sum())


def class_kernels(task: Task, V: Directions, probes: int, rng: np.random.Generator) -> ClassKernels:
    """Measure T exactly along the directions V, and the mean of D over classes by random signs.

    With signs centred in every class and scaled to norm 1 there, E w_i w_j is the projector on deviations over
    m_c - 1, so the gradient z of sum_i w_i h(x_i) has E z_p z_q = sum_c D_c,pq.

    Args:
        task: network and samples; if they see each other in normalisation, so do they here.
        V: orthonormal directions of feature space, one a row.
        probes: draws of signs.
        rng: source of the signs.

    Returns:
        T and D in single precision, that of the gradients.
    """
    k, C = len(V), task.C
    sizes = Sizes(C=C, m=tuple(int(m) for m in task.counts), n=task.backend.n)
    flat = np.zeros((k * C, k * C))
    for a, b in task.budget.columns(4 * k * C, task.backend.P):
        G = task.class_gradients(V, np.ones((k, task.N)), a, b) / task.counts[:, None, None]
        flat += _gram(G.transpose(1, 0, 2).reshape(k * C, -1))
        task.progress("class kernels", b, task.backend.P)
    within = np.zeros((probes, k, k))
    for i in range(probes):
        w = centred_signs(task.counts, rng)
        within[i] = _gram(task.gradients(V[:, None, :] * w[:, None])) / C
        task.progress("kernels within classes", i + 1, probes)
    flat, within = task.products("class kernels", flat), task.products("kernels within classes", within)
    T = np.einsum("kp,kcld,lq->pcqd", V, flat.reshape(k, C, k, C), V, optimize=True).astype(np.float32)
    D = np.repeat((V.T @ within.mean(axis=0) @ V)[None], C, axis=0).astype(np.float32)
    return ClassKernels(T, D, _probe_error(within), sizes, k == task.backend.n)


def _gram(rows: np.ndarray) -> Float64[np.ndarray, "k k"]:
    """Products of float32 rows, summed in float64 over runs of columns; symmetric."""
    found = np.zeros((len(rows), len(rows)))
    for s in range(0, rows.shape[1], COLUMNS):
        block = np.ascontiguousarray(rows[:, s : s + COLUMNS], dtype=np.float32)
        found += block @ block.T
    return (found + found.T) / 2


def centred_signs(counts: np.ndarray, rng: np.random.Generator) -> Float64[np.ndarray, " N"]:
    """Random signs minus their mean in every class, scaled to norm 1 there; 0 for classes of one sample."""
    parts = []
    for m in counts:
        w = rng.choice([-1.0, 1.0], size=m)
        w -= w.mean()
        # All signs equal, which small classes meet now and then: any direction of deviations will do.
        if not w.any():
            w = rng.permutation(np.eye(m)[0] - 1 / m)
        parts.append(w / np.linalg.norm(w) if m > 1 else w * 0)
    return np.concatenate(parts)


def _probe_error(within: Float64[np.ndarray, "q k k"]) -> float | None:
    traces = np.einsum("qkk->q", within)
    if len(traces) < 2 or traces.mean() <= 0:
        return None
    return float(traces.std(ddof=1) / np.sqrt(len(traces)) / traces.mean()) or None

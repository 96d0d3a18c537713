"""The kernel between classes with all its feature structure, from gradients of class sums."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from ntkflow.sizes import Sizes
from validation.kernels.budget import COLUMNS
from validation.kernels.task import Task
from validation.ladder.operators import ClassTensor, WithinTensor


@dataclass(frozen=True, eq=False)
class ClassKernels:
    """What the features' NTK does to class means, and what it does within classes.

    Attributes:
        T: <mean gradient of feature p over class c, mean gradient of feature q over class d>, (n, C, n, C):
            exact for the samples measured, at any number of them.
        D: covariance of the gradients within class c between features p and q, (C, n, n), unbiased over the
            probes; divisor m_c - 1, so that for a block kernel every D_c is mu_single I.
        D_error: relative standard error of the mean of tr D_c over classes from the probes; None for one probe.
        sizes: of the samples measured.
    """

    T: ClassTensor
    D: WithinTensor
    D_error: float | None
    sizes: Sizes

    def for_data_set(self, m: float) -> "ClassKernels":
        """As operators on these s samples of each class in the clock (m/s) t of m of them.

        The mean gradient of s samples holds 1/s of their covariance, that of m holds 1/m; deviations feel
        themselves only once, not m/s times.
        """
        s = self.sizes.N / self.sizes.C
        T, diagonal = self.T.copy(), np.arange(self.sizes.C)
        T[:, diagonal, :, diagonal] -= self.D * (1 / s - 1 / m)
        return ClassKernels(T, self.D * (s / m), self.D_error, self.sizes)

    @property
    def off_neuron_share(self) -> float:
        """Share of |T|^2 between different features, which every scalar kernel drops."""
        squares = np.einsum("pcqd,pcqd->pq", self.T, self.T)
        return float(1 - np.trace(squares) / squares.sum())

    def arrays(self) -> dict[str, np.ndarray]:
        """For files; float32 is what they were measured in."""
        error = np.array(np.nan if self.D_error is None else self.D_error)
        return {"T": self.T.astype(np.float32), "D": self.D.astype(np.float32), "D_error": error}


def class_kernels(task: Task, probes: int, rng: np.random.Generator) -> ClassKernels:
    """Measure T exactly and D by random signs within classes.

    With signs centred in the class and scaled to |w| = 1, E w w^T is the projector on deviations over
    m_c - 1, so the gradient z of sum_i w_i h(x_i) has E z_p z_q = D_pq. Not in the paper.

    Args:
        task: network and samples.
        probes: draws of signs; each costs a gradient for every feature and sample, as T does.
        rng: source of the signs.
    """
    n, C = task.backend.n, task.C
    sizes = Sizes(C=C, m=tuple(int(m) for m in task.counts), n=n)
    V = np.eye(n)
    flat = np.zeros((n * C, n * C))
    within = np.zeros((probes, C, n, n))
    signs = [_centred_signs(task.counts, rng) for _ in range(probes)]
    for a, b in task.budget.columns(4 * n * C, task.backend.P):
        G = task.class_gradients(V, np.ones((n, task.N)), a, b) / task.counts[:, None, None]
        rows = G.transpose(1, 0, 2).reshape(n * C, -1)
        for s in range(0, b - a, COLUMNS):
            block = np.ascontiguousarray(rows[:, s : s + COLUMNS], dtype=np.float32)
            flat += block @ block.T
        for k, sign in enumerate(signs):
            Z = task.class_gradients(V, np.tile(sign, (n, 1)), a, b).astype(np.float32)
            within[k] += np.einsum("cpw,cqw->cpq", Z, Z, optimize=True)
            task.progress("class kernels", k + 1, probes)
    D = (within + within.transpose(0, 1, 3, 2)) / 2
    return ClassKernels(
        ((flat + flat.T) / 2).reshape(n, C, n, C), D.mean(axis=0), _probe_error(D), sizes
    )


def _centred_signs(counts: np.ndarray, rng: np.random.Generator) -> Float64[np.ndarray, " N"]:
    parts = []
    for m in counts:
        w = rng.choice([-1.0, 1.0], size=m)
        w -= w.mean()
        # All signs equal, which small classes meet now and then: any direction of deviations will do.
        if not w.any():
            w = np.eye(m)[0] - 1 / m
        parts.append(w / np.linalg.norm(w) if m > 1 else w * 0)
    return np.concatenate(parts)


def _probe_error(D: Float64[np.ndarray, "k C n n"]) -> float | None:
    traces = np.einsum("kcpp->k", D)
    if len(traces) < 2 or traces.mean() <= 0:
        return None
    return float(traces.std(ddof=1) / np.sqrt(len(traces)) / traces.mean())

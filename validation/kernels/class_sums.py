"""Block constants of any number of samples without an N x N object.

Pairs of samples enter only through sums over classes, and these are products of gradients of class sums:
sum_{i in c, j in c'} <J_i, J_j> = <sum_{i in c} J_i, sum_{j in c'} J_j>. Not in the paper.
"""

import numpy as np
from jaxtyping import Float64

from validation.kernels.backend import Directions
from validation.kernels.statistics import BlockSums
from validation.kernels.store import Chunk
from validation.kernels.task import Task, padded

Means = Float64[np.ndarray, "C k P"]


def exact(task: Task, V: Directions, what: str = "class sums") -> BlockSums:
    """Exact block sums: gradients of the class means, then every sample's deviation from its class's.

    Time: one batched and one per-sample gradient for each sample and direction. Memory: two copies of C
    gradients for each direction in flight, one of them float64.
    """
    k, parts = group_size(task, len(V)), []
    for a in range(0, len(V), k):
        group = V[a : a + k]
        parts.append(task.stored("class-sums", (group,), lambda group=group: _exact_group(task, group)))  # type: ignore[misc]
        task.progress(what, min(a + k, len(V)), len(V))
    return _sums(task, parts)


def probed(
    task: Task, V: Directions, fresh: Directions, rng: np.random.Generator, what: str = "probes"
) -> BlockSums:
    """Unbiased estimates from random directions: class means along V, deviations along sum-zero signs.

    With signs sigma_i of expectation 0, E sigma_i^2 = 1 and sum_{i in c} sigma_i = 0, exchangeable within
    the class, E sigma_i sigma_j = -1/(m_c - 1), so E|sum_{i in c} sigma_i J_i|^2 = m_c mu_single^c: the small
    difference kappa_d - kappa_c is measured itself, along `fresh`, directions independent of V.
    """
    signs = np.stack([sum_zero_signs(task.counts, rng) for _ in range(len(V))])
    k, parts = group_size(task, len(V)), []
    for a in range(0, len(V), k):
        group = (V[a : a + k], fresh[a : a + k], signs[a : a + k])
        parts.append(task.stored("probes", group, lambda group=group: _probe(task, *group)))  # type: ignore[misc]
        task.progress(what, min(a + k, len(V)), len(V))
    return _sums(task, parts)


def random_directions(k: int, n: int, rng: np.random.Generator) -> Directions:
    """Independent random signs over neurons, of norm 1: v^T A v is tr A / n on average."""
    return rng.choice([-1.0, 1.0], size=(k, n)) / np.sqrt(n)


def orthonormal_directions(k: int, n: int, rng: np.random.Generator) -> Directions:
    """k rows of a random orthogonal n x n matrix: the mean of v^T A v is exact at k = n."""
    Q, R = np.linalg.qr(rng.normal(size=(n, n)))
    return (Q * np.sign(np.diag(R))).T[:k]


def sum_zero_signs(counts: np.ndarray, rng: np.random.Generator) -> Float64[np.ndarray, " N"]:
    """Random signs that sum to zero in each class, mean square 1; one sample of an odd class is left out."""
    parts = []
    for m in counts:
        signs = np.concatenate([np.ones(m // 2), -np.ones(m // 2), np.zeros(m % 2)])
        # One sample left out of m: the others are scaled so that the mean square stays 1.
        parts.append(rng.permutation(signs) * np.sqrt(m / max(m - m % 2, 1)))
    return np.concatenate(parts)


def group_size(task: Task, directions: int) -> int:
    """Directions handled at once."""
    each = 3 * 8 * task.C * task.backend.P
    task.budget.require(each, task.budget.jacobian, f"{task.C} class gradients", "raise it")
    return max(1, min(directions, 8, task.budget.jacobian // each))


def products(G: Means) -> Float64[np.ndarray, "k C C"]:
    """<G_c, G_c'> of each direction."""
    return np.stack([G[:, q] @ G[:, q].T for q in range(G.shape[1])])


def _sums(task: Task, chunks: list[Chunk]) -> BlockSums:
    fields = (np.concatenate([chunk[name] for chunk in chunks]) for name in ("diagonal", "within", "means"))
    return BlockSums(task.counts.astype(float), *fields)


def _class_means(task: Task, V: Directions) -> Means:
    G = task.class_gradients(V, np.ones((len(V), task.N)), 0, task.backend.P)
    G /= task.counts[:, None, None]
    return G


def _exact_group(task: Task, V: Directions) -> Chunk:
    G = _class_means(task, V)
    means, parts = products(G), []
    for c in range(task.C):

        def compute(c: int = c) -> Chunk:
            return _class_squares(task, V, G[c], c)

        parts.append(task.part("squares", c, len(V) * task.N, (V, G[c]), compute))
    diagonal, deviations = (np.stack([part[name] for part in parts], axis=1) for name in ("own", "moved"))
    m = task.counts
    within = np.where(m > 1, deviations / np.maximum(m - 1, 1), np.nan)
    return {"diagonal": diagonal / m, "within": within, "means": means}


def _class_squares(task: Task, V: Directions, centre: Float64[np.ndarray, "k P"], c: int) -> Chunk:
    """Sums over class c of |J_i|^2 and |J_i - centre|^2 of each direction."""
    own, moved = np.zeros((2, len(V)))
    B, k = task.backend.tile(task.x[: int(task.counts.max())], len(V), task.budget.workspace)
    start = int(task.counts[:c].sum())
    for first, local in padded(int(task.counts[c]), B):
        for skip, chosen in padded(len(V), k):
            squares = task.backend.squares(
                task.x[start + local], V[chosen], centre[chosen].astype(np.float32)
            )
            own[chosen[skip:]] += squares[0, first:, skip:].sum(axis=0)
            moved[chosen[skip:]] += squares[1, first:, skip:].sum(axis=0)
    return {"own": own, "moved": moved}


def _probe(task: Task, V: Directions, fresh: Directions, signs: np.ndarray) -> Chunk:
    means = products(_class_means(task, V))
    moved = task.class_gradients(fresh, signs, 0, task.backend.P)
    m = task.counts
    within = np.where(m > 1, np.einsum("ckw,ckw->kc", moved, moved) / m, np.nan)
    own = np.einsum("kcc->kc", means)
    diagonal = own + np.where(m > 1, within * (m - 1) / m, 0.0)
    return {"diagonal": diagonal, "within": within, "means": means}

"""Block constants of any number of samples without an N x N object.

Pairs of samples enter only through sums over classes, and these are products of gradients of class sums:
sum_{i in c, j in c'} <J_i, J_j> = <sum_{i in c} J_i, sum_{j in c'} J_j>. Not in the paper.
"""

import numpy as np
from jaxtyping import Float64
from scipy.linalg import hadamard

from ntkflow_validation.kernels.backends.base import Directions
from ntkflow_validation.kernels.backends.tiles import padded
from ntkflow_validation.kernels.statistics import BlockSums
from ntkflow_validation.kernels.store import Chunk
from ntkflow_validation.kernels.task import Task

Means = Float64[np.ndarray, "C k P"]


def exact(task: Task, V: Directions, what: str = "class sums") -> BlockSums:
    """Exact block sums: class means, and the samples' deviations from them, in one pass over the samples.

    Time: one gradient for each sample and direction. Memory: two copies of C gradients for each direction in
    flight, in float64.
    """
    k, parts = group_size(task, len(V)), []
    for a in range(0, len(V), k):
        group = V[a : a + k]
        parts.append(task.stored("class-sums", (group,), lambda group=group: _exact_group(task, group)))  # type: ignore[misc]
        task.progress(what, min(a + k, len(V)), len(V))
    return _sums(task, parts)


def signed(
    task: Task, V: Directions, fresh: Directions, rng: np.random.Generator, what: str = "sign probes"
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
        parts.append(task.stored("signs", group, lambda group=group: _signed_group(task, *group)))  # type: ignore[misc]
        task.progress(what, min(a + k, len(V)), len(V))
    return _sums(task, parts)


def random_directions(k: int, n: int, rng: np.random.Generator) -> Directions:
    """Independent random signs over neurons, of norm 1: v^T A v is tr A / n on average."""
    found: np.ndarray = rng.choice([-1.0, 1.0], size=(k, n)) / np.sqrt(n)
    return found


def orthonormal_directions(k: int, n: int, rng: np.random.Generator) -> Directions:
    """k rows of a random orthogonal n x n matrix: the mean of v^T A v is exact at k = n.

    Rows of a Hadamard matrix where n is a power of two, else of the discrete Hartley transform, with random signs
    of the columns. Their entries are of one size or nearly so, so that neurons with large kernels, which differ
    most, enter every direction alike.
    """
    if n & (n - 1) == 0:
        Q = hadamard(n) / np.sqrt(n)
    else:
        angles = 2 * np.pi * np.outer(np.arange(n), np.arange(n)) / n
        Q = (np.cos(angles) + np.sin(angles)) / np.sqrt(n)
    found: np.ndarray = Q[rng.permutation(n)[:k]] * rng.choice([-1.0, 1.0], size=n)
    return found


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


def _exact_group(task: Task, V: Directions) -> Chunk:
    parts = []
    for c in range(task.C):

        def compute(c: int = c) -> Chunk:
            return _class_moments(task, V, c)

        # A copy of the dictionary, not of its arrays: what is popped below may still belong to a store.
        parts.append(dict(task.part("moments", c, len(V) * task.N, (V,), compute)))
    own, moved = (np.stack([part[name] for part in parts], axis=1) for name in ("own", "moved"))
    m = task.counts
    within = np.where(m > 1, moved / np.maximum(m - 1, 1), np.nan)
    means = products(np.stack([part.pop("mean") for part in parts]))
    return {"diagonal": own / m, "within": within, "means": means}


def _class_moments(task: Task, V: Directions, c: int) -> Chunk:
    """Mean of J_i over class c, and sums of |J_i|^2 and |J_i - mean|^2, of each direction."""
    mean, (own, moved) = np.zeros((len(V), task.backend.P)), np.zeros((2, len(V)))
    B, k = task.backend.tile(task.x[: int(task.counts.max())], len(V), task.budget.workspace)
    start, seen = int(task.counts[:c].sum()), 0
    for first, local in padded(int(task.counts[c]), B):
        fresh = np.arange(len(local)) >= first
        new = int(fresh.sum())
        for skip, chosen in padded(len(V), k):
            part, these = task.backend.moments(task.x[start + local], V[chosen], fresh), chosen[skip:]
            own[these] += part.own[skip:]
            moved[these] += part.moved[skip:]
            if seen == 0:
                mean[these] = part.total[skip:] / np.float32(new)
                continue
            # Means of samples so far and of new ones: squares about each, and of their difference.
            change = part.total[skip:] / np.float32(new) - mean[these]
            moved[these] += seen * new / (seen + new) * np.einsum("kp,kp->k", change, change)
            change *= new / (seen + new)
            mean[these] += change
        seen += new
    return {"mean": mean, "own": own, "moved": moved}


def _signed_group(task: Task, V: Directions, fresh: Directions, signs: np.ndarray) -> Chunk:
    G = task.class_gradients(V, np.ones((len(V), task.N)), 0, task.backend.P)
    means = products(G / task.counts[:, None, None])
    moved = task.class_gradients(fresh, signs, 0, task.backend.P)
    m = task.counts
    within = np.where(m > 1, np.einsum("ckw,ckw->kc", moved, moved) / m, np.nan)
    own = np.einsum("kcc->kc", means)
    diagonal = own + np.where(m > 1, within * (m - 1) / m, 0.0)
    return {"diagonal": diagonal, "within": within, "means": means}

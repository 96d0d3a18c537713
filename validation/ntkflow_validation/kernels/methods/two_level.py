"""Block constants from few directions on all samples, corrected by all directions on few samples.

The mean over n orthonormal directions is the mean over neurons. Directions differ far more than samples do, and
differ alike on few samples and on all: what a direction has above the mean on a few samples of every class, where
all n are affordable (or of some classes), is taken off its value on all samples. Not in the paper.
"""

from dataclasses import replace

import numpy as np
from jaxtyping import Float64

from ntkflow_validation.kernels.backends.base import Directions
from ntkflow_validation.kernels.methods.class_sums import exact, orthonormal_directions
from ntkflow_validation.kernels.statistics import BlockSums
from ntkflow_validation.kernels.task import Task

# Gradients of all directions on few samples, in those of few directions on all: errors of the two kinds fall
# with either, and this is near the optimum where the few samples tell most about the many.
SHARE = 2 / 3
# Slopes are estimated as if so many directions had been seen besides for which few samples say what all do.
PRIOR = 2.0


def probed(
    task: Task, D: Directions, probes: int, rng: np.random.Generator, what: str = "probes"
) -> tuple[BlockSums, int]:
    """Sums of random directions, whose mean is unbiased and whose scatter is its error's, and how many there are.

    Exact where the directions or samples are so few that this costs no more; the scatter then counts for nothing,
    since all directions were measured.

    Args:
        task: network and samples.
        D: directions to take the mean over.
        probes: combinations of these on all samples.
        rng: their source.
        what: name for progress and stored chunks.
    """
    q, r = len(D), min(probes, len(D))
    V = orthonormal_directions(q, q, rng) @ D
    few = few_samples(task.counts, q, r)
    if few is None:
        return exact(task, V, what), q
    control = exact(subset(task, *few), V, f"{what}, few samples")
    return controlled(exact(task, V[:r], what), control), q


def few_samples(counts: np.ndarray, q: int, r: int) -> tuple[int, np.ndarray] | None:
    """How many samples of which classes, for all q directions beside r of them on all samples.

    Two of a class at least, since one says nothing of deviations from its mean; where that is too much, of fewer classes,
    two at least. None when all directions on all samples cost no more.
    """
    affordable = SHARE * r * counts.sum() / q
    few = max(2, int(affordable / len(counts)))
    most = max(2, int(affordable / few))
    classes = np.sort(np.argsort(-counts, kind="stable")[:most])
    least = np.minimum(counts[classes], few).sum()
    return None if least * q + r * counts.sum() >= q * counts.sum() else (few, classes)


def gradients(counts: np.ndarray, q: int, r: int) -> int:
    """Per-sample gradients that `probed` takes."""
    chosen = few_samples(counts, q, r)
    if chosen is None:
        return int(q * counts.sum())
    few, classes = chosen
    return int(q * np.minimum(counts[classes], few).sum() + r * counts.sum())


def subset(task: Task, few: int, classes: np.ndarray) -> Task:
    """The same network on the first samples of some classes, which are numbered anew."""
    starts = np.cumsum(task.counts) - task.counts
    taken = np.minimum(task.counts[classes], few)
    rows = np.concatenate([a + np.arange(m) for a, m in zip(starts[classes], taken, strict=True)])
    labels = np.repeat(np.arange(len(classes)), taken)
    order = rows if task.order is None else task.order[rows]
    return replace(task, x=task.x[rows], labels=labels, order=order, _parts=[])


def controlled(sums: BlockSums, control: BlockSums) -> BlockSums:
    """Sums of r directions, each less what the control says it has above the mean of all n.

    Args:
        sums: of r directions drawn without replacement.
        control: of n directions, these the first.
    """
    own, of_few = _kinds(sums.counts), _kinds(control.counts)
    names = ("diagonal", "within", "means", "means")
    d, w, within, between = (
        _regressed(getattr(sums, name), getattr(control, name), *weights)
        for name, *weights in zip(names, own, of_few, strict=True)
    )
    return BlockSums(sums.counts, d, w, np.where(np.eye(len(sums.counts), dtype=bool), within, between))


def _kinds(m: np.ndarray) -> list[np.ndarray]:
    """How many entries of the kernels stand behind each value: diagonal, pairs of a class, blocks of one class and of two."""
    pairs, own = np.multiply.outer(m, m), np.eye(len(m), dtype=bool)
    return [m, m * (m - 1), np.where(own, pairs, 0.0), np.where(own, 0.0, pairs)]


def _regressed(
    F: Float64[np.ndarray, "r *s"], f: Float64[np.ndarray, "n *z"], weights: np.ndarray, of_few: np.ndarray
) -> np.ndarray:
    """Values whose mean is unbiased for the mean of F over all n, and whose scatter is that of the residuals.

    The slope b_q of direction q comes from the r - 1 others. Given these, q is any of the n - r + 1 that are left,
    so F_q - b_q (f_q - mean of f over what is left) is unbiased for the mean of F over what is left; putting the
    others back and taking the mean over q gives mean_q F_q - b_q (f_q - f - (r / n) (f_q - f_r)), f the mean over
    all n and f_r over the r. Few samples of some classes alone have one number f for all.
    """
    r, n, alone = len(F), len(f), [1] * (F.ndim - 1)
    alike = f.shape[1:] == F.shape[1:]
    mean = _weighted(f, weights if alike else of_few)
    b = _slopes(_weighted(F, weights), mean).reshape(r, *alone)
    if not alike:
        f = mean.reshape(n, *alone)
    above = f[:r] - f.mean(axis=0)
    taken = b * (above - r / n * (f[:r] - f[:r].mean(axis=0)))
    residuals = F - b * above
    found: np.ndarray = residuals - residuals.mean(axis=0) + (F - taken).mean(axis=0)
    return found


def _slopes(F: Float64[np.ndarray, " r"], f: Float64[np.ndarray, " n"]) -> Float64[np.ndarray, " r"]:
    """Slope of F against f without each direction in turn, drawn towards 1."""
    r, prior = len(F), PRIOR * f.var()
    others = ~np.eye(r, dtype=bool)
    slopes = np.ones(r)
    for q in range(r):
        x, y = f[:r][others[q]], F[others[q]]
        if len(x) and prior > 0:
            x = x - x.mean()
            slopes[q] = (x @ (y - y.mean()) + prior) / (x @ x + prior)
    return slopes


def _weighted(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Mean over classes of each direction, (k,); classes without a value have weight 0, 0 where none has one."""
    summed = (np.where(weights > 0, values, 0.0) * weights).reshape(len(values), -1).sum(axis=1)
    found: np.ndarray = summed / max(float(weights.sum()), 1.0)
    return found

"""Exact N x N kernels of directions v: K_v[i, j] = <grad v.h(x_i), grad v.h(x_j)>, in chunks."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from ntkflow_validation.kernels.backends.base import ContractingBackend, Directions, FactoringBackend
from ntkflow_validation.kernels.backends.combined import combined_directions
from ntkflow_validation.kernels.backends.differences import from_differences, less_first
from ntkflow_validation.kernels.backends.factored import layer_deviations, layer_kernels
from ntkflow_validation.kernels.backends.tiles import Block, blocks
from ntkflow_validation.kernels.statistics import BlockSums, from_gram, stack
from ntkflow_validation.kernels.store import Chunk
from ntkflow_validation.kernels.task import Task
from ntkflow_validation.kernels.threads import blas

# Directions (k, n), and what weighs each in their mean, (k,).
Weighted = tuple[np.ndarray, np.ndarray]
Contracted = tuple[Float64[np.ndarray, "k N N"], Float64[np.ndarray, "k N"]]


@dataclass(frozen=True, eq=False)
class Grams:
    """Kernels of several directions.

    Attributes:
        mean: mean of their kernels, N x N, or several.
        sums: block sums of each.
        norms: |K_v|_F of each, (k,).
    """

    mean: Float64[np.ndarray, "*f N N"]
    sums: BlockSums
    norms: Float64[np.ndarray, " k"]


def grams(
    task: Task,
    V: Directions,
    what: str = "kernels",
    weights: Float64[np.ndarray, "*f k"] | None = None,
    together: bool = False,
) -> Grams:
    """The kernels of the directions V, one after the other; one chunk of the store each group.

    Memory: a Jacobian chunk of N rows a direction in flight, and one N x N kernel for each of these.

    Args:
        task: network and samples.
        V: directions; rows of the identity for neurons.
        what: name for progress and stored chunks.
        weights: of each direction's kernel in the mean; 1 by default. Rows of weights are of as many means, (f, N, N).
            Sums and norms are of the kernels themselves.
        together: all directions are one group, whose memory was asked for.
    """
    k = len(V) if together else _directions(task, len(V))
    means = () if weights is None else weights.shape[:-1]
    mean, sums, norms = np.zeros((*means, task.N, task.N)), [], []
    for a in range(0, len(V), k):
        group = (V[a : a + k],) if weights is None else (V[a : a + k], weights[..., a : a + k])
        chunk = task.stored(what, group, lambda group=group: _group(task, *group))  # type: ignore[misc]
        mean += chunk["total"]
        sums.append(
            BlockSums(task.counts.astype(float), *(chunk[f] for f in ("diagonal", "within", "means")))
        )
        norms.append(chunk["norms"])
        task.progress(what, min(a + k, len(V)), len(V))
    task.forget()
    return Grams(mean / len(V), stack(sums), np.concatenate(norms))


def pair(task: Task, one: Weighted, other: Weighted, what: str) -> tuple[Grams, Grams] | None:
    """`grams` of two sets of directions that span the same, which go back through the network once; None where they do not.

    Args:
        task: network and samples.
        one: directions, and their weights in their mean.
        other: the same of the other set.
        what: name for progress and stored chunks.
    """
    V = np.concatenate([one[0], other[0]])
    if not _at_once(task, V):
        return None
    first = len(one[0])
    weights = np.zeros((2, len(V)))
    weights[0, :first], weights[1, first:] = one[1], other[1]
    both = grams(task, V, what, weights, together=True)
    parts = ((0, slice(first)), (1, slice(first, len(V))))
    return tuple(  # type: ignore[return-value]
        Grams(both.mean[i] * len(V) / len(V[own]), both.sums.of(own), both.norms[own]) for i, own in parts
    )


def _at_once(task: Task, V: Directions) -> bool:
    """Whether the kernels of all these directions are cheaper together, and fit into the memory."""
    if contractible(task, len(V)):
        return contractible(task, len(V)) >= len(V) <= _directions(task, len(V))
    combined = combined_directions(V, len(V))
    if combined is None or factoring(task) is not None:
        return False
    kernels = len(V) * _kernel_bytes(task) <= task.budget.bytes // 4
    return kernels and _directions(task, len(combined[0])) == len(combined[0])


def _directions(task: Task, directions: int) -> int:
    return group_size(
        task, directions, _kernel_bytes(task), "an N x N kernel", "raise it or use method 'class-sums'"
    )


def fits(task: Task) -> bool:
    """Whether N x N kernels fit into their share of the memory."""
    return _kernel_bytes(task) <= task.budget.bytes // 4


def _kernel_bytes(task: Task) -> int:
    return 3 * 8 * task.N**2


def factoring(task: Task, directions: int = 1) -> FactoringBackend | None:
    """The backend, if some layers' gradients are better left as factors and these fit into the memory."""
    backend = task.backend
    if not isinstance(backend, FactoringBackend) or not backend.layers:
        return None
    common, each = factor_bytes(task, backend)
    return backend if common + directions * each <= task.budget.jacobian else None


def factor_bytes(task: Task, backend: FactoringBackend) -> tuple[int, int]:
    """Layers' inputs, and gradients of one direction; with what the deviations need besides."""
    inputs = 3 * sum(layer.T * layer.K for layer in backend.layers)
    gradients = backend.plain + 2 * sum(layer.T * layer.M for layer in backend.layers)
    return 4 * task.N * inputs, 4 * task.N * gradients


def group_size(
    task: Task, directions: int, kernel: int, what: str, remedy: str, contracts: bool = True
) -> int:
    """Directions handled at once: few enough for memory, enough to fill the network's batches.

    Args:
        task: network and samples.
        directions: how many there are.
        kernel: bytes of a kernel, `what` it is and what helps where it is too large.
        what: see `kernel`.
        remedy: see `kernel`.
        contracts: whether the network may sum its layers' kernels on the way back.
    """
    task.budget.require(kernel, task.budget.bytes // 4, what, remedy)
    kernels = task.budget.bytes // 4 // kernel
    if contracts and (at_once := contractible(task, directions)):
        return max(1, min(at_once, kernels))
    backend = factoring(task)
    common, each = (0, 4 * task.N * task.backend.P) if backend is None else factor_bytes(task, backend)
    jacobians = (task.budget.jacobian - common) // each
    return max(1, min(directions, 16, jacobians, kernels))


def contractible(task: Task, directions: int) -> int:
    """Directions that the backend contracts at once by itself; 0 where it does not."""
    backend = task.backend
    if not isinstance(backend, ContractingBackend):
        return 0
    return backend.contractible(task.x, directions, task.budget.jacobian)


def by_backend(task: Task, V: Directions, counts: np.ndarray | None = None) -> Contracted | None:
    """Kernels of these directions, and their squared deviations if there are counts, where the backend contracts them."""
    if isinstance(task.backend, ContractingBackend) and contractible(task, len(V)) >= len(V):
        return task.backend.contracted(task.x, V, counts, task.budget.jacobian)
    return None


def _contracted(task: Task, V: Directions) -> Contracted:
    if found := by_backend(task, V, task.counts):
        return found
    K, Z = np.zeros((2, len(V), task.N, task.N))
    deviations, ends = np.zeros((len(V), task.N)), np.cumsum(task.counts)
    for part in _parts(task, V, K, deviations):
        with blas(task.N):
            for q, block in part:
                less_first(block, ends)
                Z[q] += block @ block.T
    whole, within = from_differences(Z, task.counts)
    return K + whole, deviations + within


def _group(task: Task, V: Directions, weights: Float64[np.ndarray, "*f k"] | None = None) -> Chunk:
    K, deviations = _contracted(task, V)
    K = (K + K.transpose(0, 2, 1)) / 2
    sums = stack(
        [
            from_gram(K_q, task.labels, mu_within(d, task.labels, task.counts))
            for K_q, d in zip(K, deviations, strict=True)
        ]
    )
    return {
        "total": K.sum(axis=0) if weights is None else np.einsum("...q,qij->...ij", weights, K),
        "diagonal": sums.diagonal,
        "within": sums.within,
        "means": sums.means,
        "norms": np.linalg.norm(K, axis=(1, 2)),
    }


def _parts(
    task: Task, V: Directions, K: Float64[np.ndarray, "k N N"], deviations: Float64[np.ndarray, "k N"]
) -> Iterator[Iterable[Block]]:
    """Parts of the Jacobian; what layers give by their factors is added to K and the deviations instead."""
    backend = factoring(task)
    if backend is None:
        yield from task.parts(*(combined_directions(V, len(V)) or (V, None)))
        return
    found = task.factors(backend, V)
    for inputs, gradients in zip(found.inputs, found.gradients, strict=True):
        K += layer_kernels(inputs, gradients)
        deviations += layer_deviations(inputs, gradients, task.counts)
    yield blocks(found.plain)


def mu_within(
    deviations: Float64[np.ndarray, " N"], labels: np.ndarray, counts: np.ndarray
) -> Float64[np.ndarray, " C"]:
    """Sum of squared deviations over m_c - 1; NaN for classes of one sample."""
    total = np.bincount(labels, weights=deviations)
    return np.where(counts > 1, total / np.maximum(counts - 1, 1), np.nan)

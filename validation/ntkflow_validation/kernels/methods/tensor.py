"""All entries between neurons: the full tensor, its norms per pair of neurons, and matrix blocks."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float64

from ntkflow import views
from ntkflow._types import FeatureMatrix, SampleKernel
from ntkflow.scaling import units
from ntkflow_validation.kernels.backends.base import Directions, FactoringBackend
from ntkflow_validation.kernels.backends.factored import layer_tensor
from ntkflow_validation.kernels.backends.tiles import padded
from ntkflow_validation.kernels.budget import COLUMNS
from ntkflow_validation.kernels.methods.gram import factoring
from ntkflow_validation.kernels.store import Chunk
from ntkflow_validation.kernels.task import Task
from ntkflow_validation.kernels.threads import blas


@dataclass(frozen=True, eq=False)
class Tensor:
    """Theta[p, i, q, j] for the directions (neurons or outputs) p, q and samples i, j.

    Attributes:
        values: (n, N, n, N).
    """

    values: Float64[np.ndarray, "n N n N"]

    __repr__ = views.short

    def reordered(self, order: np.ndarray) -> "Tensor":
        """The same with the samples in another order."""
        if np.array_equal(order, np.arange(len(order))):
            return self  # it may be large
        return Tensor(self.values[:, order][:, :, :, order])

    @cached_property
    def norms(self) -> FeatureMatrix:
        """|Theta_pq|_F over samples for every pair, n x n; panes c and d of the paper's Figure 1."""
        found: np.ndarray = np.sqrt(np.einsum("piqj,piqj->pq", self.values, self.values))
        return found

    @property
    def mean(self) -> SampleKernel:
        """Mean over neurons of Theta_pp, N x N."""
        found: np.ndarray = np.einsum("pipj->ij", self.values) / len(self.values)
        return found


@dataclass(frozen=True, eq=False)
class MatrixBlocks:
    """Means over samples of the n x n kernel matrices between features.

    Attributes:
        diagonal: mean over samples of Theta(x, x).
        single: diagonal minus within, measured on deviations from class means and so without cancellation.
        between: mean over pairs of samples of different classes.
    """

    diagonal: FeatureMatrix
    single: FeatureMatrix
    between: FeatureMatrix

    __repr__ = views.short

    @property
    def within(self) -> FeatureMatrix:
        """Mean over pairs of different samples of one class."""
        return self.diagonal - self.single

    @property
    def rung(self) -> tuple[FeatureMatrix, FeatureMatrix, FeatureMatrix]:
        """A_d, A_c, A_n of a `MatrixBlockKernel`."""
        return self.single, self.within - self.between, self.between


def blocks_of_tensor(Theta: Float64[np.ndarray, "n N n N"], labels: np.ndarray) -> MatrixBlocks:
    """Matrix blocks as means of a measured tensor."""
    N = len(labels)
    same, eye = labels[:, None] == labels[None, :], np.eye(N, dtype=bool)
    diagonal, within, between = (
        np.einsum("piqj,ij->pq", Theta, mask / max(mask.sum(), 1)) for mask in (eye, same & ~eye, ~same)
    )
    return MatrixBlocks(diagonal, diagonal - within, between)


def full(task: Task, V: Directions, what: str = "tensor") -> Tensor:
    """The tensor of the directions V, of any size each; memory (kN)^2 float64 and a Jacobian chunk of kN rows.

    Raises:
        InputError: that does not fit into the budget.
    """
    rows = task.N * len(V)
    task.budget.require(
        3 * 8 * rows**2,
        task.budget.jacobian,
        f"a {rows} x {rows} tensor",
        "raise it or measure fewer neurons",
    )
    V, sizes = units(V)
    backend = factoring(task, len(V))
    if backend is not None:
        return _shaped(task, task.stored("tensor", (V,), lambda: _factored(task, backend, V))["Theta"], sizes)
    Theta = np.zeros((rows, rows))
    columns = task.budget.columns(2 * rows, task.backend.P)
    for done, (a, b) in enumerate(columns, start=1):

        def compute(a: int = a, b: int = b) -> Chunk:
            return {"Theta": _contract(task.jacobian(V, a, b))}

        Theta += task.stored(f"tensor-{a}-{b}", (V,), compute)["Theta"]
        task.progress(what, done, len(columns))
    task.forget()
    return _shaped(task, Theta, sizes)


def _factored(task: Task, backend: FactoringBackend, V: Directions) -> Chunk:
    found = task.factors(backend, V)
    Theta = _contract(found.plain)
    for inputs, gradients in zip(found.inputs, found.gradients, strict=True):
        Theta += layer_tensor(inputs, gradients)
    return {"Theta": Theta}


def _shaped(task: Task, Theta: SampleKernel, sizes: Float64[np.ndarray, " k"]) -> Tensor:
    Theta += Theta.T.copy()
    Theta /= 2
    k = len(Theta) // task.N
    values = Theta.reshape(task.N, k, task.N, k).transpose(1, 0, 3, 2).copy()
    # One after the other: their product may lie outside double precision where the kernel does not.
    values *= sizes[:, None, None, None]
    values *= sizes[:, None]
    return Tensor(values)


def _contract(J: np.ndarray) -> SampleKernel:
    rows = J.reshape(J.shape[0] * J.shape[1], -1)
    Theta = np.zeros((len(rows), len(rows)))
    with blas(len(rows)):
        for s in range(0, rows.shape[1], COLUMNS):
            block = np.ascontiguousarray(rows[:, s : s + COLUMNS])
            Theta += block @ block.T
    return Theta


def matrix_blocks(task: Task, V: Directions, what: str = "matrix blocks") -> MatrixBlocks:
    """Matrix blocks of any number of samples, from class sums and deviations, without the tensor.

    Time: two gradients for each sample and direction, and N k^2 P products. Memory: C gradients a direction.
    """
    m, k = task.counts, len(V)
    pairs = m * (m - 1.0)
    share = pairs / pairs.sum() if pairs.any() else np.full(task.C, np.nan)
    diagonal, single, total, own = np.zeros((4, k, k))
    columns = task.budget.columns(4 * task.C * k, task.backend.P)
    for done, (a, b) in enumerate(columns, start=1):

        def compute(a: int = a, b: int = b) -> Chunk:
            return dict(zip("dsto", _matrix_columns(task, V, share, a, b), strict=True))

        chunk = task.stored(f"matrix-{a}-{b}", (V,), compute)
        for target, key in ((diagonal, "d"), (single, "s"), (total, "t"), (own, "o")):
            target += chunk[key]
        task.progress(what, done, len(columns))
    between = (total - own) / (task.N**2 - (m**2).sum())
    return MatrixBlocks(*((M + M.T) / 2 for M in (diagonal / task.N, single, between)))


def _matrix_columns(
    task: Task, V: Directions, share: np.ndarray, a: int, b: int
) -> Float64[np.ndarray, "4 k k"]:
    m, k = task.counts, len(V)
    G = task.class_gradients(V, np.ones((k, task.N)), a, b)
    total, own = G.sum(axis=0), np.einsum("cpw,cqw->pq", G, G, optimize=True)
    G /= m[:, None, None]
    diagonal, single = np.zeros((2, k, k))
    for c, start in enumerate(np.cumsum(m) - m):
        centre, diagonal_c, within = G[c].astype(np.float32), np.zeros((k, k)), np.zeros((k, k))
        for first, local in padded(int(m[c]), 1):
            for J in _rows(task, task.x[start + local], V, a, b)[first:]:
                D = J - centre
                for s in range(0, b - a, COLUMNS):
                    block, moved = J[:, s : s + COLUMNS], D[:, s : s + COLUMNS]
                    diagonal_c += block @ block.T
                    within += moved @ moved.T
        diagonal += diagonal_c
        # kappa_d - kappa_c with kappa_d a mean over samples and kappa_c over pairs; see BlockSums.constants.
        if m[c] > 1:
            single += share[c] * within / (m[c] - 1)
        single += (1 / task.N - share[c] / m[c]) * diagonal_c
    return np.stack([diagonal, single, total @ total.T, own])


def _rows(task: Task, x: np.ndarray, V: Directions, a: int, b: int) -> np.ndarray:
    """Columns a..b of the Jacobian of few samples in all directions."""
    _, k = task.backend.tile(x, len(V), task.budget.workspace)
    J = np.empty((len(x), len(V), b - a), np.float32)
    for skip, chosen in padded(len(V), k):
        J[:, chosen[skip] : chosen[-1] + 1] = task.backend.rows(x, V[chosen])[:, skip:, a:b]
    return J

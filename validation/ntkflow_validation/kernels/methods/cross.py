"""Kernels between two sets of samples, of which no class is known: <grad v_p . h(x_i), grad v_q . h(x'_j)>."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from ntkflow.scaling import units
from ntkflow_validation.kernels.backends.base import Directions
from ntkflow_validation.kernels.backends.factored import layer_kernels, layer_tensor
from ntkflow_validation.kernels.backends.tiles import blocks
from ntkflow_validation.kernels.budget import COLUMNS
from ntkflow_validation.kernels.methods.gram import by_backend, factoring, group_size
from ntkflow_validation.kernels.store import Chunk
from ntkflow_validation.kernels.task import Task
from ntkflow_validation.kernels.threads import blas

# Parts of both sides that stand beside each other: of a Jacobian, or of its factors.
Sides = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True, eq=False)
class Cross:
    """Samples of two sides in one task.

    Attributes:
        task: the first side's samples, and after them the second's.
        first: how many the first side has.
        same: the second side is the first again, and the task has it once.
    """

    task: Task
    first: int
    same: bool

    @property
    def shape(self) -> tuple[int, int]:
        """Samples of both sides."""
        return self.first, self.first if self.same else self.task.N - self.first

    def sides(self, values: np.ndarray) -> Sides:
        """Parts of what has a row for each sample of the task."""
        return (values, values) if self.same else (values[: self.first], values[self.first :])

    def each(self, V: Directions, what: str) -> Iterator[tuple[slice, Float64[np.ndarray, "k N M"]]]:
        """Kernels of the directions V, of any size each, group by group."""
        V, sizes = units(V)
        k = self._group_size(len(V))
        for a in range(0, len(V), k):
            group = slice(a, min(a + k, len(V)))

            def compute(group: slice = group) -> Chunk:
                return self._group(V[group])

            chunk = self.task.stored(f"cross-{self.first}", (V[group],), compute)
            yield group, chunk["K"] * sizes[group, None, None] * sizes[group, None, None]
            self.task.progress(what, group.stop, len(V))
        self.task.forget()

    def full(self, V: Directions, what: str) -> Float64[np.ndarray, "N M k k"]:
        """All entries between the directions V, of any size each.

        Raises:
            InputError: they do not fit into the memory.
        """
        V, sizes = units(V)
        k, (N, M), task = len(V), self.shape, self.task
        task.budget.require(
            3 * 8 * N * M * k**2,
            task.budget.jacobian,
            f"a {N * k} x {M * k} kernel",
            "raise it or give fewer samples",
        )
        Theta = task.stored(f"cross-full-{self.first}", (V,), lambda: self._full(V))["Theta"]
        task.forget()
        task.progress(what, k, k)
        # One after the other: their product may lie outside double precision where the kernel does not.
        return Theta.reshape(N, k, M, k).transpose(0, 2, 1, 3) * sizes[:, None] * sizes

    def _group_size(self, directions: int) -> int:
        """Directions handled at once: few enough for memory, enough to fill the network's batches."""
        rows, columns = self.shape
        return group_size(
            self.task, directions, 3 * 8 * rows * columns, f"an {rows} x {columns} kernel", "raise it, or give fewer samples",
            self.same,
        )  # fmt: skip

    def _group(self, V: Directions) -> Chunk:
        # Between two sets it would give what is within each as well.
        if self.same and (found := by_backend(self.task, V)):
            K, _ = found
            return {"K": (K + K.transpose(0, 2, 1)) / 2}
        K = np.zeros((len(V), *self.shape))
        layers, plain = self._factors(V)
        for inputs, gradients in layers:
            K += layer_kernels(inputs[0], gradients[0], (inputs[1], gradients[1]))
        for part in self.task.parts(V) if plain is None else [blocks(plain)]:
            with blas(self.task.N):
                for q, block in part:
                    # A product with the same array takes half the time.
                    left, right = self.sides(block)
                    K[q] += left @ right.T
        return {"K": (K + K.transpose(0, 2, 1)) / 2 if self.same else K}

    def _full(self, V: Directions) -> Chunk:
        k, (N, M), task = len(V), self.shape, self.task
        Theta = np.zeros((N * k, M * k))
        layers, plain = self._factors(V)
        for inputs, gradients in layers:
            Theta += layer_tensor(inputs[0], gradients[0], (inputs[1], gradients[1]))
        ranges = task.budget.columns(task.N * k, task.backend.P)
        for rows in (task.jacobian(V, a, b) for a, b in ranges) if plain is None else [plain]:
            with blas(task.N * k):
                # What is summed in single precision is no longer than this.
                for s in range(0, rows.shape[2], COLUMNS):
                    left, right = self.sides(rows[:, :, s : s + COLUMNS])
                    Theta += left.reshape(N * k, -1) @ right.reshape(M * k, -1).T
        return {"Theta": (Theta + Theta.T) / 2 if self.same else Theta}

    def _factors(self, V: Directions) -> tuple[list[tuple[Sides, Sides]], np.ndarray | None]:
        """Layers' inputs and outputs' gradients that are left as factors, and the other columns; None where there are no such."""
        backend = factoring(self.task, len(V))
        if backend is None:
            return [], None
        found = self.task.factors(backend, V)
        layers = zip(found.inputs, found.gradients, strict=True)
        return [(self.sides(a), self.sides(d)) for a, d in layers], found.plain

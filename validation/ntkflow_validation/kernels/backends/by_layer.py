"""Kernels of JAX's derivatives on a CPU, summed layer by layer while the next directions go back through the network.

To write out gradients by weights, to put those of all parameters side by side and to read them again for their products
takes as long as the derivatives. Of a layer with fewer positions than inputs the gradients by its outputs are small beside
those by its weights: they are kept instead, for all samples, and of each direction multiplied with the layer's inputs where
the products are made, in the cache.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence

import jax
import numpy as np
from jaxtyping import Float, Float64

from ntkflow._types import Array
from ntkflow_validation.kernels.backends.base import Directions
from ntkflow_validation.kernels.backends.combined import combined_directions
from ntkflow_validation.kernels.backends.differences import add_products, from_differences
from ntkflow_validation.kernels.backends.factored import layer_deviations, layer_kernels
from ntkflow_validation.kernels.backends.layers import Layer
from ntkflow_validation.kernels.backends.tiles import AHEAD, Mix, padded
from ntkflow_validation.kernels.budget import COLUMNS
from ntkflow_validation.kernels.threads import blas

# Directions that go back together at most, and gradients of one call into the network: fewer leave XLA's convolutions
# at half their speed, more leave the cache.
TOGETHER, CALL = 64, 64
# Gradients by a layer's weights that are held at once, 16 MiB of them.
SPACE = 2**22
# Directions after which what there is can be stored.
DIRECTIONS = 64
# Of some samples (B) and directions (k): rows (B, k, w), layers' inputs (B, T, K) each, gradients by outputs (B, k, T, M) each.
Pieces = tuple[Array, list[Array], list[Array]]


def apart(layers: Sequence[Layer]) -> tuple[int, ...]:
    """Leaves of the layers whose gradients are left as factors."""
    return tuple(layer.leaf for layer in layers if layer.wins or layer.T < layer.K)


def together(layers: Sequence[Layer], P: int, samples: int, limit: int) -> int:
    """How many directions can go back at once in so many bytes, those of the next call beside them; 0 where none can."""
    kept = [layer for layer in layers if layer.leaf in apart(layers)]
    common = sum(layer.T * layer.K for layer in kept) + max((layer.K * layer.M for layer in kept), default=0)
    each = P - sum(layer.K * layer.M for layer in kept) + sum(layer.T * layer.M for layer in kept)
    return min(TOGETHER, max(0, (limit // (4 * samples) - common) // (2 * each)))


class Read:
    """Pieces of all samples for some directions, begun ahead of whoever needs them.

    Args:
        begin: hands a call over to JAX: of (rows of x, V).
        N: samples.
        V: directions.
        B: samples of one call.
        inputs: of the layers of every call, where they are known; they are the same for all directions.
    """

    def __init__(
        self,
        begin: Callable[[np.ndarray, Directions], Pieces],
        N: int,
        V: Directions,
        B: int,
        inputs: list[list[Array]],
    ) -> None:
        self._begin, self._V, self._inputs = begin, V, inputs
        self._left: Iterator[tuple[int, np.ndarray]] = padded(N, B)
        self._begun: deque[tuple[int, np.ndarray, Pieces]] = deque()
        self._done: list[tuple[slice, Pieces]] = []
        self.pump()

    def pump(self) -> None:
        """Take what is ready, and begin what comes next."""
        while self._begun and self._begun[0][2][0].is_ready():
            self._take()
        while len(self._begun) < AHEAD and (following := next(self._left, None)) is not None:
            first, rows = following
            self._begun.append((first, rows, self._begin(rows, self._V)))

    def all(self) -> list[tuple[slice, Pieces]]:
        """What there is of every sample: which, and their pieces."""
        while self._begun:
            self._take()
            self.pump()
        return self._done

    def _take(self) -> None:
        first, rows, pieces = self._begun.popleft()
        # The last ones overlap with those before.
        own, inputs, gradients = jax.tree.map(lambda part: np.asarray(part)[first:], pieces)
        if len(self._inputs) == len(self._done):
            self._inputs.append(inputs)
        here = slice(int(rows[first]), int(rows[-1]) + 1)
        self._done.append((here, (own, self._inputs[len(self._done)], gradients)))


class Sums:
    """Kernels and deviations of directions, to which each layer adds its own.

    Args:
        samples: how many.
        layers: that are left as factors.
        counts: samples of each class; None where deviations are not asked for.
        meanwhile: called between two products.
    """

    def __init__(
        self, samples: int, layers: Sequence[Layer], counts: np.ndarray | None, meanwhile: Callable[[], None]
    ) -> None:
        self._N, self._layers, self._counts, self._meanwhile = samples, layers, counts, meanwhile
        self._ends = np.cumsum([] if counts is None else counts)
        widest = max((layer.K * layer.M for layer in layers if not layer.wins), default=0)
        self._space = np.empty(max(samples * widest, SPACE), np.float32)

    def of(
        self, parts: list[tuple[slice, Pieces]], k: int, mix: Mix | None
    ) -> tuple[Float64[np.ndarray, "r N N"], Float64[np.ndarray, "r N"]]:
        """Of k directions, or of their combinations (r, k)."""
        k = k if mix is None else len(mix)
        K, Z = np.zeros((2, k, self._N, self._N))
        deviations = np.zeros((k, self._N))
        for q in range(k):
            self._rows(Z[q], [_along(rows, [q], mix)[:, 0] for _, (rows, _, _) in parts])
        for i, layer in enumerate(self._layers):
            if layer.wins:
                a = np.concatenate([inputs[i] for _, (_, inputs, _) in parts])
                d = np.concatenate([gradients[i] for _, (_, _, gradients) in parts])
                d = d if mix is None else np.einsum("qr,nrtm->nqtm", mix, d)
                K += layer_kernels(a, d)
                if self._counts is not None:
                    deviations += layer_deviations(a, d, self._counts)
                continue
            for some in self._few(k, layer):
                rows = self._space[: len(some) * self._N * layer.M * layer.K]
                rows = rows.reshape(len(some), self._N, layer.M, layer.K)
                for here, (_, inputs, gradients) in parts:
                    d = _along(gradients[i], some, mix).transpose(0, 1, 3, 2)
                    np.matmul(d, inputs[i][:, None], out=rows[:, here].transpose(1, 0, 2, 3))
                for q, own in zip(some, rows, strict=True):
                    add_products(Z[q], own.reshape(self._N, -1), self._ends)
                self._meanwhile()
        if self._counts is None:
            return K + Z, deviations
        whole, within = from_differences(Z, self._counts)
        return K + whole, deviations + within

    def _few(self, k: int, layer: Layer) -> Iterator[range]:
        """Successive directions whose gradients by a layer's weights stay in the cache, where its inputs are used again."""
        size = max(1, SPACE // (self._N * layer.M * layer.K))
        return (range(q, min(k, q + size)) for q in range(0, k, size))

    def _rows(self, Z: Float64[np.ndarray, "N N"], parts: list[Float[np.ndarray, "_ w"]]) -> None:
        for s in range(0, parts[0].shape[1], COLUMNS):
            add_products(Z, np.concatenate([rows[:, s : s + COLUMNS] for rows in parts]), self._ends)
        self._meanwhile()


def _along(values: np.ndarray, some: Sequence[int], mix: Mix | None) -> np.ndarray:
    """Those of successive directions, or of combinations."""
    own = slice(some[0], some[-1] + 1)
    return values[:, own] if mix is None else np.einsum("qr,nr...->nq...", mix[own], values)


def contracted(
    begin: Callable[[np.ndarray, Directions], Pieces],
    layers: Sequence[Layer],
    samples: int,
    V: Directions,
    counts: np.ndarray | None,
    shape: tuple[int, int],
) -> tuple[Float64[np.ndarray, "q N N"], Float64[np.ndarray, "q N"]]:
    """Kernels (q, N, N) of the directions V on samples sorted by class, and |row - mean of its class|^2, (q, N).

    Args:
        begin: as of `Read`; its pieces are of `layers`, in their order.
        layers: that are left as factors.
        samples: how many.
        V: directions (q, n).
        counts: samples of each class; None where deviations are not asked for, which are 0 then.
        shape: samples and directions of one call.
    """
    B, most = shape
    V = np.asarray(V, np.float32)
    combined = combined_directions(V, most)
    passes, mix = (V, None) if combined is None else combined
    size = most if combined is None else len(passes)
    inputs: list[list[Array]] = []
    groups = [(first, passes[chosen]) for first, chosen in padded(len(passes), size)]
    reading, parts = Read(begin, samples, groups[0][1], B, inputs), []
    # Around all of it, since to look for the libraries takes a millisecond.
    with blas(samples):
        for i, (first, chosen) in enumerate(groups):
            found = reading.all()
            if i + 1 < len(groups):
                reading = Read(begin, samples, groups[i + 1][1], B, inputs)
            if first:
                # The last group begins early: what was there before is not done again.
                found = [(here, (r[:, first:], a, [d[:, first:] for d in ds])) for here, (r, a, ds) in found]
            parts.append(Sums(samples, layers, counts, reading.pump).of(found, len(chosen) - first, mix))
            del found
    K, deviations = (np.concatenate(part) for part in zip(*parts, strict=True))
    return K, deviations

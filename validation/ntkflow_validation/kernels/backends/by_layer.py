"""Kernels of JAX's derivatives on a CPU, summed layer by layer while the next directions go back through the network.

To write out gradients by weights, to put those of all parameters side by side and to read them again for their products
takes as long as the derivatives. Of a layer with fewer positions than inputs the gradients by its outputs are small beside
those by its weights: they are kept instead, for all samples, and of each direction multiplied with the layer's inputs where
the products are made, in the cache.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial

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
# Threads that make calls: JAX runs what one thread asks for one after the other, and one small call does not fill two cores.
THREADS = 2
# Gradients by a layer's weights that are held at once, 16 MiB of them.
SPACE = 2**22
# Directions after which what there is can be stored.
DIRECTIONS = 64
# Of some samples (B) and directions (k): rows (B, k, w), layers' inputs (B, T, K) each, gradients by outputs (B, k, T, M) each.
Pieces = tuple[Array, list[Array], list[Array]]
# A call into the network, prepared.
Call = Callable[[], Pieces]


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
        prepare: a call into the network, of (rows of x, V).
        N: samples.
        V: directions.
        B: samples of one call.
        inputs: of the layers of every call, where they are known; they are the same for all directions.
        pool: threads that make the calls.
    """

    def __init__(
        self,
        prepare: Callable[[np.ndarray, Directions], Call],
        N: int,
        V: Directions,
        B: int,
        inputs: list[list[Array]],
        pool: ThreadPoolExecutor,
    ) -> None:
        self._prepare, self._V, self._inputs, self._pool = prepare, V, inputs, pool
        self._left: Iterator[tuple[int, np.ndarray]] = padded(N, B)
        self._begun: deque[tuple[int, np.ndarray, Future[Pieces]]] = deque()
        self._done: list[tuple[slice, Pieces]] = []
        self.pump()

    def pump(self) -> None:
        """Take what is ready, and begin what comes next."""
        while self._begun and self._begun[0][2].done():
            self._take()
        while len(self._begun) < AHEAD and (following := next(self._left, None)) is not None:
            first, rows = following
            self._begun.append((first, rows, self._pool.submit(_made, self._prepare(rows, self._V))))

    def all(self) -> list[tuple[slice, Pieces]]:
        """What there is of every sample: which, and their pieces."""
        while self._begun:
            self._take()
            self.pump()
        return self._done

    def _take(self) -> None:
        first, rows, pieces = self._begun.popleft()
        # The last ones overlap with those before.
        own, inputs, gradients = jax.tree.map(lambda part: np.asarray(part)[first:], pieces.result())
        if len(self._inputs) == len(self._done):
            self._inputs.append(inputs)
        here = slice(int(rows[first]), int(rows[-1]) + 1)
        self._done.append((here, (own, self._inputs[len(self._done)], gradients)))


def _made(call: Call) -> Pieces:
    pieces: Pieces = jax.block_until_ready(call())
    return pieces


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
        """Of k directions, or of k combinations of them, (k, r)."""
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
    prepare: Callable[[np.ndarray, Directions], Call],
    layers: Sequence[Layer],
    samples: int,
    V: Directions,
    counts: np.ndarray | None,
    shape: tuple[int, int],
) -> tuple[Float64[np.ndarray, "q N N"], Float64[np.ndarray, "q N"]]:
    """Kernels (q, N, N) of the directions V on samples sorted by class, and |row - mean of its class|^2, (q, N).

    Args:
        prepare: as of `Read`; its pieces are of `layers`, in their order.
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
    parts: list[tuple[np.ndarray, np.ndarray]] = []

    def summed(
        found: list[tuple[slice, Pieces]], meanwhile: Callable[[], None], own: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        sums = Sums(samples, layers, counts, meanwhile)
        if mix is None:
            return sums.of(_only(found, own), len(own), None)
        return sums.of(found, len(own), mix[own])

    # Around all of it, since to look for the libraries takes a millisecond.
    with blas(samples), ThreadPoolExecutor(THREADS) as pool:
        reading = Read(prepare, samples, groups[0][1], B, inputs, pool)
        for i, (first, chosen) in enumerate(groups):
            found = reading.all()
            # The last group begins early: what was there before is not done again.
            own = np.arange(first, len(chosen) if mix is None else len(mix))
            if i + 1 < len(groups):
                reading = Read(prepare, samples, groups[i + 1][1], B, inputs, pool)
                parts.append(summed(found, reading.pump, own))
            else:
                # No call is left for the threads: they share the sums.
                shares = np.array_split(own, min(THREADS, len(own)))
                parts.extend(pool.map(partial(summed, found, reading.pump), shares))
            del found
    K, deviations = (np.concatenate(part) for part in zip(*parts, strict=True))
    return K, deviations


def _only(found: list[tuple[slice, Pieces]], own: np.ndarray) -> list[tuple[slice, Pieces]]:
    """Pieces of successive directions."""
    some = slice(own[0], own[-1] + 1)
    return [(here, (rows[:, some], inputs, [d[:, some] for d in ds])) for here, (rows, inputs, ds) in found]

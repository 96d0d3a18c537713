"""One measurement's inputs, and the loops over samples that every method shares."""

import hashlib
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from jaxtyping import Float

from ntkflow.errors import InputError
from ntkflow.progress import Progress, silent
from ntkflow_validation.kernels.backends.base import (
    Backend,
    Directions,
    FactoringBackend,
    Inputs,
    PromisingBackend,
    WritingBackend,
)
from ntkflow_validation.kernels.backends.factored import Factors
from ntkflow_validation.kernels.backends.tiles import (
    AHEAD,
    Block,
    Mix,
    blocks,
    blocks_of_tiles,
    padded,
    tiles,
)
from ntkflow_validation.kernels.budget import Budget
from ntkflow_validation.kernels.store import Chunk, ChunkStore, NoStore

# A chunk of more gradients than this is itself kept class by class while it is worked on: minutes on two cores.
LONG_CHUNK = 20_000

# Kernels below this may have lost squares of gradients to the end of single precision.
SMALLEST = 1e-12
# Differences of features, of the largest, that are those of another order of sums.
SAME = 1e-5
# What a chunk has no number for where a class has a single sample.
OF_PAIRS = ("within", "s")


class OutOfRangeError(InputError):
    """Products of gradients are not finite."""


@dataclass(frozen=True, eq=False)
class Task:
    """A network, its samples sorted by class, and how to work on them.

    Attributes:
        backend: the network.
        x: inputs, (N, ...), sorted by class.
        labels: class of each.
        coupled: samples see each other (batch normalisation in batch mode), so all go through together.
        budget: memory.
        store: finished chunks.
        progress: called as chunks are finished.
        order: index in the given samples of each, for people; None when they were given so.
        unit: what the backend's gradients are multiplied by; kernels are divided by its square.
        settled: the unit was chosen for these gradients, so that small kernels are what they are.
    """

    backend: Backend
    x: Inputs
    labels: np.ndarray
    coupled: bool = False
    budget: Budget = field(default_factory=lambda: Budget(2**31))
    store: ChunkStore = field(default_factory=NoStore)
    progress: Progress = silent
    order: np.ndarray | None = None
    unit: float = 1.0
    settled: bool = False
    _parts: list[str] = field(default_factory=list)
    _largest: list[float] = field(default_factory=list)
    _kept: list[np.ndarray] = field(default_factory=list, init=False)

    @cached_property
    def counts(self) -> np.ndarray:
        """Samples of each class, (C,)."""
        return np.bincount(self.labels)

    @property
    def C(self) -> int:
        """Classes."""
        return len(self.counts)

    @property
    def N(self) -> int:
        """Samples."""
        return len(self.labels)

    @cached_property
    def _digest(self) -> bytes:
        parts = (_hashed(self.x), _hashed(self.labels), repr(self.unit).encode())
        return hashlib.sha256(self.backend.fingerprint() + b"".join(parts)).digest()

    def given(self, row: int) -> int:
        """Number of a sample among those the caller gave."""
        return row if self.order is None else int(self.order[row])

    def stored(self, what: str, depends: tuple[np.ndarray, ...], compute: Callable[[], Chunk]) -> Chunk:
        """A chunk of products of two gradients from the store, or computed and put there.

        Raises:
            OutOfRangeError: they are not finite, as when single precision does not hold them; nothing is stored.
        """
        if isinstance(self.store, NoStore):
            return self._own_unit(what, _as_read(compute()))
        name = self._name(what, depends)
        chunk = self.store.get(name)
        if chunk is None:
            chunk = _as_read(compute())
            self._check_finite(what, chunk)
            self.store.put(name, chunk)
        while self._parts:
            self.store.drop(self._parts.pop())
        return self._own_unit(what, chunk)

    def products(self, what: str, values: np.ndarray) -> np.ndarray:
        """Products of two gradients, formed in float64, in the unit of the features.

        Raises:
            OutOfRangeError: they are not finite.
        """
        self._check_finite(what, {what: values})
        return values / self.unit**2

    def finite(self, what: str, values: np.ndarray) -> np.ndarray:
        """Values formed in float64.

        Raises:
            InputError: one is not finite.
        """
        bad = values.size - int(np.isfinite(values).sum())
        if bad:
            raise InputError(
                what, f"{bad} NaN or infinite entries", "must be finite in double precision", "scale the head"
            )
        return values

    @property
    def lost(self) -> bool:
        """Whether squares of gradients fell below single precision in all that was measured."""
        return not self.settled and max(self._largest, default=1.0) < SMALLEST

    def _own_unit(self, what: str, chunk: Chunk) -> Chunk:
        self._largest.append(self._check_finite(what, chunk))
        return chunk if self.unit == 1 else {key: value / self.unit**2 for key, value in chunk.items()}

    def _check_finite(self, what: str, chunk: Chunk) -> float:
        """Largest entry of all."""
        single, found = self.counts.min() < 2, 0.0
        for key, value in chunk.items():
            # Reductions, since a copy of a tensor would not be in the budget.
            high, low = (np.fmax, np.fmin) if single and key in OF_PAIRS else (np.maximum, np.minimum)
            largest = max(float(high.reduce(value, axis=None)), -float(low.reduce(value, axis=None)))
            if not np.isfinite(largest) and not (key in OF_PAIRS and np.isnan(value).all()):
                raise OutOfRangeError(
                    f"kernel ({what})",
                    f"{value.size - int(np.isfinite(value).sum())} NaN or infinite entries",
                    "must be finite",
                    "scale the network, the inputs or the head",
                )
            found = max(found, largest) if np.isfinite(largest) else found
        return found

    def part(
        self, what: str, c: int, gradients: int, depends: tuple[np.ndarray, ...], compute: Callable[[], Chunk]
    ) -> Chunk:
        """What class c gives to a chunk; of long chunks it is kept until the chunk is."""
        if gradients <= LONG_CHUNK or isinstance(self.store, NoStore):
            return _as_read(compute())
        name = self._name(f"part-{what}-{c}", depends)
        chunk = self.store.get(name)
        if chunk is None:
            chunk = _as_read(compute())
            self.store.put(name, chunk)
        self._parts.append(name)
        self.progress(f"classes, {what}", c + 1, self.C)
        return chunk

    def _name(self, what: str, depends: tuple[np.ndarray, ...]) -> str:
        digest = hashlib.sha256(self._digest + repr(self.coupled).encode())
        for array in depends:
            digest.update(_hashed(array))
        return f"{what}-{digest.hexdigest()[:24]}"

    def jacobian(self, V: Directions, a: int, b: int) -> Float[np.ndarray, "N k w"]:
        """Columns a..b of the Jacobian of every direction on every sample; the next call writes over them."""
        B, k = self.backend.tile(self.x, len(V), self.budget.workspace // AHEAD)
        J = self._space((self.N, len(V), b - a))
        whole = (a, b) == (0, self.backend.P) and B <= self.N and k <= len(V)
        if whole and isinstance(self.backend, WritingBackend):
            for _, rows in padded(self.N, B):
                for _, chosen in padded(len(V), k):
                    # What overlaps is written again.
                    here = J[rows[0] : rows[-1] + 1, chosen[0] : chosen[-1] + 1]
                    self.backend.rows_into(self.x[rows], V[chosen], here)
            return J
        for tile in tiles(self.backend, self.x, V, B, k):
            rows = (
                self.backend.ordered(tile.rows) if isinstance(self.backend, PromisingBackend) else tile.rows
            )
            J[tile.samples, tile.directions] = rows[:, :, a:b]
        return J

    def parts(self, V: Directions, mix: Mix | None = None) -> Iterator[Iterable[Block]]:
        """Columns of the Jacobian of every direction on every sample, or of combinations `mix` of these, (q, k).

        Parts that fit into the memory, of blocks.
        """
        ranges = self.budget.columns(self.N * len(V), self.backend.P)
        if len(ranges) == 1 and isinstance(self.backend, PromisingBackend):
            # Read where the backend has made them: to put them together first took as long as all their products.
            B, k = self.backend.tile(self.x, len(V), self.budget.workspace // AHEAD)
            yield blocks_of_tiles(list(tiles(self.backend, self.x, V, B, k)), mix)
            return
        for a, b in ranges:
            yield blocks(self.jacobian(V, a, b), mix)

    def _space(self, shape: tuple[int, ...]) -> Float[np.ndarray, "N k w"]:
        # Kept from one call to the next: to get half a gigabyte anew each time took a third of all the time.
        size = math.prod(shape)
        if not self._kept or self._kept[0].size < size:
            self.forget()
            self._kept.append(np.empty(size, np.float32))
        return self._kept[0][:size].reshape(shape)

    def forget(self) -> None:
        """Give back what `jacobian` keeps, where the last one is done with."""
        self._kept.clear()

    def factors(self, backend: FactoringBackend, V: Directions) -> Factors:
        """The Jacobian of every direction on every sample, in parts."""
        B, k = backend.factor_tile(self.x, len(V), self.budget.workspace)
        layers = backend.layers
        plain = np.empty((self.N, len(V), backend.plain), np.float32)
        inputs = [np.empty((self.N, q.T, q.K), np.float32) for q in layers]
        gradients = [np.empty((self.N, len(V), q.T, q.M), np.float32) for q in layers]
        for first, rows in padded(self.N, B):
            here = slice(rows[first], rows[-1] + 1)
            for start, chosen in padded(len(V), k):
                these = slice(chosen[start], chosen[-1] + 1)
                part = backend.factors(self.x[rows], V[chosen])
                plain[here, these] = part.plain[first:, start:]
                for i in range(len(layers)):
                    inputs[i][here] = part.inputs[i][first:]
                    gradients[i][here, these] = part.gradients[i][first:, start:]
        return Factors(plain, inputs, gradients)

    def class_gradients(
        self, V: Directions, weights: Float[np.ndarray, "k N"], a: int, b: int
    ) -> Float[np.ndarray, "C k w"]:
        """sum_{i in c} weight_ki grad(v_k . h(x_i)) of every class, columns a..b; summed in float64."""
        total = np.zeros((self.C, len(V), b - a))
        V, weights = V.astype(np.float32), weights.astype(np.float32)
        if self.coupled:
            self._require_whole()
            for c, q in np.ndindex(self.C, len(V)):
                cotangent = np.where(self.labels == c, weights[q], np.float32(0))[:, None] * V[q]
                total[c, q] = self.backend.pull(self.x, cotangent[None])[0, a:b]
            return total
        range_ = np.array([a, b])
        for c in range(self.C):
            count = len(V) * int(self.counts.sum())

            def compute(c: int = c) -> Chunk:
                return {"sum": self._class_gradient(V, weights, c, a, b)}

            total[c] = self.part("sums", c, count, (V, weights, range_), compute)["sum"]
        return total

    def _class_gradient(
        self, V: Directions, weights: Float[np.ndarray, "k N"], c: int, a: int, b: int
    ) -> Float[np.ndarray, "k w"]:
        total = np.zeros((len(V), b - a))
        B, k = self.backend.batch(self.x[: int(self.counts.max())], len(V), self.budget.workspace)
        start = int(self.counts[:c].sum())
        for first, local in padded(int(self.counts[c]), B):
            rows = start + local
            fresh = weights[:, rows] * (np.arange(len(rows)) >= first)
            for skip, chosen in padded(len(V), k):
                part = self.backend.pull(self.x[rows], V[chosen][:, None, :] * fresh[chosen][:, :, None])
                total[chosen[skip] : chosen[-1] + 1] += part[skip:, a:b]
        return total

    def gradients(self, cotangents: Float[np.ndarray, "k N n"]) -> Float[np.ndarray, "k P"]:
        """sum_i grad(cotangent_ki . h(x_i)); summed over batches in float64."""
        if self.coupled:
            self._require_whole()
            return np.concatenate([self.backend.pull(self.x, v[None]) for v in cotangents]).astype(np.float64)
        total = np.zeros((len(cotangents), self.backend.P))
        B, k = self.backend.batch(self.x, len(cotangents), self.budget.workspace)
        for first, rows in padded(self.N, B):
            fresh = np.arange(len(rows)) >= first
            for skip, chosen in padded(len(cotangents), k):
                part = cotangents[np.ix_(chosen, rows)] * fresh[None, :, None]
                total[chosen[skip:]] += self.backend.pull(self.x[rows], part)[skip:]
        return total

    def _require_whole(self) -> None:
        needed = self.backend.pull_bytes(self.x, 1)
        self.budget.require(
            needed, self.budget.bytes // 2, f"one batch of all {self.N} samples", "raise it or measure fewer"
        )

    def features(self) -> Float[np.ndarray, "n N"]:
        """H in float64.

        Raises:
            InputError: a feature is not finite.
        """
        size = self.N if self.coupled else min(self.N, 64)
        H = np.empty((self.N, self.backend.n))
        for first, rows in padded(self.N, size):
            H[rows[first] : rows[-1] + 1] = self.backend.features(self.x[rows])[first:]
            if self.N > LONG_CHUNK:
                self.progress("forward", int(rows[-1]) + 1, self.N)
        bad = np.argwhere(~np.isfinite(H))
        if len(bad):
            i, p = bad[0]
            raise InputError(
                "features",
                f"{len(bad)} NaN or infinite values, the first at neuron {p} of sample {self.given(int(i))}",
                "must be finite",
                "check the parameters' sizes and the inputs",
            )
        return H.T

    def require_alone(self, H: Float[np.ndarray, "n N"]) -> None:
        """Refuse a network in which samples see each other.

        Args:
            H: features of all samples.

        Raises:
            InputError: those of the last are others when it is alone.
        """
        # Not the first: random numbers of a fixed key are the same for the first sample of any batch.
        alone = self.backend.features(self.x[-1:])[0]
        if np.abs(alone - H[:, -1]).max() > 1e-3 * np.abs(H).max():
            raise InputError(
                "features",
                "of a sample",
                "depend on the other samples of the batch, as in batch normalisation in training mode, or on its place among "
                "them, as in dropout with a fixed key",
                "use inference mode, or bn='batch' for block constants alone",
            )

    def require_together(self, H: Float[np.ndarray, "n N"]) -> None:
        """Refuse a network said to be in batch mode in which samples do not see each other.

        Args:
            H: features of all samples.

        Raises:
            InputError: those of the first two are the same without the others.
        """
        few = self.backend.features(self.x[:2])
        if self.N > 2 and np.abs(few - H.T[:2]).max() <= SAME * np.abs(H).max():
            raise InputError(
                "bn",
                "batch",
                "the features of a sample do not depend on the rest of its batch: its batch normalisation, if it has any, "
                "takes the running statistics",
                "call train() on its batch normalisations (use_running_average=False in Flax, "
                "equinox.nn.inference_mode(network, False)) to measure batch statistics, or leave bn out",
            )


def _hashed(array: np.ndarray) -> bytes:
    kind = f"{array.dtype.str} {array.shape} ".encode()
    return kind + hashlib.sha256(np.ascontiguousarray(array).data).digest()


def _as_read(chunk: Chunk) -> Chunk:
    """In C order, as arrays come out of a store: the rounding of what is made of them depends on it."""
    return {name: np.asarray(array, order="C") for name, array in chunk.items()}

"""A Jacobian in parts, as a backend gives them: some samples in some directions each."""

from collections import deque
from collections.abc import Callable, Iterator
from itertools import product
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from ntkflow_validation.kernels.backends.base import Backend, Directions, Inputs, PromisingBackend
from ntkflow_validation.kernels.budget import COLUMNS

# Tiles that are computed while an earlier one is read: cores that one small network leaves idle have work. Whoever
# chooses their size shares the workspace among them.
AHEAD = 2
# A direction, and columns of its gradients on every sample, which may be written over.
Block = tuple[int, Float[np.ndarray, "N w"]]
# Combinations of k directions, of which a basis has gone back.
Mix = Float[np.ndarray, "q k"]


class Tile(NamedTuple):
    """Gradients of some samples in some directions, which no other tile has.

    Attributes:
        samples: which.
        directions: which.
        rows: gradients, (samples, directions, P); the columns of each parameter in an order that is the backend's own.
    """

    samples: slice
    directions: slice
    rows: Float[np.ndarray, "B k P"]


def tiles(backend: Backend, x: Inputs, V: Directions, B: int, k: int) -> Iterator[Tile]:
    """The Jacobian of the directions V on the samples x, B of these and k of those at once, in their order."""
    begin = backend.rows_begun if isinstance(backend, PromisingBackend) else backend.rows
    begun: deque[tuple[ArrayLike, int, np.ndarray, int, np.ndarray]] = deque()

    def read() -> Tile:
        found, first, rows, start, chosen = begun.popleft()
        # The last ones overlap with those before.
        own = np.asarray(found)[first:, start:]
        return Tile(_range(rows[first:]), _range(chosen[start:]), own)

    for first, rows in padded(len(x), B):
        for start, chosen in padded(len(V), k):
            if len(begun) == AHEAD:
                yield read()
            begun.append((begin(x[rows], V[chosen]), first, rows, start, chosen))
    while begun:
        yield read()


def blocks_of_tiles(parts: list[Tile], mix: Mix | None = None) -> Iterator[Block]:
    """The same as `blocks` of the Jacobian they are of, which is not put together for it."""
    k, P = max(tile.directions.stop for tile in parts), parts[0].rows.shape[2]
    of = [
        [t.rows[:, q - t.directions.start] for t in parts if t.directions.start <= q < t.directions.stop]
        for q in range(k)
    ]

    def read(q: int, s: int) -> Float[np.ndarray, "N w"]:
        return np.concatenate([rows[:, s : s + COLUMNS] for rows in of[q]])

    return _blocks(read, k, P, mix)


def blocks(J: Float[np.ndarray, "N k w"], mix: Mix | None = None) -> Iterator[Block]:
    """Columns of which products are summed in single precision, of one direction after the other.

    Args:
        J: gradients.
        mix: combinations of its directions, (q, k), of which they are instead.
    """

    def read(q: int, s: int) -> Float[np.ndarray, "N w"]:
        return np.array(J[:, q, s : s + COLUMNS], order="C")

    return _blocks(read, J.shape[1], J.shape[2], mix)


def _blocks(
    read: Callable[[int, int], Float[np.ndarray, "N w"]], k: int, P: int, mix: Mix | None
) -> Iterator[Block]:
    if mix is None:
        for q, s in product(range(k), range(0, P, COLUMNS)):
            yield q, read(q, s)
        return
    for s in range(0, P, COLUMNS):
        rows = np.stack([read(q, s) for q in range(k)])
        made = (mix @ rows.reshape(k, -1)).reshape(len(mix), *rows.shape[1:])
        yield from enumerate(made)


def _range(rows: np.ndarray) -> slice:
    return slice(int(rows[0]), int(rows[-1]) + 1)


def padded(count: int, size: int) -> Iterator[tuple[int, np.ndarray]]:
    """Index ranges of one common length that cover `count`, with how many of the first were seen before.

    One shape means one compilation: the last range begins early instead of ending late. When `count` is
    below `size`, index 0 fills up the range from the front.
    """
    for a in range(0, count, size):
        b = min(count, a + size)
        rows = np.arange(b - size, b)
        first = size - (b - a)
        yield first, np.maximum(rows, 0)

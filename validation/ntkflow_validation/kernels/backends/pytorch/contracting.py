"""Kernels of a PyTorch module summed layer by layer on the way back, so that no more than one layer's gradients are held.

To write out the whole Jacobian, and to read it again for its products, takes as long as the derivatives themselves. Here a
layer's gradients of a few directions on all samples are multiplied while they are in the cache, and the module goes forward
once for all directions.
"""

import math
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

from ntkflow_validation.kernels.backends.combined import combined_directions
from ntkflow_validation.kernels.backends.differences import add_products, from_differences, less_first
from ntkflow_validation.kernels.backends.factored import layer_deviations, layer_kernels
from ntkflow_validation.kernels.backends.pytorch import layers
from ntkflow_validation.kernels.backends.pytorch.layers import Run, Use
from ntkflow_validation.kernels.backends.pytorch.lending import Tensors
from ntkflow_validation.kernels.threads import blas

# Bytes of the largest gradient by a layer's outputs of one pass back: beyond, each comes from the system anew, page by page,
# and below, what PyTorch does besides is felt. Directions of one pass, so that small networks' are not all in one.
PASS, TOGETHER = 2**24, 16
# Bytes of a pass from which each core takes passes of its own: PyTorch's threads, which share every operation, take a third
# longer on two cores, and smaller passes are mostly Python's, of which one thread runs at a time.
APART = 2**21
# Share of the channels, up to which those that a direction reaches are looked for.
FEW = 1 / 4
# Columns of gradients that are combined at once.
MIXED = 2048
# Directions of one forward pass, after which what there is can be stored.
DIRECTIONS = 64


def directions(found: list[Use], samples: int, limit: int) -> int:
    """How many can go back together in so many bytes besides the kernels, by a rough estimate; 0 where not even one can."""
    kept = sum(
        math.prod(use.sizes.shape) * 3 + (0 if use.diagonal else use.sizes.T * use.sizes.K) for use in found
    )
    # Gradients by outputs where paths meet, with what is made of them on the way, and one layer's rows, twice where
    # combinations of directions are made of them.
    rows = max((use.sizes.K * use.sizes.M for use in found if not use.wins), default=0)
    fitting = (limit // (4 * samples) - kept) // (8 * _largest(found) + 2 * rows)
    return min(max(0, fitting), TOGETHER)


def _largest(found: list[Use]) -> int:
    return max(math.prod(use.sizes.shape) for use in found)


def pays(found: list[Use]) -> bool:
    """Whether there are gradients that would be written out: those of layers that win are left as factors anyway."""
    return not all(use.wins or use.diagonal for use in found)


def contracted(
    found: list[Use],
    run: Run,
    params: Tensors,
    x: torch.Tensor,
    V: torch.Tensor,
    counts: np.ndarray | None,
    most: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Kernels (k, N, N) of the directions V on samples sorted by class, and |row - mean of its class|^2, (k, N).

    Args:
        found: layers, to which all belongs that is differentiated by.
        run: the module.
        params: what is differentiated by.
        x: all samples.
        V: directions (k, n).
        counts: samples of each class; None where deviations are not asked for, which are 0 then.
        most: directions that can go back together.
    """
    # Of the thread that goes back, since what comes to a layer does not say which pass it belongs to.
    own = threading.local()
    back = layers.together(found, run, params, x, lambda *given: own.sums.take(*given), keep=True)

    def passed(chosen: torch.Tensor, mix: torch.Tensor | None = None) -> tuple[np.ndarray, np.ndarray]:
        sums = own.sums = getattr(own, "sums", None) or _Sums(found, len(x), counts)
        sums.begin(len(chosen), mix)
        back(chosen)
        return sums.end()

    combined = combined_directions(V.numpy(), most)
    # Around all of it, since to look for the libraries takes a millisecond.
    with blas(len(x)):
        if combined is not None:
            basis, mix = map(torch.from_numpy, combined)
            return passed(basis, mix)
        passes, workers = _shared(V, 4 * len(x) * _largest(found), most)
        K, deviations = (np.concatenate(part) for part in zip(*_each(passed, passes, workers), strict=True))
    return K, deviations


def _shared(V: torch.Tensor, size: int, most: int) -> tuple[tuple[torch.Tensor, ...], int]:
    """Directions of every pass, as equal as can be, and how many passes go at a time; `size` is of one direction, in bytes."""
    usual = min(max(1, PASS // size), most, len(V))
    workers = min(torch.get_num_threads(), most, len(V)) if usual * size >= APART else 1
    passes = -(-len(V) // min(most // workers, usual))
    return V.tensor_split(min(len(V), -(-passes // workers) * workers)), workers


def _each(
    function: Callable[[torch.Tensor], tuple[np.ndarray, np.ndarray]],
    values: Sequence[torch.Tensor],
    workers: int,
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Of each of the values, on so many threads of one core each."""
    if workers == 1:
        return [function(value) for value in values]
    before = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            return list(pool.map(function, values))
    finally:
        torch.set_num_threads(before)


def _reached(by_outputs: torch.Tensor) -> list[torch.Tensor] | None:
    """Channels that are not zero, of each direction of (N, k, T, M); None where that is not a small part of them.

    One feature that is the mean of one channel has no gradient by the others of the last layer.
    """
    # Of one sample first, which costs next to nothing.
    for given in (by_outputs[:1], by_outputs):
        found = (given != 0).any(2).any(0)
        if found.float().mean() > FEW:
            return None
    return [reached.nonzero()[:, 0] for reached in found]


class _Sums:
    """Kernels and deviations of the directions that go back, to which each layer adds its own.

    Where deviations are asked for, the gradients are taken less that of the first sample of their class, whose own stays:
    of the products of these follow, in double precision, both the kernel and, without differences of large numbers, what
    the samples deviate by.
    """

    def __init__(self, found: list[Use], samples: int, counts: np.ndarray | None) -> None:
        self._found, self._counts, self._N = found, counts, samples
        self._space = torch.empty(0)
        self._ends = np.cumsum(counts if counts is not None else [])

    def begin(self, k: int, mix: torch.Tensor | None = None) -> None:
        """Nothing yet of k directions, or of combinations of them, (q, k)."""
        k = k if mix is None else len(mix)
        self._mix, self._K, self._Z = mix, *np.zeros((2, k, self._N, self._N))
        self._deviations = np.zeros((k, self._N))
        self._small: list[torch.Tensor] = []

    def end(self) -> tuple[np.ndarray, np.ndarray]:
        """All of it."""
        if self._small:
            self._add(torch.cat(self._small, dim=2))
        if self._counts is None:
            return self._K + self._Z, self._deviations
        whole, within = from_differences(self._Z, self._counts)
        return self._K + whole, self._deviations + within

    def take(self, i: int, inputs: torch.Tensor, by_outputs: torch.Tensor) -> None:
        """What `layers.Take` says."""
        use = self._found[i]
        if use.bias is not None:
            self._small.append(by_outputs.sum(2))
        N, k, _, M = by_outputs.shape
        if use.diagonal:
            rows = torch.empty(N, k, M, dtype=inputs.dtype)
            self._small.append(layers.products(inputs, by_outputs, True, rows))
        elif use.wins:
            d = by_outputs if self._mix is None else torch.einsum("qr,nrtm->nqtm", self._mix, by_outputs)
            a, d = inputs.numpy(), d.numpy()
            self._K += layer_kernels(a, d)
            if self._counts is not None:
                self._deviations += layer_deviations(a, d, self._counts)
        elif self._mix is None and (reached := _reached(by_outputs)) is not None:
            for q, channels in enumerate(reached):
                some = by_outputs[:, q : q + 1, :, channels]
                rows = self._rows((N, 1, some.shape[3] * inputs.shape[2]), inputs.dtype)
                add_products(self._Z[q], layers.products(inputs, some, False, rows)[:, 0].numpy(), self._ends)
        else:
            rows = self._rows((N, k, M * inputs.shape[2]), inputs.dtype)
            self._add(layers.products(inputs, by_outputs, False, rows))

    def _rows(self, shape: tuple[int, int, int], dtype: torch.dtype) -> torch.Tensor:
        size = math.prod(shape)
        if self._space.numel() < size or self._space.dtype != dtype:
            self._space = torch.empty(size, dtype=dtype)
        N, k, w = shape
        # Direction by direction, as they are made and multiplied.
        return self._space[:size].view(k, N, w).transpose(0, 1)

    def _add(self, rows: torch.Tensor) -> None:
        """Gradients (N, k, w) by some of the parameters; they are written over."""
        if self._mix is None:
            given = rows.numpy()
            for q in range(rows.shape[1]):
                add_products(self._Z[q], given[:, q], self._ends)
            return
        _, k, w = rows.shape
        by_direction = rows.transpose(0, 1)
        for first in range(0, w, MIXED):
            # A few columns, which stay in the cache with all that is made of them.
            some = by_direction[:, :, first : first + MIXED].contiguous()
            for own in some.numpy():
                less_first(own, self._ends)
            for q, block in enumerate((self._mix @ some.view(k, -1)).view(-1, *some.shape[1:]).numpy()):
                self._Z[q] += block @ block.T

"""Kernels of a PyTorch module summed layer by layer on the way back, so that no more than one layer's gradients are held.

To write out the whole Jacobian, and to read it again for its products, takes as long as the derivatives themselves. Here a
layer's gradients of a few directions on all samples are multiplied while they are in the cache, and the module goes forward
once for all directions.
"""

import math

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
    sums = _Sums(found, len(x), counts)
    back = layers.together(found, run, params, x, sums.take, keep=True)
    parts = []
    usual = min(most, max(1, PASS // (4 * len(x) * _largest(found))))
    combined = combined_directions(V.numpy(), most)
    passes = (
        [(chosen, None) for chosen in V.split(usual)]
        if combined is None
        else [(torch.from_numpy(combined[0]), torch.from_numpy(combined[1]))]
    )
    # Around all of it, since to look for the libraries takes a millisecond.
    with blas(len(x)):
        for chosen, mix in passes:
            sums.begin(len(chosen), mix)
            back(chosen)
            parts.append(sums.end())
    K, deviations = (np.concatenate(part) for part in zip(*parts, strict=True))
    return K, deviations


class _Sums:
    """Kernels and deviations of the directions that go back, to which each layer adds its own.

    Where deviations are asked for, the gradients are taken less that of the first sample of their class, whose own stays:
    of the products of these follow, in double precision, both the kernel and, without differences of large numbers, what
    the samples deviate by.
    """

    def __init__(self, found: list[Use], samples: int, counts: np.ndarray | None) -> None:
        self._found, self._counts, self._N = found, counts, samples
        self._space = torch.empty(0)

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
        ends = np.cumsum(self._counts if self._counts is not None else [])
        if self._mix is None:
            given = rows.numpy()
            for q in range(rows.shape[1]):
                add_products(self._Z[q], given[:, q], ends)
            return
        _, k, w = rows.shape
        by_direction = rows.transpose(0, 1)
        for first in range(0, w, MIXED):
            # A few columns, which stay in the cache with all that is made of them.
            some = by_direction[:, :, first : first + MIXED].contiguous()
            for own in some.numpy():
                less_first(own, ends)
            for q, block in enumerate((self._mix @ some.view(k, -1)).view(-1, *some.shape[1:]).numpy()):
                self._Z[q] += block @ block.T

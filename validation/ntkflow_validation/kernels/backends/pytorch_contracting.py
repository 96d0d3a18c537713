"""Kernels of a PyTorch module summed layer by layer on the way back, so that no more than one layer's gradients are held.

To write out the whole Jacobian, and to read it again for its products, takes as long as the derivatives themselves. Here a
layer's gradients of a few directions on all samples are multiplied while they are in the cache, and the module goes forward
once for all directions.
"""

import math
from itertools import product

import numpy as np
import torch

from ntkflow_validation.kernels.backends import pytorch_layers
from ntkflow_validation.kernels.backends.factored import layer_deviations, layer_kernels
from ntkflow_validation.kernels.backends.pytorch_layers import Run, Use
from ntkflow_validation.kernels.backends.pytorch_lending import Tensors
from ntkflow_validation.kernels.budget import COLUMNS
from ntkflow_validation.kernels.threads import blas

# Bytes of the largest gradient by a layer's outputs of one pass back: beyond, each comes from the system anew, page by page,
# and below, what PyTorch does besides is felt. Directions of one pass, so that small networks' are not all in one.
PASS, TOGETHER = 2**23, 16
# Directions of one forward pass, after which what there is can be stored.
DIRECTIONS = 64


def directions(found: list[Use], samples: int) -> int:
    """How many go back together."""
    return max(1, min(TOGETHER, PASS // (4 * samples * _largest(found))))


def needed(found: list[Use], samples: int) -> int:
    """Bytes that `contracted` takes besides the kernels; a rough estimate."""
    kept = sum(
        math.prod(use.sizes.shape) * 3 + (0 if use.diagonal else use.sizes.T * use.sizes.K) for use in found
    )
    # Gradients by outputs where paths meet, with what is made of them on the way, and one layer's rows.
    moving = 8 * _largest(found) + max(
        (use.sizes.K * use.sizes.M for use in found if not use.wins), default=0
    )
    return 4 * samples * (kept + directions(found, samples) * moving)


def _largest(found: list[Use]) -> int:
    return max(math.prod(use.sizes.shape) for use in found)


def pays(found: list[Use]) -> bool:
    """Whether there are gradients that would be written out: those of layers that win are left as factors anyway."""
    return not all(use.wins or use.diagonal for use in found)


def contracted(
    found: list[Use], run: Run, params: Tensors, x: torch.Tensor, V: torch.Tensor, counts: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Kernels (k, N, N) of the directions V on samples sorted by class, and |row - mean of its class|^2, (k, N).

    Args:
        found: layers, to which all belongs that is differentiated by.
        run: the module.
        params: what is differentiated by.
        x: all samples.
        V: directions (k, n).
        counts: samples of each class; None where deviations are not asked for, which are 0 then.
    """
    sums = _Sums(found, len(x), counts)
    back = pytorch_layers.together(found, run, params, x, sums.take, keep=True)
    parts = []
    # Around all of it, since to look for the libraries takes a millisecond.
    with blas(len(x)):
        for chosen in V.split(directions(found, len(x))):
            sums.begin(len(chosen))
            back(chosen)
            parts.append(sums.end())
    K, deviations = (np.concatenate(part) for part in zip(*parts, strict=True))
    return K, deviations


class _Sums:
    """Kernels and deviations of the directions that go back, to which each layer adds its own."""

    def __init__(self, found: list[Use], samples: int, counts: np.ndarray | None) -> None:
        self._found, self._counts, self._N = found, counts, samples
        self._space = torch.empty(0)

    def begin(self, k: int) -> None:
        """Nothing yet of k directions."""
        self._K, self._deviations = np.zeros((k, self._N, self._N)), np.zeros((k, self._N))
        self._small: list[torch.Tensor] = []

    def end(self) -> tuple[np.ndarray, np.ndarray]:
        """All of it."""
        if self._small:
            self._add(torch.cat(self._small, dim=2))
        return self._K, self._deviations

    def take(self, i: int, inputs: torch.Tensor, by_outputs: torch.Tensor) -> None:
        """What `pytorch_layers.Take` says."""
        use = self._found[i]
        if use.bias is not None:
            self._small.append(by_outputs.sum(2))
        N, k, _, M = by_outputs.shape
        if use.diagonal:
            rows = torch.empty(N, k, M, dtype=inputs.dtype)
            self._small.append(pytorch_layers.products(inputs, by_outputs, True, rows))
        elif use.wins:
            a, d = inputs.numpy(), by_outputs.numpy()
            self._K += layer_kernels(a, d)
            if self._counts is not None:
                self._deviations += layer_deviations(a, d, self._counts)
        else:
            rows = self._rows((N, k, M * inputs.shape[2]), inputs.dtype)
            self._add(pytorch_layers.products(inputs, by_outputs, False, rows))

    def _rows(self, shape: tuple[int, int, int], dtype: torch.dtype) -> torch.Tensor:
        size = math.prod(shape)
        if self._space.numel() < size or self._space.dtype != dtype:
            self._space = torch.empty(size, dtype=dtype)
        N, k, w = shape
        # Direction by direction, as they are made and multiplied.
        return self._space[:size].view(k, N, w).transpose(0, 1)

    def _add(self, rows: torch.Tensor) -> None:
        """Gradients (N, k, w) by some of the parameters; they are written over."""
        every = rows.numpy()
        for q, first in product(range(rows.shape[1]), range(0, rows.shape[2], COLUMNS)):
            block = every[:, q, first : first + COLUMNS]
            # A product with the same array takes half the time.
            self._K[q] += block @ block.T
        if self._counts is None:
            return
        # Less their means and then squared, not by differences of large products, which near collapse have no digits.
        for own in rows.split(self._counts.tolist()):
            own -= own.mean(0)
        for part in rows.split(COLUMNS, dim=2):
            self._deviations += torch.linalg.vector_norm(part, dim=2).T.double().square().numpy()

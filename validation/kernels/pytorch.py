"""PyTorch modules through torch.func; torch is imported here and nowhere else."""

import math
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch.func import functional_call, vjp, vmap

from ntkflow.errors import InputError
from validation.kernels.backend import Directions, Inputs, check_finite
from validation.kernels.moments import Moments, moments_of

# Rough size of activations and their gradients beside the rows of the Jacobian, in parameters.
OVERHEAD = 4


class TorchBackend:
    """Derivatives of a module's output by its parameters.

    Args:
        body: module from x (B, ...) to features (B, n), in the mode it is to be measured in (`body.eval()`).
        x: one batch of inputs, from which n is learned.

    Raises:
        InputError: a parameter is not finite, there is none, or the features are not (B, n).
    """

    def __init__(self, body: torch.nn.Module, x: Inputs) -> None:
        self._body = body
        self._params = {name: p.detach() for name, p in body.named_parameters()}
        self._buffers = dict(body.named_buffers())
        if not self._params:
            raise InputError("params", "no parameter", "nothing to differentiate by", "give some")
        check_finite({name: p.cpu().numpy() for name, p in self._params.items()}, "params")
        self.P = sum(p.numel() for p in self._params.values())
        self._device = next(iter(self._params.values())).device
        shape = self.features(x[:2]).shape
        if len(shape) != 2:
            raise InputError("features", f"output of shape {shape}", "must be (samples, n)", "flatten each h")
        self.n = int(shape[1])

    def _tensor(self, values: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(values)).to(self._device)

    def _call(self, params: dict[str, torch.Tensor], x: torch.Tensor) -> Any:
        return functional_call(self._body, (params, self._buffers), (x,))

    def _pulled(self, x: torch.Tensor, cotangents: torch.Tensor) -> torch.Tensor:
        _, back = vjp(lambda q: self._call(q, x), self._params)
        (gradients,) = vmap(back)(cotangents)
        return torch.cat([g.reshape(len(cotangents), -1) for g in gradients.values()], dim=1)

    def features(self, x: Inputs) -> Float64[np.ndarray, "B n"]:
        """h(x_i)."""
        with torch.no_grad():
            return self._call(self._params, self._tensor(x)).double().cpu().numpy()

    def rows(self, x: Inputs, V: Directions) -> Float[np.ndarray, "B k P"]:
        """Gradients of v_k . h(x_i)."""
        directions = self._tensor(V.astype(np.float32))[:, None, :]
        rows = vmap(lambda xi: self._pulled(xi[None], directions))(self._tensor(x))
        return rows.detach().cpu().numpy()

    def pull(self, x: Inputs, cotangents: Float[np.ndarray, "k B n"]) -> Float[np.ndarray, "k P"]:
        """Gradients of sum_i cotangent_ki . h(x_i)."""
        return (
            self._pulled(self._tensor(x), self._tensor(cotangents.astype(np.float32))).detach().cpu().numpy()
        )

    def moments(self, x: Inputs, V: Directions, fresh: np.ndarray) -> Moments:
        """Of the rows of the fresh samples."""
        return moments_of(self.rows(x, V)[fresh])

    def tile(self, x: Inputs, k: int, limit: int) -> tuple[int, int]:
        """Samples and directions per call of `rows`; from a rough estimate, torch tells nothing beforehand."""
        rows = max(1, min(16, limit // (4 * OVERHEAD * self.P)))
        k = min(k, rows)
        return min(len(x), max(1, rows // k)), k

    def batch(self, x: Inputs, k: int, limit: int) -> tuple[int, int]:
        """Samples and directions per call of `pull`."""
        k = max(1, min(k, 4, limit // (4 * OVERHEAD * self.P)))
        return min(len(x), 64), k

    def pull_bytes(self, x: Inputs, k: int) -> int:
        """A rough estimate: rows and inputs."""
        return 4 * OVERHEAD * (k * self.P + len(x) * math.prod(x.shape[1:]))

    def fingerprint(self) -> bytes:
        """The parameters and buffers as bytes."""
        tensors = [*self._params.values(), *self._buffers.values()]
        return b"".join(t.cpu().numpy().tobytes() for t in tensors)

"""PyTorch modules through torch.func; torch is imported here and nowhere else."""

import hashlib
import math
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch.func import vjp, vmap
from torch.fx.experimental.proxy_tensor import make_fx

from ntkflow.errors import InputError
from ntkflow_validation.kernels.backends.base import Directions, Inputs, check_finite
from ntkflow_validation.kernels.backends.moments import Moments, moments_of

# Rough size of activations and their gradients beside the rows of the Jacobian, in parameters.
OVERHEAD = 4

Tensors = dict[str, torch.Tensor]


class TorchBackend:
    """Derivatives of a module's output by the parameters it trains.

    The module is left as it was, also by a call that fails: parameters, buffers, gradients, mode, attributes, what is
    shared between its parts, and the random state. What its hooks do outside of it is theirs.

    Args:
        body: module from x (B, ...) to features (B, n), in the mode it is to be measured in (`body.eval()`).
        x: one batch of inputs, from which n is learned.
        trainable: names of `named_parameters` to truth values, all of them, or a function of the name; by default the
            parameters that have `requires_grad`.

    Raises:
        InputError: a parameter is not finite, none is trained, or the features are not (B, n).
    """

    def __init__(
        self,
        body: torch.nn.Module,
        x: Inputs,
        trainable: Mapping[str, bool] | Callable[[str], bool] | None = None,
    ) -> None:
        self._body, self._trainable = body, trainable
        self.check(x)

    @property
    def body(self) -> torch.nn.Module:
        """The module that is measured."""
        return self._body

    def check(self, x: Inputs) -> "TorchBackend":
        """Look anew at the module, whose parameters, frozen ones and mode may have changed."""
        named = dict(self._body.named_parameters())
        chosen = _chosen(named, self._trainable)
        self._params = {name: p.detach() for name, p in named.items() if chosen[name]}
        self.total = sum(p.numel() for p in named.values())
        self.P = sum(p.numel() for p in self._params.values())
        if not self.P:
            raise InputError(
                "params",
                f"none of {self.total} numbers is trained" if named else "no parameter",
                "nothing to differentiate by",
                "call requires_grad_(True) on some, or give trainable=lambda name: True",
            )
        check_finite({name: p.detach().cpu().float().numpy() for name, p in named.items()}, "params")
        self.columns = [(name, p.numel()) for name, p in self._params.items()]
        first = next(iter(self._params.values()))
        self._device, self._dtype = first.device, first.dtype
        self._few = np.array(x[:2])
        shape = self.features(self._few).shape
        if len(shape) != 2:
            raise InputError("features", f"output of shape {shape}", "must be (samples, n)", "flatten each h")
        self.n = int(shape[1])
        return self

    def _tensor(self, values: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(values)).to(self._device)

    def _inputs(self, x: Inputs) -> torch.Tensor:
        found = self._tensor(x)
        return found.to(self._dtype) if found.is_floating_point() else found

    def _call(self, params: Tensors, x: torch.Tensor) -> torch.Tensor:
        with _lent(self._body, params):
            return self._body(x).float()

    def _pulled(self, params: Tensors, x: torch.Tensor, cotangents: torch.Tensor) -> torch.Tensor:
        _, back = vjp(lambda q: self._call(q, x), params)
        (gradients,) = vmap(back)(cotangents)
        return torch.cat([g.reshape(len(cotangents), -1).float() for g in gradients.values()], dim=1)

    def features(self, x: Inputs) -> Float64[np.ndarray, "B n"]:
        """h(x_i)."""
        with torch.no_grad():
            found: np.ndarray = self._call(self._params, self._inputs(x)).double().cpu().numpy()
            return found

    def rows(self, x: Inputs, V: Directions) -> Float[np.ndarray, "B k P"]:
        """Gradients of v_k . h(x_i).

        Raises:
            InputError: the module draws random numbers.
        """
        directions = self._tensor(V.astype(np.float32))[:, None, :]
        of_one = vmap(lambda xi: self._pulled(self._params, xi[None], directions))
        try:
            rows = of_one(self._inputs(x))
        except RuntimeError as error:
            if "random" not in str(error):
                raise
            raise InputError(
                "features",
                "random numbers, as of dropout in training mode",
                "must be the same every time",
                "call eval() on the module",
            ) from error
        values: np.ndarray = rows.detach().cpu().numpy()
        return values

    def pull(self, x: Inputs, cotangents: Float[np.ndarray, "k B n"]) -> Float[np.ndarray, "k P"]:
        """Gradients of sum_i cotangent_ki . h(x_i)."""
        V = self._tensor(cotangents.astype(np.float32))
        found: np.ndarray = self._pulled(self._params, self._inputs(x), V).detach().cpu().numpy()
        return found

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
        size: int = 4 * OVERHEAD * (k * self.P + len(x) * math.prod(x.shape[1:]))
        return size

    def fingerprint(self) -> bytes:
        """Every operation forward and back with its constants, buffers among them, and the parameters.

        One that never comes again where PyTorch cannot trace the module, as when its steps depend on the data.
        """
        V = torch.zeros(1, len(self._few), self.n, device=self._device)
        try:
            traced = make_fx(lambda *given: self._pulled(*given))(
                dict(self._params), self._inputs(self._few), V
            )
        except Exception:  # of many kinds, and each means that it cannot be seen
            return os.urandom(32)
        found = hashlib.sha256(traced.code.encode())
        constants = [_attribute(traced, node.target) for node in traced.graph.nodes if node.op == "get_attr"]
        named = [*self._params.items(), *((str(i), c) for i, c in enumerate(constants))]
        for name, tensor in named:
            if not isinstance(tensor, torch.Tensor):
                return os.urandom(32)
            found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)} ".encode())
            flat = tensor.detach().cpu().contiguous().reshape(-1)
            found.update(flat.view(torch.uint8).numpy().data if flat.numel() else b"")
        return found.digest()


def _attribute(module: Any, path: str) -> Any:
    for name in path.split("."):
        module = getattr(module, name)
    return module


def _chosen(
    named: Mapping[str, torch.nn.Parameter], trainable: Mapping[str, bool] | Callable[[str], bool] | None
) -> dict[str, bool]:
    if trainable is None:
        return {name: p.requires_grad for name, p in named.items()}
    if callable(trainable):
        return {name: bool(trainable(name)) for name in named}
    if not isinstance(trainable, Mapping) or trainable.keys() != named.keys():
        raise InputError(
            "trainable",
            f"{len(trainable)} names",
            "must have every name of named_parameters",
            "give a function of the name, such as lambda name: name.startswith('body')",
        )
    return {name: bool(flag) for name, flag in trainable.items()}


@contextmanager
def _lent(body: torch.nn.Module, params: Tensors) -> Iterator[None]:
    """The module with other parameters and copies of its buffers, for one call.

    Not torch.func.functional_call: of a module that is used in two places it puts back the second's stand-ins.
    Tensors are exchanged wherever they are, so that what is shared stays shared while it is lent as well.
    """
    stand_ins = {id(p): params.get(name, p.detach()) for name, p in body.named_parameters()}
    # Made here: what is written to inside a derivative has to be made inside it.
    stand_ins |= {id(b): b.detach().clone() for b in body.buffers()}
    modules = list(body.modules())
    kept = [(vars(m).copy(), m._parameters.copy(), m._buffers.copy()) for m in modules]
    devices = sorted({p.device.index for p in body.parameters() if p.device.type == "cuda"})
    with torch.random.fork_rng(devices):
        try:
            for module in modules:
                for place in (module._parameters, module._buffers, vars(module)):
                    place.update({key: _exchanged(value, stand_ins) for key, value in place.items()})
            yield
        finally:
            for module, (attributes, *tensors) in zip(modules, kept, strict=True):
                vars(module).clear()
                vars(module).update(attributes)
                for place, before in zip((module._parameters, module._buffers), tensors, strict=True):
                    place.clear()
                    place.update(before)


def _exchanged(value: Any, stand_ins: Mapping[int, torch.Tensor]) -> Any:
    """A tensor's stand-in, also in the lists in which recurrent layers keep them; anything else itself."""
    if type(value) is list and any(id(item) in stand_ins for item in value):
        return [stand_ins.get(id(item), item) for item in value]
    return stand_ins.get(id(value), value)

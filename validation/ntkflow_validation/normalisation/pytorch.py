"""Batch normalisation of PyTorch, watched by hooks; torch is imported here for those who have it."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

import numpy as np
import torch
from torch.nn.modules.batchnorm import _BatchNorm

from ntkflow.errors import InputError
from ntkflow_validation.normalisation.watched import (
    Forward,
    Path,
    Seen,
    Statistics,
    Stored,
    once_each,
    running,
)


class TorchNetwork:
    """A module, or its copy, with its layers watched; see `Watched`.

    Attributes:
        result: the module that statistics are written into.
    """

    def __init__(self, module: torch.nn.Module, forward: Forward | None, copy: bool) -> None:
        self.result: Any = _copied(module) if copy else module
        self._forward = forward or (lambda net, x: net(x))
        self._layers = {
            tuple(name.split(".")) if name else (): layer
            for name, layer in self.result.named_modules()
            if _averages(layer)
        }

    def again(self, network: torch.nn.Module) -> "TorchNetwork":
        """See `Watched.again`."""
        return TorchNetwork(network, self._forward, copy=True)

    def release(self) -> None:
        """See `Watched.release`."""
        self.result, self._layers = None, {}

    def look(self, x: Any, own: bool) -> list[Seen]:
        """See `Watched.look`."""
        found: list[Seen] = []
        handles = [
            layer.register_forward_pre_hook(lambda _, args, path=path: found.append(_seen(path, args[0])))
            for path, layer in self._layers.items()
        ]
        try:
            with running(), _inference(self.result, [*self._layers.values()], own):
                self._forward(self.result, self._inputs(x))
        finally:
            for handle in handles:
                handle.remove()
        return once_each(found)

    def _inputs(self, x: Any) -> torch.Tensor:
        first = next(self.result.parameters(), None)
        # A copy: a module may write to what it is given.
        tensor = torch.as_tensor(x if isinstance(x, torch.Tensor) else np.asarray(x)).clone()
        if first is None:
            return tensor
        return tensor.to(first.device, first.dtype if tensor.is_floating_point() else tensor.dtype)

    def stored(self) -> dict[Path, Stored]:
        """See `Watched.stored`."""
        return {
            path: Stored(_numpy(layer.running_mean), _numpy(layer.running_var), layer.eps)
            for path, layer in self._layers.items()
        }

    def store(self, statistics: Mapping[Path, Statistics]) -> None:
        """See `Watched.store`."""
        with torch.no_grad():
            for path, found in statistics.items():
                layer = self._layers[path]
                layer.running_mean.copy_(torch.as_tensor(found.mean))
                layer.running_var.copy_(torch.as_tensor(found.var))


def _averages(layer: torch.nn.Module) -> bool:
    return isinstance(layer, _BatchNorm) and layer.running_mean is not None


def normalises(module: torch.nn.Module) -> bool:
    """Whether it has running statistics."""
    return any(_averages(layer) for layer in module.modules())


def by_batch(module: torch.nn.Module) -> torch.nn.Module:
    """A copy in inference mode whose batch normalisations have no running statistics, so that they normalise by the batch."""
    found = _copied(module).eval()
    for layer in found.modules():
        if _averages(layer):
            layer.running_mean = layer.running_var = None
    return found


def _copied(module: torch.nn.Module) -> torch.nn.Module:
    try:
        return deepcopy(module)
    except Exception as error:
        raise InputError(
            "network",
            f"{type(error).__name__}: {str(error)[:100]}",
            "cannot be copied",
            "give inplace=True, which writes into the module itself",
        ) from error


def _seen(path: Path, x: torch.Tensor) -> Seen:
    flat = x.detach().double().reshape(*x.shape[:2], -1)
    first = flat.mean(2)
    return Seen(path, first.cpu().numpy(), ((flat - first[:, :, None]) ** 2).mean(2).cpu().numpy())


def _numpy(tensor: torch.Tensor) -> np.ndarray:
    found: np.ndarray = tensor.detach().double().cpu().numpy()
    return found


@contextmanager
def _inference(module: torch.nn.Module, layers: list[Any], own: bool) -> Iterator[None]:
    """Inference mode, with normalisation by the batch where `own`; modes, buffers and random state are put back."""
    modes = [(part, part.training) for part in module.modules()]
    buffers = [(part._buffers, part._buffers.copy()) for part in module.modules()]
    copies = {id(b): b.detach().clone() for b in module.buffers()}
    devices = sorted({p.device.index for p in module.parameters() if p.device.type == "cuda"})
    with torch.random.fork_rng(devices), torch.no_grad():
        try:
            module.eval()
            for place, own_ones in buffers:
                place.update({name: copies.get(id(b), b) for name, b in own_ones.items()})
            for layer in layers if own else []:
                # Without statistics it normalises by the batch in inference mode too, and synchronised ones wait for no
                # other process, as they would in training mode.
                layer.running_mean = layer.running_var = None
            yield
        finally:
            for place, own_ones in buffers:
                place.update(own_ones)
            for part, mode in modes:
                part.training = mode

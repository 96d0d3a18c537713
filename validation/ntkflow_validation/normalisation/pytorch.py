"""Batch normalisation of PyTorch, watched by hooks; torch is imported here for those who have it."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from typing import TypeVar

import numpy as np
import torch
from torch.nn.modules.batchnorm import _BatchNorm

from ntkflow.errors import InputError
from ntkflow.foreign.arrays import Rows
from ntkflow.foreign.modules import ForeignNetwork
from ntkflow_validation.normalisation.watched import (
    AtOnce,
    Forward,
    Path,
    Seen,
    Statistics,
    Stored,
    once_each,
    running,
)
from ntkflow_validation.precision import full_in_torch

T = TypeVar("T")


def require_numbers(module: torch.nn.Module) -> None:
    """Refuse tensors that are not made yet, of which nothing can be told.

    Raises:
        InputError: there is one, of a lazy layer or on the device meta.
    """
    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        lazy = torch.nn.parameter.is_lazy(tensor)
        if lazy or tensor.is_meta:
            kind = "a lazy layer's, not made yet" if lazy else "on the device meta"
            remedy = "call the module on a batch once, or load the numbers first"
            raise InputError("params", f"{name}, {kind}", "has no numbers", remedy)


class TorchNetwork:
    """A module, or its copy, with its layers watched; see `Watched`.

    A pass puts back all that it changes, so that a copy is made for what is stored alone.
    """

    def __init__(self, module: torch.nn.Module | None, forward: Forward | None, copy: bool) -> None:
        if module is not None:
            require_numbers(module)
        self._module = module
        self._copies, self._forward = copy, forward or (lambda net, x: net(x))

    def result(self) -> ForeignNetwork:
        """See `Watched.result`."""
        if self._copies:
            self._module, self._copies = _copied(self._module), False
        return self._module

    def again(self, network: torch.nn.Module) -> "TorchNetwork":
        """See `Watched.again`."""
        return TorchNetwork(network, self._forward, copy=True)

    def bare(self) -> "TorchNetwork":
        """See `Watched.bare`."""
        return TorchNetwork(None, self._forward, copy=True)

    def look(self, x: Rows) -> list[Seen]:
        """See `Watched.look`."""
        return self._passed(x, False, _seen)[1]

    def at_once(self, x: Rows) -> AtOnce:
        """See `Watched.at_once`."""
        outputs, found = self._passed(x, True, _pooled)
        numbers = isinstance(outputs, torch.Tensor) and outputs.is_floating_point()
        return AtOnce(_numpy(outputs) if numbers else None, dict(found))

    def _passed(self, x: Rows, own: bool, told: Callable[[Path, torch.Tensor], T]) -> tuple[object, list[T]]:
        """What a pass gives, and what is told of the inputs of each layer."""
        assert self._module is not None
        layers, paths, found = _layers(self._module), list[Path](), list[T]()

        def hook(path: Path) -> Callable[..., None]:
            def hear(_: torch.nn.Module, args: tuple[torch.Tensor, ...]) -> None:
                paths.append(path)
                found.append(told(path, args[0].detach()))

            return hear

        handles = [layer.register_forward_pre_hook(hook(path)) for path, layer in layers.items()]
        try:
            with running(), full_in_torch(), _inference(self._module, [*layers.values()], own):
                outputs = self._forward(self._module, self._inputs(x))
        finally:
            for handle in handles:
                handle.remove()
        once_each(paths)
        return outputs, found

    def _inputs(self, x: Rows) -> torch.Tensor:
        assert self._module is not None
        first = next(self._module.parameters(), None)
        # A copy: a module may write to what it is given.
        tensor = torch.as_tensor(x if isinstance(x, torch.Tensor) else np.asarray(x)).clone()
        if first is None:
            return tensor
        return tensor.to(first.device, first.dtype if tensor.is_floating_point() else tensor.dtype)

    def stored(self) -> dict[Path, Stored]:
        """See `Watched.stored`."""
        return {
            path: Stored(_numpy(layer.running_mean), _numpy(layer.running_var), layer.eps)
            for path, layer in _layers(self._module).items()
        }

    def store(self, statistics: Mapping[Path, Statistics]) -> None:
        """See `Watched.store`."""
        layers = _layers(self.result())
        with torch.no_grad():
            for path, found in statistics.items():
                layer = layers[path]
                layer.running_mean.copy_(torch.as_tensor(found.mean))
                layer.running_var.copy_(torch.as_tensor(found.var))


def _layers(module: torch.nn.Module | None) -> dict[Path, _BatchNorm]:
    assert module is not None
    named = module.named_modules()
    return {tuple(name.split(".")) if name else (): layer for name, layer in named if _averages(layer)}


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
    """Moments of each sample over its positions, like those of Flax in float32 at least: ten times as fast as in float64."""
    flat = _wide(x).reshape(*x.shape[:2], -1)
    first = flat.mean(2)
    return Seen(path, _numpy(first), _numpy((flat - first[:, :, None]).square_().mean(2)))


def _pooled(path: Path, x: torch.Tensor) -> tuple[Path, Statistics]:
    """Moments over samples and positions; the mean once more about itself, as `watched.pooled` has it."""
    x, over = _wide(x), [0, *range(2, x.ndim)]
    rough = x.mean(over, keepdim=True)
    mean = rough + (x - rough).mean(over, keepdim=True)
    return path, Statistics(_numpy(mean.flatten()), _numpy((x - mean).square_().mean(over)))


def _wide(x: torch.Tensor) -> torch.Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _numpy(tensor: torch.Tensor) -> np.ndarray:
    found: np.ndarray = tensor.detach().double().cpu().numpy()
    return found


@contextmanager
def _inference(module: torch.nn.Module, layers: list[torch.nn.Module], own: bool) -> Iterator[None]:
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

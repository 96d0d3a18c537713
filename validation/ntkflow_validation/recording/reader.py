"""The features of a network of any framework on given inputs, in inference mode, and the same to be differentiated."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property, partial
from typing import Any

import numpy as np

from ntkflow.errors import InputError
from ntkflow_validation.normalisation.frameworks import by_batch
from ntkflow_validation.precision import full

# Samples of one forward pass: larger ones leave the cache and are slower on a CPU.
BATCH = 256
Features = Callable[[Any, Any], Any]


class Reader:
    """Reads H of a network, of which nothing is changed, and gives what `measure` differentiates.

    Args:
        features: h(x) of a batch, features(network, x), (B, n): the network is a module of torch or Flax NNX, or a
            tree of parameters.
        X: inputs, a sample a row.
    """

    def __init__(self, features: Features, X: Any) -> None:
        if not callable(features):
            raise InputError(
                "features",
                type(features).__name__,
                "must be a function of (network, x)",
                "give such as lambda net, x: net.body(x)",
            )
        self.features = features
        self._given = X
        self._jitted: dict[Any, Any] = {}
        self._on_device: dict[Any, Any] = {}

    @cached_property
    def X(self) -> np.ndarray:
        """Inputs as an array, float32 where they are floats."""
        from ntkflow_validation.kernels.networks.host import on_host

        found: np.ndarray = on_host(self._given)
        return found.astype(np.float32) if found.dtype == np.float64 else found

    def __call__(self, network: Any) -> np.ndarray:
        """H, (N, n), in inference mode."""
        if _is(network, "torch.nn", "Module"):
            return self._of_torch(network)
        read = self._compiled(network)
        parts = [np.asarray(read(x), dtype=np.float64) for x in self._batches("jax", _to_jax)]
        return np.concatenate(parts)

    def differentiable(self, network: Any, coupled: bool = False) -> tuple[Any, Any]:
        """`features` and `params` of `measure`.

        Args:
            network: as for reading.
            coupled: batch normalisation normalises by the batch, and all else is in inference mode.
        """
        features = self.features
        if coupled:
            network, features = by_batch(network, features)
        if _is(network, "torch.nn", "Module"):
            from ntkflow_validation.kernels.backends.pytorch import TorchBackend

            return TorchBackend(_whole(network, features), self.X), None
        if _is(network, "flax.nnx", "Module"):
            from ntkflow_validation.kernels.networks.nnx_module import nnx_backend

            mode = "batch" if coupled else "eval"
            net = network if coupled else _in_inference(network)
            return nnx_backend(net, self.X, None, features, None, mode), None
        if hasattr(network, "params") and hasattr(network, "replace"):
            # A state of Flax: what its optimiser and its normalisation keep is no parameter.
            return (lambda p, x: features(network.replace(params=p), x)), network.params
        return features, network

    def _batches(self, kind: str, move: Callable[[np.ndarray], Any]) -> list[Any]:
        if kind not in self._on_device:
            X = self.X
            self._on_device[kind] = [move(X[i : i + BATCH]) for i in range(0, len(X), BATCH)]
        found: list[Any] = self._on_device[kind]
        return found

    def _of_torch(self, network: Any) -> np.ndarray:
        import torch

        first = next(network.parameters(), None)
        device = "cpu" if first is None else first.device
        with inference(network), torch.no_grad():
            parts = [
                self.features(network, x).double().cpu().numpy()
                for x in self._batches(
                    str(device), lambda x: torch.from_numpy(np.ascontiguousarray(x)).to(device)
                )
            ]
        return np.concatenate(parts)

    def _compiled(self, network: Any) -> Callable[[Any], Any]:
        """h of a batch, compiled once for each structure: what is no array, as activations of Equinox, is part of it."""
        import jax

        if _is(network, "flax.nnx", "Module"):
            from flax import nnx

            graph, state = nnx.split(network)
            if graph not in self._jitted:
                inference, _ = nnx.split(_in_inference(network))

                def merged(state: Any, x: Any) -> Any:
                    return self.features(nnx.merge(inference, state), x)

                self._jitted[graph] = jax.jit(full(merged))
            return partial(self._jitted[graph], state)
        leaves, structure = jax.tree.flatten(network)
        known = [hasattr(leaf, "dtype") for leaf in leaves]
        statics = tuple(leaf for leaf, array in zip(leaves, known, strict=True) if not array)
        key = (structure, tuple(known), statics)
        if key not in self._jitted:

            def call(arrays: list[Any], x: Any) -> Any:
                one, other = iter(arrays), iter(statics)
                joined = [next(one) if array else next(other) for array in known]
                return self.features(jax.tree.unflatten(structure, joined), x)

            self._jitted[key] = jax.jit(full(call))
        return partial(self._jitted[key], [leaf for leaf, array in zip(leaves, known, strict=True) if array])


def plain(network: Any) -> Any:
    """The module inside what shares it between processes, whose own forward pass would wait for the other ranks, or
    inside what torch.compile made of it.
    """
    kind = type(network).__name__
    if kind in ("DistributedDataParallel", "DataParallel"):
        return plain(network.module)
    # Hooks and copies are of the module that was compiled.
    return plain(network._orig_mod) if kind == "OptimizedModule" else network


@contextmanager
def inference(network: Any) -> Iterator[None]:
    """A torch module in inference mode; every part of it goes back to the mode that it had."""
    before = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, mode in before:
            module.training = mode


def _whole(network: Any, features: Features) -> Any:
    import torch

    class Body(torch.nn.Module):  # type: ignore[misc]
        """The features of a network as a module."""

        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            found: torch.Tensor = features(self.network, x)
            return found

    body = Body()
    body.training = network.training
    return body


def _in_inference(network: Any) -> Any:
    from flax import nnx

    copy = nnx.merge(*nnx.split(network))
    copy.eval()
    return copy


def _to_jax(x: np.ndarray) -> Any:
    import jax.numpy as jnp

    return jnp.asarray(x)


def _is(network: Any, module: str, kind: str) -> bool:
    found = sys.modules.get(module)  # without it there are no modules of its kind
    return found is not None and isinstance(network, getattr(found, kind))

"""The features of a network of any framework on given inputs, in inference mode, and the same to be differentiated."""

from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property, partial
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import PyTree

from ntkflow.errors import InputError
from ntkflow.foreign.arrays import inputs, on_host
from ntkflow.foreign.modules import ForeignNetwork, Framework, framework_of
from ntkflow_validation.normalisation.frameworks import by_batch
from ntkflow_validation.normalisation.watched import running
from ntkflow_validation.precision import full, full_in_torch

if TYPE_CHECKING:
    import jax
    import torch

# Samples of one forward pass: larger ones leave the cache and are slower on a CPU.
BATCH = 256
Features = Callable[[ForeignNetwork, PyTree], PyTree]
NOT_RUN = (
    "does not run as features(network, x) on the recorded X",
    "give X in the layout that the network takes (images of torch have channels first, those of Flax last), and features of "
    "one batch in inference mode",
)


class Reader:
    """Reads H of a network, of which nothing is changed, and gives what `measure` differentiates.

    Args:
        features: h(x) of a batch, features(network, x), (B, n): the network is a module of torch or Flax NNX, or a
            tree of parameters.
        X: inputs, a sample a row.
    """

    def __init__(self, features: Features, X: object) -> None:
        if not callable(features):
            raise InputError(
                "features",
                type(features).__name__,
                "must be a function of (network, x)",
                "give such as lambda net, x: net.body(x)",
            )
        self.features = features
        self._given = X
        self._jitted: dict[Hashable, Callable[[PyTree, PyTree], PyTree]] = {}
        self._on_device: dict[str, list[PyTree]] = {}

    @cached_property
    def X(self) -> np.ndarray:
        """Inputs as an array, float32 where they are floats."""
        found = inputs("X", self._given)
        return found.astype(np.float32) if found.dtype == np.float64 else found

    def __call__(self, network: ForeignNetwork) -> np.ndarray:
        """H, (N, n), in inference mode.

        Raises:
            InputError: the function does not run on the network and X.
        """
        with running("features", *NOT_RUN):
            if framework_of(network) is Framework.TORCH:
                return self._of_torch(network)
            read = self._compiled(network)
            # Numbers beyond single precision become infinite, of which the recorder tells that the training diverged.
            with np.errstate(over="ignore"):
                parts = [np.asarray(read(x), dtype=np.float64) for x in self._batches("jax", _to_jax)]
            return np.concatenate(parts)

    def differentiable(self, network: ForeignNetwork, coupled: bool = False) -> tuple[ForeignNetwork, PyTree]:
        """`features` and `params` of `measure`.

        Args:
            network: as for reading.
            coupled: batch normalisation normalises by the batch, and all else is in inference mode.
        """
        features = self.features
        if coupled:
            network, features = by_batch(network, features)
        if framework_of(network) is Framework.TORCH:
            from ntkflow_validation.kernels.backends.pytorch.backend import TorchBackend

            return TorchBackend(_whole(network, features), self.X), None
        if framework_of(network) is Framework.NNX:
            from ntkflow_validation.kernels.networks.nnx_module import nnx_backend

            mode = "batch" if coupled else "eval"
            net = network if coupled else _in_inference(network)
            return nnx_backend(net, self.X, None, features, None, mode), None
        return features, network

    def _batches(self, kind: str, move: Callable[[np.ndarray], PyTree]) -> list[PyTree]:
        if kind not in self._on_device:
            X = self.X
            self._on_device[kind] = [move(X[i : i + BATCH]) for i in range(0, len(X), BATCH)]
        return self._on_device[kind]

    def _of_torch(self, network: ForeignNetwork) -> np.ndarray:
        import torch

        first = next(network.parameters(), None)
        device = "cpu" if first is None else first.device
        with inference(network), full_in_torch(), torch.no_grad():
            parts = [
                self.features(network, x).double().cpu().numpy()
                for x in self._batches(
                    str(device), lambda x: torch.from_numpy(np.ascontiguousarray(x)).to(device)
                )
            ]
        return np.concatenate(parts)

    def _compiled(self, network: ForeignNetwork) -> Callable[[PyTree], PyTree]:
        """h of a batch, compiled once for each structure: what is no array, as activations of Equinox, is part of it."""
        import jax

        if framework_of(network) is Framework.NNX:
            from flax import nnx

            graph, state = nnx.split(network)
            if graph not in self._jitted:
                inference, _ = nnx.split(_in_inference(network))

                def merged(state: PyTree, x: "jax.Array") -> PyTree:
                    return self.features(nnx.merge(inference, state), x)

                self._jitted[graph] = jax.jit(full(merged))
            return partial(self._jitted[graph], state)
        leaves, structure = jax.tree.flatten(network)
        known = [hasattr(leaf, "dtype") for leaf in leaves]
        statics = tuple(leaf for leaf, array in zip(leaves, known, strict=True) if not array)
        key = (structure, tuple(known), statics)
        if key not in self._jitted:

            def call(arrays: list["jax.Array"], x: "jax.Array") -> PyTree:
                one, other = iter(arrays), iter(statics)
                joined = [next(one) if array else next(other) for array in known]
                return self.features(jax.tree.unflatten(structure, joined), x)

            self._jitted[key] = jax.jit(full(call))
        return partial(self._jitted[key], [leaf for leaf, array in zip(leaves, known, strict=True) if array])


def extra(more: Mapping[str, object]) -> dict[str, float]:
    """Other numbers of a line: of any framework, each a single one.

    Raises:
        InputError: one is text, or more than one number.
    """
    found = {}
    for name, value in more.items():
        array = on_host(value)
        if array.size != 1 or array.dtype.kind not in "biuf":
            shown = f"array of shape {array.shape}" if array.ndim else repr(value)
            raise InputError(name, shown, "must be one number", "give a number for the line, such as a mean")
        found[name] = float(array.reshape(-1)[0])
    return found


def check_fit(H: np.ndarray, W: np.ndarray) -> None:
    """Refuse features that the head does not act on, such as the outputs of the whole network."""
    (C, n), found = W.shape, len(H)
    if found != n:
        logits = f": these are the {C} outputs, after the head" if found == C else ""
        raise InputError(
            "features",
            f"{found} numbers a sample",
            f"must be the {n} that the head acts on{logits}",
            "give the network up to its last layer, and that layer as head",
        )


@contextmanager
def inference(network: ForeignNetwork) -> Iterator[None]:
    """A torch module in inference mode; every part of it goes back to the mode that it had."""
    before = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, mode in before:
            module.training = mode


def _whole(network: ForeignNetwork, features: Features) -> "torch.nn.Module":
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


def _in_inference(network: ForeignNetwork) -> ForeignNetwork:
    from flax import nnx

    copy = nnx.merge(*nnx.split(network))
    copy.eval()
    return copy


def _to_jax(x: np.ndarray) -> "jax.Array":
    import jax.numpy as jnp

    return jnp.asarray(x)

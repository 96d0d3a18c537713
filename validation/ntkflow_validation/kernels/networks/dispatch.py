"""A network as it is given, a function or a module of any framework, as the backend that differentiates it."""

import sys
import warnings
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax

from ntkflow.errors import InputError, PrecisionWarning
from ntkflow_validation.kernels.backends.base import Backend, Checked, Inputs
from ntkflow_validation.kernels.backends.jax_backend import JaxBackend
from ntkflow_validation.kernels.backends.output import Output, chosen
from ntkflow_validation.kernels.backends.trainable import Trainable
from ntkflow_validation.kernels.networks.host import is_half, single
from ntkflow_validation.normalisation.watched import Forward


class Given(NamedTuple):
    """A network and how it is called.

    Attributes:
        network: a pure function of (params, x), a module, or a backend.
        params: what the function or the Linen module is applied to; None for others, which have their own.
        trainable: what is differentiated by, when it is not all that the framework trains.
        forward: forward(network, x) for a module that needs more than x; None for network(x).
        output: which of its outputs are the features, when there are several.
        bn: mode of batch normalisation.
    """

    network: Any
    params: Any = None
    trainable: Trainable = None
    forward: Forward | None = None
    output: Output = None
    bn: str = "eval"


def backend_of(given: Given, x: Inputs, stacklevel: int = 3) -> Backend:
    """The backend of a network for such inputs, in inference mode unless `bn` is "batch".

    Args:
        given: the network.
        x: inputs, (N, ...).
        stacklevel: of warnings.

    Raises:
        InputError: it does not run on x, is in training mode, draws random numbers, or gives no features (B, n).

    Warns:
        PrecisionWarning: it has, or computes in, half precision.
    """
    found = _of_framework(given, x)
    inference = getattr(found, "require_inference", None)
    if inference is not None and given.bn != "batch":
        inference()
    said = getattr(found, "half", "")
    if said:
        warnings.warn(said, PrecisionWarning, stacklevel=stacklevel)
    return found


def _of_framework(given: Given, x: Inputs) -> Backend:
    network = given.network
    if is_module(network, "torch.nn", "Module"):
        _require_no_params(given)
        from ntkflow_validation.kernels.backends.pytorch import TorchBackend

        return TorchBackend(network, x, given.trainable, given.forward, given.output)
    if is_module(network, "flax.nnx", "Module"):
        _require_no_params(given)
        from ntkflow_validation.kernels.networks.nnx_module import nnx_backend

        return nnx_backend(network, x, given.trainable, given.forward, given.output, given.bn)
    if is_module(network, "flax.linen", "Module"):
        return _of_function(_linen(given), given, x)
    if is_module(network, "equinox", "Module") and given.params is None:
        return _of_function(_equinox(given), given._replace(params=network), x)
    _require_nothing(given, "forward")
    if callable(network):
        return _of_function(network, given, x)
    _require_nothing(given, "trainable", "output")
    if isinstance(network, Checked):
        # What it closes over may have changed since it was made.
        return network.check(x)
    if isinstance(network, Backend):
        return network
    raise InputError(
        "features",
        type(network).__name__,
        "is neither a function of (params, x) nor a module of torch, Flax or Equinox",
        "give one of these",
    )


# Modules of the frameworks, where to find them.
MODULES = (
    ("torch.nn", "Module"),
    ("flax.nnx", "Module"),
    ("flax.linen", "Module"),
    ("equinox", "Module"),
)


def is_framework_module(network: Any) -> bool:
    """Whether a network is a module of one of the frameworks."""
    return any(is_module(network, *kind) for kind in MODULES)


def is_of_module(network: Any, params: Any) -> bool:
    """Whether what is measured is a module: given as the network, by a method such as `apply`, or as the parameters."""
    return any(map(is_framework_module, (network, getattr(network, "__self__", None), params)))


def is_module(network: Any, module: str, kind: str) -> bool:
    """Whether a network is of a class of a framework, which is not imported to find out."""
    found = sys.modules.get(module)  # without it there are no modules of its kind
    return found is not None and isinstance(network, getattr(found, kind))


def _of_function(function: Callable[[Any, Any], Any], given: Given, x: Inputs) -> Backend:
    def call(params: Any, constants: Any, x: jax.Array) -> jax.Array:
        del constants
        found: jax.Array = chosen(function(params, x), given.output)
        return found

    backend = JaxBackend(call, jax.tree.map(single, given.params), trainable=given.trainable).check(x)
    backend.require_no_chance()
    if any(is_half(leaf) for leaf in jax.tree.leaves(given.params)):
        backend.half = backend.half or WIDENED
    return backend


WIDENED = "parameters of half precision are measured in single precision, as the numbers that they are"


def _linen(given: Given) -> Callable[[Any, Any], Any]:
    module, forward = given.network, given.forward
    if not isinstance(given.params, Mapping) or "params" not in given.params:
        raise InputError(
            "params",
            type(given.params).__name__,
            "must be the variables of the Linen module, with 'params'",
            "give what module.init returned, or {'params': ..., 'batch_stats': ...}",
        )
    if forward is None:
        found: Callable[[Any, Any], Any] = module.apply
        return found
    return lambda variables, x: module.apply(variables, x, method=forward)


def _equinox(given: Given) -> Callable[[Any, Any], Any]:
    # A module of Equinox takes a single sample, unless it is told otherwise.
    return given.forward or (lambda module, x: jax.vmap(module)(x))


def _require_no_params(given: Given) -> None:
    if given.params is not None:
        raise InputError(
            "params",
            type(given.params).__name__,
            f"a {type(given.network).__name__} has its own",
            "give None; trainable= says which of them are differentiated by",
        )


def _require_nothing(given: Given, *names: str) -> None:
    for name in names:
        if getattr(given, name) is not None:
            rule = "is for a module" if name == "forward" else "is not for a backend"
            raise InputError(
                name,
                type(getattr(given, name)).__name__,
                rule,
                "put it into the function"
                if name == "forward"
                else f"give it to {type(given.network).__name__} itself",
            )

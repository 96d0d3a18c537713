"""A network as it is given, a function or a module of any framework, as the backend that differentiates it."""

import warnings
from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
from jaxtyping import PyTree

from ntkflow.errors import InputError, PrecisionWarning
from ntkflow.foreign.arrays import is_half, single
from ntkflow.foreign.modules import ForeignNetwork, Framework, framework_of
from ntkflow_validation.kernels.backends.base import Backend, Checked, Inputs
from ntkflow_validation.kernels.backends.jax_backend import (
    NOT_RUN,
    NOT_RUN_COUPLED,
    NOT_RUN_MODULE,
    JaxBackend,
)
from ntkflow_validation.kernels.backends.jax_functions import on_one_device
from ntkflow_validation.kernels.backends.output import Output, chosen
from ntkflow_validation.kernels.backends.trainable import Trainable
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

    network: ForeignNetwork
    params: ForeignNetwork = None
    trainable: Trainable = None
    forward: Forward | None = None
    output: Output = None
    bn: str = "eval"

    @classmethod
    def of(
        cls, network: ForeignNetwork, params: ForeignNetwork = None, forward: Forward | None = None
    ) -> "Given":
        """As the module that it is where a method of one is given, or a function beside a module in place of parameters.

        Those who have h(x) as `net.features`, or as a function of (network, x), need not know of `forward`.
        """
        own = getattr(network, "__self__", None)
        if framework_of(own) is Framework.LINEN and network.__name__ == "apply":
            return cls(own, params, forward=forward)
        if forward is None and params is None and framework_of(own) in CARRYING:
            return cls(own, None, forward=network.__func__)
        plain = callable(network) and not isinstance(network, Backend) and framework_of(network) is None
        if forward is None and plain and framework_of(params) in CARRYING:
            return cls(params, None, forward=network)
        return cls(network, params, forward=forward)


def backend_of(given: Given, x: Inputs, stacklevel: int = 4) -> Backend:
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
    network, framework = given.network, framework_of(given.network)
    if framework is Framework.TORCH:
        _require_no_params(given)
        from ntkflow_validation.kernels.backends.pytorch.backend import TorchBackend

        return TorchBackend(network, x, given.trainable, given.forward, given.output)
    if framework is Framework.NNX:
        _require_no_params(given)
        from ntkflow_validation.kernels.networks.nnx_module import nnx_backend

        return nnx_backend(network, x, given.trainable, given.forward, given.output, given.bn)
    if framework is Framework.LINEN:
        return _of_function(_linen(given), given, x)
    if framework is Framework.EQUINOX and given.params is None:
        return _of_function(_equinox(given), given._replace(params=network), x)
    _require_nothing(given, "forward")
    if callable(network):
        return _of_function(*_of_state(network, given), x)
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


# Frameworks whose modules carry their parameters, which are found by them and not as a tree of arrays.
CARRYING = (Framework.TORCH, Framework.NNX)


def is_of_module(network: ForeignNetwork, params: ForeignNetwork) -> bool:
    """Whether what is measured is a module: given as the network, by a method such as `apply`, or as the parameters."""
    bound = getattr(network, "__self__", None)
    return any(framework_of(thing) is not None for thing in (network, bound, params))


def _of_function(function: Callable[[ForeignNetwork, jax.Array], PyTree], given: Given, x: Inputs) -> Backend:
    def call(params: PyTree, constants: PyTree, x: jax.Array) -> jax.Array:
        del constants
        found: jax.Array = chosen(function(params, x), given.output)
        return found

    module = framework_of(given.network) is not None and given.forward is None
    said = NOT_RUN_COUPLED if given.bn == "batch" else NOT_RUN_MODULE if module else NOT_RUN
    backend = JaxBackend(call, jax.tree.map(single, given.params), trainable=given.trainable, not_run=said)
    backend.check(x)
    backend.require_no_chance()
    if any(is_half(leaf) for leaf in jax.tree.leaves(given.params)):
        backend.half = backend.half or WIDENED
    return backend


WIDENED = "parameters of half precision are measured in single precision, as the numbers that they are"


Function = Callable[[ForeignNetwork, jax.Array], PyTree]


def _of_state(function: Function, given: Given) -> tuple[Function, Given]:
    """A function of a state of Flax as one of its parameters: what optimiser and normalisation keep there is none."""
    state = given.params
    if not is_state(state):
        return function, given
    state = jax.tree.map(on_one_device, state)
    return (lambda params, x: function(state.replace(params=params), x)), given._replace(params=state.params)


def is_state(params: ForeignNetwork) -> bool:
    """Whether it is a state of Flax, with parameters among other things: a TrainState or what is built like one."""
    return hasattr(params, "params") and hasattr(params, "replace")


def _linen(given: Given) -> Callable[[ForeignNetwork, jax.Array], PyTree]:
    module, forward = given.network, given.forward
    if not isinstance(given.params, Mapping) or "params" not in given.params:
        raise InputError(
            "params",
            type(given.params).__name__,
            "must be the variables of the Linen module, with 'params'",
            "give what module.init returned, or {'params': ..., 'batch_stats': ...}",
        )
    if given.bn != "batch":
        return lambda variables, x: module.apply(variables, x, method=forward)
    # In training mode layers write their statistics, which are not wanted.
    written = [name for name in given.params if name != "params"]
    return lambda variables, x: module.apply(variables, x, method=forward, mutable=written)[0]


def _equinox(given: Given) -> Callable[[ForeignNetwork, jax.Array], PyTree]:
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

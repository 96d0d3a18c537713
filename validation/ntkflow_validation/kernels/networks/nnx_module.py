"""A module of Flax NNX as a pure function of its parameters, which runs in the mode that it is in."""

from collections.abc import Callable, Iterator

import jax
import numpy as np
from flax import nnx
from jaxtyping import PyTree

from ntkflow.errors import InputError
from ntkflow.foreign.arrays import HALF, is_half, single
from ntkflow_validation.kernels.backends.base import Inputs
from ntkflow_validation.kernels.backends.jax_backend import JaxBackend
from ntkflow_validation.kernels.backends.output import Output, chosen
from ntkflow_validation.kernels.backends.trainable import Trainable
from ntkflow_validation.normalisation.watched import Forward, Path, name_of, running

WIDENED = (
    "parameters or layers of half precision are measured in single precision, with the numbers that they have"
)


def nnx_backend(
    module: nnx.Module, x: Inputs, trainable: Trainable, forward: Forward | None, output: Output, bn: str
) -> JaxBackend:
    """The backend of a copy of the module, whose `Param`s are differentiated by; all else is constant.

    Raises:
        InputError: the module does not run on x, or writes to itself as it runs: it is in training mode.
    """
    copy = nnx.clone(module)
    half = _in_single(copy)
    structure, params, rest = nnx.split(copy, nnx.Param, ...)  # type: ignore[misc]
    half = half or any(is_half(leaf) for leaf in jax.tree.leaves((params, rest)))
    params, rest = jax.tree.map(single, (params, rest))
    run = forward or (lambda net, x: net(x))

    constants, layout = jax.tree.flatten(rest)

    def merged(params: PyTree, constants: PyTree) -> nnx.Module:
        # Variables of its own, which may be written to inside a derivative.
        net: nnx.Module = nnx.merge(structure, params, jax.tree.unflatten(layout, constants))
        return net

    def features(params: PyTree, constants: PyTree, x: jax.Array) -> jax.Array:
        found: jax.Array = chosen(run(merged(params, constants), x), output)
        return found

    def written(params: PyTree, constants: PyTree, x: jax.Array) -> tuple[()]:
        net = merged(params, constants)
        before = [(path, variable, jax.tree.leaves(variable)) for path, variable in _variables(net)]
        run(net, x)
        changed.extend((path, type(v)) for path, v, leaves in before if not _same(jax.tree.leaves(v), leaves))
        return ()

    changed: list[tuple[Path, type]] = []
    with running("features", *NOT_RUN):
        jax.eval_shape(written, params, constants, jax.numpy.asarray(x[:2]))
        if changed:
            changed = _rewritten(
                merged(params, constants), lambda net: run(net, jax.numpy.asarray(x[:2])), changed
            )
    _refuse(changed, bn)
    backend = JaxBackend(features, params, constants, trainable).check(x)
    if half:
        backend.half = backend.half or WIDENED
    return backend


NOT_RUN = (
    "the module does not run on X as module(x)",
    "give X as it takes it, and forward=lambda net, x: net(x, train=False) where it needs more",
)


def _variables(module: nnx.Module) -> Iterator[tuple[Path, nnx.Variable[PyTree]]]:
    for path, node in nnx.iter_graph(module):
        if isinstance(node, nnx.Variable):
            yield path, node


def _rewritten(
    module: nnx.Module, run: Callable[[nnx.Module], object], changed: list[tuple[Path, type]]
) -> list[tuple[Path, type]]:
    """Those of the variables that hold other numbers after a pass: a function under nnx.jit gives all of them back as new."""
    before = {path: [_numbers(a) for a in jax.tree.leaves(v)] for path, v in _variables(module)}
    run(module)
    after = {path: [_numbers(a) for a in jax.tree.leaves(v)] for path, v in _variables(module)}
    same = {
        path
        for path, found in before.items()
        if len(after.get(path, ())) == len(found) and all(map(np.array_equal, found, after[path]))
    }
    return [(path, kind) for path, kind in changed if path not in same]


def _numbers(array: jax.Array) -> np.ndarray:
    keys = jax.numpy.issubdtype(array.dtype, jax.dtypes.prng_key)
    return np.asarray(jax.random.key_data(array) if keys else array)


def _same(one: list[PyTree], two: list[PyTree]) -> bool:
    """Whether a variable still holds the objects that it held: traced numbers cannot be compared."""
    return len(one) == len(two) and all(a is b for a, b in zip(one, two, strict=True))


def _in_single(module: nnx.Module) -> bool:
    """Make layers that compute in half precision compute in single; whether there are such."""
    found = False
    for _, node in nnx.iter_graph(module):
        kind = getattr(node, "dtype", None) if isinstance(node, nnx.Module) else None
        if kind is not None and jax.numpy.dtype(kind).name in HALF:
            node.dtype, found = jax.numpy.float32, True
    return found


def _refuse(changed: list[tuple[Path, type]], bn: str) -> None:
    """Refuse a module that draws random numbers, or, unless that is what is measured, normalises by its batch."""
    random = next((path for path, kind in changed if issubclass(kind, nnx.RngState)), None)
    if random is not None:
        raise InputError(
            "features",
            f"random numbers of {name_of(random)}, as of dropout in training mode",
            "must be the same every time",
            "call eval() on the module",
        )
    layer = next((path[:-1] for path, kind in changed if issubclass(kind, nnx.BatchStat)), None)
    if layer is not None and bn != "batch":
        raise InputError(
            "features",
            f"batch normalisation {name_of(layer)} in training mode",
            "mixes the samples of a batch and writes its running statistics",
            "call eval() on the module, or give bn='batch' for block constants alone",
        )

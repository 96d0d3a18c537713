"""Networks of every framework as backward passes in double precision over named tensors."""

from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from ntkflow.errors import InputError
from ntkflow.foreign.arrays import on_host
from ntkflow.foreign.modules import ForeignNetwork, Framework, framework_of
from ntkflow.integrate.engines.precision import x64
from ntkflow_validation.conservation.slices import Tensors
from ntkflow_validation.kernels.backends.trainable import floating, paths
from ntkflow_validation.normalisation.watched import running

NOT_RUN = (
    "the network does not run on X in double precision",
    "give X as it takes it, and layers without a fixed dtype",
)


# Gradients by path, and the shape of what was pulled back from.
Pulled = tuple[dict[str, np.ndarray], tuple[int, ...]]
# Of leaves that are trained, leaves that are kept, and x.
Call = Callable[[list[PyTree], list[PyTree], jax.Array], jax.Array]
Named = dict[str, jax.Array]


class Passes(NamedTuple):
    """A network that can be pulled back.

    Attributes:
        params: trained tensors by path, float64; numbers alone have shape (1,).
        constants: its other numbers by path, float64 where they are floating.
        pull: (params, constants, x, seed) to the gradients of <r, f(x)>, r Gaussian, by path, and the shape of f(x).
        outputs_first: whether weights are (out, in, ...).
    """

    params: dict[str, np.ndarray]
    constants: dict[str, np.ndarray]
    pull: Callable[[Tensors, Tensors, np.ndarray, int], Pulled]
    outputs_first: bool = False


def passes(f: ForeignNetwork, params: PyTree) -> Passes:
    """Backward passes of a function of (params, x) or of a module of torch, Flax or Equinox, in the mode that it is in.

    Raises:
        InputError: it is neither, or has no parameters.
    """
    framework = framework_of(f)
    if framework is Framework.TORCH:
        found = _torch(f)
    elif framework is Framework.NNX:
        found = _nnx(f)
    elif framework is Framework.LINEN:
        found = _linen(f, params)
    elif framework is Framework.EQUINOX and params is None:
        found = _of_tree(lambda module, x: jax.vmap(module)(x), f, outputs_first=True)
    elif callable(f):
        found = _of_tree(f, params, outputs_first=False)
    else:
        raise InputError(
            "f", type(f).__name__, "is neither a function of (params, x) nor a module", "give one of these"
        )
    if not found.params:
        raise InputError(
            "params", type(params).__name__, "has no floating-point array", "give what is trained"
        )
    for name, tensor in found.params.items():
        if not np.isfinite(tensor).all():
            raise InputError(
                name, "array with NaN or infinite entries", "must be finite", "use an earlier snapshot"
            )
    return found


def _doubled(leaf: PyTree) -> PyTree:
    return np.asarray(leaf, np.float64) if floating(leaf) else leaf


def _jax(
    call: Call,
    trained: Mapping[str, PyTree],
    kept: Mapping[str, PyTree],
    first: bool,
) -> Passes:
    """Passes of call(leaves trained, leaves kept, x)."""
    shapes = {name: np.shape(leaf) for name, leaf in trained.items()}
    numbers = {name: leaf for name, leaf in kept.items() if floating(leaf)}

    @jax.jit
    def gradients(theta: Named, constants: Named, x: jax.Array, key: jax.Array) -> tuple[jax.Array, Named]:
        def outputs(theta: Named) -> jax.Array:
            leaves = [theta[name].reshape(shape) for name, shape in shapes.items()]
            return call(leaves, [constants.get(name, leaf) for name, leaf in kept.items()], x)

        out, back = jax.vjp(outputs, theta)
        return out, back(jax.random.normal(key, out.shape, out.dtype))[0]

    def pull(theta: Tensors, constants: Tensors, x: np.ndarray, seed: int) -> Pulled:
        with x64(), running("f", *NOT_RUN):
            out, found = gradients(dict(theta), dict(constants), jnp.asarray(x), jax.random.key(seed))
            if out.dtype != jnp.float64:
                raise InputError(
                    "f", f"outputs of {out.dtype}", "laws are looked for in double precision", NOT_RUN[1]
                )
            return {name: np.asarray(g) for name, g in found.items()}, out.shape

    flat = {name: np.atleast_1d(_doubled(leaf)) for name, leaf in trained.items()}
    return Passes(flat, {name: _doubled(leaf) for name, leaf in numbers.items()}, pull, first)


def _of_tree(f: Callable[[ForeignNetwork, jax.Array], PyTree], params: PyTree, outputs_first: bool) -> Passes:
    leaves, structure = jax.tree.flatten(params)
    named = dict(zip(paths(params), leaves, strict=True))
    trained = {name: leaf for name, leaf in named.items() if floating(leaf)}
    kept = {name: leaf for name, leaf in named.items() if name not in trained}

    def call(theta: list[PyTree], rest: list[PyTree], x: jax.Array) -> PyTree:
        values = {**dict(zip(trained, theta, strict=True)), **dict(zip(kept, rest, strict=True))}
        return f(jax.tree.unflatten(structure, [values[name] for name in named]), x)

    return _jax(call, trained, kept, outputs_first)


def _nnx(module: ForeignNetwork) -> Passes:
    from flax import nnx

    copy = nnx.clone(module)
    for _, node in nnx.iter_graph(copy):
        kind = getattr(node, "dtype", None) if isinstance(node, nnx.Module) else None
        if kind is not None and jnp.issubdtype(kind, jnp.floating):
            node.dtype = jnp.float64
    graph, params, rest = nnx.split(copy, nnx.Param, ...)  # type: ignore[misc]
    (leaves, tree), (others, other_tree) = jax.tree.flatten(params), jax.tree.flatten(rest)

    def call(theta: list[PyTree], constants: list[PyTree], x: jax.Array) -> PyTree:
        return nnx.merge(graph, jax.tree.unflatten(tree, theta), jax.tree.unflatten(other_tree, constants))(x)

    return _jax(
        call,
        dict(zip(_plain(params), leaves, strict=True)),
        dict(zip(_plain(rest), others, strict=True)),
        False,
    )


def _plain(tree: PyTree) -> list[str]:
    """Paths without the attribute in which Flax keeps a variable's array."""
    return [name.removesuffix(".value") for name in paths(tree)]


def _linen(module: ForeignNetwork, variables: PyTree) -> Passes:
    if not isinstance(variables, Mapping) or "params" not in variables:
        rule = "must be the variables of the Linen module, with 'params'"
        raise InputError("params", type(variables).__name__, rule, "give what module.init returned")
    rest = {name: branch for name, branch in variables.items() if name != "params"}
    (leaves, tree), (others, other_tree) = jax.tree.flatten(variables["params"]), jax.tree.flatten(rest)

    def call(theta: list[PyTree], constants: list[PyTree], x: jax.Array) -> PyTree:
        return module.apply(
            {"params": jax.tree.unflatten(tree, theta), **jax.tree.unflatten(other_tree, constants)}, x
        )

    return _jax(
        call,
        dict(zip(paths(variables["params"]), leaves, strict=True)),
        dict(zip(paths(rest), others, strict=True)),
        False,
    )


def _torch(module: ForeignNetwork) -> Passes:
    import torch

    copy = deepcopy(module).double().cpu()
    trained = {name: p for name, p in copy.named_parameters() if p.requires_grad}

    def pull(theta: Tensors, constants: Tensors, x: np.ndarray, seed: int) -> Pulled:
        leaves = {n: torch.tensor(v).reshape(trained[n].shape).requires_grad_() for n, v in theta.items()}
        buffers = {n: torch.tensor(v) for n, v in constants.items()}
        with running("f", *NOT_RUN):
            out = torch.func.functional_call(copy, {**leaves, **buffers}, (torch.tensor(x),))
        r = np.random.default_rng(seed).standard_normal(tuple(out.shape))
        found = torch.autograd.grad(out, list(leaves.values()), torch.tensor(r), allow_unused=True)
        zero = (np.zeros(v.shape) for v in theta.values())
        return {
            n: z if g is None else g.numpy().reshape(z.shape)
            for n, g, z in zip(leaves, found, zero, strict=True)
        }, tuple(out.shape)

    constants = {n: on_host(b) for n, b in copy.named_buffers() if b.is_floating_point()}
    return Passes({n: np.atleast_1d(on_host(p)) for n, p in trained.items()}, constants, pull, True)

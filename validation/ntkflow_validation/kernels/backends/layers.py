"""Dense and convolutional layers found in a traced network, whose gradients are products of small factors.

The gradient of v . h(x) by the weights of such a layer is A^T D with A (T, K) the layer's inputs, or patches of
them, and D (T, M) the gradient by its outputs, T positions. Products of two gradients then cost T^2 (K + M)
instead of K M, and the gradients themselves, most of a Jacobian's memory, need not be formed. Where they are, a
matrix product for each sample is several times faster on CPU than what a convolution's derivative becomes when it
is mapped over samples: a convolution of as many groups.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import jax
from jax.extend import core
from jaxtyping import PyTree

from ntkflow._types import Array
from ntkflow_validation.kernels.backends import operands

# Called in place; whether a parameter inside is used as a layer's weights is seen by looking into it.
INLINED = ("jit", "pjit", "closed_call", "core_call")
# Numbers of one sample's patches, of all kernel positions, above which they are not formed: 64 MiB.
PATCHES = 2**24
# What stands in for an operation: (it, its operands, which array are its weights, which operand these are) to its results.
LayerCall = Callable[[core.JaxprEqn, list[PyTree], int, int], list[PyTree]]


class Layer(NamedTuple):
    """One dense or convolutional use of a parameter, the only one this parameter has.

    Attributes:
        leaf: which of the differentiated arrays.
        shape: of the output, for one sample in a batch of one.
        T: positions.
        K: inputs at each, of a convolution those of all kernel positions.
        M: outputs at each.
    """

    leaf: int
    shape: tuple[int, ...]
    T: int
    K: int
    M: int

    @property
    def wins(self) -> bool:
        """Whether products of factors cost less than products of gradients."""
        return self.T**2 * (self.K + self.M) < self.K * self.M


@dataclass(frozen=True, eq=False)
class Traced:
    """A network for one sample, as the operations it consists of.

    Attributes:
        closed: operations; the inputs begin with the differentiated arrays.
        layers: uses of weights, in the order of these arrays.
    """

    closed: core.ClosedJaxpr
    layers: tuple[Layer, ...]

    @property
    def winning(self) -> "Traced":
        """The same with those layers alone for which products of factors are cheaper."""
        return replace(self, layers=tuple(layer for layer in self.layers if layer.wins))

    def run(
        self, inputs: Sequence[PyTree], shifts: Sequence[jax.Array]
    ) -> tuple[list[jax.Array], list[jax.Array]]:
        """Outputs with a shift added to the output of each layer, and each layer's inputs (T, K)."""
        seen: dict[int, jax.Array] = {}
        places = {layer.leaf: i for i, layer in enumerate(self.layers)}
        jaxpr = self.closed.jaxpr
        tags = {v: leaf for leaf, v in enumerate(jaxpr.invars) if leaf in places}

        def layer(eqn: core.JaxprEqn, given: list[PyTree], leaf: int, side: int) -> list[PyTree]:
            seen[places[leaf]] = operands.inputs(eqn, given[1 - side], side)
            (result,) = _bind(eqn, given)
            # Half precision stays what it was: what follows was traced for it.
            return [result + shifts[places[leaf]].astype(result.dtype)]

        outputs = _walk(jaxpr, self.closed.consts, inputs, tags, layer)
        return outputs, [seen[i] for i in range(len(self.layers))]

    def factor(self, i: int, gradient: jax.Array) -> jax.Array:
        """Gradient by a layer's output as (T, M)."""
        eqn, side = self._equations[i]
        return operands.outputs(eqn, gradient, side)

    def weights(self, i: int, product: Array) -> Array:
        """Products (q, K, M) of inputs and gradients in the layout of the layer's weights."""
        eqn, side = self._equations[i]
        return operands.weights(eqn, product, side)

    @property
    def _equations(self) -> list[tuple[core.JaxprEqn, int]]:
        uses = _uses(self.closed.jaxpr, max(layer.leaf for layer in self.layers) + 1)
        return [uses[layer.leaf] for layer in self.layers]  # type: ignore[misc]


def trace(function: Callable[..., jax.Array], varying: Sequence[Array], *rest: PyTree) -> Traced:
    """Look for layers whose weights are one of `varying`.

    Args:
        function: of (varying, *rest), the last argument a batch of one sample.
        varying: arrays, or their shapes.
        rest: other arguments, or their shapes.
    """
    # The precision of products is fixed here.
    with jax.default_matmul_precision("highest"):
        closed = jax.make_jaxpr(function)(varying, *rest)
    uses = _uses(closed.jaxpr, len(varying)).items()
    found = sorted(_layer(leaf, *use) for leaf, use in uses if use is not None)
    return Traced(closed, tuple(layer for layer in found if layer.T * layer.K <= PATCHES))


def _layer(leaf: int, eqn: core.JaxprEqn, side: int) -> Layer:
    size, shape = math.prod(operands.shape_of(eqn.invars[side])), operands.shape_of(eqn.outvars[0])
    K = operands.contracted(eqn, side)
    return Layer(leaf, shape, math.prod(shape) * K // size, K, size // K)


def _uses(jaxpr: core.Jaxpr, count: int) -> dict[int, tuple[core.JaxprEqn, int] | None]:
    """For each of the first inputs the one layer (operation, operand) it is the weights of; None when it is used otherwise."""
    uses: dict[int, list[tuple[core.JaxprEqn, int] | None]] = {}

    def look(jaxpr: core.Jaxpr, tags: dict[core.Var, int]) -> None:
        for v in jaxpr.outvars:
            if not isinstance(v, core.Literal) and v in tags:
                uses.setdefault(tags[v], []).append(None)
        for eqn in jaxpr.eqns:
            own = {
                i: tags[v] for i, v in enumerate(eqn.invars) if not isinstance(v, core.Literal) and v in tags
            }
            if not own:
                continue
            inner = _inner(eqn)
            if inner is not None:
                look(inner.jaxpr, {inner.jaxpr.invars[i]: leaf for i, leaf in own.items()})
            elif _passes_on(eqn):
                tags[eqn.outvars[0]] = own[0]
            else:
                for side, leaf in own.items():
                    uses.setdefault(leaf, []).append(
                        (eqn, side) if len(own) == 1 and operands.is_layer(eqn, side) else None
                    )

    look(jaxpr, {v: i for i, v in enumerate(jaxpr.invars[:count])})
    return {leaf: found[0] if len(found) == 1 else None for leaf, found in uses.items()}


def _walk(
    jaxpr: core.Jaxpr,
    consts: Sequence[PyTree],
    inputs: Sequence[PyTree],
    tags: dict[core.Var, int],
    layer: LayerCall,
) -> list[PyTree]:
    """Run the operations, with `layer` in place of those that have a tagged operand."""
    values = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*consts, *inputs], strict=True))

    def read(v: core.Var | core.Literal) -> PyTree:
        return v.val if isinstance(v, core.Literal) else values[v]

    for eqn in jaxpr.eqns:
        given = [read(v) for v in eqn.invars]
        own = {i: tags[v] for i, v in enumerate(eqn.invars) if not isinstance(v, core.Literal) and v in tags}
        inner = _inner(eqn) if own else None
        if inner is not None:
            inside = {inner.jaxpr.invars[i]: leaf for i, leaf in own.items()}
            results = _walk(inner.jaxpr, inner.consts, given, inside, layer)
        elif own and _passes_on(eqn):
            tags[eqn.outvars[0]] = own[0]
            results = _bind(eqn, given)
        elif own:
            ((side, leaf),) = own.items()
            results = layer(eqn, given, leaf, side)
        else:
            results = _bind(eqn, given)
        values.update(zip(eqn.outvars, results, strict=True))
    return [read(v) for v in jaxpr.outvars]


def _bind(eqn: core.JaxprEqn, given: list[PyTree]) -> list[PyTree]:
    # Releases of JAX before 0.7 give functions to call as well.
    bound = eqn.primitive.get_bind_params(eqn.params)
    functions, settings = bound if isinstance(bound, tuple) else ((), bound)
    results = eqn.primitive.bind(*functions, *given, **settings)
    return list(results) if eqn.primitive.multiple_results else [results]


def _inner(eqn: core.JaxprEqn) -> core.ClosedJaxpr | None:
    return eqn.params["jaxpr"] if eqn.primitive.name in INLINED and "jaxpr" in eqn.params else None


def _passes_on(eqn: core.JaxprEqn) -> bool:
    kinds = [v.aval.dtype for v in (eqn.invars[0], eqn.outvars[0])]  # type: ignore[attr-defined]
    return eqn.primitive.name in ("convert_element_type", "copy") and kinds[0] == kinds[1]

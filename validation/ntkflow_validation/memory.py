"""Memory that a computation needs, told from its operations without compiling it, and what a device has."""

import math
from collections.abc import Iterator
from typing import Any

from ntkflow.runs.processes.host import physical_memory

# Of a device's memory: the rest is left to what is on it and to what no one foresees.
SHARE = 0.8
# Where nothing tells.
UNKNOWN = 2**31
# Operations whose result a compiler never writes out beside its operand.
VIEWS = frozenset({
    "broadcast_in_dim", "convert_element_type", "copy", "reshape", "squeeze", "stop_gradient",
})  # fmt: skip
# Those that may write over an operand no one needs any more.
IN_PLACE = frozenset({
    "add", "add_any", "and", "div", "eq", "erf", "exp", "ge", "gt", "integer_pow", "le", "log", "log1p", "logistic",
    "lt", "max", "min", "mul", "ne", "neg", "not", "or", "pow", "rsqrt", "select_n", "sign", "sqrt", "square", "sub", "tanh",
})  # fmt: skip
# The derivative of a maximum over windows is made of iotas, gathered indices and a scatter, as many arrays of its size.
WINDOWS = 12
# Of what the operations tell: XLA orders them otherwise, and turns arrays about.
MARGIN = 1.5


def device_memory() -> int:
    """Bytes that JAX may use of the device, of which a fifth is left to what is on it; 2 GiB where the device does not tell."""
    import jax

    found = jax.devices()[0].memory_stats() or {}
    return int(SHARE * (found.get("bytes_limit", UNKNOWN) - found.get("bytes_in_use", 0)))


def training_memory(sharing: int = 1) -> int:
    """Bytes that networks in training may use: of an accelerator its memory, else of the machine's what each process has."""
    import jax

    if jax.default_backend() != "cpu":
        return device_memory()
    return int(SHARE * (physical_memory() or UNKNOWN)) // sharing


def needed_bytes(closed: Any) -> tuple[int, int]:
    """What the values of a computation take while it runs, beside its arguments, and its results.

    The largest sum of what is alive at a time, in the order of the operations, by `MARGIN`. A compiled program of XLA
    needed between 0.6 and 1.1 of it, for dense, convolutional, residual and pooled networks.

    Args:
        closed: traced operations, as `jax.make_jaxpr` gives them.
    """
    jaxpr = closed.jaxpr
    roots = _roots(jaxpr)
    results = {roots.get(v, v) for v in jaxpr.outvars if not _literal(v)}
    return int(MARGIN * _peak(jaxpr, roots, results)), sum(_bytes(v) for v in jaxpr.outvars)


def _peak(jaxpr: Any, roots: dict[Any, Any], elsewhere: set[Any]) -> int:
    """Most bytes alive at a time, without arguments and without the values that have a place of their own."""
    ends = _ends(jaxpr, roots)
    alive: dict[Any, int] = {}
    most = 0
    for i, eqn in enumerate(jaxpr.eqns):
        made = {v: _bytes(v) for v in eqn.outvars if v in ends and v not in roots and v not in elsewhere}
        freed = {v: alive[v] for v in alive if ends[v] <= i}
        spared = min(sum(made.values()), sum(freed.values())) if eqn.primitive.name in IN_PLACE else 0
        most = max(most, sum(alive.values()) + sum(made.values()) - spared + _within(eqn))
        alive = {v: size for v, size in (alive | made).items() if ends[v] > i}
    return most


def _within(eqn: Any) -> int:
    """What an operation needs while it runs, beside its operands and results."""
    sizes = [_bytes(v) for v in (*eqn.invars, *eqn.outvars)]
    if eqn.primitive.name == "conv_general_dilated":
        # Turned about, and padded.
        return sum(sizes)
    if eqn.primitive.name == "dot_general":
        return sum(_bytes(v) for v in eqn.outvars)
    if eqn.primitive.name.startswith("select_and_"):
        return WINDOWS * max(sizes)
    inside = [_peak(jaxpr, _roots(jaxpr), set()) for jaxpr in _inner(eqn)]
    return max(0, max(inside, default=0) - sum(_bytes(v) for v in eqn.outvars))


def _roots(jaxpr: Any) -> dict[Any, Any]:
    """Values that are others seen differently, and which."""
    found: dict[Any, Any] = {}
    for eqn in jaxpr.eqns:
        if eqn.primitive.name in VIEWS and not _literal(eqn.invars[0]):
            found[eqn.outvars[0]] = found.get(eqn.invars[0], eqn.invars[0])
    return found


def _ends(jaxpr: Any, roots: dict[Any, Any]) -> dict[Any, int]:
    """The last operation that needs each value."""
    ends: dict[Any, int] = {}
    for i, eqn in enumerate(jaxpr.eqns):
        for v in eqn.invars:
            if not _literal(v):
                ends[v] = ends[roots.get(v, v)] = i
    for v in jaxpr.outvars:
        if not _literal(v):
            ends[v] = ends[roots.get(v, v)] = len(jaxpr.eqns)
    return ends


def _inner(eqn: Any) -> Iterator[Any]:
    for given in eqn.params.values():
        for part in given if isinstance(given, (tuple, list)) else (given,):
            if hasattr(part, "jaxpr") and hasattr(part, "consts"):
                yield part.jaxpr
            elif hasattr(part, "eqns") and hasattr(part, "constvars"):
                yield part


def _literal(v: Any) -> bool:
    """A number written into the operation."""
    return hasattr(v, "val")


def _bytes(v: Any) -> int:
    return math.prod(getattr(v.aval, "shape", ())) * getattr(getattr(v.aval, "dtype", None), "itemsize", 4)

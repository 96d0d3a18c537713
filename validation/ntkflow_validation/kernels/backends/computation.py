"""What a function computes, as a digest: its operations and the contents of every constant they hold.

Two functions of one digest do the same, whatever they are called and wherever they were defined; a function that
closes over other numbers has another one. Equal in all processes of one release of JAX.
"""

import dataclasses
import hashlib
import os
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core
from jaxtyping import PyTree

from ntkflow._types import Array

# A text that says where something is in memory, or that leaves a part out, does not say what it is.
UNTOLD = re.compile(r" at 0x[0-9a-f]+|\.\.\.")
# An operand of half precision, as `_operations` names it.
HALF = re.compile(rb"\d+:b?f(?:loat)?16\[")
# Parts of operations that change no number here: names for people, and the rules of derivatives, which are seen as
# the operations they become in the derivative itself.
SILENT = frozenset({
    "name", "debug_info", "policy", "jvp_jaxpr_fun", "jvp_jaxpr_thunk", "fwd_jaxpr_thunk", "bwd", "out_trees",
})  # fmt: skip


class UnknownPartError(Exception):
    """A part of a computation whose contents cannot be seen, such as a callback into Python."""


class Computation(NamedTuple):
    """What a function does with arguments of some shapes.

    Attributes:
        digest: of it; where a part of it cannot be seen, one that never comes again.
        shape: of what it gives.
        custom: names of operations that have a derivative of their own, which is not seen here.
        seen: all of it can be seen, so that the digest comes again.
        half: some operation works on numbers of half precision.
    """

    digest: bytes
    shape: tuple[int, ...]
    custom: frozenset[str]
    seen: bool = True
    half: bool = False


def computation(function: Callable[..., PyTree], *arguments: PyTree) -> Computation:
    """What a function computes with arguments of these shapes.

    Args:
        function: traced anew, whatever was traced of it before.
        arguments: trees of arrays, or of their shapes.
    """
    # JAX keeps what it traced by the function's identity: a new one has no past.
    closed = jax.make_jaxpr(lambda *given: function(*given))(*arguments)
    found, custom, half = hashlib.sha256(), set(), False
    shape = closed.out_avals[0].shape
    try:
        for part in _closed(closed):
            found.update(part)
            found.update(b"\0")
            if part.startswith(b"custom_"):
                custom.add(part.decode())
            half = half or HALF.match(part) is not None
    except UnknownPartError:
        return Computation(os.urandom(32), shape, frozenset(), False, half)
    return Computation(found.digest(), shape, frozenset(custom), True, half)


def content(array: Array) -> bytes:
    """An array's kind, shape and numbers."""
    if jnp.issubdtype(array.dtype, jax.dtypes.prng_key):
        array = jax.random.key_data(array)
    value = np.asarray(array)
    return (
        f"{value.dtype.str} {value.shape} ".encode()
        + hashlib.sha256(np.ascontiguousarray(value).data).digest()
    )


def _closed(closed: core.ClosedJaxpr) -> Iterator[bytes]:
    for constant in closed.consts:
        yield from _value(constant)
    yield from _operations(closed.jaxpr)


def _operations(jaxpr: core.Jaxpr) -> Iterator[bytes]:
    """Operations with their operands numbered in the order in which they appear."""
    numbers: dict[core.Var, int] = {}

    def named(v: core.Var) -> str:
        return f"{numbers.setdefault(v, len(numbers))}:{v.aval.str_short()}"

    yield " ".join(named(v) for v in (*jaxpr.constvars, *jaxpr.invars)).encode()
    for eqn in jaxpr.eqns:
        yield eqn.primitive.name.encode()
        for v in eqn.invars:
            if isinstance(v, core.Literal):
                yield v.aval.str_short().encode()
                yield from _value(v.val)
            else:
                yield named(v).encode()
        for key in sorted(eqn.params.keys() - SILENT):
            yield key.encode()
            yield from _value(eqn.params[key])
        yield " ".join(named(v) for v in eqn.outvars).encode()
    for v in jaxpr.outvars:
        yield from _value(v.val) if isinstance(v, core.Literal) else [named(v).encode()]


def _value(value: PyTree) -> Iterator[bytes]:
    """A constant or a setting of an operation."""
    if hasattr(value, "jaxpr") and hasattr(value, "consts"):
        yield from _closed(value)
    elif hasattr(value, "eqns") and hasattr(value, "constvars"):
        yield from _operations(value)
    elif hasattr(value, "dtype") and hasattr(value, "shape"):
        yield content(value)
    elif isinstance(value, (Mapping, set, frozenset, tuple, list)):
        yield f"{type(value).__name__} {len(value)}".encode()
        for item in _items(value):
            yield from _value(item)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        yield type(value).__qualname__.encode()
        for field in dataclasses.fields(value):
            yield from _value(getattr(value, field.name))
    else:
        text = f"{type(value).__qualname__} {value!r}"
        # Meshes of JAX can be called as well.
        foreign = callable(value) and not isinstance(value, type) and not _of_jax(type(value))
        if foreign or UNTOLD.search(text):
            raise UnknownPartError(text)
        yield text.encode()


def _items(value: Collection[object]) -> Collection[object]:
    """Members of a collection, those without an order in one."""
    if isinstance(value, Mapping):
        return list(value.items())
    return sorted(value, key=repr) if isinstance(value, (set, frozenset)) else value


def _of_jax(kind: type) -> bool:
    return kind.__module__.partition(".")[0] in ("jax", "jaxlib")

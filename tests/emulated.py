"""What a GPU does, emulated on a CPU: NTKFLOW_EMULATE=tf32, gpu or tf32,gpu in the environment of pytest.

`tf32` rounds the operands of float32 products as an Ampere GPU or a newer one does by default; what asks for float32 is
left alone. `gpu` makes `jax.default_backend()` answer gpu, by which the package chooses its ways; JAX itself asks elsewhere.
"""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import jax
import jax.numpy as jnp
from jax._src.lax import convolution, lax

EMULATIONS = ("tf32", "gpu")
_PRODUCTS = (lax.dot_general_p, convolution.conv_general_dilated_p)
_BACKEND = jax.default_backend


def tf32(x: jax.Array) -> jax.Array:
    """x with 10 bits of mantissa."""
    return jax.lax.reduce_precision(x, exponent_bits=8, mantissa_bits=10)


def _exact(precision: Any) -> bool:
    return precision is not None and "HIGHEST" in str(precision)


def _rounding(bind: Any) -> Any:
    # Where products are made, not where they are written down: flax keeps functions of jax.lax under names of its own.
    def rounded(*operands: Any, **params: Any) -> Any:
        if not _exact(params.get("precision")):
            operands = tuple(tf32(x) if x.dtype == jnp.float32 else x for x in operands)
        return bind(*operands, **params)

    return rounded


@contextmanager
def emulated(*names: str) -> Iterator[None]:
    """These emulations while the block runs; what was compiled before keeps its numbers."""
    if unknown := set(names) - set(EMULATIONS):
        raise ValueError(f"NTKFLOW_EMULATE = {sorted(unknown)}: use {', '.join(EMULATIONS)}")
    backend, binds = jax.default_backend, [p.bind for p in _PRODUCTS]
    # One emulation within another leaves that as it was.
    before = [vars(p).get("bind") for p in _PRODUCTS]
    try:
        if "tf32" in names:
            for product, bind in zip(_PRODUCTS, binds, strict=True):
                product.bind = _rounding(bind)
        if "gpu" in names:
            jax.default_backend = lambda: "gpu"
        yield
    finally:
        jax.default_backend = backend
        for product, own in zip(_PRODUCTS, before, strict=True):
            if own is None:
                vars(product).pop("bind", None)
            else:
                product.bind = own


@contextmanager
def plain(*names: str) -> Iterator[None]:
    """Without these emulations, or any, while the block runs: references for tests of the emulation itself."""
    backend, binds = jax.default_backend, [vars(product).get("bind") for product in _PRODUCTS]
    try:
        if "tf32" in names or not names:
            for product in _PRODUCTS:
                vars(product).pop("bind", None)
        if "gpu" in names or not names:
            jax.default_backend = _BACKEND
        yield
    finally:
        jax.default_backend = backend
        for product, bind in zip(_PRODUCTS, binds, strict=True):
            if bind is not None:
                product.bind = bind


# An emulation ends when nothing holds it any more.
_TO_THE_END = ExitStack()


def emulate_as_told() -> None:
    """What the environment names, to the end of the process; for children of tests too, which compute as these do."""
    if names := os.environ.get("NTKFLOW_EMULATE"):
        _TO_THE_END.enter_context(emulated(*names.split(",")))

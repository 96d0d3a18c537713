"""64-bit arithmetic for a block of code, without touching jax's global setting."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import jax
import jax.numpy as jnp

from ntkflow.errors import InputError


@contextmanager
def x64() -> Iterator[None]:
    """Inside, jax computes in float64; outside nothing has changed.

    Transformations of these functions (grad, vmap, jit) belong inside, so that what they trace is float64 too.
    """
    # Older releases have it among the experiments only.
    switch: Any = (jax if hasattr(jax, "enable_x64") else import_module("jax.experimental")).enable_x64
    with switch(True):
        yield


def double(name: str, value: object) -> jax.Array:
    """The value as a float64 jax array; call inside `x64()`.

    Raises:
        InputError: it is a traced array of lower precision, whose lost digits can't come back.
    """
    array = jnp.asarray(value, dtype=None if isinstance(value, jax.core.Tracer) else jnp.float64)
    if array.dtype != jnp.float64:
        raise InputError(
            name, f"traced {array.dtype} array", "the dynamics are float64", "transform inside jaxflow.x64()"
        )
    return array

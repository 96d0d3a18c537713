"""Precision of products, and order of sums, on accelerators.

What is observed or measured is float32 on every device, training is what its setting says. JAX multiplies float32 matrices
on an Ampere GPU or a newer one in TensorFloat-32, whose operands have 10 bits of mantissa: gradients are then wrong by about
1 %, and deviations from class means as much, since they are small beside the means.
"""

import os
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from ntkflow.errors import InputError

P = ParamSpec("P")
R = TypeVar("R")

# Of training, by the names that JAX has for them. On a CPU both are float32.
PRECISIONS = ("float32", "tensorfloat32")
DETERMINISTIC = "--xla_gpu_deterministic_ops=true"


def products(precision: str, f: Callable[P, R]) -> Callable[P, R]:
    """f, traced or run with products of float32 numbers in this precision, whatever the process has as its default."""
    import jax

    @wraps(f)
    def called(*args: P.args, **kwargs: P.kwargs) -> R:
        with jax.default_matmul_precision(precision):
            return f(*args, **kwargs)

    return called


def full(f: Callable[P, R]) -> Callable[P, R]:
    """f with products in float32: for whatever is observed or measured."""
    return products("float32", f)


def in_order() -> None:
    """Make a GPU sum in the same order every time, so that the same training has the same numbers to the last bit.

    A CPU always does. XLA is told by a variable that it reads before its first computation.

    Raises:
        InputError: it has computed already, and was not told.
    """
    import jax
    from jax._src import xla_bridge

    flags = os.environ.get("XLA_FLAGS", "")
    if DETERMINISTIC in flags:
        return
    if not xla_bridge.backends_are_initialized():
        os.environ["XLA_FLAGS"] = f"{flags} {DETERMINISTIC}".strip()
    elif jax.default_backend() == "gpu":
        rule = "must be known to XLA before its first computation"
        raise InputError("training.deterministic", True, rule, f"start with XLA_FLAGS={DETERMINISTIC}")

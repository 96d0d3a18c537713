"""Precision of products, and order of sums, on accelerators.

What is observed or measured is float32 on every device, training is what its setting says. JAX multiplies float32 matrices
on an Ampere GPU or a newer one in TensorFloat-32, whose operands have 10 bits of mantissa: gradients are then wrong by about
1 %, and deviations from class means as much, since they are small beside the means.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, ParamSpec, TypeVar

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


@contextmanager
def full_in_torch() -> Iterator[None]:
    """Products and convolutions of torch in float32 while the block runs, whatever the process has chosen; put back after it.

    A context or a decorator. Torch convolves in TensorFloat-32 on a GPU by default, and multiplies in it, or on a CPU in
    bfloat16, where `torch.set_float32_matmul_precision` or one of `torch.backends` allows it.
    """
    import torch

    rough = [place for place in _precisions(torch.backends) if place.fp32_precision in ("tf32", "bf16")]
    kept = [place.fp32_precision for place in rough]
    try:
        older = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    except RuntimeError:
        # Whoever has used the newer settings is not told by the older ones any more.
        older = None
    try:
        if older is not None:
            torch.set_float32_matmul_precision("highest")
            torch.backends.cudnn.allow_tf32 = False
        for place in rough:
            place.fp32_precision = "ieee"
        yield
    finally:
        if older is not None:
            torch.set_float32_matmul_precision(older[0])
            torch.backends.cudnn.allow_tf32 = older[1]
        for place, precision in zip(rough, kept, strict=True):
            place.fp32_precision = precision


def _precisions(backends: Any) -> list[Any]:
    """Where releases of torch since 2.9 keep the precision of each kind of operation."""
    cudnn, onednn = backends.cudnn, backends.mkldnn
    if not hasattr(cudnn, "conv"):
        return []
    return [backends.cuda.matmul, cudnn.conv, cudnn.rnn, onednn.matmul, onednn.conv, onednn.rnn]


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

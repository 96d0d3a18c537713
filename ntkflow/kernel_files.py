"""Kernels of every rung from named arrays, as state files and kernel files hold them.

| rung | arrays |
|---|---|
| block | kappa_d, kappa_c, kappa_n (numbers) |
| class-block | kappa_d (C,), B (C, C) |
| sample | K (N, N) |
| kronecker | K (N, N) or the three kappas, and A (n, n) |
| matrix-block | A_d, A_c, A_n (n, n) |
| tensor | Theta (n, N, n, N) |
| scheduled | times (k,) and the arrays of any rung above with a leading axis k |
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ntkflow.errors import InputError
from ntkflow.kernels import (
    BlockKernel,
    ClassBlockKernel,
    Kernel,
    KroneckerKernel,
    MatrixBlockKernel,
    SampleKernel,
    ScheduledKernel,
    TensorKernel,
)

Arrays = Mapping[str, Any]  # arrays or numbers
KAPPAS = ("kappa_d", "kappa_c", "kappa_n")

# Simplest first: the rung chosen when none is named is the first whose arrays are all there.
NEEDS: dict[str, tuple[str, ...]] = {
    "block": KAPPAS,
    "class-block": ("kappa_d", "B"),
    "kronecker": ("K", "A"),
    "sample": ("K",),
    "matrix-block": ("A_d", "A_c", "A_n"),
    "tensor": ("Theta",),
}
RUNGS = (*NEEDS, "scheduled")
ARRAYS = ("times", "Theta", "A_d", "A_c", "A_n", "A", "K", "B", *KAPPAS)


def build(arrays: Arrays, rung: str | None = None) -> Kernel:
    """The kernel that the arrays describe.

    Args:
        arrays: named arrays; samples already sorted by class.
        rung: one of `RUNGS`; None chooses the simplest one whose arrays are there.

    Raises:
        InputError: unknown rung, arrays missing, or of the wrong shape.
    """
    if rung is not None and rung not in RUNGS:
        raise InputError("rung", repr(rung), f"must be one of {', '.join(RUNGS)}", "choose one of these")
    if "times" in arrays and rung in (None, "scheduled"):
        return _scheduled(arrays)
    chosen = rung or _present(arrays)
    if chosen == "scheduled":
        raise InputError("kernel", "scheduled", "needs the array 'times'", "add it, or choose another rung")
    needs = ("A",) if chosen == "kronecker" and "K" not in arrays else NEEDS[chosen]
    absent = [name for name in needs if name not in arrays]
    if absent:
        raise InputError("kernel", chosen, f"needs the array {absent[0]!r}", "add it, or choose another rung")
    return _BUILDERS[chosen](arrays)


def _present(arrays: Arrays) -> str:
    for rung, names in NEEDS.items():
        if all(name in arrays for name in names):
            return rung
    raise InputError(
        "kernel", "no kernel", "needs kappa_d, kappa_c, kappa_n or the arrays of another rung", "add them"
    )


def _scheduled(arrays: Arrays) -> Kernel:
    times = np.asarray(arrays["times"], dtype=np.float64)
    if times.ndim != 1 or len(times) < 2:
        raise InputError(
            "times", f"array of shape {times.shape}", "must list at least two times", "fix the file"
        )
    moving = {name: value for name, value in arrays.items() if name != "times"}
    for name, value in moving.items():
        if value.shape[:1] != times.shape:
            raise InputError(
                name,
                f"array of shape {value.shape}",
                f"must have a leading axis of {len(times)} times",
                "fix the file",
            )
    knots = [build({name: value[i] for name, value in moving.items()}) for i in range(len(times))]
    return ScheduledKernel(tuple(times.tolist()), tuple(knots))


def _block(arrays: Arrays) -> BlockKernel:
    for name in KAPPAS:
        if np.asarray(arrays[name]).dtype.kind not in "iuf":
            raise InputError(name, np.asarray(arrays[name]).tolist(), "must be a number", "fix the file")
        if np.ndim(arrays[name]) != 0:
            raise InputError(
                name, f"array of shape {np.shape(arrays[name])}", "must be one number", "see class-block"
            )
    return BlockKernel(*(float(arrays[name]) for name in KAPPAS))


def _kronecker(arrays: Arrays) -> Kernel:
    base = SampleKernel(arrays["K"]) if "K" in arrays else _block(arrays)
    return KroneckerKernel(base, arrays["A"])


_BUILDERS: dict[str, Callable[[Arrays], Kernel]] = {
    "block": _block,
    "class-block": lambda a: ClassBlockKernel(a["kappa_d"], a["B"]),
    "sample": lambda a: SampleKernel(a["K"]),
    "kronecker": _kronecker,
    "matrix-block": lambda a: MatrixBlockKernel(a["A_d"], a["A_c"], a["A_n"]),
    "tensor": lambda a: TensorKernel(a["Theta"]),
}

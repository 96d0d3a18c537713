"""Kernels of every rung from named arrays, as state files and kernel files hold them.

| rung | arrays |
|---|---|
| block | kappa_d, kappa_c, kappa_n (numbers) |
| class-block | kappa_d (C,), B (C, C) |
| sample | K (N, N) |
| kronecker | K (N, N) or the three kappas, and A (n, n) |
| matrix-block | A_d, A_c, A_n (n, n) |
| tensor | Theta (n, N, n, N) |
| scheduled | times (k,) and the arrays of any rung above with a leading axis k; `rung`, a text, where several fit |
"""

import warnings
from collections.abc import Callable, Collection, Mapping
from typing import Any

import numpy as np

from ntkflow import checks
from ntkflow._types import Json
from ntkflow.errors import InputError
from ntkflow.problem.kernels import (
    KAPPAS,
    BlockKernel,
    ClassBlockKernel,
    Kernel,
    KroneckerKernel,
    MatrixBlockKernel,
    SampleKernel,
    ScheduledKernel,
    TensorKernel,
)
from ntkflow.problem.sizes import Sizes

Arrays = Mapping[str, Any]  # arrays or numbers

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
ARRAYS = ("times", "rung", "Theta", "A_d", "A_c", "A_n", "A", "K", "B", *KAPPAS)
# What else a state file may hold; a file of a kernel may be one.
OF_STATES = ("H", "W", "b", "labels", "meta", "header")
# Before the name of what a measurement has beside state and kernel; a measurement's file is a state file with more.
MEASURED = "measured."


class UnusedArraysWarning(UserWarning):
    """Arrays of a kernel that the chosen rung does not use."""


def used(names: Collection[str], rung: str | None) -> frozenset[str]:
    """Which of a file's arrays a kernel is made from, so that no others are read.

    Args:
        names: of all that the file holds.
        rung: one of `RUNGS`; None: every array of a kernel, since the choice among them says what it leaves unused.
    """
    of_rung = {*NEEDS.get(rung or "", ARRAYS), *(KAPPAS if rung == "kronecker" else ())}
    # Where none is there it is for `build` to say what is missing beside what there is.
    return frozenset(of_rung.intersection(names) or {*ARRAYS}.intersection(names))


def checked(arrays: Arrays, source: object, others: Collection[str] = ()) -> Json:
    """The arrays of a kernel file; those of a state file beside them are left out.

    Args:
        arrays: what was read of the file.
        source: the file, for messages.
        others: names of arrays in it that were not read.

    Raises:
        InputError: none of them belongs to a kernel.

    Warns:
        UnusedArraysWarning: a name is known neither to kernels nor to state files.
    """
    found = {name: value for name, value in arrays.items() if name in ARRAYS}
    if not found:
        holds = ", ".join(sorted({*arrays, *others})) or "nothing"
        raise InputError(
            "kernel_file",
            source,
            f"has no array of a kernel, it holds {holds}",
            f"name them {', '.join(ARRAYS)}",
        )
    beside = {name for name in {*arrays, *others} if not name.startswith(MEASURED)}
    strange = sorted(beside - set(ARRAYS) - set(OF_STATES))
    if strange:
        _warn(
            f"{source}: {', '.join(strange)} {_are(strange)} no array of a kernel and {_are(strange)} not used"
        )
    return found


def _are(names: list[str]) -> str:
    return "is" if len(names) == 1 else "are"


def _warn(message: str) -> None:
    warnings.warn(message, UnusedArraysWarning, stacklevel=3)


def build(arrays: Arrays, rung: str | None = None) -> Kernel:
    """The kernel that the arrays describe.

    Args:
        arrays: named arrays; samples already sorted by class.
        rung: one of `RUNGS`; None chooses the simplest one whose arrays are there.

    Raises:
        InputError: unknown rung, arrays missing, of the wrong shape, or of something else than real numbers.

    Warns:
        UnusedArraysWarning: no rung is named, and the simplest one leaves arrays of a richer one unused.
    """
    if rung is not None:
        checks.choice("rung", rung, RUNGS)
    if "times" in arrays and rung in (None, "scheduled"):
        return _scheduled(arrays)
    chosen = rung or _simplest(arrays)
    if chosen == "scheduled":
        raise InputError("kernel", "scheduled", "needs the array 'times'", "add it, or choose another rung")
    needs = ("A",) if chosen == "kronecker" and "K" not in arrays else NEEDS[chosen]
    absent = [name for name in needs if name not in arrays]
    if absent:
        raise InputError("kernel", chosen, f"needs the array {absent[0]!r}", "add it, or choose another rung")
    return _BUILDERS[chosen](arrays)


def _simplest(arrays: Arrays) -> str:
    """The simplest rung whose arrays are all there; warns of those that it leaves unused."""
    chosen = next((rung for rung, names in NEEDS.items() if all(name in arrays for name in names)), None)
    if chosen is None:
        rule = "needs kappa_d, kappa_c, kappa_n or the arrays of another rung"
        raise InputError("kernel", "no kernel", rule, "add them")
    unused = [name for name in ARRAYS if name in arrays and name not in (*NEEDS[chosen], "times", "rung")]
    if unused:
        complete = f"the {chosen} kernel's {', '.join(NEEDS[chosen])} {'are' if len(NEEDS[chosen]) > 1 else 'is'} complete"
        _warn(
            f"{', '.join(unused)} {_are(unused)} not used, because {complete}; name the rung to use another"
        )
    return chosen


def _scheduled(arrays: Arrays) -> Kernel:
    times = checks.times("times", arrays["times"], 2, -np.inf)
    moving = {
        name: np.asarray(value)
        for name, value in arrays.items()
        if name not in ("times", "rung") and name in ARRAYS
    }
    for name, value in moving.items():
        if value.shape[:1] != times.shape:
            raise InputError(
                name,
                f"array of shape {value.shape}",
                f"must have a leading axis of {len(times)} times",
                "fix the file",
            )
    rung = str(arrays["rung"]) if "rung" in arrays else _simplest(moving)
    knots = [build({name: value[i] for name, value in moving.items()}, rung) for i in range(len(times))]
    return ScheduledKernel(tuple(times.tolist()), tuple(knots))


def arrays_of(kernel: Kernel, sizes: Sizes) -> dict[str, np.ndarray]:
    """The arrays from which `build` makes the kernel again, given its rung; samples sorted by class.

    Raises:
        InputError: the kernel is of a rung of its own.
    """
    if isinstance(kernel, ScheduledKernel):
        knots = [arrays_of(knot, sizes) for knot in kernel.kernels]
        moving = {name: np.stack([knot[name] for knot in knots]) for name in knots[0]}
        return {"times": np.array(kernel.times), "rung": np.array(kernel.kernels[0].rung), **moving}
    if isinstance(kernel, KroneckerKernel):
        inner = kernel.K if isinstance(kernel.K, BlockKernel | SampleKernel) else None
        # Class-dependent blocks have no file beside A: written out they are the same operator.
        of_samples = {"K": kernel.K.matrix(sizes)} if inner is None else arrays_of(inner, sizes)  # type: ignore[attr-defined]
        return {**of_samples, "A": kernel.A}
    if kernel.rung not in NEEDS or kernel.rung not in _TYPES or type(kernel) is not _TYPES[kernel.rung]:
        raise InputError(
            "kernel", type(kernel).__name__, "has no form in files", "keep it in your own script"
        )
    arrays = {name: np.asarray(getattr(kernel, name)) for name in NEEDS[kernel.rung]}
    if isinstance(kernel, TensorKernel):
        arrays["Theta"] = kernel.Theta.reshape(sizes.n, sizes.N, sizes.n, sizes.N)
    return arrays


def _block(arrays: Arrays) -> BlockKernel:
    for name in KAPPAS:
        if np.ndim(arrays[name]) != 0:
            raise InputError(
                name, f"array of shape {np.shape(arrays[name])}", "must be one number", "see class-block"
            )
    return BlockKernel(*(checks.real(name, arrays[name], "fix the file") for name in KAPPAS))


def _kronecker(arrays: Arrays) -> Kernel:
    base = SampleKernel(arrays["K"]) if "K" in arrays else _block(arrays)
    return KroneckerKernel(base, arrays["A"])


_TYPES: dict[str, type[Kernel]] = {
    kind.rung: kind for kind in (BlockKernel, ClassBlockKernel, SampleKernel, MatrixBlockKernel, TensorKernel)
}
_BUILDERS: dict[str, Callable[[Arrays], Kernel]] = {
    "block": _block,
    "class-block": lambda a: ClassBlockKernel(a["kappa_d"], a["B"]),
    "sample": lambda a: SampleKernel(a["K"]),
    "kronecker": _kronecker,
    "matrix-block": lambda a: MatrixBlockKernel(a["A_d"], a["A_c"], a["A_n"]),
    "tensor": lambda a: TensorKernel(a["Theta"]),
}

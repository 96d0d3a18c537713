"""What `measure` is given, checked before anything is computed."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from ntkflow import checks
from ntkflow.errors import InputError
from ntkflow.foreign.heads import read, require_own_kernel
from ntkflow.foreign.labels import class_indices, counted
from ntkflow_validation.config.settings import QUANTITIES
from ntkflow_validation.kernels.methods.components import Head

WITH_HEAD = ("outputs", "row-space", "rayleigh", "output-pair-norms", "row-matrix", "output-tensor",
             "row-class-kernels")  # fmt: skip
# Measured with a head when nothing is named.
CHEAP = ("outputs", "row-space", "rayleigh")
# Block constants, quotients and class kernels of whole batches; everything else looks at single samples.
OF_BATCHES = ("outputs", "row-space", "rayleigh", "class-kernels", "row-class-kernels")


def samples(X: np.ndarray, y: ArrayLike, per_class: int | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Indices of the measured samples sorted by class, their labels, and the counts in all."""
    if y is None:
        raise InputError(
            "y",
            None,
            "a measurement is of classes",
            "give the class of each sample; kernels without are nf.gram's",
        )
    labels = class_indices(y, len(X))
    totals = counted(labels)
    if per_class is not None and per_class < 1:
        raise InputError("per_class", per_class, "must be at least 1", "give None for all")
    rows = [np.flatnonzero(labels == c)[:per_class] for c in range(len(totals))]
    order = np.concatenate(rows)
    return order, labels[order].astype(np.int64), totals


def checked_head(head: object, n: int, C: int | None = None) -> Head | None:
    """The classifier of n features and C classes, or any number of outputs, in float64; None where none is given.

    Raises:
        InputError: it is no head (`ntkflow.foreign.heads`), does not fit, or is a layer whose parameters are not trained as
            they stand.
    """
    if head is None:
        return None
    require_own_kernel(head)
    return Head(*read(head, n=n, C=C, of="head."))


def checked_quantities(wanted: Sequence[str] | None, head: Head | None, bn: str) -> tuple[str, ...]:
    """Names of what to measure, each possible with this head in this mode; None chooses the cheap ones."""
    if wanted is None:
        return CHEAP if head is not None else ()
    for name in wanted:
        checks.choice("quantities", name, QUANTITIES)
        if name in WITH_HEAD and head is None:
            raise InputError("quantities", name, "needs the classifier", "give head=(W, b)")
        if bn == "batch" and name not in OF_BATCHES:
            raise coupled(name)
    return tuple(wanted)


def coupled(what: str) -> InputError:
    """The refusal of what looks at single samples in batch mode."""
    return InputError(
        "bn",
        "batch",
        f"{what} looks at samples one by one, but in batch mode the features of each depend on all others",
        "measure in 'eval' or 'recalibrated' mode, or with method 'probes'",
    )


def neuron_directions(neurons: int | Sequence[int] | None, n: int, method: str) -> np.ndarray:
    """Rows of the identity for the chosen neurons, (k, n)."""
    if neurons is None:
        return np.eye(n)
    chosen = np.arange(neurons) if isinstance(neurons, int) else np.asarray(neurons)
    if len(chosen) == 0 or chosen.min() < 0 or chosen.max() >= n or len(set(chosen.tolist())) < len(chosen):
        raise InputError("neurons", neurons, f"must be different numbers within 0 .. {n - 1}", "fix them")
    if "probes" in method:
        raise InputError("neurons", neurons, "probes combine all neurons", "leave it out or use 'gram'")
    return np.eye(n)[chosen]

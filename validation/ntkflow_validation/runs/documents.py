"""What a run's own JSON documents hold: training.json, the lines of metrics.jsonl, a measured kernel in short."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from ntkflow._types import Document
from ntkflow.runs.border.reading import NUMBER, Shape
from ntkflow.runs.border.records import SPARSE, record
from ntkflow.runs.files import run_versions
from ntkflow_validation.kernels import Measurement

# A line of metrics.jsonl; which metrics there are is for who trains to say.
METRICS: Shape = {
    "step": int,
    "time": NUMBER,
    "loss": NUMBER,
    "invariant_refused?": str,
    "*": (bool, *NUMBER),
}


@dataclass(frozen=True)
class MadeBy:
    """What numbers depend on beside the configuration.

    Attributes:
        versions: of the packages; None for one that is not installed.
        host: Python, machine, system, cores.
    """

    versions: Mapping[str, str | None]
    host: Mapping[str, str | int | None]

    @classmethod
    def here(cls) -> "MadeBy":
        """Of this process."""
        return record(cls, run_versions())


@dataclass(frozen=True)
class Training:
    """training.json: written when training begins, and again when it ends.

    Attributes:
        learning_rate: the one that was used, chosen or given; None where a recorder was told none.
        parameters: how many the network has; None where it is not known, of a recorded one.
        samples: trained on, tested on, and left unused.
        labels: of the classes, in a file of one's own.
        device: where it was trained.
        made_by: with what.
        result: how it ended; None before.
        step: optimiser steps done at the end.
        message: what happened, in words.
        remarks: what a recorder found of the network that the theory does not know of, in words.
    """

    learning_rate: float | None
    parameters: int | None
    samples: Mapping[str, int]
    labels: tuple[int, ...] | None = field(default=None, metadata=SPARSE)
    device: str | None = field(default=None, metadata=SPARSE)
    made_by: MadeBy | None = field(default=None, metadata=SPARSE)
    result: str | None = field(default=None, metadata=SPARSE)
    step: int | None = field(default=None, metadata=SPARSE)
    message: str | None = field(default=None, metadata=SPARSE)
    remarks: tuple[str, ...] | None = field(default=None, metadata=SPARSE)


@dataclass(frozen=True)
class KernelRow:
    """A measured kernel in short, as every table and page has it; a number that is not there is None.

    Attributes:
        step: of its snapshot.
        kappa_d, kappa_c, kappa_n, mu_single: block constants of the features' NTK.
        errors: standard error of each; 0 where all was measured.
        alignment: cosine of the mean kernel with Y^T Y on `alignment_k` samples of each class.
        block_residual: |K - K_block| / |K| of the mean kernel.
        broken_order: which inequality of a block kernel the constants break.
    """

    step: int
    kappa_d: float
    kappa_c: float
    kappa_n: float
    mu_single: float
    errors: Mapping[str, float | None]
    alignment: float | None
    alignment_k: int
    block_residual: float | None
    broken_order: str | None

    @classmethod
    def of(cls, step: int, found: Measurement) -> "KernelRow":
        """Of what was measured at a step."""
        return cls(step, **found.row())


def kernel_rows(measured: Mapping[int, Measurement]) -> tuple[KernelRow, ...]:
    """Everything that was measured, in short, in the order given."""
    return tuple(KernelRow.of(step, found) for step, found in measured.items())


def first_difference(a: Document, b: Document, prefix: str = "") -> str | None:
    """The first field in which two configurations differ, with both values; None where they are equal."""
    for key, value in a.items():
        if isinstance(value, Mapping):
            inner = first_difference(value, b.get(key) or {}, f"{prefix}{key}.")
            if inner:
                return inner
        elif value != b.get(key):
            return f"{prefix}{key} ({b.get(key)}, not {value})"
    return None

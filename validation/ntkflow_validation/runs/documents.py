"""What a run's own JSON documents hold: training.json, a line of metrics.jsonl, a measured kernel in short."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from ntkflow._types import Document
from ntkflow.runs.border.records import INLINE, SPARSE, record
from ntkflow.runs.files import run_versions
from ntkflow_validation.kernels import Measurement


@dataclass(frozen=True)
class Line:
    """A line of metrics.jsonl.

    Attributes:
        step: of the optimiser.
        time: flow time there; None where steps are in none.
        values: the metrics by name, None for one that is no number; which there are is for who trains to say, but for the
            loss, which all have.
        invariant_refused: why it has no E although a kernel was measured there.
        invariant_batch_refused: why it has one, and none of a batch.

    Raises:
        ValueError: there is no loss.
    """

    step: int
    time: float | None
    values: Mapping[str, float | bool | None] = field(metadata=INLINE)
    invariant_refused: str | None = field(default=None, metadata=SPARSE)
    invariant_batch_refused: str | None = field(default=None, metadata=SPARSE)

    def __post_init__(self) -> None:
        if "loss" not in self.values:
            raise ValueError("lacks loss")

    @property
    def loss(self) -> float | None:
        """The sum loss on the observed samples, against one-hot targets."""
        return self.values["loss"]

    def get(self, name: str) -> float | None:
        """The step, the time or a metric by name; None of one that is not there."""
        return {"step": self.step, "time": self.time}.get(name, self.values.get(name))


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
        cv, leak, iso: how far the kernel is from three constants, part by part (`KernelShape`).
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
    cv: float | None = field(default=None, metadata=SPARSE)
    leak: float | None = field(default=None, metadata=SPARSE)
    iso: float | None = field(default=None, metadata=SPARSE)

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

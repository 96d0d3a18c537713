"""NAME.json of a finished training: what was run, what came out, and what became of the invariant."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from ntkflow._types import Json
from ntkflow.runs.border.records import INLINE, SPARSE
from ntkflow_validation.runs.compared import Ends, Series
from ntkflow_validation.runs.documents import KernelRow, Line, MadeBy, Training


@dataclass(frozen=True)
class Predicted:
    """|E|/|E0| at the last measured step, as it would be if only so much moved E.

    Attributes:
        equal_decay: exp(-2 lambda t): weights and features decay alike.
        weights_only: W decays and the features do not.
        decay: W decays, and the features answer to it as they were measured to.
        decay_and_kernel: that, and the kernel moves.
    """

    equal_decay: float | None
    weights_only: float | None
    decay: float | None
    decay_and_kernel: float | None


@dataclass(frozen=True)
class Part:
    """A part of the change of E: its norm over |E0|, and its share of the change, its projection on that."""

    norm: float | None
    share: float | None


@dataclass(frozen=True)
class FeatureDecay:
    """lh/lw at a measured step, and the cosine between what decay does to H and -H."""

    step: int
    ratio: float | None
    cosine: float | None


@dataclass(frozen=True)
class InvariantAccount:
    """Whether E vanished, what the laws of decay say of it, and what moved it.

    Attributes:
        step, time: of the last measured snapshot.
        exponent: 2 lambda t there.
        relative: |E|/|E0| there.
        to_terms: |E| over the sum of the norms of its three terms, at the first and the last measured step.
        predicted: `relative` by the laws of decay.
        parts: `kernel`, its motion; `decay`, as the features really answer to it; `rest`, what neither explains.
        sampling: norm over |E0| of what the parts owe to the spacing of the snapshots; earlier versions have none.
        on_negative: the parts on the negative eigenspace of E0; empty where that is nothing.
        distance_from_collapse: of E from what NC1 with NC3 makes it, first and last.
        feature_decay: at every measured step.
    """

    step: int
    time: float
    exponent: float
    relative: float | None
    to_terms: Ends
    predicted: Predicted
    parts: Mapping[str, Part]
    sampling: float | None = field(default=None, kw_only=True, metadata=SPARSE)
    on_negative: Mapping[str, float | None]
    distance_from_collapse: Ends
    feature_decay: tuple[FeatureDecay, ...]


@dataclass(frozen=True)
class Evidence:
    """The whole document.

    Attributes:
        command: that repeats the training.
        made_by: versions and machine.
        seed, config: of the run.
        training: how it went.
        first, last: lines of metrics.jsonl.
        trajectory: columns of some of them.
        final: moments of the features and alignments of both kernels at the end; earlier versions have none.
        kernels: what was measured.
        invariant: None without two block kernels.
    """

    command: str
    made_by: MadeBy = field(metadata=INLINE)
    seed: int | None
    config: Json
    training: Training
    first: Line
    last: Line
    trajectory: Series
    final: Mapping[str, float] | None = field(default=None, kw_only=True, metadata=SPARSE)
    kernels: tuple[KernelRow, ...]
    invariant: InvariantAccount | None

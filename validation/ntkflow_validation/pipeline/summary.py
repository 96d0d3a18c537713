"""What a finished run says in short: summary.json."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from ntkflow import __version__
from ntkflow._types import Json
from ntkflow.runs.border.records import EMPTY, INLINE
from ntkflow_validation.config.recorded import RecordedConfig
from ntkflow_validation.runs.compared import ComparedWindow, Ends
from ntkflow_validation.runs.documents import KernelRow, Line, MadeBy, Training, kernel_rows
from ntkflow_validation.runs.results import Results, deviations
from ntkflow_validation.runs.rundir import RunDirectory


@dataclass(frozen=True)
class Trained:
    """How far the training is.

    Attributes:
        facts: training.json; None before it begins.
        steps, flow_time: at the last snapshot.
        first, last: lines of metrics.jsonl; None without snapshots.
    """

    facts: Training | None = field(metadata=INLINE)
    steps: int | None
    flow_time: float | None
    first: Line | None = field(metadata=EMPTY)
    last: Line | None = field(metadata=EMPTY)


@dataclass(frozen=True)
class WindowSummary:
    """A window of the comparison, short.

    Attributes:
        name, step, last_step, loss, step_times_rate, cheapest, sentence: as in `ComparedWindow`.
        skill: of the baselines and of every rung's flow, by quantity.
        refused: why, by rung.
        class_residual, accuracy, tests: as in `ComparedWindow`.
    """

    name: str
    step: int
    last_step: int
    loss: Ends
    step_times_rate: float | None
    cheapest: str | None
    sentence: str | None
    skill: Mapping[str, Mapping[str, float | None]]
    refused: Mapping[str, str]
    class_residual: Ends | None = None
    accuracy: Ends | None = None
    tests: str | None = None

    @classmethod
    def of(cls, window: ComparedWindow) -> "WindowSummary":
        """In short."""
        flows = [rung for rung in window.all_rungs if not rung.modifications]
        return cls(
            window.name,
            window.step,
            window.last_step,
            window.loss,
            window.step_times_rate,
            window.cheapest,
            window.sentence,
            {r.name: {q: s.value for q, s in r.skill.centred.items()} for r in flows if r.skill},
            {r.name: r.refused for r in flows if r.refused},
            window.class_residual,
            window.accuracy,
            window.tests,
        )


@dataclass(frozen=True)
class Summary:
    """summary.json: what was run, with what, and what came out of every step that was done."""

    version: str
    made_by: MadeBy = field(metadata=INLINE)
    seed: int | None
    config: Json
    deviations: tuple[str, ...]
    training: Trained
    kernels: tuple[KernelRow, ...]
    from_snapshot: int | None
    refused: str | None
    windows: tuple[WindowSummary, ...]


def summary(run: RunDirectory, results: Results) -> Summary:
    """What the run directory holds so far."""
    metrics, comparison = results.metrics, results.comparison
    first, last = (metrics[0], metrics[-1]) if metrics else (None, None)
    return Summary(
        version=__version__,
        made_by=MadeBy.here(),
        seed=None if isinstance(run.config, RecordedConfig) else run.config.seed,
        config=run.config.to_dict(),
        deviations=deviations(run, results.training),
        training=Trained(
            results.training, last.step if last else None, last.time if last else None, first, last
        ),
        kernels=kernel_rows(results.kernels),
        from_snapshot=None if comparison is None else comparison.from_snapshot,
        refused=None if comparison is None else comparison.refused,
        windows=tuple(WindowSummary.of(w) for w in (comparison.windows if comparison else ())),
    )

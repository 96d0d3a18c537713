"""The document of a run: all that any experiment reads of it, in few digits."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ntkflow import __version__
from ntkflow._types import Json
from ntkflow.errors import InputError
from ntkflow.problem.kernels import BlockKernel
from ntkflow.problem.sizes import Sizes
from ntkflow.runs.border.records import SPARSE, document, read_record
from ntkflow.runs.files import write_json
from ntkflow_validation.runs.compared import ComparedRun, ComparedRung
from ntkflow_validation.runs.documents import KernelRow, Line
from ntkflow_validation.runs.followed import Family, RunLaws
from ntkflow_validation.studies.cells import Cell

Numbers = tuple[float | None, ...]
DIGITS = 4
FILTERS = "filter before a normalisation"
# Read from metrics.jsonl at every snapshot.
LINES = ("loss", "loss_class", "accuracy_train")
# Of the windows, which skills are kept.
SCORED = ("M", "H2", "W")


@dataclass(frozen=True)
class LawRow:
    """Laws of one family at the end of a run, over the size of what is in them: see `runs.followed.Family`.

    Attributes:
        name: of the family.
        count: of laws.
        error: against the flow with decay; of plain steps of all samples eta^2 |gradient|^2 is counted.
        error_if_constant: against what they were at the start.
        error_of_steps: against the law of the steps, momentum included; None where it was not followed.
    """

    name: str
    count: int
    error: float
    error_if_constant: float
    error_of_steps: float | None = field(default=None, metadata=SPARSE)


@dataclass(frozen=True)
class KernelLine:
    """Block constants of the features' NTK at a step, and the class eigenvalue mu_c over all training samples."""

    step: int
    kappa_d: float
    kappa_c: float
    kappa_n: float
    mu_c: float


@dataclass(frozen=True)
class FloorRow:
    """Where NC1_tirer stops, from the kernel at the end, and what it is there."""

    foretold: float
    observed: float | None


@dataclass(frozen=True)
class WindowRow:
    """A window in which rungs predicted.

    Attributes:
        first, last: steps.
        skill: by rung, then by quantity.
        baselines: of predictions that know nothing of classes, or nothing at all, likewise; None in documents of before.
    """

    first: int
    last: int
    skill: Mapping[str, Mapping[str, float | None]]
    baselines: Mapping[str, Mapping[str, float | None]] | None = field(default=None, metadata=SPARSE)


@dataclass(frozen=True)
class StudyRun:
    """One run.

    Attributes:
        version: of the code.
        name, group, value, digest, settings: see `Cell`.
        seconds: of the processor.
        steps, times: of the snapshots.
        decay: int lambda dt, of the theory's lambda.
        series: by name, at every snapshot: NC1, NC1_visible, visible, invisible and, of a linear readout, Q_norm, Q_over_weights,
            Q_error (against e^{-2 lambda t} of the start), Q_error_of_steps, estimate, foretold; filters, the sum of |w|^2 of
            filters before a normalisation; and `LINES`.
        laws: families of them.
        kernels: as far as measured.
        floors: of homogeneous features under decay.
        windows: as far as compared.
    """

    version: str
    name: str
    group: str
    value: float
    digest: str
    settings: Json
    seconds: float
    steps: tuple[int, ...]
    times: Numbers
    decay: Numbers
    series: Mapping[str, Numbers]
    laws: tuple[LawRow, ...]
    kernels: tuple[KernelLine, ...]
    floors: tuple[FloorRow, ...]
    windows: tuple[WindowRow, ...]

    @property
    def seed(self) -> int:
        """Of the network, its samples and batches."""
        found: int = self.settings["seed"]
        return found

    def last(self, name: str) -> float:
        """The end of a series; NaN where it has none."""
        found = self.series.get(name, (None,))[-1]
        return float("nan") if found is None else found


def run_document(
    cell: Cell,
    laws: RunLaws,
    lines: Iterable[Line],
    kernels: Iterable[KernelRow],
    compared: ComparedRun | None,
    seconds: float,
) -> StudyRun:
    """What is kept of a run."""
    data, rows = cell.config.data, {line.step: line for line in lines}
    plain = not cell.config.training.momentum and not cell.config.training.batch_per_class
    sizes = Sizes(data.classes, data.per_class, cell.config.model.features)
    series: dict[str, Numbers] = {
        "NC1": laws.NC1,
        "NC1_visible": laws.NC1_visible,
        "visible": laws.visible,
        "invisible": laws.invisible,
        **{name: tuple(rows[step].get(name) for step in laws.steps) for name in LINES},
        **_of_imbalance(laws),
        **_of_filters(laws),
    }
    return StudyRun(
        __version__, cell.name, cell.group, cell.value, cell.digest, cell.settings, round(seconds, 1),
        laws.steps, _rounded(laws.times), _rounded(laws.decay),
        {name: _rounded(values) for name, values in series.items() if any(v is not None for v in values)},
        tuple(_law(f, plain) for f in laws.families),
        tuple(_kernel(row, sizes) for row in kernels),
        tuple(FloorRow(_short(f.foretold), None if f.observed is None else _short(f.observed)) for f in laws.floors),
        () if compared is None else tuple(_windows(compared)),
    )  # fmt: skip


def _of_imbalance(laws: RunLaws) -> dict[str, Numbers]:
    Q = laws.imbalance
    if Q is None:
        return {}
    return {
        "Q_norm": Q.norm,
        "Q_over_weights": Q.over_weights,
        "Q_error": Q.error_of_flow or Q.error,
        "Q_error_of_steps": Q.error,
        "estimate": Q.estimate,
        "foretold": Q.foretold,
    }


def _of_filters(laws: RunLaws) -> dict[str, Numbers]:
    families = [f for f in laws.families if f.name.startswith(FILTERS)]
    if not families:
        return {}
    return {
        "filters": tuple(
            sum(v or 0.0 for v in values) for values in zip(*(f.balance for f in families), strict=True)
        )
    }


def _law(family: Family, plain: bool) -> LawRow:
    flow = family.error if plain or family.error_of_flow is None else family.error_of_flow
    return LawRow(
        family.name, family.count, _short(flow), _short(family.error_if_constant), _short(family.error)
    )


def _kernel(row: KernelRow, sizes: Sizes) -> KernelLine:
    mu_c = BlockKernel(row.kappa_d, row.kappa_c, row.kappa_n).eigenvalues(sizes).mu_class
    return KernelLine(row.step, *(_short(v) for v in (row.kappa_d, row.kappa_c, row.kappa_n, mu_c)))


def _windows(compared: ComparedRun) -> Iterable[WindowRow]:
    for window in compared.windows:
        plain = [rung for rung in window.rungs if not rung.modifications]
        baselines = None if window.baselines is None else _skills(window.baselines)
        yield WindowRow(window.steps[0], window.steps[-1], _skills(plain), baselines)


def _skills(rungs: Iterable[ComparedRung]) -> dict[str, dict[str, float | None]]:
    return {
        rung.name: {q: None if (v := rung.score(q).value) is None else _short(v) for q in SCORED}
        for rung in rungs
        if not rung.refused
    }


def _short(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")


def _rounded(values: Iterable[float | None]) -> Numbers:
    return tuple(None if v is None else _short(v) for v in values)


def write(path: Path | str, found: StudyRun) -> None:
    """Write a document."""
    write_json(Path(path), document(found))


def finished(cell: Cell, out: Path | str) -> StudyRun | None:
    """The document of a cell; None where there is none, or one of other settings, or a damaged one."""
    path = Path(out) / f"{cell.name}.json"
    try:
        found = (
            read_record(path, "out", "a run of an experiment", StudyRun, "remove it")
            if path.is_file()
            else None
        )
    except InputError:
        return None
    return found if found is not None and found.digest == cell.digest else None

"""The directory of an ensemble: ensemble.npz, summary.json and the figure with bands."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ntkflow import __version__
from ntkflow._types import Document
from ntkflow.integrate.series import TIME_UNIT
from ntkflow.integrate.stopping import Reason
from ntkflow.runs import files, rundir
from ntkflow.runs.border import reading
from ntkflow.runs.border.plain import SizesRow
from ntkflow.runs.border.records import SPARSE, document, read_record, record
from ntkflow.runs.ensembles import LEVELS, Ensemble, Member, description
from ntkflow.runs.pictures.drawing import drawn
from ntkflow.runs.predicted import Number

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ARRAYS = "ensemble.npz"


@dataclass(frozen=True)
class MembersRow:
    """How many members there were, their seeds, and why those that failed did, by seed."""

    members: int
    seeds: tuple[int, ...]
    failed: Mapping[str, str]


@dataclass(frozen=True)
class QuantilesRow:
    """Quantiles of a series over the members at both ends of the run, one for each level."""

    initial: tuple[Number, ...]
    final: tuple[Number, ...]


@dataclass(frozen=True)
class StepsRow:
    """Accepted steps of a member; a document of before may have the median alone."""

    least: int | None = field(default=None, kw_only=True)
    median: float
    most: int | None = field(default=None, kw_only=True)


@dataclass(frozen=True)
class EnsembleSolverRow:
    """What the integration cost.

    Attributes:
        engines: members by engine.
        steps: of a member.
        rtol: bound on the drift of E.
        seconds: until all were done.
        seconds_of_members: the sum of each one's own.
    """

    engines: Mapping[str, int]
    steps: StepsRow
    rtol: Number = field(default=None, kw_only=True)
    seconds: float
    seconds_of_members: Number = None


@dataclass(frozen=True, kw_only=True)
class EnsembleSummary:
    """summary.json of an ensemble.

    Attributes:
        version: of ntkflow.
        config: tables of the complete configuration; None of problems.
        widths: of linear layers; None of features under a given kernel.
        sizes, kernel: those of all members; None where they differ.
        ensemble: the members.
        levels: of the quantiles.
        quantiles: of every series.
        drift: the largest of E, of linear layers that of Q_1 .. Q_L against their law; None where that was not among the series.
        t_end: flow time at the end.
        solver: what it cost.
    """

    version: str = ""
    config: Document | None = None
    sizes: SizesRow | None
    widths: tuple[int, ...] | None = field(default=None, metadata=SPARSE)
    kernel: Document | None = None
    ensemble: MembersRow
    levels: tuple[float, ...]
    quantiles: Mapping[str, QuantilesRow]
    drift: Number
    t_end: Number
    solver: EnsembleSolverRow


def summarise(
    found: Ensemble, seconds: float, config: Document | None, rtol: float | None
) -> EnsembleSummary:
    """The summary of an ensemble: quantiles over the members at the start and at the end."""
    steps, sizes = [member.steps for member in found.members], found.about.get("sizes")
    return EnsembleSummary(
        version=__version__,
        config=config,
        sizes=None if sizes is None else record(SizesRow, sizes),
        widths=_widths(found),
        kernel=found.about.get("kernel"),
        ensemble=MembersRow(
            len(found),
            tuple(member.seed for member in found.members),
            {str(member.seed): member.reason.sentence for member in found.failed},
        ),
        levels=LEVELS,
        quantiles={name: _ends(found, name) for name in found.series},
        drift=next(
            (float(np.nanmax(found.series[name])) for name in ("E_drift", "Q_gap") if name in found.series),
            None,
        ),
        t_end=float(found.times[-1]),
        solver=EnsembleSolverRow(
            engines=Counter(member.engine for member in found.members),
            steps=StepsRow(float(np.median(steps)), least=min(steps), most=max(steps)),
            rtol=rtol,
            seconds=seconds,
            seconds_of_members=sum(member.seconds for member in found.members),
        ),
    )


def _widths(found: Ensemble) -> tuple[int, ...] | None:
    widths = found.about.get("widths")
    return None if widths is None else tuple(widths)


def _ends(found: Ensemble, name: str) -> QuantilesRow:
    values = found.quantiles(name)
    return QuantilesRow(tuple(values[:, 0].tolist()), tuple(values[:, -1].tolist()))


def write_arrays(directory: Path, found: Ensemble) -> None:
    """Write ensemble.npz, in which every series has the dimensions (seed, t)."""
    header = {
        "title": title(found),
        "sizes": found.about.get("sizes"),
        "kernel": found.about.get("kernel"),
        "time_unit": TIME_UNIT,
        "dims": {"t": ["t"], "seed": ["seed"], **{name: ["seed", "t"] for name in found.series}},
        "series": {name: description(name) for name in found.series},
        "members": [{**asdict(member), "reason": member.reason.value} for member in found.members],
        "about": dict(found.about),
        "L": len(_widths(found) or ()),
    }
    seeds = np.array([member.seed for member in found.members])
    files.write_arrays(directory / ARRAYS, {"t": found.times, "seed": seeds, **found.series}, header)


def title(found: Ensemble) -> str:
    """One line that says what was run."""
    sizes = found.about.get("sizes")
    widths = _widths(found)
    last = f"layers of {', '.join(map(str, widths))}" if widths else f"n = {sizes['n']}" if sizes else ""
    words = f"C = {sizes['C']}, m = {sizes['m']}, {last}, " if sizes else ""
    init = found.about.get("init")
    return f"{words}{len(found)} {f'seeds of {init}' if init else 'problems'}"


def save_ensemble(found: Ensemble, directory: Path, overwrite: bool, figures: bool) -> None:
    """Write a directory that `ntkflow show` and `plot` take."""
    seconds = sum(member.seconds for member in found.members)
    with files.staged_directory(directory, overwrite, rundir.OWNED) as staged:
        write_arrays(staged, found)
        config = found.about.get("config")
        files.write_toml(staged / "config.toml", {**(config or {}), "record": files.run_versions()})
        summary = summarise(found, seconds, config, found.about.get("rtol"))
        files.write_json(staged / rundir.SUMMARY, document(summary))
        if figures:
            draw(staged)


def load_ensemble(directory: Path) -> Ensemble:
    """The ensemble of a directory.

    Raises:
        InputError: the file is missing or damaged, or was written before members were kept in it.
    """
    t, series, header = rundir.read_series(directory / ARRAYS, ("seed", "t"))
    with reading.reading("run", directory / ARRAYS, "an ensemble", "run the ensemble again"):
        members = tuple(Member(**{**m, "reason": Reason(m["reason"])}) for m in header["members"])
        return Ensemble(t, series, members, header["about"])


def read_summary(directory: Path) -> EnsembleSummary:
    """The summary.json of an ensemble.

    Raises:
        InputError: it is missing or damaged.
    """
    path = directory / rundir.SUMMARY
    return read_record(path, "run", "a summary", EnsembleSummary, "run the ensemble again")


def draw(directory: Path, formats: tuple[str, ...] = ("png",)) -> list[Path]:
    """Draw the figure of an ensemble's directory into its folder `figures`; returns the files.

    Raises:
        InputError: an unknown format, or a damaged file.
    """

    def figure() -> "Figure":
        from ntkflow.runs.pictures.ensemble_figure import ensemble_figure

        t, series, header = rundir.read_series(directory / ARRAYS, ("seed", "t"))
        return ensemble_figure(t, series, header["title"], header.get("L", 0))

    return drawn(directory, "ensemble", formats, figure)

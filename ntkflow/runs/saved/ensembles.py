"""The directory of an ensemble: ensemble.npz, summary.json and the figure with bands."""

from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ntkflow import __version__
from ntkflow._types import Document, Json
from ntkflow.integrate.series import DESCRIPTIONS, TIME_UNIT
from ntkflow.integrate.stopping import Reason
from ntkflow.runs import files, rundir
from ntkflow.runs.border import reading
from ntkflow.runs.ensembles import LEVELS, Ensemble, Member
from ntkflow.runs.pictures.drawing import drawn

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ARRAYS = "ensemble.npz"
# What readers of an ensemble's summary.json rely on.
SHAPE = {
    "sizes": {"C": int, "m": object, "n": int},
    "ensemble": {"members": int, "seeds": [int], "failed": {"*": str}},
    "levels": [float],
    "quantiles": {"*": {"initial": [reading.NUMBER], "final": [reading.NUMBER]}},
    "drift": reading.NUMBER,
    "t_end": reading.NUMBER,
    "solver": {"seconds": float, "steps": {"median": float}, "engines": {"*": int}},
}


def summarise(found: Ensemble, seconds: float, config: Document | None, rtol: float | None) -> Json:
    """The summary of an ensemble, plain values only: quantiles over the members at the start and at the end."""
    steps = [member.steps for member in found.members]
    return {
        "version": __version__,
        "config": config,
        "sizes": found.about.get("sizes"),
        "kernel": found.about.get("kernel"),
        "ensemble": {
            "members": len(found),
            "seeds": [member.seed for member in found.members],
            "failed": {str(member.seed): member.reason.sentence for member in found.failed},
        },
        "levels": list(LEVELS),
        "quantiles": {name: _ends(found, name) for name in found.series},
        "drift": float(np.nanmax(found.series["E_drift"])) if "E_drift" in found.series else None,
        "t_end": float(found.times[-1]),
        "solver": {
            "engines": dict(Counter(member.engine for member in found.members)),
            "steps": {"least": min(steps), "median": float(np.median(steps)), "most": max(steps)},
            "rtol": rtol,
            "seconds": seconds,
            "seconds_of_members": sum(member.seconds for member in found.members),
        },
    }


def _ends(found: Ensemble, name: str) -> Json:
    values = found.quantiles(name)
    return {"initial": values[:, 0].tolist(), "final": values[:, -1].tolist()}


def write_arrays(directory: Path, found: Ensemble) -> None:
    """Write ensemble.npz, in which every series has the dimensions (seed, t)."""
    header = {
        "title": title(found),
        "sizes": found.about.get("sizes"),
        "kernel": found.about.get("kernel"),
        "time_unit": TIME_UNIT,
        "dims": {"t": ["t"], "seed": ["seed"], **{name: ["seed", "t"] for name in found.series}},
        "series": {name: DESCRIPTIONS[name] for name in found.series},
        "members": [{**asdict(member), "reason": member.reason.value} for member in found.members],
        "about": dict(found.about),
    }
    seeds = np.array([member.seed for member in found.members])
    files.write_arrays(directory / ARRAYS, {"t": found.times, "seed": seeds, **found.series}, header)


def title(found: Ensemble) -> str:
    """One line that says what was run."""
    sizes = found.about.get("sizes")
    words = f"C = {sizes['C']}, m = {sizes['m']}, n = {sizes['n']}, " if sizes else ""
    init = found.about.get("init")
    return f"{words}{len(found)} {f'seeds of {init}' if init else 'problems'}"


def save_ensemble(found: Ensemble, directory: Path, overwrite: bool, figures: bool) -> None:
    """Write a directory that `ntkflow show` and `plot` take."""
    seconds = sum(member.seconds for member in found.members)
    with files.staged_directory(directory, overwrite, rundir.OWNED) as staged:
        write_arrays(staged, found)
        config = found.about.get("config")
        files.write_toml(staged / "config.toml", {**(config or {}), "record": files.run_versions()})
        files.write_json(staged / rundir.SUMMARY, summarise(found, seconds, config, found.about.get("rtol")))
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


def read_summary(directory: Path) -> Json:
    """Content of an ensemble's summary.json.

    Raises:
        InputError: it is missing or damaged.
    """
    return reading.read_json(directory / rundir.SUMMARY, "run", "run the ensemble again", SHAPE)


def draw(directory: Path, formats: tuple[str, ...] = ("png",)) -> list[Path]:
    """Draw the figure of an ensemble's directory into its folder `figures`; returns the files.

    Raises:
        InputError: an unknown format, or a damaged file.
    """

    def figure() -> "Figure":
        from ntkflow.runs.pictures.ensemble_figure import ensemble_figure

        t, series, header = rundir.read_series(directory / ARRAYS, ("seed", "t"))
        return ensemble_figure(t, series, header["title"])

    return drawn(directory, "ensemble", formats, figure)

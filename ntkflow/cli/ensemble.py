"""`ntkflow simulate --ensemble K`: members, quantiles, the figure with bands, and what is written."""

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console
from rich.table import Table

from ntkflow import __version__
from ntkflow._types import Json
from ntkflow.cli.output import attempted, bar, number, place
from ntkflow.errors import InputError, SolveError
from ntkflow.integrate.series import DESCRIPTIONS
from ntkflow.metrics import neural_collapse
from ntkflow.runs import files, reading, rundir
from ntkflow.runs.drawing import FORMATS
from ntkflow.runs.ensembles import LEVELS, Ensemble, EnsembleProgress, ensemble
from ntkflow.runs.simulate import Prepared

if TYPE_CHECKING:
    from rich.progress import ProgressColumn

ARRAYS = "ensemble.npz"
SHOWN = (
    "loss",
    "E_alignment",
    *(name for name in ("NC1", "NC2", "NC3", "NC4") if name in neural_collapse.NAMES),
)
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


def run_ensemble(
    prepared: Prepared, out: Path | None, overwrite: bool, figures: bool, json: bool, quiet: bool
) -> None:
    """Integrate the members of a prepared configuration and write the run directory."""
    config = prepared.config
    start = config.seed or 0
    with place(out, "ensemble", overwrite) as (directory, staged):
        began = time.perf_counter()
        with _progress(silent=json or quiet) as progress:
            found = ensemble(config, range(start, start + config.ensemble), progress=progress)
        summary = summarise(found, prepared, time.perf_counter() - began)
        write(staged, found, prepared, summary)
    if figures:
        attempted(lambda: draw(directory), f"`ntkflow plot {directory}` draws it")
    if json:
        print(files.dump_json(summary))
    elif not quiet:
        print_summary(summary)
        print(f"Run written to {directory}")
    if len(found.failed) == len(found):
        raise SolveError(f"none of {len(found)} members reached t_end: {found.members[0].reason.sentence}")


def summarise(found: Ensemble, prepared: Prepared, seconds: float) -> Json:
    """The summary of an ensemble, plain values only: quantiles over the members at the start and at the end."""
    problem = prepared.problem
    steps = [member.steps for member in found.members]
    return {
        "version": __version__,
        "config": prepared.config.tables(),
        "sizes": problem.sizes.as_dict(),
        "kernel": problem.kernel.as_dict(),
        "ensemble": {
            "members": len(found),
            "seeds": [member.seed for member in found.members],
            "failed": {str(member.seed): member.reason.sentence for member in found.failed},
        },
        "levels": list(LEVELS),
        "quantiles": {name: _ends(found, name) for name in found.series},
        "drift": float(np.nanmax(found.series["E_drift"])),
        "t_end": float(found.times[-1]),
        "solver": {
            "engines": dict(Counter(member.engine for member in found.members)),
            "steps": {"least": min(steps), "median": float(np.median(steps)), "most": max(steps)},
            "rtol": prepared.config.rtol,
            "seconds": seconds,
            "seconds_of_members": sum(member.seconds for member in found.members),
        },
    }


def _ends(found: Ensemble, name: str) -> Json:
    values = found.quantiles(name)
    return {"initial": values[:, 0].tolist(), "final": values[:, -1].tolist()}


def write(directory: Path, found: Ensemble, prepared: Prepared, summary: Json) -> None:
    """Write config.toml, summary.json and ensemble.npz, in which every series has the dimensions (seed, t)."""
    sizes = prepared.problem.sizes
    header = {
        "title": f"C = {sizes.C}, m = {sizes.m}, n = {sizes.n}, {len(found)} seeds of {prepared.config.init}",
        "sizes": sizes.as_dict(),
        "kernel": prepared.problem.kernel.as_dict(),
        "time_unit": "flow time of the sum loss 1/2 |W H + b 1^T - Y|_F^2 (eq. 4)",
        "dims": {"t": ["t"], "seed": ["seed"], **{name: ["seed", "t"] for name in found.series}},
        "series": {name: DESCRIPTIONS[name] for name in found.series},
    }
    seeds = np.array([member.seed for member in found.members])
    files.write_arrays(directory / ARRAYS, {"t": found.times, "seed": seeds, **found.series}, header)
    config = prepared.config
    if config.kernel_file is not None:
        files.write_arrays(directory / rundir.KERNEL_FILE, prepared.kernel_arrays)
        config = replace(config, kernel_file=Path(rundir.KERNEL_FILE))
    files.write_toml(directory / "config.toml", {**config.tables(), "record": files.run_versions()})
    files.write_json(directory / "summary.json", summary)


def read_summary(directory: Path) -> Json:
    """Content of an ensemble's summary.json.

    Raises:
        InputError: it is missing or damaged.
    """
    return reading.read_json(directory / "summary.json", "run", "run the ensemble again", SHAPE)


def draw(directory: Path, formats: tuple[str, ...] = ("png",)) -> list[Path]:
    """Draw the figure of an ensemble's directory into its folder `figures`; returns the files.

    Raises:
        InputError: an unknown format, or a damaged file.
    """
    if unknown := [suffix for suffix in formats if suffix not in FORMATS]:
        raise InputError("format", unknown[0], f"must be one of {', '.join(FORMATS)}", "choose one of these")
    from ntkflow.runs import atomic, figures
    from ntkflow.runs.ensemble_figure import ensemble_figure

    t, series, header = rundir.read_series(directory / ARRAYS, ("seed", "t"))
    figure = ensemble_figure(t, series, header["title"])
    folder = directory / "figures"
    folder.mkdir(exist_ok=True)
    atomic.clean(folder)
    written = [folder / f"ensemble.{suffix}" for suffix in formats]
    for path in written:
        with files.atomic(path) as handle:
            figures.save(figure, handle, path.suffix[1:])
    return written


def print_summary(summary: Json, console: Console | None = None) -> None:
    """Quantiles at the start and at the end of the main series; on the terminal unless a console is given."""
    sizes, solver, members = summary["sizes"], summary["solver"], summary["ensemble"]
    console = console or Console(highlight=False)
    console.print(
        f"C = {sizes['C']} classes, m = {sizes['m']} per class, n = {sizes['n']} features: "
        f"{members['members']} members, seeds {members['seeds'][0]} to {members['seeds'][-1]}"
    )
    low, _, high = (f"{100 * level:g} %" for level in summary["levels"])
    grid = Table(show_header=True, box=None, pad_edge=False)
    for title in ("", "start: median", low, high, "end: median", low, high):
        grid.add_column(title, justify="right" if title else "left", no_wrap=True)
    for name in (name for name in SHOWN if name in summary["quantiles"]):
        ends: Any = summary["quantiles"][name]
        cells = [number(v[i]) for v in (ends["initial"], ends["final"]) for i in (1, 0, 2)]
        grid.add_row(name, *cells)
    console.print(grid)
    engines = ", ".join(f"{name} {count}" for name, count in solver["engines"].items())
    console.print(
        f"\nDrift of E at most {number(summary['drift'])}. To t = {number(summary['t_end'])} in "
        f"{solver['seconds']:.1f} s; {solver['steps']['median']:.0f} steps a member; engines: {engines}."
    )
    for seed, sentence in members["failed"].items():
        console.print(f"seed {seed} failed: {sentence}")


def _columns() -> "tuple[ProgressColumn, ...]":
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn

    return TextColumn("members"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()


@contextmanager
def _progress(silent: bool) -> Iterator[EnsembleProgress | None]:
    """A bar over the members."""
    with bar(silent, _columns) as show:
        yield None if show is None else lambda done, total: show(completed=done, total=total)

"""`ntkflow simulate --ensemble K`: members, quantiles, the figure with bands, and what is written."""

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from ntkflow._types import Json
from ntkflow.cli.printed.output import attempted, bar, number, place
from ntkflow.errors import SolveError
from ntkflow.metrics import neural_collapse
from ntkflow.runs import files, rundir
from ntkflow.runs.ensembles import Ensemble, ensemble
from ntkflow.runs.saved import ensembles as saved
from ntkflow.runs.simulate import Prepared

SHOWN = (
    "loss",
    "E_alignment",
    *(name for name in ("NC1", "NC2", "NC3", "NC4") if name in neural_collapse.NAMES),
)


def run_ensemble(
    prepared: Prepared, out: Path | None, overwrite: bool, figures: bool, json: bool, quiet: bool
) -> None:
    """Integrate the members of a prepared configuration and write the run directory."""
    config = prepared.config
    start = config.seed or 0
    with place(out, "ensemble", overwrite) as (directory, staged):
        began = time.perf_counter()
        with bar(json or quiet) as progress:
            found = ensemble(config, range(start, start + config.ensemble), progress=progress)
        seconds = time.perf_counter() - began
        summary = saved.summarise(found, seconds, config.tables(), found.about["rtol"])
        write(staged, found, prepared, summary)
    if figures:
        attempted(lambda: saved.draw(directory), f"`ntkflow plot {directory}` draws it")
    if json:
        print(files.dump_json(summary))
    elif not quiet:
        print_summary(summary)
        print(f"Run written to {directory}")
    if len(found.failed) == len(found):
        raise SolveError(f"none of {len(found)} members reached t_end: {found.members[0].reason.sentence}")


def write(staged: Path, found: Ensemble, prepared: Prepared, summary: Json) -> None:
    """Write config.toml, which replays the ensemble from the directory alone, summary.json and ensemble.npz."""
    saved.write_arrays(staged, found)
    config = prepared.config
    if config.kernel_file is not None:
        files.write_arrays(staged / rundir.KERNEL_FILE, prepared.kernel_arrays)
        config = replace(config, kernel_file=Path(rundir.KERNEL_FILE))
    files.write_toml(staged / "config.toml", {**config.tables(), "record": files.run_versions()})
    files.write_json(staged / "summary.json", summary)


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

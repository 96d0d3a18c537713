"""`ntkflow simulate --ensemble K`: members, quantiles, the figure with bands, and what is written."""

import time
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.table import Table

from ntkflow.cli.printed.output import attempted, bar, number, place
from ntkflow.errors import SolveError
from ntkflow.metrics import neural_collapse
from ntkflow.runs import files, rundir
from ntkflow.runs.border.records import document
from ntkflow.runs.config import SimulateConfig
from ntkflow.runs.ensembles import Ensemble, ensemble
from ntkflow.runs.saved import ensembles as saved
from ntkflow.runs.simulate import Arrays

SHOWN = (
    "loss",
    "E_alignment",
    "p_least",
    "alignment",
    *(name for name in ("NC1", "NC2", "NC3", "NC4") if name in neural_collapse.NAMES),
)


def run_ensemble(
    config: SimulateConfig,
    kernel: Arrays,
    out: Path | None,
    overwrite: bool,
    figures: bool,
    json: bool,
    quiet: bool,
) -> None:
    """Integrate the members of a complete configuration and write the run directory.

    Args:
        config: with every default written out.
        kernel: arrays of a kernel that came from a file.
        out: the directory; None: the next free one.
        overwrite: replace a run there.
        figures: draw the figure.
        json: print the summary alone.
        quiet: print nothing.
    """
    start = config.seed or 0
    with place(out, "ensemble", overwrite) as (directory, staged):
        began = time.perf_counter()
        with bar(json or quiet) as progress:
            found = ensemble(config, range(start, start + config.ensemble), progress=progress)
        seconds = time.perf_counter() - began
        summary = saved.summarise(found, seconds, config.tables(), found.about["rtol"])
        write(staged, found, config, kernel, summary)
    if figures:
        attempted(lambda: saved.draw(directory), f"`ntkflow plot {directory}` draws it")
    if json:
        print(files.dump_json(document(summary)))
    elif not quiet:
        print_summary(summary)
        print(f"Run written to {directory}")
    if len(found.failed) == len(found):
        raise SolveError(f"none of {len(found)} members reached t_end: {found.members[0].reason.sentence}")


def write(
    staged: Path, found: Ensemble, config: SimulateConfig, kernel: Arrays, summary: saved.EnsembleSummary
) -> None:
    """Write config.toml, which replays the ensemble from the directory alone, summary.json and ensemble.npz."""
    saved.write_arrays(staged, found)
    if config.kernel_file is not None:
        files.write_arrays(staged / rundir.KERNEL_FILE, kernel)
        config = replace(config, kernel_file=Path(rundir.KERNEL_FILE))
    files.write_toml(staged / "config.toml", {**config.tables(), "record": files.run_versions()})
    files.write_json(staged / rundir.SUMMARY, document(summary))


def print_summary(summary: saved.EnsembleSummary, console: Console | None = None) -> None:
    """Quantiles at the start and at the end of the main series; on the terminal unless a console is given."""
    sizes, solver, members = summary.sizes, summary.solver, summary.ensemble
    console = console or Console(highlight=False)
    layers = summary.widths
    what = f"linear layers of {', '.join(map(str, layers))} features" if layers else ""
    of = (
        ""
        if sizes is None
        else f"C = {sizes.C} classes, m = {sizes.m} per class, {what or f'n = {sizes.n} features'}: "
    )
    console.print(f"{of}{members.members} members, seeds {members.seeds[0]} to {members.seeds[-1]}")
    low, _, high = (f"{100 * level:g} %" for level in summary.levels)
    grid = Table(show_header=True, box=None, pad_edge=False)
    for title in ("", "start: median", low, high, "end: median", low, high):
        grid.add_column(title, justify="right" if title else "left", no_wrap=True)
    for name in (name for name in SHOWN if name in summary.quantiles):
        ends = summary.quantiles[name]
        grid.add_row(name, *(number(values[i]) for values in (ends.initial, ends.final) for i in (1, 0, 2)))
    console.print(grid)
    engines = ", ".join(f"{name} {count}" for name, count in solver.engines.items())
    console.print(
        f"\nDrift of {'Q_1 .. Q_L' if layers else 'E'} at most {number(summary.drift)}. To t = {number(summary.t_end)} in "
        f"{solver.seconds:.1f} s; {solver.steps.median:.0f} steps a member; engines: {engines}."
    )
    for seed, sentence in members.failed.items():
        console.print(f"seed {seed} failed: {sentence}")

"""`ntkflow simulate --widths n_1,...,n_L` and `ntkflow theory --widths`: features of linear layers, whose kernel moves."""

from json import loads
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ntkflow._types import Document, Json
from ntkflow.cli.printed import table
from ntkflow.cli.printed.output import attempted, bar, number, place
from ntkflow.errors import InputError
from ntkflow.problem.kernels import KAPPAS, kernel_files
from ntkflow.problem.layers.problem import LayeredProblem
from ntkflow.runs import files, rundir
from ntkflow.runs.border.records import document
from ntkflow.runs.config import SimulateConfig
from ntkflow.runs.layered import (
    LayeredSizesRow,
    LayeredSummary,
    OutcomeRow,
    layered_sizes,
    prepare_layers,
    run_layers,
)
from ntkflow.runs.saved import layers as saved
from ntkflow.theory.layers.prediction import predict_layers

# Series of the printed table, with words.
SHOWN = {
    "loss": "loss (sum over samples)",
    "p_least": "least fitted contrast",
    "NC1": "NC1 within-class deviation, feature by feature",
    "NC2": "NC2 distance from the simplex ETF",
    "NC3": "NC3 distance from self-duality",
    "NC4": "NC4 nearest-mean agreement",
    "kappa_d": "kappa_d of the mean kernel",
    "kappa_c": "kappa_c",
    "kappa_n": "kappa_n",
    "mu_single_W": "mu_single, W-weighted",
    "mu_class_W": "mu_class, W-weighted",
    "alignment": "alignment with the labels",
    "block_residual": "block residual",
    "off_neuron": "off-neuron part",
}


def run(
    config: SimulateConfig, out: Path | None, overwrite: bool, figures: bool, json: bool, quiet: bool
) -> None:
    """Integrate linear layers, print and write the run directory."""
    problem, complete = prepare_layers(config)
    if out is not None and not overwrite and _is_complete(out, complete, problem):
        if not quiet:
            _print(saved.read_summary(out), json)
        if not (quiet or json):
            print(f"{out} is already complete; --overwrite runs it again")
        return
    if complete.ensemble > 1:
        from ntkflow.cli.ensemble import run_ensemble

        kernel = kernel_files.arrays_of(problem.kernel, problem.sizes)
        run_ensemble(complete, kernel, out, overwrite, figures, json, quiet)
        return
    with place(out, "simulate", overwrite) as (directory, staged):
        with bar(json or quiet) as progress:
            solution = run_layers(problem, complete, progress)
        summary = saved.write(staged, solution, complete.tables())
    if figures:
        attempted(lambda: saved.draw(directory), f"`ntkflow plot {directory}` draws it")
    if json or not quiet:
        _print(summary, json)
    if not (json or quiet):
        print(f"Run written to {directory}")


def theory(config: SimulateConfig, json: bool) -> None:
    """What is said beforehand."""
    problem, _ = prepare_layers(config)
    predicted = predict_layers(problem)
    sizes, kernel = layered_sizes(problem), problem.kernel.as_dict()
    if json:
        print(files.dump_json({"sizes": document(sizes), "kernel": kernel, "predicted": predicted}))
        return
    console = Console(highlight=False)
    _head(console, sizes, kernel)
    _beforehand(console, predicted)


def print_summary(summary: LayeredSummary, console: Console | None = None) -> None:
    """What was run, what happened, and what was said of it; on the terminal unless a console is given."""
    console = console or Console(highlight=False)
    _head(console, summary.sizes, summary.kernel)
    grid = Table(show_header=True, header_style="bold", box=None, pad_edge=False)
    for name in ("", "start", "end"):
        grid.add_column(name, justify="left" if not name else "right", no_wrap=True)
    for name, words in SHOWN.items():
        if name in summary.series:
            ends = summary.series[name]
            grid.add_row(words, number(ends.start), number(ends.end))
    gap = summary.invariants.gap
    grid.add_row("Q_1 .. Q_L off their law", "", number(gap))
    console.print(grid)
    _beforehand(console, summary.predicted)
    if summary.compared:
        console.print(Text("\nHow the run compares", style="bold"))
        pairs = [
            (name, f"off the prediction by {number(value)}, relative")
            for name, value in summary.compared.items()
        ]
        table.print_pairs(console, pairs)
    if summary.outcome is not None:
        console.print(Text(_outcome(summary, summary.outcome)))
    solver = summary.solver
    console.print(
        Text(
            f"\nStopped at t = {number(summary.t_end)}: {summary.stop_reason.sentence}.\n"
            f"{solver.engine} on the {solver.form} form: {solver.steps} steps in {solver.seconds:.2f} s; "
            f"{solver.because}."
        )
    )


def _outcome(summary: LayeredSummary, found: OutcomeRow) -> str:
    """What became of the run, beside what was foretold."""
    if found.agrees is None:
        foretold = "nothing to hold against what was foretold"
    else:
        foretold = (
            "as was foretold" if found.agrees else f"foretold was: {summary.predicted['verdict']['outcome']}"
        )
    return f"\nIn the end: {found.outcome}, {found.contrasts} of {summary.sizes.C - 1} contrasts fitted; {foretold}."


def _head(console: Console, sizes: LayeredSizesRow, kernel: Document) -> None:
    widths = ", ".join(map(str, sizes.widths))
    console.print(
        Text(
            f"C = {sizes.C} classes, m = {sizes.m} per class, linear layers of {widths} features",
            style="bold",
        )
    )
    blocks = kernel["rung"] == "block"
    kappas = ", ".join(f"{name} = {kernel[name]:.10g}" for name in KAPPAS) if blocks else f"{kernel['rung']}"
    console.print(Text(f"kernel of the inputs: {kappas}", style="bold"))


def _beforehand(console: Console, predicted: Document) -> None:
    console.print(Text("\nWhat the theory says of this run beforehand", style="bold"))
    pairs = [(str(name), str(sentence)) for name, sentence in predicted["sentences"]]
    found: Json | None = predicted["rates"]
    if found:
        each = "; ".join(f"{name} {number(rate)}" for name, rate in found.items())
        pairs.append(("rates", f"{each}, at the balanced collapse"))
    table.print_pairs(console, pairs)


def _print(summary: LayeredSummary, json: bool) -> None:
    if json:
        print(files.dump_json(document(summary)))
    else:
        print_summary(summary)


def _is_complete(out: Path, complete: SimulateConfig, problem: LayeredProblem) -> bool:
    """Whether the finished run of this configuration lies there.

    Raises:
        InputError: a run of linear layers of another configuration does.
    """
    if not ((out / rundir.SUMMARY).is_file() and (out / saved.LAYERS).is_file()):
        return False
    before, now = saved.read_summary(out).config or {}, loads(files.dump_json(complete.tables()))
    for name, content in now.items():
        for key, value in content.items():
            if before.get(name, {}).get(key) != value:
                rule = f"exists already, and was made with another {key}"
                raise InputError("out", out, rule, "choose another directory or pass --overwrite")
    # A file of the same name may hold another state today.
    if not np.array_equal(saved.load_layers(out, problem.loss).problem.state.pack(), problem.state.pack()):
        rule = "exists already, and was made from another initial state"
        raise InputError("out", out, rule, "choose another directory or pass --overwrite")
    return True

"""`ntkflow simulate`: parse, solve, print, write."""

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import typer

from ntkflow import config as configuration
from ntkflow import rundir, store
from ntkflow.cli import table
from ntkflow.cli.drawing import Drawer
from ntkflow.config import SimulateConfig
from ntkflow.errors import InputError
from ntkflow.integrate import Progress
from ntkflow.simulate import Prepared, prepare, run
from ntkflow.summary import summarise

SIZES, KERNEL, START, FLOW, STEPS, STOPPING, NUMERICS, OUTPUT = (
    "Sizes",
    "Kernel",
    "Initial state",
    "Flow",
    "Discrete steps",
    "Stopping",
    "Numerics",
    "Output",
)


def simulate(
    classes: int = typer.Option(
        None, "--classes", "-C", help="Classes C. [default: 10]", rich_help_panel=SIZES
    ),
    per_class: str = typer.Option(
        None,
        "--per-class",
        "-m",
        help="Samples per class m; one count per class when imbalanced, as 3,4,5. [default: 12]",
        rich_help_panel=SIZES,
    ),
    features: int = typer.Option(
        None, "--features", "-n", help="Last-layer features n. [default: 64]", rich_help_panel=SIZES
    ),
    kappa_d: float = typer.Option(
        None, help="Kernel of a sample with itself. [default: 1]", rich_help_panel=KERNEL
    ),
    kappa_c: float = typer.Option(None, help="Kernel within a class. [default: 0.5]", rich_help_panel=KERNEL),
    kappa_n: float = typer.Option(
        None, help="Kernel between classes. [default: 0.1]", rich_help_panel=KERNEL
    ),
    rung: str = typer.Option(
        None,
        help="Rung of the kernel ladder to read from the kernel or state file: block, class-block, sample, kronecker, "
        "matrix-block, tensor or scheduled. [default: the most general one there]",
        rich_help_panel=KERNEL,
    ),
    kernel_file: Path = typer.Option(None, help="Arrays of a kernel (.npz).", rich_help_panel=KERNEL),
    init: str = typer.Option(
        None,
        help="gaussian, relu, balanced, balanced-centred, balanced-contrast or equal-bias. [default: balanced-contrast]",
        rich_help_panel=START,
    ),
    scale: float = typer.Option(None, help="Scale of the initial state. [default: 1]", rich_help_panel=START),
    seed: int = typer.Option(None, help="Seed of the initial state. [default: 0]", rich_help_panel=START),
    state: Path = typer.Option(None, help="Start from a state file (.npz) instead.", rich_help_panel=START),
    beta: float = typer.Option(
        None, help="Initial bias of every class, with --init equal-bias.", rich_help_panel=START
    ),
    loss: str = typer.Option(None, help="mse or cross-entropy. [default: mse]", rich_help_panel=FLOW),
    decay_w: float = typer.Option(
        None, help="Weight decay on W, per flow time. [default: 0]", rich_help_panel=FLOW
    ),
    decay_h: float = typer.Option(None, help="Decay on the features H. [default: 0]", rich_help_panel=FLOW),
    decay_b: float = typer.Option(None, help="Decay on the biases b. [default: 0]", rich_help_panel=FLOW),
    step_size: float = typer.Option(
        None,
        help="Gradient descent with this step on the sum loss instead of the flow.",
        rich_help_panel=STEPS,
    ),
    momentum: float = typer.Option(None, help="Momentum of the steps. [default: 0]", rich_help_panel=STEPS),
    nesterov: bool = typer.Option(
        None, "--nesterov/--heavy-ball", help="Kind of momentum. [default: heavy-ball]", rich_help_panel=STEPS
    ),
    batch_per_class: int = typer.Option(
        None, help="Samples per class in a minibatch. [default: all]", rich_help_panel=STEPS
    ),
    batch_seed: int = typer.Option(None, help="Seed of the minibatches. [default: 0]", rich_help_panel=STEPS),
    t_end: float = typer.Option(None, help="End time, flow time of the sum loss.", rich_help_panel=STOPPING),
    stop_nc1: float = typer.Option(
        None, help="Stop below this NC1; 0: never. [default: 1e-8]", rich_help_panel=STOPPING
    ),
    stop_loss: float = typer.Option(
        None, help="Stop below this loss; 0: never. [default: 0]", rich_help_panel=STOPPING
    ),
    stationarity: float = typer.Option(
        None,
        help="Stop when the state moves less than this; 0: never. [default: 1e-10]",
        rich_help_panel=STOPPING,
    ),
    rtol: float = typer.Option(
        None, help="Bound on the drift of E. [default: 1e-8]", rich_help_panel=NUMERICS
    ),
    engine: str = typer.Option(None, help="Integrator, or auto. [default: auto]", rich_help_panel=NUMERICS),
    form: str = typer.Option(None, help="thin, raw or auto. [default: auto]", rich_help_panel=NUMERICS),
    config: Path = typer.Option(
        None, help="Replay a config.toml; other options override it.", rich_help_panel=OUTPUT
    ),
    out: Path = typer.Option(
        None, help="Run directory. [default: the next free runs/simulate-NNN]", rich_help_panel=OUTPUT
    ),
    overwrite: bool = typer.Option(
        False, "--overwrite", help="Replace an existing run directory.", rich_help_panel=OUTPUT
    ),
    figures: bool = typer.Option(True, help="Draw the figure.", rich_help_panel=OUTPUT),
    json: bool = typer.Option(
        False, "--json", help="Print the summary alone, as JSON.", rich_help_panel=OUTPUT
    ),
    quiet: bool = typer.Option(
        False, "--quiet", "-q", help="Print nothing but errors.", rich_help_panel=OUTPUT
    ),
) -> None:
    """Integrate the block-kernel flow (Theorem 5.1) from a seeded or measured state.

    Prints what happened beside what the theory predicts and writes a run directory: config.toml,
    summary.json, trajectory.npz, states and the figure.
    """
    given = {
        name: value
        for name, value in locals().items()
        if name in {f for t in configuration.TABLES.values() for f in t}
    }
    given |= {"per_class": _counts(per_class)}
    with ExitStack() as stack:
        directory = out if out is not None else rundir.next_free(Path("runs"), "simulate")
        store.refuse_existing(directory, overwrite)
        drawer = stack.enter_context(Drawer()) if figures else None
        prepared = _prepare(config, given)
        with _progress(silent=json or quiet) as progress:
            solution = run(prepared, progress)
        with store.staged_directory(directory, overwrite) as staged:
            rundir.write_trajectory(staged, solution)
            if drawer is not None:
                drawer.start(staged)
            summary = summarise(solution, prepared)
            rundir.write_run(staged, prepared, solution, summary)
            if json:
                print(store.dump_json(summary))
            elif not quiet:
                table.print_summary(summary)
            if drawer is not None:
                drawer.wait()
        if not (json or quiet):
            print(f"Run written to {directory}")


def _prepare(config: Path | None, given: dict[str, object]) -> Prepared:
    base = SimulateConfig()
    if config is not None:
        base = configuration.from_tables(store.read_toml(config), config.parent)
    complete = base.updated(given)
    measured = None if complete.state is None else store.read_state(complete.state)
    arrays = (
        None if complete.kernel_file is None else store.read_arrays(complete.kernel_file, "kernel_file")[0]
    )
    return prepare(complete, measured, arrays)


def _counts(text: str | None) -> int | tuple[int, ...] | None:
    """`12` or `3,4,5`."""
    if text is None:
        return None
    try:
        counts = tuple(int(word) for word in text.split(","))
    except ValueError:
        raise InputError(
            "--per-class", text, "must be a whole number, or one per class", "as 12 or 3,4,5"
        ) from None
    return counts[0] if len(counts) == 1 else counts


@contextmanager
def _progress(silent: bool) -> Iterator[Progress | None]:
    """A progress bar over decades of flow time, on terminals only; it vanishes when the run is done."""
    if silent or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("integrating"),
        BarColumn(),
        TextColumn("t = {task.fields[t]:.4g}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=1.0, t=0.0)
        yield lambda t, fraction: bar.update(task, completed=_decades_done(fraction), t=t)


def _decades_done(fraction: float) -> float:
    """Progress that moves evenly in log time, from 1e-4 of the horizon on."""
    from math import log10

    return max(0.0, 1 + log10(max(fraction, 1e-4)) / 4)

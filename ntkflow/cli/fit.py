"""`ntkflow fit`: the kernel constants that explain an observed trajectory."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ntkflow._types import Json
from ntkflow.cli import observations
from ntkflow.cli.printed.output import number
from ntkflow.errors import InputError
from ntkflow.fitting import Fit, Observed
from ntkflow.fitting import fit as estimate
from ntkflow.runs import files


def fit(
    run: Annotated[
        Path,
        typer.Argument(
            help="Trajectory (.npz with times, H, W, b, labels), a folder of state files, or a run directory."
        ),
    ],
    kind: Annotated[str, typer.Option(help="block, class-block or schedule.")] = "block",
    knots: Annotated[
        str | None,
        typer.Option(
            help="Times of a schedule's knots, as 0,1.5,3. (default: first, middle, last observation)"
        ),
    ] = None,
    start: Annotated[float | None, typer.Option("--from", help="Leave out what was observed before.")] = None,
    end: Annotated[float | None, typer.Option("--to", help="Leave out what was observed after.")] = None,
    initial: Annotated[
        str, typer.Option(help="noisy: the first state is observed like the others; exact: it is known.")
    ] = "noisy",
    rtol: Annotated[float, typer.Option(help="Relative tolerance of the simulations.")] = 1e-8,
    train_bias: Annotated[
        bool,
        typer.Option(
            "--train-bias/--no-train-bias", help="Whether b moves; no: a head without biases, or held ones."
        ),
    ] = True,
    json: Annotated[bool, typer.Option("--json", help="Print the result alone, as JSON.")] = False,
) -> None:
    """Estimate kappa_d, kappa_c, kappa_n (or class-dependent, or time-dependent ones) from (H, W, b) at some times.

    Time is that of the sum loss (4). Prints estimates with standard errors, and warns of what the data cannot tell.
    """
    observed = observations.read(run)
    if start is not None or end is not None:
        observed = observed.window(start, end)
    found = estimate(observed, kind, knots=_numbers(knots), initial=initial, rtol=rtol, train_bias=train_bias)
    if json:
        print(files.dump_json(_report(found, observed)))
        return
    _print(found, observed)


def _numbers(text: str | None) -> Sequence[float] | None:
    if text is None:
        return None
    try:
        return [float(word) for word in text.split(",")]
    except ValueError:
        raise InputError("--knots", text, "must be numbers", "as 0,1.5,3") from None


def _report(found: Fit, observed: Observed) -> Json:
    times = observed.times
    window = {"states": len(times), "from": float(times[0]), "to": float(times[-1])}
    return {"sizes": observed.sizes.as_dict(), "observed": window, **found.as_dict()}


def _print(found: Fit, observed: Observed) -> None:
    console = Console(highlight=False)
    s, times = observed.sizes, observed.times
    console.print(
        Text(
            f"{found.kind} kernel from {len(times)} states, t = {number(float(times[0]))} to "
            f"{number(float(times[-1]))}; C = {s.C}, m = {s.m}, n = {s.n}",
            style="bold",
        )
    )
    grid = Table(show_header=True, header_style="bold", box=None, pad_edge=False)
    for name in ("", "estimate", "standard error", "linear start"):
        grid.add_column(name, justify="right" if name else "left", no_wrap=True)
    for name, value in found.estimates.items():
        known = value.value == value.value
        cells = (f"{value.value:.8g}", f"{value.error:.2g}") if known else ("-", "not identifiable")
        grid.add_row(name, *cells, number(found.start[name]))
    console.print(grid)
    console.print(
        Text(
            f"\nLeft unexplained: {number(found.misfit)} of the motion; noise per entry {number(found.noise)}; "
            f"condition {number(found.condition)}; {found.evaluations} simulations."
        )
    )
    for warning in found.warnings:
        console.print(Text(f"warning: {warning}", style="yellow"))

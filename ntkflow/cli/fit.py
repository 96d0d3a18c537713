"""`ntkflow fit`: the kernel constants that explain an observed trajectory."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ntkflow._types import Json
from ntkflow.cli import options
from ntkflow.cli.observed import features
from ntkflow.cli.observed import layers as layered
from ntkflow.cli.observed.layers import ObservedLayers
from ntkflow.cli.printed.output import number
from ntkflow.errors import InputError
from ntkflow.fitting import Fit, Observed
from ntkflow.fitting import fit as estimate
from ntkflow.fitting.layers import fit_layers
from ntkflow.runs import files
from ntkflow.runs.border.schema import flag

# What is said of the flow of layers; of features it is always the same.
FLOW = ("loss", "label_smoothing", "decay_layers", "decay_w", "decay_b")


@options.of_simulations((), besides=("widths", *FLOW))
def fit(
    given: Json,
    run: Annotated[
        Path,
        typer.Argument(
            help="Trajectory (.npz with times, H, W, b, labels; of layers V2 .. VL too), folder of state files, or run directory."
        ),
    ],
    kind: Annotated[
        str | None,
        typer.Option(help="block, class-block or schedule; of layers the inputs' blocks. (default: block)"),
    ] = None,
    knots: Annotated[
        str | None,
        typer.Option(
            help="Times of a schedule's knots, as 0,1.5,3. (default: first, middle, last observation)"
        ),
    ] = None,
    start: Annotated[float | None, typer.Option("--from", help="Leave out what was observed before.")] = None,
    end: Annotated[float | None, typer.Option("--to", help="Leave out what was observed after.")] = None,
    initial: Annotated[
        str | None,
        typer.Option(
            help="noisy: the first state is observed like the others; exact: it is known. (default: noisy, of layers exact)"
        ),
    ] = None,
    rtol: Annotated[
        float | None,
        typer.Option(help="Relative tolerance of the simulations. (default: 1e-8, of layers 1e-7)"),
    ] = None,
    train_bias: Annotated[
        bool,
        typer.Option(
            "--train-bias/--no-train-bias", help="Whether b moves; no: a head without biases, or held ones."
        ),
    ] = True,
    json: Annotated[bool, typer.Option("--json", help="Print the result alone, as JSON.")] = False,
) -> None:
    """Estimate kappa_d, kappa_c, kappa_n (or class-dependent, or time-dependent ones) from (H, W, b) at some times.

    Of linear layers the constants are those of the inputs' kernel, under which the layers' own moves by itself.
    Time is that of the sum loss (4). Prints estimates with standard errors, and warns of what the data cannot tell.
    """
    if given["widths"] is not None or layered.holds_layers(run):
        plain = {"--kind": kind, "--knots": knots, "--no-train-bias": None if train_bias else "given"}
        if initial not in (None, "exact"):
            plain["--initial"] = initial
        for name, value in plain.items():
            if value is not None and (name, value) != ("--kind", "block"):
                raise InputError(name, value, "has no meaning for linear layers", "drop it")
        _fit_layers(run, given, (start, end), rtol, json)
        return
    for name in FLOW:
        if given[name] is not None:
            rule = "has no meaning without linear layers: the flow of features is that of the squared error without decay"
            raise InputError(flag(name), given[name], rule, "drop it, or give --widths too")
    observed = features.read(run)
    if start is not None or end is not None:
        observed = observed.window(start, end)
    found = estimate(
        observed, kind or "block", knots=_numbers("--knots", knots), initial=initial or "noisy", rtol=rtol or 1e-8,
        train_bias=train_bias,
    )  # fmt: skip
    _tell(found, observed, json)


def _fit_layers(
    run: Path, given: Json, window: tuple[float | None, float | None], rtol: float | None, json: bool
) -> None:
    """Fit the inputs' kernel of linear layers."""
    observed = layered.read(run, {name: given[name] for name in ("widths", *FLOW) if given[name] is not None})
    if window != (None, None):
        observed = observed.window(*window)
    found = fit_layers(
        observed.states,
        observed.times,
        observed.sizes,
        loss=observed.loss,
        decay=observed.decay,
        rtol=rtol or 1e-7,
    )
    _tell(found, observed, json)


def _numbers(name: str, text: str | None) -> Sequence[float] | None:
    if text is None:
        return None
    try:
        return [float(word) for word in text.split(",")]
    except ValueError:
        raise InputError(name, text, "must be numbers", "as 0,1.5,3") from None


def _tell(found: Fit, observed: Observed | ObservedLayers, json: bool) -> None:
    """Print what was found, for people or as JSON."""
    if json:
        print(files.dump_json(_report(found, observed)))
    else:
        _print(found, observed)


def _report(found: Fit, observed: Observed | ObservedLayers) -> Json:
    times = observed.times
    window = {"states": len(times), "from": float(times[0]), "to": float(times[-1])}
    sizes = observed.sizes.as_dict()
    if isinstance(observed, ObservedLayers):
        sizes["widths"] = list(observed.states[0].widths)
    return {"sizes": sizes, "observed": window, **found.as_dict()}


def _print(found: Fit, observed: Observed | ObservedLayers) -> None:
    console = Console(highlight=False)
    s, times = observed.sizes, observed.times
    if isinstance(observed, ObservedLayers):
        kernel = "kernel of the inputs"
        width = f"linear layers of {', '.join(map(str, observed.states[0].widths))} features"
    else:
        kernel, width = f"{found.kind} kernel", f"n = {s.n}"
    console.print(
        Text(
            f"{kernel} from {len(times)} states, t = {number(float(times[0]))} to "
            f"{number(float(times[-1]))}; C = {s.C}, m = {s.m}, {width}",
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

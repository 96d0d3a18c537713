"""`ntkflow validate kernels`: the features' NTK at snapshots of a run."""

from typing import TYPE_CHECKING

import typer

from ntkflow.cli.ends import resumable
from ntkflow.cli.printed.output import attempted
from ntkflow_validation.cli import options
from ntkflow_validation.cli.finish import tell, written
from ntkflow_validation.cli.progress import Bar, progress

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ntkflow._types import Json
    from ntkflow_validation.config.config import KernelConfig
    from ntkflow_validation.kernels import Measurement
    from ntkflow_validation.kernels.forecast import Forecast
    from ntkflow_validation.pipeline.summary import Summary
    from ntkflow_validation.runs.rundir import RunDirectory

# Seconds below which how long it will take is not said beforehand.
WORTH_SAYING = 10.0

FROM = typer.Option(None, "--from-snapshot", help="A step to measure besides the run's own choice.")
FULL = typer.Option(False, "--full", help="Also output NTK, row space and Rayleigh quotients.")
QUANTITY = typer.Option(
    None,
    "--quantity",
    help="What to measure besides: outputs, row-space, rayleigh, pair-norms, output-pair-norms, matrix, row-matrix, "
    "tensor, output-tensor, class-kernels, row-class-kernels; repeat.",
)
OWN = "  [default: the run's]"
METHOD = typer.Option(
    None,
    "--method",
    help=f"auto, gram, class-sums, probes, sign-probes or orthogonal-probes.{OWN}",
    show_default=False,
)
MEMORY = typer.Option(
    None, "--memory", help=f"What the measurement may use, as 2GiB.{OWN}", show_default=False
)
NEURONS = typer.Option(
    None, "--neurons", help=f"Only the first so many neurons; 0 for all.{OWN}", show_default=False
)
SAMPLES = typer.Option(
    None,
    "--samples",
    help=f"Only the first so many samples of each class; 0 for all.{OWN}",
    show_default=False,
)
PROBES = typer.Option(
    None,
    "--probes",
    help=f"Random directions, for the methods that use them and for norms over pairs.{OWN}",
    show_default=False,
)
BN = typer.Option(
    None, "--bn", help=f"Batch normalisation: eval, recalibrated or batch.{OWN}", show_default=False
)
FIGURE = typer.Option(
    False,
    "--figure",
    help="Also draw figures/kernels.png: kernels, norms over pairs, alignment and block residual by epoch.",
)
OVERWRITE = typer.Option(False, "--overwrite", help="Replace measurements made with other settings.")


@resumable
def kernels(
    run: options.Run = None,
    from_snapshot: int | None = FROM,
    data_dir: options.DataDir = None,
    full: bool = FULL,
    quantity: list[str] | None = QUANTITY,
    method: str | None = METHOD,
    memory: str | None = MEMORY,
    neurons: int | None = NEURONS,
    samples: int | None = SAMPLES,
    probes: int | None = PROBES,
    bn: str | None = BN,
    figure: bool = FIGURE,
    overwrite: bool = OVERWRITE,
    json: options.AsJson = False,
    quiet: options.Quiet = False,
    out: options.OldOut = None,
) -> None:
    """Measure the features' NTK at snapshots of a trained run; those already measured are kept."""
    from ntkflow_validation.kernels.arguments import CHEAP
    from ntkflow_validation.runs.measurement_run import FIGURE_QUANTITIES
    from ntkflow_validation.runs.results import Results
    from ntkflow_validation.sweep.settings import changed

    given = {
        "method": method,
        "memory": memory,
        "neurons": neurons,
        "per_class": samples,
        "probes": probes,
        "bn": bn,
    }
    changes = {f"kernels.{name}": value for name, value in given.items() if value is not None}
    wanted = tuple(quantity) if quantity else CHEAP if full else ()
    wanted += FIGURE_QUANTITIES if figure else ()
    summaries: dict[RunDirectory, Summary] = {}
    lines: list[str] = []
    for found in options.runs_at(run, out):
        options.find_data(found.config, data_dir)
        how = changed(found.config, changes).kernels.with_quantities(*wanted)
        asked = how if changes or wanted or overwrite else None
        with found.locked():
            with progress(json or quiet) as bar:
                said, kernels = _measured(found, from_snapshot, asked, bar, overwrite)
                lines += [*said, *(_draw(found, from_snapshot, kernels) if figure else [])]
            summaries[found] = written(found, json or quiet, Results.of(found, kernels))
    tell(summaries, json, quiet)
    if lines and not (json or quiet):
        typer.echo("\n".join(lines))


def _draw(run: "RunDirectory", step: int | None, kernels: "Mapping[int, Measurement]") -> list[str]:
    from ntkflow_validation.figures.kernel_panes import draw_kernels

    drawn = attempted(lambda: draw_kernels(run, step, measured=kernels), "the same command again draws it")
    return [] if drawn is None else [f"figure: {drawn}"]


def _measured(
    run: "RunDirectory", extra: int | None, how: "KernelConfig | None", bar: Bar, overwrite: bool
) -> "tuple[list[str], dict[int, Measurement]]":
    """Measure; what is said of what was found by settings that were asked for, and everything that was measured."""
    from ntkflow_validation.pipeline.pipeline import kernel_steps
    from ntkflow_validation.runs.measurement_run import measure_steps

    def announce(step: int, forecast: "Forecast") -> None:
        if forecast.seconds > WORTH_SAYING:
            bar.say(f"step {step}: {forecast}")

    lines: list[str] = []
    kept: dict[int, Measurement] = {}
    for step, found, now in measure_steps(
        run, kernel_steps(run, extra), how, bar, overwrite, announce if how else None
    ):
        lines += _found(step, found) if now else [f"step {step}: was measured before"]
        kept |= {} if now else {step: found}
    said = [*lines, f"written to {run.path / 'measurements'}"] if how else []
    return said, run.measurements(kept)


def _found(step: int, found: "Measurement") -> list[str]:
    kind = "random combinations" if "probes" in found.method else "neurons"
    said = found.to_dict()
    return [
        f"step {step}: {found.method}, bn {found.bn}, {found.neurons} {kind} (n = {found.total_neurons}), "
        f"{int(found.counts.sum())} of {int(found.totals.sum())} samples; means over neurons and entries",
        *(
            f"  {family:<10}{_constants(said[family])}"
            for family in ("features", "outputs", "row_space")
            if said[family]
        ),
    ]


def _constants(values: "Json") -> str:
    parts = []
    for name, constant in values.items():
        if isinstance(constant, dict) and constant["value"] is not None:
            error = constant["standard_error"]
            stated = "" if error == 0 else " +- ?" if error is None else f" +- {error:.2g}"
            parts.append(f"{name} {constant['value']:.4g}{stated}")
    if values["block_residual"] is not None:
        parts.append(f"block residual {values['block_residual']:.3f}")
    return "  ".join(parts)

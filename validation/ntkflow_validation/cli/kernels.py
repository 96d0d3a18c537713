"""`ntkflow validate kernels`: the features' NTK at snapshots of a run."""

from typing import TYPE_CHECKING, Any

import typer

from ntkflow.cli.ends import resumable
from ntkflow.cli.printed.output import attempted
from ntkflow_validation.cli import options
from ntkflow_validation.cli.finish import tell, written
from ntkflow_validation.cli.progress import Bar, progress

if TYPE_CHECKING:
    from ntkflow_validation.runs.measurement_run import Settings
    from ntkflow_validation.runs.rundir import RunDirectory

# Seconds below which how long it will take is not said beforehand.
WORTH_SAYING = 10.0

FROM = typer.Option(None, "--from-snapshot", help="A step to measure besides the run's own choice.")
FULL = typer.Option(
    False, "--full", help="Also output NTK, row space, Rayleigh quotients and errors, to measurements/."
)
QUANTITY = typer.Option(
    None,
    "--quantity",
    help="With --full: outputs, row-space, rayleigh, pair-norms, output-pair-norms, matrix, row-matrix, "
    "tensor, output-tensor; repeat.",
)
METHOD = typer.Option(
    "auto", "--method", help="With --full: auto, gram, class-sums, probes, sign-probes or orthogonal-probes."
)
MEMORY = typer.Option("2GiB", "--memory", help="With --full: what the measurement may use.")
NEURONS = typer.Option(None, "--neurons", help="With --full: only the first so many neurons.")
SAMPLES = typer.Option(None, "--samples", help="With --full: only the first so many samples of each class.")
PROBES = typer.Option(
    16,
    "--probes",
    help="With --full: random directions, for the methods that use them and for norms over pairs.",
)
BN = typer.Option("eval", "--bn", help="With --full: batch normalisation: eval, recalibrated or batch.")
FIGURE = typer.Option(
    False,
    "--figure",
    help="Also draw figures/kernels.png: kernels, norms over pairs, alignment and block residual by epoch.",
)
OVERWRITE = typer.Option(
    False, "--overwrite", help="With --full: replace measurements made with other settings."
)


@resumable
def kernels(
    run: options.Run = None,
    from_snapshot: int | None = FROM,
    data_dir: options.DataDir = None,
    full: bool = FULL,
    quantity: list[str] | None = QUANTITY,
    method: str = METHOD,
    memory: str = MEMORY,
    neurons: int | None = NEURONS,
    samples: int | None = SAMPLES,
    probes: int = PROBES,
    bn: str = BN,
    figure: bool = FIGURE,
    overwrite: bool = OVERWRITE,
    json: options.AsJson = False,
    quiet: options.Quiet = False,
    out: options.OldOut = None,
) -> None:
    """Measure the features' NTK at snapshots of a trained run; those already measured are kept."""
    from ntkflow_validation.pipeline.pipeline import measure_run
    from ntkflow_validation.runs.measurement_run import Settings

    named = tuple(quantity) if quantity else None
    documents: dict[RunDirectory, dict[str, Any]] = {}
    lines: list[str] = []
    for found in options.runs_at(run, out):
        options.find_data(found.config, data_dir)
        settings = Settings(method, memory, named, neurons, samples, probes, bn, found.config.seed)
        if figure:
            settings = _for_figure(settings, found)
        elif not full:
            _refuse_ignored(settings, overwrite, found.config.seed)
        with found.locked():
            with progress(json or quiet) as bar:
                measure_run(found, from_snapshot, bar)
                lines += _full(found, from_snapshot, settings, bar, overwrite) if full or figure else []
                lines += _draw(found, from_snapshot) if figure else []
            documents[found] = written(found, json or quiet)
    tell(documents, json, quiet)
    if lines and not (json or quiet):
        typer.echo("\n".join(lines))


def _refuse_ignored(settings: "Settings", overwrite: bool, seed: int) -> None:
    from ntkflow.errors import InputError
    from ntkflow_validation.runs.measurement_run import Settings

    if overwrite or settings != Settings(seed=seed):
        raise InputError("full", False, "the other options say how to measure in full", "add --full")


def _for_figure(settings: "Settings", run: "RunDirectory") -> "Settings":
    """The quantities of every pane, on the samples and neurons of the run's own kernels."""
    from dataclasses import replace

    from ntkflow_validation.runs.measurement_run import FIGURE_QUANTITIES

    own = run.config.kernels
    quantities = tuple(dict.fromkeys((*(settings.quantities or ()), *FIGURE_QUANTITIES)))
    return replace(
        settings,
        quantities=quantities,
        neurons=settings.neurons or own.neurons or None,
        per_class=settings.per_class or own.per_class or None,
    )


def _draw(run: "RunDirectory", step: int | None) -> list[str]:
    from ntkflow_validation.figures.kernel_panes import draw_kernels

    drawn = attempted(lambda: draw_kernels(run, step), "the same command again draws it")
    return [] if drawn is None else [f"figure: {drawn}"]


def _full(
    run: "RunDirectory", extra: int | None, settings: "Settings", bar: Bar, overwrite: bool
) -> list[str]:
    from ntkflow_validation.pipeline.pipeline import kernel_steps, prepare
    from ntkflow_validation.runs.measurement_run import measure_in_full

    def announce(step: int, forecast: Any) -> None:
        if forecast.seconds > WORTH_SAYING:
            bar.say(f"step {step}: {forecast}")

    dataset, network = prepare(run.config)
    lines = []
    for step, found, document in measure_in_full(
        run, kernel_steps(run, extra), dataset, network, settings, bar, overwrite, announce
    ):
        if found is None:
            lines.append(f"step {step}: was measured before")
            continue
        kind = "random combinations" if "probes" in found.method else "neurons"
        lines.append(
            f"step {step}: {found.method}, bn {found.bn}, {found.neurons} {kind} (n = {found.total_neurons}), "
            f"{int(found.counts.sum())} of {int(found.totals.sum())} samples; means over neurons and entries"
        )
        for family in ("features", "outputs", "row_space"):
            values = document[family]
            if values:
                lines.append(f"  {family:<10}" + _constants(values))
    lines.append(f"written to {run.path / 'measurements'}")
    return lines


def _constants(values: dict[str, Any]) -> str:
    parts = []
    for name, constant in values.items():
        if isinstance(constant, dict) and constant["value"] is not None:
            error = constant["standard_error"]
            stated = "" if error == 0 else " +- ?" if error is None else f" +- {error:.2g}"
            parts.append(f"{name} {constant['value']:.4g}{stated}")
    if values["block_residual"] is not None:
        parts.append(f"block residual {values['block_residual']:.3f}")
    return "  ".join(parts)

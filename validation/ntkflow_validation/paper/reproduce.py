"""What a figure of the paper needs, run and drawn: rates first, then the chosen networks over epochs."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from ntkflow.checks import choice
from ntkflow.errors import InputError
from ntkflow.progress import Progress, silent
from ntkflow.sweep.table import Table
from ntkflow_validation.config.config import RunConfig
from ntkflow_validation.config.presets import preset as run_preset
from ntkflow_validation.paper.choose import Selection, select
from ntkflow_validation.paper.draw import draw_figure
from ntkflow_validation.paper.registry import PaperFigure
from ntkflow_validation.runs.measurement_run import FIGURE_QUANTITIES
from ntkflow_validation.sweep.estimate import Estimate, estimate_runs
from ntkflow_validation.sweep.grid import PAPER_INITS, TrainingSweep, of_pair, paper_rates
from ntkflow_validation.sweep.presets import DIGITS, REDUCED_RATES
from ntkflow_validation.sweep.records import find_records
from ntkflow_validation.sweep.settings import changed

# Runs a grid into a directory; the command adds a bar, and workers elsewhere.
RunGrid = Callable[[TrainingSweep, Path], Table]
# Of a kernels figure for which the paper names no rate; in the reduced presets, one at which networks collapse.
DEFAULT_RATE = 0.094


@dataclass(frozen=True)
class Scale:
    """How much of the paper a preset runs.

    Attributes:
        base: the recipe.
        own_pair: whether figures keep their pair, or all show that of the base.
        rates: learning rates; empty: the paper's for the pair.
        snapshots: of the chosen networks, evenly spaced.
        kernels: how many of them are measured.
        kernel_rate: learning rate of kernel figures; 0: the paper's.
    """

    base: RunConfig
    own_pair: bool
    rates: tuple[float, ...]
    snapshots: int
    kernels: int
    kernel_rate: float = 0.0


SCALES: dict[str, Scale] = {
    # Every second epoch, as in the paper.
    "paper": Scale(run_preset("paper"), True, (), 201, 201),
    "paper-small": Scale(run_preset("paper-small"), True, REDUCED_RATES, 61, 31),
    "digits": Scale(DIGITS, False, REDUCED_RATES, 101, 51, kernel_rate=0.33),
}


def scale_named(name: str) -> Scale:
    """The scale of a preset.

    Raises:
        InputError: there is none.
    """
    return SCALES[choice("preset", name, SCALES)]


def base_of(figure: PaperFigure, scale: Scale) -> RunConfig:
    """The recipe on the figure's pair, with its loss and kernel samples."""
    base = of_pair(scale.base, figure.pair) if scale.own_pair else scale.base
    samples = min(figure.samples, base.data.per_class)
    return changed(base, {"training.loss": figure.loss, "kernels.per_class": samples})


def rates_of(figure: PaperFigure, scale: Scale) -> TrainingSweep:
    """Panes f-h: every rate and initialisation, observed at the start and at the end."""
    base = observed(base_of(figure, scale), 2, 2)
    return TrainingSweep(base, rates=scale.rates or paper_rates(figure.pair), inits=PAPER_INITS)


def epochs_of(figure: PaperFigure, scale: Scale, selection: Selection) -> TrainingSweep:
    """Panes a-e, i, j: the chosen networks, trained again and observed throughout."""
    base = observed(base_of(figure, scale), scale.snapshots, scale.kernels)
    both = ((c.init, r.rate) for c in selection.chosen for r in (c.collapsed, c.other) if r is not None)
    return TrainingSweep(base, chosen=tuple(dict.fromkeys(both)))


def kernels_of(figure: PaperFigure, scale: Scale) -> RunConfig:
    """The one network of a kernels figure."""
    rate = scale.kernel_rate or figure.rate or DEFAULT_RATE
    base = changed(base_of(figure, scale), {"training.learning_rate": rate, "model.init": figure.init})
    seen = observed(base, min(scale.snapshots, 9), 5)
    # Long, and after the training an interrupted one goes on inside a step.
    kernels = replace(seen.kernels, while_training=False)
    return replace(seen, kernels=kernels.with_quantities(*FIGURE_QUANTITIES))


def observed(config: RunConfig, snapshots: int, kernels: int) -> RunConfig:
    """Evenly spaced snapshots, and how many of them have their kernel measured."""
    return replace(
        config,
        training=replace(config.training, snapshots=snapshots, spacing="even"),
        kernels=replace(config.kernels, count=kernels, while_training=True),
    )


def estimate_figure(figure: PaperFigure, scale: Scale, workers: int | None, together: int = 1) -> Estimate:
    """Time of all that a figure needs, beforehand: which networks will be chosen does not matter for it."""
    if figure.kind == "kernels":
        return estimate_runs([kernels_of(figure, scale)], 1)
    rates = rates_of(figure, scale)
    base = observed(base_of(figure, scale), scale.snapshots, scale.kernels)
    runs = [cell.run for cell in rates.cells if cell.run is not None] + 2 * len(PAPER_INITS) * [base]
    return estimate_runs(runs, workers, together)


def reproduce(
    figure: PaperFigure, scale: Scale, out: Path | str, run_grid: RunGrid, progress: Progress = silent
) -> list[Path]:
    """Run what a figure needs and draw it; what is there already is kept, so that an interrupted call goes on.

    Args:
        figure: which.
        scale: how much of it.
        out: folder for rates/ and epochs/, or run/, and the figure's files.
        run_grid: runs a grid into a directory.
        progress: called while the one network of a kernels figure is trained and measured.

    Returns:
        The files of the figure.

    Raises:
        InputError: no training of the grid could be completed.
    """
    out = Path(out)
    if figure.kind == "kernels":
        measure_network(kernels_of(figure, scale), out / "run", progress)
        return draw_figure(figure.number, [out / "run"], out)
    rates = rates_of(figure, scale)
    run_grid(rates, out / "rates")
    selection = select(figure, find_records([out / "rates"]))
    epochs = epochs_of(figure, scale, selection)
    paths = [out / "rates"]
    if epochs.chosen:
        run_grid(epochs, out / "epochs")
        paths.append(out / "epochs")
    return [path for raw in (False, True) for path in draw_figure(figure.number, paths, out, raw)]


def measure_network(config: RunConfig, path: Path | str, progress: Progress = silent) -> None:
    """Train one network, or go on with it, and measure everything that a kernels figure shows.

    Raises:
        InputError: it diverged.
    """
    from ntkflow_validation.pipeline.pipeline import measure_run
    from ntkflow_validation.runs.rundir import RunDirectory
    from ntkflow_validation.runs.training_run import Result, train_run

    Path(path).parent.mkdir(parents=True, exist_ok=True)
    run = RunDirectory.create(path, config, resume=True)
    with run.locked():
        outcome = train_run(run, progress)
        if outcome.result is not Result.COMPLETE:
            raise InputError(
                "learning rate", config.training.learning_rate, outcome.message, "choose a smaller one"
            )
        measure_run(run, progress=progress)

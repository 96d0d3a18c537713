"""The directory of a run of linear layers: layers.npz with problem, states and series, summary.json, figure."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ntkflow._types import Json
from ntkflow.dynamics.layers import LayeredFlow
from ntkflow.errors import InputError
from ntkflow.integrate.layers.series import describe
from ntkflow.integrate.layers.solution import LayeredSolution
from ntkflow.integrate.series import TIME_UNIT
from ntkflow.integrate.solution import Stats
from ntkflow.integrate.stopping import Reason
from ntkflow.problem.kernels import KAPPAS, kernel_files
from ntkflow.problem.layers.problem import LayerDecay, LayeredProblem
from ntkflow.problem.losses import Loss, loss_named
from ntkflow.runs import files, rundir
from ntkflow.runs.border import reading
from ntkflow.runs.border.plain import SizesRow
from ntkflow.runs.border.records import document, read_record, record
from ntkflow.runs.layered import LayeredSummary, summarise_layers
from ntkflow.runs.layered_states import named, state_of, write_layers
from ntkflow.runs.pictures.curves import Curves
from ntkflow.runs.pictures.drawing import drawn

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LAYERS = rundir.LAYERS
# What the arrays of the first state and of the kernel are called by in layers.npz, before their own names.
_START, _KERNEL = "start.", "kernel."


def title(solution: LayeredSolution) -> str:
    """One line that says what was run."""
    s, widths = solution.problem.sizes, ", ".join(map(str, solution.problem.widths))
    return f"C = {s.C}, m = {s.m}, layers of {widths}; stopped: {solution.reason.value}"


def save_layers(
    solution: LayeredSolution, directory: Path, overwrite: bool, figures: bool, config: Json | None = None
) -> None:
    """Write a directory that `ntkflow show` and `plot` take, and `nf.load` gives back.

    Raises:
        InputError: something else lies there, or the kernel or the loss has no form in files.
    """
    with files.staged_directory(directory, overwrite, rundir.OWNED) as staged:
        write(staged, solution, config)
        if figures:
            draw(staged)


def write(staged: Path, solution: LayeredSolution, config: Json | None) -> LayeredSummary:
    """Write config.toml, layers.npz and summary.json into an existing directory; returns the summary."""
    summary = summarise_layers(solution, config)
    write_arrays(staged / LAYERS, solution)
    problem, labels = solution.problem, solution.problem.sizes.labels
    replayed: Json = {table: dict(content) for table, content in (config or {}).items()}
    # What came from files is copied in, so that config.toml replays the run from the directory alone.
    if replayed.get("initial", {}).get("state") is not None:
        write_layers(staged / rundir.INITIAL_STATE, problem.state, labels, problem.kernel)
        replayed["initial"]["state"] = rundir.INITIAL_STATE
        replayed["kernel"]["kernel_file"] = None
    elif replayed.get("kernel", {}).get("kernel_file") is not None:
        kernel = kernel_files.arrays_of(problem.kernel, problem.sizes)
        files.write_arrays(staged / rundir.KERNEL_FILE, kernel)
        replayed["kernel"]["kernel_file"] = rundir.KERNEL_FILE
    write_layers(staged / rundir.FINAL_STATE, solution.final, labels, problem.kernel)
    files.write_toml(staged / "config.toml", {**replayed, "record": files.run_versions()})
    files.write_json(staged / rundir.SUMMARY, document(summary))
    return summary


def write_arrays(path: Path, solution: LayeredSolution) -> None:
    """Write layers.npz: series by name, packed states, and the problem they belong to."""
    problem, series = solution.problem, solution.series
    kernel = kernel_files.arrays_of(problem.kernel, problem.sizes)
    header = {
        "title": title(solution),
        "sizes": problem.sizes.as_dict(),
        "L": problem.L,
        "rung": problem.kernel.rung,
        "decay": problem.decay.as_dict(),
        "loss": problem.loss.name,
        "reason": solution.reason.value,
        "stats": solution.stats.as_dict(),
        "time_unit": TIME_UNIT,
        "dims": {"t": ["t"], **{name: ["t"] for name in series}},
        "series": {name: describe(name) for name in series},
    }
    arrays = {"t": solution.times, **series, "packed": solution.packed, "gaps": solution.gaps}
    arrays |= {f"{_START}{name}": value for name, value in named(problem.state).items()}
    arrays |= {f"{_KERNEL}{name}": value for name, value in kernel.items()}
    files.write_arrays(path, arrays, header)


def curves(solution: LayeredSolution) -> Curves:
    """What a figure needs of it."""
    problem = solution.problem
    kappas = problem.kernel.kappas
    settings = {
        "classes": problem.sizes.C,
        "per_class": problem.sizes.m,
        "widths": ", ".join(map(str, problem.widths)),
        **(dict(zip(KAPPAS, kappas, strict=True)) if kappas else {"rung": problem.kernel.rung}),
        "loss": problem.loss.name,
        **{f"decay_{name}": rate for name, rate in problem.decay.as_dict().items()},
    }
    return Curves(
        solution.times, solution.series, title(solution), True, settings, {}, kind="linear layers",
        layers=problem.L,
    )  # fmt: skip


def load_layers(directory: Path, loss: Loss | None = None) -> LayeredSolution:
    """The solution of a directory, its series as they were written.

    Args:
        directory: where it lies.
        loss: of a run with a loss that cannot be imported by name.

    Raises:
        InputError: the file is missing or damaged.
    """
    path, remedy = directory / LAYERS, "run it again"
    t, series, header = rundir.read_series(path)
    arrays, _ = files.read_arrays(path, "run")
    with reading.reading("run", path, "a run of linear layers", remedy):
        sizes = record(SizesRow, header["sizes"]).sizes()
        state, kernel = state_of(path, _under(_START, arrays)), _under(_KERNEL, arrays)
        rates = dict(header["decay"])
        layers = rates.pop("layers")
        decay = LayerDecay(tuple(layers) if isinstance(layers, list) else layers, **rates)
        chosen = loss if loss is not None else loss_named(header["loss"])
        problem = LayeredProblem(sizes, kernel_files.build(kernel, header["rung"]), state, chosen, decay)
        # JSON has no NaN, which the tolerances of discrete steps are.
        costs: Json = {name: math.nan if v is None else v for name, v in header["stats"].items()}
        stats = Stats(**costs)
        flow = LayeredFlow.build(problem, stats.form)
        if arrays["packed"].shape != (len(t), len(flow.start)):
            rule = f"has states of shape {arrays['packed'].shape} for {len(t)} times"
            raise InputError("run", path, rule, remedy)
        solution = LayeredSolution(
            problem, t, arrays["packed"], Reason(header["reason"]), stats, flow, arrays["gaps"]
        )
    # What was drawn and printed, not what this machine would make of the states.
    solution.__dict__["series"] = series
    return solution


def _under(prefix: str, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The arrays whose names begin so, by what follows."""
    return {name.removeprefix(prefix): value for name, value in arrays.items() if name.startswith(prefix)}


def read_summary(directory: Path) -> LayeredSummary:
    """The summary.json of such a run.

    Raises:
        InputError: it is missing or damaged.
    """
    return read_record(directory / rundir.SUMMARY, "run", "a summary", LayeredSummary, "run it again")


def draw(directory: Path, formats: tuple[str, ...] = ("png",)) -> list[Path]:
    """Draw the figure of such a run into its folder `figures`; returns the files.

    Raises:
        InputError: an unknown format, or a damaged file.
    """

    def figure() -> "Figure":
        from ntkflow.runs.pictures.layered_figure import layered_figure

        t, series, header = rundir.read_series(directory / LAYERS)
        with reading.reading("run", directory / LAYERS, "a run of linear layers", "run it again"):
            return layered_figure(t, series, header["title"], int(header["L"]))

    return drawn(directory, "run", formats, figure)

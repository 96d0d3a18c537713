"""The directory of a run of linear layers: layers.npz with problem, states and series, summary.json, figure."""

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
from ntkflow.problem.kernels import kernel_files
from ntkflow.problem.layers.problem import LayerDecay, LayeredProblem
from ntkflow.problem.layers.state import LayeredState
from ntkflow.problem.losses import Loss, loss_named
from ntkflow.problem.sizes import Sizes
from ntkflow.runs import files, rundir
from ntkflow.runs.border import reading
from ntkflow.runs.layered import summarise_layers
from ntkflow.runs.pictures.drawing import drawn

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LAYERS = rundir.LAYERS
# What readers of such a summary.json rely on.
SHAPE = {
    "kind": str,
    "sizes": {"C": int, "m": object, "n": int, "widths": [int]},
    "series": {"*": {"start": reading.NUMBER, "end": reading.NUMBER}},
    "predicted": {"sentences": [object]},
    "compared": {"*": reading.NUMBER},
    "invariants": {"gap": reading.NUMBER, "bound": reading.NUMBER},
    "stop_reason": {"sentence": str},
    "t_end": reading.NUMBER,
    "solver": {"engine": str, "because": str, "form": str, "steps": int, "seconds": float},
}


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


def write(staged: Path, solution: LayeredSolution, config: Json | None) -> Json:
    """Write config.toml, layers.npz and summary.json into an existing directory; returns the summary."""
    summary = summarise_layers(solution, config)
    write_arrays(staged / LAYERS, solution)
    files.write_toml(staged / "config.toml", {**(config or {}), "record": files.run_versions()})
    files.write_json(staged / rundir.SUMMARY, summary)
    return summary


def write_arrays(path: Path, solution: LayeredSolution) -> None:
    """Write layers.npz: series by name, packed states, and the problem they belong to."""
    problem, series = solution.problem, solution.series
    kernel = kernel_files.arrays_of(problem.kernel, problem.sizes)
    s = problem.state
    start = {"H": s.H, "W": s.W, "b": s.b, **{f"V{l}": V for l, V in enumerate(s.V, 2)}}
    start |= {f"c{l}": c for l, c in enumerate(s.c, 1)}
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
    arrays |= {f"start.{name}": value for name, value in start.items()}
    arrays |= {f"kernel.{name}": np.asarray(value) for name, value in kernel.items()}
    files.write_arrays(path, arrays, header)


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
        L = int(header["L"])
        m = header["sizes"]["m"]
        sizes = Sizes(header["sizes"]["C"], tuple(m) if isinstance(m, list) else m, header["sizes"]["n"])
        start = {
            name.removeprefix("start."): value for name, value in arrays.items() if name.startswith("start.")
        }
        state = LayeredState(
            start["H"],
            tuple(start[f"V{l}"] for l in range(2, L + 1)),
            start["W"],
            start["b"],
            tuple(start[f"c{l}"] for l in range(1, L + 1) if f"c{l}" in start),
        )
        found = {
            name.removeprefix("kernel."): value
            for name, value in arrays.items()
            if name.startswith("kernel.")
        }
        rates = dict(header["decay"])
        layers = rates.pop("layers")
        decay = LayerDecay(tuple(layers) if isinstance(layers, list) else layers, **rates)
        chosen = loss if loss is not None else loss_named(header["loss"])
        problem = LayeredProblem(sizes, kernel_files.build(found, header["rung"]), state, chosen, decay)
        stats = Stats(**header["stats"])
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


def read_summary(directory: Path) -> Json:
    """Content of such a run's summary.json.

    Raises:
        InputError: it is missing or damaged.
    """
    return reading.read_json(directory / rundir.SUMMARY, "run", "run it again", SHAPE)


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

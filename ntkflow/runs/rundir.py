"""The run directory of a simulation: config.toml, summary.json, trajectory.npz, states, figures."""

import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ntkflow import checks, views
from ntkflow._types import Floats, Json
from ntkflow.errors import InputError
from ntkflow.integrate.series import DESCRIPTIONS, TIME_UNIT
from ntkflow.runs import config as configuration
from ntkflow.runs import files
from ntkflow.runs.atomic import MARK
from ntkflow.runs.border.reading import misfit, reading
from ntkflow.runs.border.records import document, read_record
from ntkflow.runs.states import STATES, write_states
from ntkflow.runs.summary import Summary

if TYPE_CHECKING:
    from ntkflow.integrate.solution import Solution
    from ntkflow.runs.simulate import Prepared

INITIAL_STATE = "initial_state.npz"
FINAL_STATE = "final_state.npz"
KERNEL_FILE = "kernel.npz"
TRAJECTORY = "trajectory.npz"
SUMMARY = "summary.json"
# Of runs of linear layers: their arrays, and the kind that their summary names.
LAYERS, OF_LAYERS = "layers.npz", "layers"
# All that a run directory may hold; --overwrite replaces nothing else.
OWNED = frozenset(
    {
        "config.toml",
        SUMMARY,
        TRAJECTORY,
        "figures",
        INITIAL_STATE,
        FINAL_STATE,
        KERNEL_FILE,
        "ensemble.npz",
        LAYERS,
        STATES,
    }
)


def title(solution: "Solution") -> str:
    """One line that says what was run."""
    sizes, kernel = solution.problem.sizes, solution.problem.kernel
    words = f"{kernel.rung} kernel"
    if kernel.kappas is not None:
        words = f"kappa = ({', '.join(f'{kappa:.4g}' for kappa in kernel.kappas)})"
    return f"C = {sizes.C}, m = {sizes.m}, n = {sizes.n}, {words}; stopped: {solution.reason.value}"


def write_trajectory(directory: Path, solution: "Solution") -> None:
    """Write trajectory.npz: the times and the named series. It is all that drawing needs."""
    files.write_arrays(directory / TRAJECTORY, {"t": solution.times, **solution.series}, _header(solution))


def write_run(directory: Path, prepared: "Prepared", solution: "Solution", summary: Summary) -> None:
    """Write everything but trajectory and figures into an existing (staged) directory.

    A measured initial state and a kernel from a file are copied in, so that config.toml replays the run from the directory alone.
    """
    config = prepared.config
    problem = solution.problem
    labels = problem.sizes.labels
    if config.state is not None:
        files.write_state(directory / INITIAL_STATE, problem.state, labels, **prepared.kernel_arrays)
        config = replace(config, state=Path(INITIAL_STATE), kernel_file=None)
    elif config.kernel_file is not None:
        files.write_arrays(directory / KERNEL_FILE, prepared.kernel_arrays)
        config = replace(config, kernel_file=Path(KERNEL_FILE))
    files.write_toml(directory / "config.toml", {**config.tables(), "record": files.run_versions()})
    meta = {"t": solution.times[-1]}
    files.write_state(directory / FINAL_STATE, solution.final, labels, problem.blocks, meta)
    write_states(directory / STATES, solution, prepared.config.loss_name)
    files.write_json(directory / SUMMARY, document(summary))


def _header(solution: "Solution") -> Json:
    return {
        "title": title(solution),
        "sizes": solution.problem.sizes.as_dict(),
        "kernel": solution.problem.kernel.as_dict(),
        "E_constant": not solution.E_moves,
        "time_unit": TIME_UNIT,
        "dims": {"t": ["t"], **{name: ["t"] for name in solution.series}},
        "series": {name: DESCRIPTIONS[name] for name in solution.series},
    }


def difference(directory: Path, prepared: "Prepared") -> str | None:
    """The first setting in which a finished run differs from a configuration, with both values; None where none does.

    Files count by what is in them, since a run holds copies under names of its own.

    Raises:
        InputError: there is no finished run, or it cannot be read.
    """
    from ntkflow.runs.simulate import prepare

    if not (directory / SUMMARY).is_file():
        raise InputError("run", directory, "is not a finished run", "choose another directory")
    config = configuration.from_tables(files.read_toml(directory / MARK), directory)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # said when it ran
        found = prepare(config)
    before, now = asdict(found.config), asdict(prepared.config)
    if (before["state"] is None) != (now["state"] is None):
        words = [c.init or "of a state file" for c in (found.config, prepared.config)]
        return f"start ({words[0]}, not {words[1]})"
    for name in configuration.PATHS:
        del before[name], now[name]  # a run from a state file has the kernel's arrays in its copy of that
    for name, value in now.items():
        if before[name] != value:
            return f"{name} ({before[name]}, not {value})"
    state, other = found.problem.state, prepared.problem.state
    for name in ("H", "W", "b"):
        if not np.array_equal(getattr(state, name), getattr(other, name)):
            return f"{name} in the state file"
    return _differing_array(found.kernel_arrays, prepared.kernel_arrays)


def _differing_array(before: Mapping[str, Floats], now: Mapping[str, Floats]) -> str | None:
    for name in sorted({*before, *now}):
        if name not in before or name not in now or not np.array_equal(before[name], now[name]):
            return f"array {name!r} of the kernel"
    return None


@dataclass(frozen=True, eq=False)
class Run:
    """A run read back from its directory.

    Attributes:
        directory: where it lies.
        summary: content of summary.json.
        t: saved times, (T,).
        series: named series, (T,) each.
        header: sizes, kernel, units and meanings.
    """

    directory: Path
    summary: Summary
    t: Floats
    series: dict[str, Floats]
    header: Json

    def to_xarray(self) -> object:
        """An xarray.Dataset with dimension t; needs the extra `ntkflow[xarray]`."""
        coords = {"t": ("t", self.t, {"units": self.header["time_unit"]})}
        return views.dataset(["t"], coords, self.series, self.header["series"], {})

    def __repr__(self) -> str:
        return f"Run({str(self.directory)!r}: {self.header['title']})"


def load_run(directory: Path | str) -> Run:
    """Read a run directory.

    Raises:
        InputError: it does not exist, is not a run of `ntkflow simulate`, or one of its files is damaged.
    """
    directory = Path(directory)
    if not (directory / SUMMARY).is_file():
        raise InputError(
            "run",
            directory,
            "is not a run directory (no summary.json)",
            "give the directory of a finished run",
        )
    if (directory / LAYERS).is_file():
        raise InputError(
            "run", directory, "is a run of linear layers", "use `ntkflow show`, `plot` or nf.load of it alone"
        )
    if (directory / "snapshots").is_dir():
        raise InputError("run", directory, "is a run of `ntkflow validate`", "use `ntkflow validate show`")
    summary = read_record(directory / SUMMARY, "run", "a summary", Summary, "run the simulation again")
    t, series, header = read_series(directory / TRAJECTORY)
    return Run(directory, summary, t, series, header)


def read_series(path: Path, axes: tuple[str, ...] = ("t",)) -> tuple[Floats, dict[str, Floats], Json]:
    """Times and named series of a trajectory, each with the given axes, of which t is the last; and their header.

    Raises:
        InputError: the file cannot be read, or an array is missing or no array of numbers of that shape.
    """
    arrays, header = files.read_arrays(path, "run")
    remedy = "run the simulation again"
    wrong = misfit(header, {"series": {"*": str}, "title": str}, "header")
    names = () if wrong else (*axes, *header["series"])
    wrong = wrong or next((f"lacks {name!r}" for name in names if name not in arrays), None)
    if wrong:
        raise InputError("run", path, wrong, remedy)
    with reading("run", path, "a trajectory", remedy):
        t = checks.times("t", arrays["t"], start=-np.inf)
        shape = tuple(len(arrays[name]) for name in axes)
    for name in header["series"]:
        if arrays[name].dtype.kind not in "fiu" or arrays[name].shape != shape:
            found = f"{name!r} of shape {arrays[name].shape} and type {arrays[name].dtype}"
            raise InputError("run", path, f"has {found} for {len(t)} times", remedy)
    return t, {name: arrays[name] for name in header["series"]}, header

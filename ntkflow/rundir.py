"""The run directory of a simulation: config.toml, summary.json, trajectory.npz, states, figures."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ntkflow import store
from ntkflow._types import Json
from ntkflow.errors import InputError
from ntkflow.kernels import BlockKernel, Kernel
from ntkflow.series import DESCRIPTIONS

if TYPE_CHECKING:
    from ntkflow.simulate import Prepared
    from ntkflow.solution import Solution

INITIAL_STATE = "initial_state.npz"
FINAL_STATE = "final_state.npz"
KERNEL_FILE = "kernel.npz"


def title(solution: "Solution") -> str:
    """One line that says what was run."""
    sizes, kernel = solution.problem.sizes, solution.problem.kernel
    words = f"{kernel.rung} kernel"
    if isinstance(kernel, BlockKernel):
        words = f"kappa = ({kernel.kappa_d:.4g}, {kernel.kappa_c:.4g}, {kernel.kappa_n:.4g})"
    return f"C = {sizes.C}, m = {sizes.m}, n = {sizes.n}, {words}; stopped: {solution.reason.value}"


def write_trajectory(directory: Path, solution: "Solution") -> None:
    """Write trajectory.npz: the times and the named series. It is all that drawing needs."""
    store.write_arrays(
        directory / "trajectory.npz", {"t": solution.times, **solution.series}, _header(solution)
    )


def write_run(directory: Path, prepared: "Prepared", solution: "Solution", summary: Json) -> None:
    """Write everything but trajectory and figures into an existing (staged) directory.

    A measured initial state and a kernel from a file are copied in, so that config.toml replays the run from the directory alone.
    """
    config = prepared.config
    problem = solution.problem
    labels = problem.sizes.labels
    if config.state is not None:
        store.write_state(directory / INITIAL_STATE, problem.state, labels, **prepared.kernel_arrays)
        config = replace(config, state=Path(INITIAL_STATE), kernel_file=None)
    elif config.kernel_file is not None:
        store.write_arrays(directory / KERNEL_FILE, prepared.kernel_arrays)
        config = replace(config, kernel_file=Path(KERNEL_FILE))
    store.write_toml(directory / "config.toml", {**config.tables(), "record": store.run_versions()})
    meta = {"t": solution.times[-1]}
    store.write_state(directory / FINAL_STATE, solution.final, labels, _block(problem.kernel), meta)
    store.write_json(directory / "summary.json", summary)


def _block(kernel: Kernel) -> BlockKernel | None:
    return kernel if isinstance(kernel, BlockKernel) else None


def _header(solution: "Solution") -> Json:
    return {
        "title": title(solution),
        "sizes": solution.problem.sizes.as_dict(),
        "kernel": solution.problem.kernel.as_dict(),
        "time_unit": "flow time of the sum loss 1/2 |W H + b 1^T - Y|_F^2 (eq. 4)",
        "dims": {"t": ["t"], **{name: ["t"] for name in solution.series}},
        "series": {name: DESCRIPTIONS[name] for name in solution.series},
    }


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
    summary: Json
    t: np.ndarray
    series: dict[str, np.ndarray]
    header: Json

    def to_xarray(self) -> object:
        """An xarray.Dataset with dimension t; needs the extra `ntkflow[xarray]`."""
        import xarray

        data = {
            name: (("t",), values, {"description": self.header["series"][name]})
            for name, values in self.series.items()
        }
        return xarray.Dataset(data, coords={"t": ("t", self.t, {"units": self.header["time_unit"]})})


def load_run(directory: Path) -> Run:
    """Read a run directory.

    Raises:
        InputError: it does not exist, is not a run, or one of its files is damaged.
    """
    import json

    summary_file = directory / "summary.json"
    if not summary_file.is_file():
        raise InputError(
            "run",
            directory,
            "is not a run directory (no summary.json)",
            "give the directory of a finished run",
        )
    try:
        summary = json.loads(summary_file.read_text())
    except (OSError, ValueError) as error:
        raise InputError(
            "run", summary_file, f"cannot be read ({error})", "run the simulation again"
        ) from None
    arrays, header = store.read_arrays(directory / "trajectory.npz", "run")
    t = arrays.pop("t")
    return Run(directory, summary, t, arrays, header)


def next_free(parent: Path, stem: str) -> Path:
    """The first of stem-001, stem-002 ... that does not exist in `parent`."""
    number = 1
    while (candidate := parent / f"{stem}-{number:03d}").exists():
        number += 1
    return candidate

"""Observed trajectories of linear layers from files: a saved run, a folder of state files, an .npz of stacked layers."""

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from ntkflow import checks, named
from ntkflow._types import Document, Times
from ntkflow.cli.observed.features import SNAPSHOTS, state_files, time_of
from ntkflow.errors import InputError
from ntkflow.problem.layers.problem import LayerDecay
from ntkflow.problem.layers.state import LayeredState
from ntkflow.problem.losses import SQUARED_ERROR, Loss, loss_named
from ntkflow.problem.sizes import Sizes, repeated
from ntkflow.runs import files, rundir
from ntkflow.runs.border.reading import archive
from ntkflow.runs.border.schema import flag
from ntkflow.runs.config import SCHEMA, SimulateConfig
from ntkflow.runs.layered_states import LayeredStateFile, by_class, is_part, read_layers, state_of
from ntkflow.runs.saved.layers import load_layers

STACKED = "times, H, V2 .. VL, W, b, labels"


@dataclass(frozen=True, eq=False)
class ObservedLayers:
    """States of layers at increasing flow times, samples sorted by class, and the flow that passes them."""

    times: Times
    states: tuple[LayeredState, ...]
    sizes: Sizes
    loss: Loss = SQUARED_ERROR
    decay: LayerDecay = field(default_factory=LayerDecay)

    def window(self, start: float | None, end: float | None) -> "ObservedLayers":
        """The part between two times, both included."""
        low, high = -np.inf if start is None else start, np.inf if end is None else end
        keep = np.flatnonzero((self.times >= low) & (self.times <= high))
        if len(keep) < 2:
            rule = f"leave {len(keep)} of {len(self.times)} states"
            raise InputError("--from, --to", None, rule, "leave two at least")
        return replace(self, times=self.times[keep], states=tuple(self.states[i] for i in keep))


def holds_layers(path: Path) -> bool:
    """Whether a path holds linear layers by what lies there, with V2 or as a run of layers; False where nothing can be read."""
    if path.is_dir():
        if (path / rundir.LAYERS).is_file():
            return True
        found = sorted((path / SNAPSHOTS if (path / SNAPSHOTS).is_dir() else path).glob("*.npz"))
        return bool(found) and not (path / rundir.TRAJECTORY).is_file() and _has_layers(found[0])
    return path.is_file() and _has_layers(path)


def _has_layers(path: Path) -> bool:
    try:
        return files.LAYER in archive(path, "run", lambda _: False)[1]
    except InputError:
        return False  # who reads it says why


def read(path: Path, given: Document) -> ObservedLayers:
    """The observations of layers a path holds, and the flow that passes them.

    A directory is a run of `ntkflow simulate --widths`, of which every saved state is taken, or holds state files of layers
    whose meta has `time` or `t`, itself or in `snapshots/`. A file holds times (T,), H (T, n_1, N), V2 (T, n_2, n_1) ..,
    W (T, C, n_L), b (T, C), labels (N,), perhaps c1 (T, n_1) .. .

    Args:
        path: the file or directory.
        given: options by name: widths that it must have, and of states from files loss, label_smoothing, decay_layers, decay_w,
            decay_b of their flow; a run knows its own.

    Raises:
        InputError: nothing of the kind is there, it does not fit together, or an option contradicts it.
    """
    found = _read(path)
    _refuse_other_widths(found, given)
    return _with_flow(path, found, given)


def _read(path: Path) -> ObservedLayers:
    if path.is_file():
        return _stacked(path)
    if not path.exists():
        raise InputError("run", path, "does not exist", "check the path")
    if (path / rundir.LAYERS).is_file():
        return _simulated(path)
    found = state_files(path)
    read = [read_layers(file) for file in found]
    times = np.array([time_of(file, one.meta) for file, one in zip(found, read, strict=True)])
    _refuse_others(found, read)
    order = np.argsort(times, kind="stable")
    states = tuple(read[i].state for i in order)
    return ObservedLayers(checks.times("times", times[order], start=-np.inf), states, read[0].sizes)


def _refuse_others(paths: list[Path], read: list[LayeredStateFile]) -> None:
    first = read[0]
    for path, one in zip(paths, read, strict=True):
        if one.sizes != first.sizes or not np.array_equal(one.order, first.order):
            raise InputError("run", path, f"has other samples than {paths[0].name}", "use one run's states")
        if one.state.widths != first.state.widths or len(one.state.c) != len(first.state.c):
            raise InputError("run", path, f"has other layers than {paths[0].name}", "use one run's states")


def _simulated(path: Path) -> ObservedLayers:
    solution = load_layers(path)
    if solution.discrete:
        raise InputError("run", path, "is of discrete steps", "fit a flow")
    problem = solution.problem
    states = tuple(solution.state(i) for i in range(len(solution)))
    return ObservedLayers(solution.times, states, problem.sizes, problem.loss, problem.decay)


def _stacked(path: Path) -> ObservedLayers:
    arrays, _ = files.read_arrays(path, "run", lambda name: name == "times" or is_part(name))
    for name in ("times", "H", "W", "b", "labels"):
        if name not in arrays:
            raise InputError("run", path, f"lacks the array {name!r}", f"give {STACKED}")
    times = checks.times("times", arrays.pop("times"), start=-np.inf)
    labels = arrays.pop("labels")
    for name, array in arrays.items():
        if array.ndim == 0 or len(array) != len(times):
            raise InputError(
                name, f"array of shape {array.shape}", f"must have {len(times)} times in front", "stack it"
            )
    made = [
        by_class(state_of(path, {name: array[i] for name, array in arrays.items()}), labels)
        for i in range(len(times))
    ]
    return ObservedLayers(times, tuple(state for state, _, _ in made), made[0][1])


def _refuse_other_widths(found: ObservedLayers, given: Document) -> None:
    if "widths" not in given:
        return
    said, there = SCHEMA.read_setting("--widths", "widths", given["widths"]), found.states[0].widths
    widths = said if isinstance(said, tuple) else (said,)
    if widths != there:
        rule = f"contradicts what was observed, layers of {repeated(there)}"
        raise InputError("--widths", repeated(widths), rule, "give those, or none")


def _with_flow(path: Path, found: ObservedLayers, given: Document) -> ObservedLayers:
    """With the loss and the decay that were said of states that do not say it themselves."""
    said = {name: value for name, value in given.items() if name != "widths"}
    if (path / rundir.LAYERS).is_file():
        for name, value in said.items():
            raise checks.beside(flag(name), value, "a run of layers, which knows its own")
        return found
    if "decay_layers" in said:
        said["decay_layers"] = SCHEMA.read_setting("--decay-layers", "decay_layers", said["decay_layers"])
    flow = SimulateConfig(widths=found.states[0].widths, **said)
    named.search(Path.cwd())
    return replace(
        found,
        loss=loss_named(flow.loss_name),
        decay=LayerDecay(flow.decay_layers, flow.decay_w, flow.decay_b),
    )

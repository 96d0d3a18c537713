"""`save` and `load`: one verb each for whatever has a file."""

import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ntkflow.errors import InputError
from ntkflow.integrate.layers.solution import LayeredSolution
from ntkflow.integrate.solution import Solution
from ntkflow.problem.kernels import Kernel
from ntkflow.problem.kernels.kernel_files import MEASURED
from ntkflow.problem.layers.state import LayeredState
from ntkflow.problem.losses import Loss
from ntkflow.problem.state import State
from ntkflow.runs import files, rundir
from ntkflow.runs.border.reading import archive
from ntkflow.runs.ensembles import Ensemble
from ntkflow.runs.layered_states import read_layers, write_layers
from ntkflow.runs.saved import brought
from ntkflow.runs.saved.ensembles import ARRAYS, load_ensemble, save_ensemble
from ntkflow.runs.saved.layers import LAYERS, load_layers, save_layers
from ntkflow.runs.saved.solutions import load_solution, save_solution

if TYPE_CHECKING:
    from ntkflow.fitting.estimate import Fit
    from ntkflow.runs.saved.brought import Saved

SWEEP_TABLE, SWEEP_SPEC = "table.npz", "sweep.toml"


def save(
    thing: "Solution | LayeredSolution | Ensemble | Fit | State | LayeredState | Saved",
    path: Path | str,
    *,
    overwrite: bool = False,
    figures: bool = False,
    **details: Any,
) -> Path:
    """Write a solution, ensemble, training or table as a directory, a state as a state file, a fit as JSON; returns where.

    What other packages bring, as measurements and comparisons, is written as its own `save` does.

    Args:
        thing: what to write.
        path: the directory or file.
        overwrite: replace what `save` or the command wrote there before; nothing else is ever replaced.
        figures: draw the figure of a solution or an ensemble too, into `figures/`; a training keeps what it has.
        details: of a state file: `labels` (N,), by default those of the `sizes` given instead, and what else
            `ntkflow.runs.files.write_state` takes: kernel, meta, arrays of a kernel; of layers `kernel` and `meta`.

    Raises:
        InputError: something else lies there, or the thing has no file.
    """
    place = Path(path)
    if not isinstance(thing, State | LayeredState) and details:
        raise InputError("save", ", ".join(details), "are details of a state file", "drop them")
    if isinstance(thing, Solution):
        save_solution(thing, place, overwrite, figures)
    elif isinstance(thing, Ensemble):
        save_ensemble(thing, place, overwrite, figures)
    elif isinstance(thing, LayeredSolution):
        save_layers(thing, place, overwrite, figures)
    elif isinstance(thing, State | LayeredState):
        _save_state(thing, place, overwrite, **details)
    elif brought.is_brought(thing) or _is_table(thing):
        thing.save(place, overwrite=overwrite)
    else:
        # Fits need scipy, which runs without one must not wait for.
        from ntkflow.runs.saved.fits import save_fit

        save_fit(thing, place, overwrite)
    return place


def _is_table(thing: object) -> bool:
    # Sweeps stand on a higher floor; the door leads there.
    import ntkflow

    return isinstance(thing, ntkflow.sweep.Table)


def _save_state(state: State | LayeredState, path: Path, overwrite: bool, **details: Any) -> None:
    if path.exists() and not overwrite:
        raise InputError("path", path, "exists", "choose another or pass overwrite=True")
    labels, sizes = details.pop("labels", None), details.pop("sizes", None)
    if labels is None and sizes is None:
        raise InputError("labels", None, "are needed in a state file", "pass labels= or sizes=")
    labels = sizes.labels if labels is None else np.asarray(labels)
    if isinstance(state, LayeredState):
        write_layers(path, state, labels, **details)
    else:
        files.write_state(path, state, labels, **details)


def load(path: Path | str, *, kernel: Kernel | None = None, loss: Loss | None = None) -> Any:
    """What a directory or file holds, as the object that it was.

    | path | result |
    |---|---|
    | run directory of `ntkflow simulate` or `Solution.save` | `Solution` |
    | the same with `--widths`, or `nf.save` of a `LayeredSolution` | `LayeredSolution` |
    | the same with `--ensemble`, or `Ensemble.save` | `Ensemble` |
    | directory of `ntkflow sweep` | `nf.sweep.Table` |
    | state file (.npz) | `ntkflow.runs.files.StateFile`: state, sizes, kernel |
    | state file of linear layers | `ntkflow.runs.layered_states.LayeredStateFile`: state, sizes, arrays of the kernel |
    | JSON of `Fit.save` or `ntkflow fit --json` | `Fit` |

    And of what other packages bring, named by the entry points `ntkflow.load`:

    | path | result |
    |---|---|
    | run directory of `ntkflow validate` or `TrainingRun.save` | `ntkflow_validation.saved.TrainingRun`, with its `.comparison` |
    | its comparison.json, or `LadderComparison.save` | `ntkflow_validation.saved.LadderComparison` |
    | a file of its measurements, or of `Measurement.save` | `ntkflow_validation.kernels.Measurement` |
    | its folder of measurements | the measurements by step, without their largest arrays |
    | directory of `ntkflow validate sweep` | `nf.sweep.Table` |

    Args:
        path: the directory or file.
        kernel: of a run under a kernel of your own rung, which no file can hold.
        loss: of a run with a loss of your own that cannot be imported by name.

    Raises:
        InputError: there is nothing, or nothing of these; a folder of runs is refused with their names.
    """
    place = Path(path)
    if not place.exists():
        raise InputError("path", place, "does not exist", "check the path")
    return _of_directory(place, kernel, loss) if place.is_dir() else _of_file(place)


def _of_directory(place: Path, kernel: Kernel | None, loss: Loss | None) -> object:
    if (place / ARRAYS).is_file():
        return load_ensemble(place)
    if (place / LAYERS).is_file():
        return load_layers(place, loss)
    if (place / rundir.TRAJECTORY).is_file():
        return load_solution(place, kernel, loss)
    # A table has one form, whatever was swept.
    if not (place / SWEEP_TABLE).is_file():
        kind = brought.kind_of(place)
        if kind is not None:
            return kind.load(place)
    if (place / SWEEP_TABLE).is_file() or (place / SWEEP_SPEC).is_file():
        # Sweeps stand on a higher floor; the door leads there.
        import ntkflow

        return ntkflow.sweep.Table.read(place)
    brought.refuse_folder(place)
    return load_solution(place, kernel, loss)  # which says what is missing


def _of_file(place: Path) -> object:
    if zipfile.is_zipfile(place):
        _, names = archive(place, "state", lambda _: False)
        # A measurement with a head is a state file too; who can read all of it does.
        kind = brought.kind_of(place) if any(name.startswith(MEASURED) for name in names) else None
        if kind is None:
            return read_layers(place) if files.LAYER in names else files.read_state(place)
        return kind.load(place)
    kind = None if "estimates" in brought.json_keys(place) else brought.kind_of(place)
    if kind is not None:
        return kind.load(place)
    from ntkflow.runs.saved.fits import load_fit

    return load_fit(place)

"""A fit as one JSON file, and back."""

from pathlib import Path

import numpy as np

from ntkflow._types import Json
from ntkflow.errors import InputError
from ntkflow.fitting.estimate import Fit
from ntkflow.fitting.spread import Estimate
from ntkflow.problem.kernels import KAPPAS, BlockKernel, ClassBlockKernel, Kernel, ScheduledKernel
from ntkflow.runs import files
from ntkflow.runs.border.reading import NUMBER, Shape, read_json, reading

SHAPE: Shape = {
    "kind": str,
    "kernel": {"rung": str},
    "estimates": {"*": {"value": NUMBER, "error": NUMBER}},
    "start": {"*": NUMBER},
    **dict.fromkeys(("noise", "misfit", "condition"), NUMBER),
    "warnings": [str],
    "converged": bool,
    "evaluations": int,
    "train_bias?": bool,
}


def save_fit(found: object, path: Path, overwrite: bool) -> None:
    """Write the numbers of a fit as JSON.

    Raises:
        InputError: it is no fit, or the file exists.
    """
    if not isinstance(found, Fit):
        rule = "has no file of its own"
        raise InputError(
            "thing", type(found).__name__, rule, "give a solution, an ensemble, a fit or a state"
        )
    if path.exists() and not overwrite:
        raise InputError("path", path, "exists", "choose another or pass overwrite=True")
    files.write_json(path, found.as_dict())


def load_fit(path: Path) -> Fit:
    """The fit of a JSON file, of `Fit.save` or of `ntkflow fit --json`.

    Raises:
        InputError: it cannot be read, or is of something else.
    """
    content = read_json(path, "path", "give a file of Fit.save", SHAPE)
    with reading("path", path, "a fit", "give a file of Fit.save"):
        estimates = {
            name: Estimate(_number(e["value"], np.nan), _number(e["error"], np.inf))
            for name, e in content["estimates"].items()
        }
        return Fit(
            kind=content["kind"],
            kernel=_kernel(content["kernel"]),
            estimates=estimates,
            start={name: _number(content["start"][name], np.nan) for name in estimates},
            noise=_number(content["noise"], np.nan),
            misfit=_number(content["misfit"], np.nan),
            condition=_number(content["condition"], np.inf),
            warnings=tuple(content["warnings"]),
            converged=content["converged"],
            evaluations=content["evaluations"],
            train_bias=content.get("train_bias", True),
        )


def _number(value: float | None, absent: float) -> float:
    """JSON has no NaN and no infinity: both are null there."""
    return float(absent) if value is None else float(value)


def _kernel(content: Json) -> Kernel:
    rung = content["rung"]
    if rung == BlockKernel.rung:
        return BlockKernel(*(content[name] for name in KAPPAS))
    if rung == ClassBlockKernel.rung:
        return ClassBlockKernel(np.array(content["kappa_d"], float), np.array(content["B"], float))
    return ScheduledKernel(tuple(content["times"]), tuple(_kernel(knot) for knot in content["kernels"]))

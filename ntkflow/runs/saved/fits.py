"""A fit as one JSON file, and back."""

import json
from pathlib import Path

import numpy as np

from ntkflow._types import Json
from ntkflow.errors import InputError
from ntkflow.fitting.estimate import Estimate, Fit
from ntkflow.problem.kernels import BlockKernel, ClassBlockKernel, Kernel, ScheduledKernel
from ntkflow.runs import files


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
    try:
        content = json.loads(path.read_text())
        estimates = {
            name: Estimate(_number(e["value"], np.nan), _number(e["error"], np.inf))
            for name, e in content["estimates"].items()
        }
        return Fit(
            kind=content["kind"],
            kernel=_kernel(content["kernel"]),
            estimates=estimates,
            start=content["start"],
            noise=content["noise"],
            misfit=content["misfit"],
            condition=_number(content["condition"], np.inf),
            warnings=tuple(content["warnings"]),
            converged=content["converged"],
            evaluations=content["evaluations"],
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError("path", path, f"is no fit ({error})", "give a file of Fit.save") from None


def _number(value: float | None, absent: float) -> float:
    """JSON has no NaN and no infinity: both are null there."""
    return float(absent) if value is None else float(value)


def _kernel(content: Json) -> Kernel:
    rung = content["rung"]
    if rung == BlockKernel.rung:
        return BlockKernel(content["kappa_d"], content["kappa_c"], content["kappa_n"])
    if rung == ClassBlockKernel.rung:
        return ClassBlockKernel(np.array(content["kappa_d"], float), np.array(content["B"], float))
    return ScheduledKernel(tuple(content["times"]), tuple(_kernel(knot) for knot in content["kernels"]))

"""laws/: values of a recorded network's laws at its snapshots, from which `ntkflow validate laws` follows them.

found.json says which laws there are; step_*.npz has q, the part of it that does not decay, and sum |d_g| |theta_g|^2 of
each, and the same of the matrix Q of a linear readout.
"""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from ntkflow._types import FeatureMatrix
from ntkflow.errors import InputError
from ntkflow.runs.border.reading import reading
from ntkflow.runs.border.records import SPARSE, document, read_record
from ntkflow.runs.files import read_arrays, write_arrays, write_json
from ntkflow_validation.runs.rundir import REPEAT, RunDirectory

FOLDER, FOUND = "laws", "found.json"


@dataclass(frozen=True)
class FoundLaws:
    """laws/found.json.

    Attributes:
        certified: whether no law is missing.
        names: of the laws.
        families: of which each is, by position: laws that tie the same tensors.
        Q: whether the readout is linear, so that there is a Q.
        rates: by which tensors are weighted, of groups that are trained at rates of their own: see `Laws.at_rates`.
    """

    certified: bool
    names: tuple[str, ...]
    families: dict[str, tuple[int, ...]]
    Q: bool
    rates: dict[str, float] | None = field(default=None, metadata=SPARSE)


@dataclass(frozen=True, eq=False)
class LawValues:
    """Laws at one snapshot: (k,) each, and Q, (n, n), with the part of it that does not decay; None without one."""

    q: Float64[np.ndarray, " k"]
    still: Float64[np.ndarray, " k"]
    size: Float64[np.ndarray, " k"]
    Q: FeatureMatrix | None = None
    still_Q: FeatureMatrix | None = None


def write_found(run: RunDirectory, found: FoundLaws) -> None:
    """Say which laws are followed.

    Raises:
        InputError: the run follows others.
    """
    known = read_found(run)
    if known is None:
        if run.steps():
            rule = "were not followed from the first snapshot on"
            raise InputError(
                "laws", run.path, rule, "go on without laws=, or record anew with overwrite=True"
            )
        (run.path / FOLDER).mkdir(exist_ok=True)
        write_json(run.path / FOLDER / FOUND, document(found))
    elif known != found:
        rule = "are others than those that the run follows"
        raise InputError("laws", run.path, rule, "give the same, or record anew with overwrite=True")


def read_found(run: RunDirectory) -> FoundLaws | None:
    """Which laws a recorded run follows; None where it follows none.

    Raises:
        InputError: the file is damaged.
    """
    path = run.path / FOLDER / FOUND
    return (
        read_record(path, "run", "the laws of a recorded run", FoundLaws, REPEAT) if path.exists() else None
    )


def write_values(run: RunDirectory, step: int, values: LawValues) -> None:
    """Those of one snapshot."""
    write_arrays(_path(run, step), {name: v for name, v in vars(values).items() if v is not None})


def read_values(run: RunDirectory, step: int) -> LawValues | None:
    """Those of one snapshot; None where there are none.

    Raises:
        InputError: the file is damaged.
    """
    path = _path(run, step)
    if not path.exists():
        return None
    arrays, _ = read_arrays(path, "laws")
    with reading("laws", path, "values of laws", "remove it: the snapshot is left out"):
        return LawValues(**arrays)


def _path(run: RunDirectory, step: int) -> Path:
    return run.path / FOLDER / f"step_{step:07d}.npz"

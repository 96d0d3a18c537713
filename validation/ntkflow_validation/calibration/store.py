"""The calibration of the code that is running: kept in the user's cache, recomputed in brief when it has changed."""

import hashlib
import os
from functools import cache
from pathlib import Path

import ntkflow
import ntkflow_validation
from ntkflow import __version__
from ntkflow.errors import InputError
from ntkflow.runs.border.records import document, read_record
from ntkflow.runs.files import write_json
from ntkflow_validation.calibration.document import Calibration


@cache
def fingerprint() -> str:
    """Of the source of both packages: a calibration holds for the code it was made with."""
    digest = hashlib.sha256(__version__.encode())
    for package in (ntkflow, ntkflow_validation):
        root = Path(str(package.__file__)).parent
        for path in sorted(root.rglob("*.py")):
            digest.update(str(path.relative_to(root)).encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def current(found: Calibration) -> bool:
    """Whether a calibration is that of the running code."""
    return found.fingerprint == fingerprint()


def place() -> Path:
    """Where the calibration of the running code is kept."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "ntkflow" / f"calibration-{fingerprint()}.json"


def keep(found: Calibration) -> None:
    """Keep a calibration of the running code, unless there is a longer one; without a place for it, do nothing."""
    if loses(read(place()), found):
        return
    try:
        place().parent.mkdir(parents=True, exist_ok=True)
        write(place(), found)
    except OSError:
        return


def loses(known: Calibration | None, found: Calibration) -> bool:
    """Whether a full calibration would be replaced by a brief one."""
    return known is not None and not known.brief and found.brief


def write(path: Path | str, found: Calibration) -> None:
    """A calibration's file."""
    write_json(Path(path), document(found))


def read(path: Path | str) -> Calibration | None:
    """A calibration's file; None where there is none that can be read, or that is of another shape."""
    try:
        return read_record(Path(path), "calibration", "a calibration", Calibration, "calibrate again")
    except InputError:
        return None

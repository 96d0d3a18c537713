"""The calibration of the code that is running: kept in the user's cache, recomputed in brief when it has changed."""

import hashlib
import os
from functools import cache
from pathlib import Path

import ntkflow
import ntkflow_validation
from ntkflow import __version__
from ntkflow._types import Json
from ntkflow.errors import InputError
from ntkflow.runs.border.reading import NOTHING, NUMBER, Shape, read_json
from ntkflow.runs.files import write_json

_SCORE = (*NUMBER, {"value": NUMBER, "error": NUMBER})
# What the page of a report relies on.
SHAPE: Shape = {
    "version": str,
    "fingerprint?": str,
    "brief?": bool,
    "passed?": bool,
    "block_skill": NUMBER,
    "kappa_error": (int, float),
    "departures": [
        {
            "departure": str,
            "value": (int, float),
            "block_residual": (int, float),
            "blamed?": (NOTHING, {"*": int}),
            **{f"block_{quantity}": _SCORE for quantity in ("M", "H2")},
            **{f"{rung}_{quantity}?": _SCORE for rung in ("traced", "best") for quantity in ("M", "H2")},
        }
    ],
}


@cache
def fingerprint() -> str:
    """Of the source of both packages: a calibration holds for the code it was made with."""
    digest = hashlib.sha256(__version__.encode())
    for package in (ntkflow, ntkflow_validation):
        root = Path(str(package.__file__)).parent
        for path in sorted(root.rglob("*.py")):
            digest.update(str(path.relative_to(root)).encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def current(found: Json | None) -> bool:
    """Whether a calibration is that of the running code."""
    return bool(found) and found is not None and found.get("fingerprint") == fingerprint()


def place() -> Path:
    """Where the calibration of the running code is kept."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "ntkflow" / f"calibration-{fingerprint()}.json"


def keep(found: Json) -> None:
    """Keep a calibration of the running code, unless there is a longer one; without a place for it, do nothing."""
    if loses(read(place()), found):
        return
    try:
        place().parent.mkdir(parents=True, exist_ok=True)
        write_json(place(), found)
    except OSError:
        return


def loses(known: Json | None, found: Json) -> bool:
    """Whether a full calibration would be replaced by a brief one."""
    return known is not None and not known.get("brief") and bool(found.get("brief"))


def read(path: Path | str) -> Json | None:
    """A calibration's file; None where there is none that can be read, or that is of another shape."""
    try:
        return read_json(Path(path), "calibration", "calibrate again", SHAPE)
    except InputError:
        return None

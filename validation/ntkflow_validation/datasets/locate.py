"""Where the files of a data set are looked for: told, installed by the system, cached."""

import os
from collections.abc import Callable
from pathlib import Path

from ntkflow.errors import InputError
from ntkflow_validation.own.data import ENVIRONMENT

# where Debian's package dataset-fashion-mnist puts its files
INSTALLED = {"fashion-mnist": Path("/usr/share/datasets/fashion-mnist")}


def cache(name: str) -> Path:
    """The user's cache of one data set."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "ntkflow" / name


def places(name: str) -> list[Path]:
    """Folders in the order in which they are looked at.

    With NTKFLOW_DATA (the option --data-dir) only that folder and the one of the set's name in it are
    looked at: data given on purpose are never replaced by others.
    """
    told = os.environ.get(ENVIRONMENT)
    if told:
        return [Path(told) / name, Path(told)]
    return [*([INSTALLED[name]] if name in INSTALLED else []), cache(name)]


def find(name: str, complete: Callable[[Path], bool]) -> Path:
    """The first place that has all files of a data set.

    Args:
        name: of the data set.
        complete: whether a folder has all of them; the format's reader knows.

    Raises:
        InputError: none has.
    """
    for place in places(name):
        if complete(place):
            return place
    looked = ", ".join(str(place) for place in places(name))
    package = ", or install Debian's dataset-fashion-mnist" if name in INSTALLED else ""
    raise InputError(
        "data.name",
        name,
        f"its files are not in {looked}",
        f"give --data-dir, pass --download to train, run, sweep or reproduce{package}",
    )

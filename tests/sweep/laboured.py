"""Cells of known behaviour for executors, importable by workers: each writes when it starts and when it ends."""

import os
import time
from dataclasses import dataclass
from pathlib import Path

from ntkflow.sweep.stored.cache import Cache


@dataclass(frozen=True)
class Labour:
    """A cell that sleeps, fails, kills its process, or does so the first time only."""

    key: str
    log: str
    seconds: float = 0.0
    deadly: str = ""
    problem: None = None

    @property
    def config(self):
        return self


def recorded_labour(cell):
    return Cache(Path(cell.log).parent).recorded(cell.key, lambda: labour(cell))


def labour(cell):
    note(cell, "start")
    if cell.deadly == "always" or (cell.deadly == "once" and count(cell.log, f"start {cell.key}") == 1):
        os._exit(7)
    if cell.deadly == "error":
        return {"error": {"kind": "ValueError", "message": f"{cell.key} cannot be done"}}
    time.sleep(cell.seconds)
    note(cell, "end")
    return {"pid": os.getpid()}


def note(cell, what):
    # One short write to a file opened for appending is not torn.
    with Path(cell.log).open("a") as handle:
        handle.write(f"{what} {cell.key} {os.getpid()}\n")


def lines(log):
    return Path(log).read_text().splitlines() if Path(log).exists() else []


def count(log, beginning):
    return sum(line.startswith(beginning) for line in lines(log))

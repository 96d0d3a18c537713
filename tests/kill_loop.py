"""Kill commands at any moment, again and again, and see that the same command then ends as an undisturbed one.

Each case is a command. It is killed with all its processes at a random time after the first thing that it writes,
started again, killed again; whenever it comes to its end its numbers are compared with those of a run that nobody
disturbed, and nothing but the run may be left in the folder.

    python tests/kill_loop.py                          # every case, 50 kills each
    python tests/kill_loop.py sweep train --kills 5
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

SMALL = ["-C", "3", "-m", "3", "-n", "6", "--init", "gaussian", "--rtol", "1e-10"]
NETWORK = """
data = {name = "block", classes = 2, per_class = 4}
model = {name = "linear", features = 5}
training = {steps = 60, learning_rate = 0.01, snapshots = 12}
kernels = {count = 3, while_training = true}
"""
SWEPT = ["--over", "scale=0.5:2:6", *(f"--set={s}" for s in ("classes=3", "per_class=3", "features=6"))]
GRID = ["--config", "net.toml", "--learning-rates", "0.01,0.02", "--seeds", "2", "--workers", "2"]
# What differs between two runs of the same thing.
CLOCKS = ("seconds", "seconds_of_members", "made_by", "record")
LIMIT = 600.0


@dataclass(frozen=True)
class Case:
    """A command that is killed.

    Attributes:
        words: of the command; it writes to `out`.
        numbers: what of its directory must not depend on the kills.
        before: commands that make what it starts from, in `out` too where it changes a run.
    """

    words: Sequence[str]
    numbers: Callable[[Path], Any]
    before: Sequence[Sequence[str]] = ()


def arrays(*names: str) -> Callable[[Path], Any]:
    """The arrays of some .npz files, by pattern."""

    def read(folder: Path) -> Any:
        found = {}
        for path in sorted(path for name in names for path in folder.glob(name)):
            with np.load(path, allow_pickle=False) as file:
                for name in file.files:
                    if name == "header":
                        found[f"{path.relative_to(folder)}:{name}"] = timeless(json.loads(str(file[name])))
                    elif not any(clock in name for clock in CLOCKS):
                        found[f"{path.relative_to(folder)}:{name}"] = file[name].tolist()
        assert found, f"nothing of {names} in {folder}"
        return repr(found)

    return read


def texts(*names: str) -> Callable[[Path], Any]:
    """JSON and lines of JSON without what tells the time."""

    def read(folder: Path) -> Any:
        found = {}
        for path in sorted(path for name in names for path in folder.glob(name)):
            rows = path.read_text().splitlines() if path.suffix == ".jsonl" else [path.read_text()]
            found[str(path.relative_to(folder))] = [timeless(json.loads(row)) for row in rows]
        assert found, f"nothing of {names} in {folder}"
        return found

    return read


def timeless(value: Any) -> Any:
    """A document without the times it took."""
    if isinstance(value, dict):
        return {name: timeless(item) for name, item in value.items() if name not in CLOCKS}
    return [timeless(item) for item in value] if isinstance(value, list) else value


def both(*readers: Callable[[Path], Any]) -> Callable[[Path], Any]:
    """Several readings."""
    return lambda folder: [read(folder) for read in readers]


TRAIN = ["validate", "train", "--config", "net.toml", "--out", "out"]
TRAINED = both(texts("metrics.jsonl"), arrays("parameters/*.npz", "snapshots/*.npz", "measurements/*.npz"))
CASES: dict[str, Case] = {
    "simulate": Case(["simulate", *SMALL, "--out", "out"], arrays("trajectory.npz")),
    "numbered": Case(["simulate", *SMALL, "--no-figures"], arrays("simulate-001/trajectory.npz")),
    "overwrite": Case(
        ["simulate", *SMALL, "--out", "out", "--overwrite"],
        arrays("trajectory.npz"),
        [["simulate", "-C", "2", "-m", "2", "-n", "3", "--out", "out"]],
    ),
    "ensemble": Case(["simulate", *SMALL, "--ensemble", "4", "--out", "out"], arrays("ensemble.npz")),
    "sweep": Case(["sweep", *SWEPT, "--workers", "2", "--out", "out"], arrays("table.npz")),
    "train": Case(TRAIN, TRAINED),
    "kernels": Case(
        ["validate", "kernels", "out", "--full", "--figure"], arrays("measurements/*.npz"), [TRAIN]
    ),
    "validate-sweep": Case(["validate", "sweep", *GRID, "--out", "out"], arrays("table.npz")),
    "validate-run": Case(
        ["validate", "run", "--config", "net.toml", "--out", "out"],
        both(TRAINED, texts("comparison.json")),
    ),
}


def command(words: Sequence[str], folder: Path) -> "subprocess.Popen[str]":
    """A command in a folder, with a group of its own, so that it can be killed with all it has started."""
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "XDG_CACHE_HOME": str(folder.parent / "cache")}
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "ntkflow", *words, "--quiet"], cwd=folder, env=environment,
        stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip


def finished(words: Sequence[str], folder: Path) -> float:
    """Run a command to its end; the seconds it took.

    Raises:
        AssertionError: it failed.
    """
    began = time.monotonic()
    process = command(words, folder)
    _, errors = process.communicate(timeout=LIMIT)
    assert (process.returncode, errors) == (0, ""), f"{' '.join(words)}: {process.returncode} {errors}"
    return time.monotonic() - began


def seen(folder: Path) -> list[tuple[str, int]]:
    """What is in a folder, hidden or not; what vanishes while it is looked at is not there."""
    found = []
    for place, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(place, name)
            try:
                found.append((str(path), path.lstat().st_mtime_ns))
            except OSError:
                continue
    return sorted(found)


def killed(words: Sequence[str], folder: Path, duration: float, dice: random.Random) -> bool:
    """Start a command and kill it some time after the first thing it writes; False where it ended before.

    Raises:
        AssertionError: it ended with an error.
    """
    before, process = seen(folder), command(words, folder)
    began = time.monotonic()
    while process.poll() is None and seen(folder) == before and time.monotonic() - began < LIMIT:
        time.sleep(0.002)
    # Half of the kills fall into the time when places are reserved and directories made.
    time.sleep(dice.choice((dice.uniform(0, 0.05), dice.uniform(0, duration / 2))))
    ended = process.poll() is not None
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        ended = True
    _, errors = process.communicate()
    assert not ended or (process.returncode, errors) == (0, ""), f"{process.returncode}: {errors}"
    return not ended


def left_over(folder: Path) -> list[str]:
    """Names in a folder that only belong there while something is written."""
    ends = (".partial", ".replaced")
    names = (str(path.relative_to(folder)) for path in folder.rglob(".*"))
    return [name for name in names if name.endswith((*ends, ".lock")) or ".chunks-" in name]


def made(case: Case, folder: Path) -> Path:
    """A fresh folder with what the command starts from."""
    folder.mkdir(parents=True)
    (folder / "net.toml").write_text(NETWORK)
    for words in case.before:
        finished(words, folder)
    return folder


def result(case: Case, folder: Path) -> Any:
    """The numbers of a finished run; the folder must hold nothing else."""
    out = folder / ("out" if (folder / "out").exists() else "runs")
    assert not left_over(folder), left_over(folder)
    assert {path.name for path in folder.iterdir()} == {"net.toml", out.name}
    return case.numbers(out)


def loop(name: str, kills: int, scratch: Path, seed: int = 0, tell: Callable[[str], Any] = print) -> None:
    """Kill the command of a case so many times.

    Raises:
        AssertionError: a restart failed, ended with other numbers, or left something behind.
    """
    case, dice = CASES[name], random.Random(f"{name} {seed}")
    start = made(case, scratch / "start")
    whole = shutil.copytree(start, scratch / "whole")
    duration = finished(case.words, whole)
    expected = result(case, whole)
    done, ends, life = 0, 0, 0
    while done < kills:
        life += 1
        folder = shutil.copytree(start, scratch / f"life-{life}")
        # Some runs are killed again and again before they come to their end.
        for _ in range(dice.randrange(1, 6)):
            if done == kills or not killed(case.words, folder, duration, dice):
                break
            done += 1
        finished(case.words, folder)
        ends += 1
        assert result(case, folder) == expected, f"{name}: other numbers in {folder}"
        shutil.rmtree(folder)
    tell(f"{name}: {done} kills, {ends} runs came to their end with the numbers of an undisturbed one")


def main() -> None:
    """Run the cases that are named."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"of {', '.join(CASES)}; default: all")
    parser.add_argument("--kills", type=int, default=50, help="of each case")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    for name in options.cases or CASES:
        with tempfile.TemporaryDirectory() as scratch:
            loop(name, options.kills, Path(scratch), options.seed)


if __name__ == "__main__":
    main()

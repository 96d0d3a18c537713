"""What a cell of a large sweep costs beside its integration: milliseconds and bytes, and the seconds until a sweep goes on.

Run: python benchmarks/sweeps.py [--cells 100000 --simulated 1000000]
The first are cells of two classes and three features that end after a step, run as `ntkflow sweep` runs them in a process for
each core, against their integration alone. The others are not integrated at all: rows of a real cell with other digits.
With none of one kind its part of the file stays as it is. Writes results/sweeps.json.
"""

import argparse
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ntkflow.integrate.together import solve_many
from ntkflow.runs.config import SimulateConfig
from ntkflow.runs.simulate import prepare, task_of
from ntkflow.sweep import SweepSpec, View, parse_axis, run_sweep, runner
from ntkflow.sweep.cell import run_cells
from ntkflow.sweep.filling import Together
from ntkflow.sweep.gather import gathered
from ntkflow.sweep.grid import Grid
from ntkflow.sweep.stored.shards import Shards, Sink, Stored

RESULTS = Path(__file__).parent / "results" / "sweeps.json"
BASE = SimulateConfig(classes=2, per_class=2, features=3, init="gaussian", t_end=1e-3)
COLUMNS = ("nc.NC1.final", "nc.NC2.final", "nc.NC3.final", "loss.final", "t_end")


def spec(cells: int, columns: tuple[str, ...] = COLUMNS) -> SweepSpec:
    """A square of about so many cells."""
    side = round(cells**0.5)
    axes = (parse_axis(f"kappa_c=0.1:0.9:{side}"), parse_axis(f"scale=0.5:2:{side}"))
    return SweepSpec(BASE, axes, view=View(columns=columns))


@contextmanager
def timed(found: dict[str, Any], name: str) -> Iterator[None]:
    """Seconds of wall and of this process."""
    wall, cpu = time.perf_counter(), time.process_time()
    yield
    found[name], found[f"{name}_cpu"] = time.perf_counter() - wall, time.process_time() - cpu


def size(directory: Path) -> int:
    """Bytes of all shards."""
    return sum(path.stat().st_size for path in (directory / "cells").iterdir())


def light(cells: int, directory: Path) -> dict[str, Any]:
    """Real cells that cost next to nothing."""
    found: dict[str, Any] = {"cells": len(spec(cells))}
    some = [cell.config for cell in Grid(spec(cells))[:512]]
    tasks = [task_of(prepare(config)) for config in some if config is not None]
    began = time.process_time()
    solve_many(tasks, lambda *_: None)
    found["integration_ms"] = 1e3 * (time.process_time() - began) / len(tasks)
    began = time.process_time()
    run_cells([config for config in some if config is not None])
    found["cell_ms"] = 1e3 * (time.process_time() - began) / len(tasks)
    with timed(found, "sweep_s"):
        run_sweep(spec(cells), directory)
    found["bytes_a_cell"] = size(directory) / found["cells"]
    with timed(found, "again_s"):
        run_sweep(spec(cells), directory)
    return found


class Pretended:
    """Work that only says what a cell would: the row of a real one, with other last digits."""

    def __init__(self) -> None:
        some = [cell.config for cell in Grid(spec(9))]
        rows = [content["row"] for content in run_cells([c for c in some if c]) if isinstance(content, dict)]
        self.row, self.rng = rows[0], np.random.default_rng(0)
        self.names = [
            name
            for name, value in self.row.items()
            if isinstance(value, float) and any(row[name] != value for row in rows[1:])
        ]

    def __call__(self, configs: Sequence[Any], keys: Sequence[str], sink: Sink) -> list[Stored]:
        """As `run_cells`."""
        writer = sink.writer()
        assert writer is not None
        for key, factors in zip(keys, self.rng.uniform(0.5, 1.5, (len(keys), len(self.names))), strict=True):
            other = {n: self.row[n] * f for n, f in zip(self.names, factors.tolist(), strict=True)}
            writer.write(key, {"row": {**self.row, **other}})
        writer.sync()
        return [Stored(True)] * len(configs)


def simulated(cells: int, directory: Path) -> dict[str, Any]:
    """Cells that cost nothing at all, so that what is left is what a sweep costs."""
    chosen = spec(cells)
    grid, shards = Grid(chosen), Shards(directory)
    found: dict[str, Any] = {"cells": len(grid)}
    shards.open(chosen)
    work = Together(bool, Pretended(), 256)
    with timed(found, "filled_s"), ThreadPoolExecutor(1) as pool:
        runner.fill(grid, shards, pool, work.work, together=work)
    found["ms_a_cell"] = 1e3 * found["filled_s"] / len(grid)
    found["bytes_a_cell"] = size(directory) / len(grid)
    with timed(found, "resumed_s"), ThreadPoolExecutor(1) as pool:
        runner.fill(grid, Shards(directory), pool, work.work, together=work)
    with timed(found, "table_s"):
        table = gathered(chosen, grid, Shards(directory), chosen.view.quantities)
    assert table.columns["status"].tolist().count("done") == len(grid)
    with timed(found, "written_s"):
        table.write(directory)
    found["table_bytes"] = (directory / "table.npz").stat().st_size
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cells", type=int, default=100_000, help="light ones; 0: none")
    parser.add_argument("--simulated", type=int, default=1_000_000, help="0: none")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    before = json.loads(options.out.read_text()) if options.out.exists() else {}
    found: dict[str, Any] = {**before, "cores": os.cpu_count()}
    folder = Path(tempfile.mkdtemp())
    try:
        for name, work, count in (
            ("light", light, options.cells),
            ("simulated", simulated, options.simulated),
        ):
            if count:
                load = os.getloadavg()[0]
                found[name] = {**work(count, folder / name), "load": load, "load_after": os.getloadavg()[0]}
                print(name, json.dumps({k: float(f"{v:.4g}") for k, v in found[name].items()}), flush=True)
    finally:
        shutil.rmtree(folder)
    options.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()

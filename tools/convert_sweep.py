"""Sweeps of simulations with a file for every cell, as written before there were shards: their cells into a shard.

Run: python tools/convert_sweep.py DIRECTORY ...
Nothing is removed: afterwards the same `ntkflow sweep` command goes on from there, and cells/*.json may be deleted.
"""

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path

from ntkflow import __version__
from ntkflow.errors import InputError
from ntkflow.runs import files
from ntkflow.runs.config import SimulateConfig
from ntkflow.runs.simulate import prepare
from ntkflow.sweep.columns.rows import row_of
from ntkflow.sweep.grid import Grid
from ntkflow.sweep.spec import digest, plain_config, spec_from_tables
from ntkflow.sweep.stored.cache import SPEC_FILE
from ntkflow.sweep.stored.shards import Shards, Writer


def former_address(config: SimulateConfig, version: str) -> str:
    """The name of a cell's file: a hash of its completed configuration."""
    completed = replace(prepare(config).config, t_end=config.t_end)
    return digest({"version": version, "config": plain_config(completed)})


def convert(directory: Path, version: str = __version__) -> int:
    """Append the finished cells of a sweep to a shard, those that are there already left out; how many they were.

    Raises:
        InputError: no sweep of simulations.
    """
    spec = spec_from_tables(files.read_toml(directory / SPEC_FILE), directory)
    shards, writer, count = Shards(directory), Writer(directory / "cells"), 0
    shards.refresh()
    for cell in Grid(spec):
        if cell.config is None or cell.problem is not None or shards.finished(cell.key):
            continue
        path = directory / "cells" / f"{former_address(cell.config, version)}.json"
        if path.is_file():
            content = json.loads(path.read_text(encoding="utf-8"))
            writer.write(cell.key, {"row": row_of(content["summary"], content["ends"])})
            count += 1
    writer.sync()
    return count


def main() -> None:
    """Convert what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("directory", type=Path, nargs="+")
    parser.add_argument("--version", default=__version__, help="of ntkflow, that wrote the cells")
    options = parser.parse_args()
    for directory in options.directory:
        try:
            print(f"{directory}: {convert(directory, options.version)} cells")
        except InputError as error:
            sys.exit(f"{directory}: {error}")


if __name__ == "__main__":
    main()

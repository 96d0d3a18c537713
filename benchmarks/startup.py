"""Wall time from process start: `ntkflow --help` and the default `ntkflow simulate`.

Run: python benchmarks/startup.py [--repeat 5]
Prints the best and the median of some repeats, and bare Python with numpy beside them as the floor.
"""

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def seconds(command: list[str], repeat: int) -> list[float]:
    """Wall times of a command, first call (cold caches) left out."""
    times = []
    for _ in range(repeat + 1):
        began = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        times.append(time.perf_counter() - began)
    return times[1:]


def main(repeat: int = 5) -> dict[str, float]:
    """Print the table; returns the medians by name."""
    ntkflow = shutil.which("ntkflow", path=str(Path(sys.executable).parent)) or "ntkflow"
    with tempfile.TemporaryDirectory() as folder:
        run = [ntkflow, "simulate", "--out", f"{folder}/run", "--overwrite"]
        commands = {
            "python, import numpy": [sys.executable, "-c", "import numpy"],
            "ntkflow --help": [ntkflow, "--help"],
            "ntkflow simulate": run,
            "ntkflow simulate --no-figures": [*run, "--no-figures"],
        }
        medians = {}
        for name, command in commands.items():
            times = seconds(command, repeat)
            medians[name] = statistics.median(times)
            print(f"{name:32s} best {min(times):5.2f} s   median {medians[name]:5.2f} s")
    return medians


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeat", type=int, default=5)
    main(parser.parse_args().repeat)

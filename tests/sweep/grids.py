"""Small grids that the tests of sweeps share."""

from concurrent.futures import ThreadPoolExecutor

from ntkflow.runs.config import SimulateConfig
from ntkflow.sweep import SweepSpec, View, parse_axis, run_sweep

BASE = SimulateConfig(classes=2, per_class=2, features=3, init="gaussian", t_end=0.5)


def grid(*texts, base=BASE, seeds=0, **view):
    return SweepSpec(base, tuple(parse_axis(text) for text in texts), seeds, View(**view))


def run_here(spec, directory, **options):
    """A sweep in a thread of this process: no start-up of workers."""
    with ThreadPoolExecutor(1) as executor:
        return run_sweep(spec, directory, executor, **options)

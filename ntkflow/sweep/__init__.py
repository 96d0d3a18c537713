"""Sweeps: simulations over a grid of configurations, resumable cell by cell, as tables and phase diagrams."""

from ntkflow.runs.processes.executors import local_processes
from ntkflow.sweep.axis import Axis, parse_axis
from ntkflow.sweep.cluster import dask_cluster
from ntkflow.sweep.runner import run_sweep
from ntkflow.sweep.spec import SweepSpec, View, spec_from_tables
from ntkflow.sweep.studies import STUDIES, Study
from ntkflow.sweep.table import Table

__all__ = [
    "STUDIES",
    "Axis",
    "Study",
    "SweepSpec",
    "Table",
    "View",
    "dask_cluster",
    "local_processes",
    "parse_axis",
    "run_sweep",
    "spec_from_tables",
]

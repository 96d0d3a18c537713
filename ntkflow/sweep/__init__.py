"""Sweeps: simulations over a grid of configurations, resumable cell by cell, as tables and phase diagrams."""

from typing import TYPE_CHECKING

from ntkflow._lazy import attach

_NAMES = {
    "STUDIES": "ntkflow.sweep.studies:STUDIES",
    "Axis": "ntkflow.sweep.axis:Axis",
    "Study": "ntkflow.sweep.studies:Study",
    "SweepSpec": "ntkflow.sweep.spec:SweepSpec",
    "Table": "ntkflow.sweep.table:Table",
    "View": "ntkflow.sweep.spec:View",
    "dask_cluster": "ntkflow.sweep.cluster:dask_cluster",
    "parse_axis": "ntkflow.sweep.axis:parse_axis",
    "run_sweep": "ntkflow.sweep.runner:run_sweep",
    "table_figure": "ntkflow.sweep.figure:table_figure",
    "table_so_far": "ntkflow.sweep.gather:table_so_far",
    "spec_from_tables": "ntkflow.sweep.spec:spec_from_tables",
    "local_processes": "ntkflow.runs.processes.executors:local_processes",
}
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
    "table_figure",
    "table_so_far",
]
__getattr__, __dir__ = attach(__name__, _NAMES)

if TYPE_CHECKING:
    from ntkflow.runs.processes.executors import local_processes
    from ntkflow.sweep.axis import Axis, parse_axis
    from ntkflow.sweep.cluster import dask_cluster
    from ntkflow.sweep.figure import table_figure
    from ntkflow.sweep.gather import table_so_far
    from ntkflow.sweep.runner import run_sweep
    from ntkflow.sweep.spec import SweepSpec, View, spec_from_tables
    from ntkflow.sweep.studies import STUDIES, Study
    from ntkflow.sweep.table import Table

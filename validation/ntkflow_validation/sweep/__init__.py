"""Sweeps of trainings: the paper's grid of learning rates, initialisations and pairs, resumable cell by cell."""

from ntkflow_validation.sweep.grid import Pair, TrainingSweep, paper_rates, sweep_from_tables
from ntkflow_validation.sweep.records import Record, find_records
from ntkflow_validation.sweep.running import run_sweep, tabulate_sweep

__all__ = [
    "Pair",
    "Record",
    "TrainingSweep",
    "find_records",
    "paper_rates",
    "run_sweep",
    "sweep_from_tables",
    "tabulate_sweep",
]

"""Finding trainings in any mixture of sweep and run directories."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ntkflow.errors import InputError
from ntkflow.sweep.table import Table
from ntkflow_validation.config.config import RunConfig
from ntkflow_validation.config.recorded import RecordedConfig
from ntkflow_validation.sweep.records import Record, entries, find_records
from ntkflow_validation.sweep.settings import DATA, INIT, MODEL, RATE, SEED, flat

NAMED = (MODEL, DATA, INIT, RATE, SEED)
# A few lines that say how a training went.
FACTS = ("loss", "NC1", "NC1_papyan", "NC2", "NC3", "NC4", "accuracy_train", "accuracy_test")
KERNEL = ("invariant_norm", "invariant_alignment", "alignment_features", "alignment_outputs")


def found_table(paths: Sequence[Path | str]) -> tuple[Table, list[Record]]:
    """One row per training, all settings and metrics as columns, and the records in the same order.

    Raises:
        InputError: a path is neither a sweep nor a run directory, or there is no training in them.
    """
    records = find_records(paths)
    if not records:
        raise InputError("path", ", ".join(map(str, paths)), "holds no finished training", "check the path")
    rows: list[dict[str, object]] = []
    for record in records:
        settings = flat(record.config)
        # In this order in every table, whatever was swept: tables of several sweeps are put together.
        row = {name: settings.get(name) for name in NAMED}
        row |= entries(record.config.to_dict(), record.content)
        rows.append({**row, "where": str(record.where)})
    names = dict.fromkeys(name for row in rows for name in row)
    columns = {name: _column([row.get(name) for row in rows]) for name in names}
    columns["key"] = columns["where"]
    return Table(NAMED, columns), records


def _column(values: Sequence[object]) -> np.ndarray:
    if any(isinstance(v, str) for v in values):
        return np.array(["" if v is None else str(v) for v in values])
    return np.array([np.nan if v is None else v for v in values], dtype=float)


def _recipe(config: RunConfig, rate: float) -> str:
    init = "" if isinstance(config, RecordedConfig) else f"{config.model.init}, "
    return init + config.recipe_words(rate)


def print_run(record: Record) -> None:
    """What one training was and how it ended, or how far it is, for people."""
    config, rows = record.config, record.rows
    facts = record.content.training
    reached = rows[-1].step if rows else 0
    step = reached if facts is None or facts.step is None else facts.step
    print(f"{record.where}")
    print(
        f"  {config.model.name} on {config.data.title}, {_recipe(config, record.rate)}: "
        f"{record.result} after {step} steps"
    )
    for names in (FACTS, KERNEL):
        known = {name: record.last(name) for name in names}
        line = "  ".join(f"{name} {value:.4g}" for name, value in known.items() if value == value)
        if line:
            print(f"  {line}")
    for remark in (facts.remarks or ()) if facts else ():
        print(f"  {remark}")

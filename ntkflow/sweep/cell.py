"""One cell: its address, which is a hash of all that decides its numbers, and the work that fills it."""

from dataclasses import dataclass, replace

import numpy as np

from ntkflow import __version__
from ntkflow._types import Json
from ntkflow.errors import InputError
from ntkflow.integrate.solution import Solution
from ntkflow.metrics import neural_collapse
from ntkflow.runs.border.records import document
from ntkflow.runs.border.typed import Value
from ntkflow.runs.config import SimulateConfig
from ntkflow.runs.simulate import Prepared, prepare, run
from ntkflow.runs.summary import summarise
from ntkflow.sweep.spec import SweepSpec, absolute, digest, plain_config


@dataclass(frozen=True, eq=False)
class Cell:
    """One point of the grid.

    Attributes:
        point: swept fields and their values.
        key: sha256 of the completed configuration and the version of ntkflow.
        config: the configuration; None when it contradicts itself.
        problem: why it cannot be run, known before running it; None when it can.
    """

    point: dict[str, Value]
    key: str
    config: SimulateConfig | None
    problem: InputError | None = None


def cells(spec: SweepSpec) -> list[Cell]:
    """All cells of a sweep in grid order."""
    found = []
    for point in spec.points():
        values: Json = dict(point)
        # An axis over one kind of end replaces the other in the base.
        for one, other in (("steps", "t_end"), ("t_end", "steps")):
            if one in point and other not in point:
                values[other] = None
        try:
            config = absolute(replace(spec.base, **values))
            found.append(Cell(point, key_of(config), config))
        except InputError as error:
            # What cannot be run has an address too: its row stays in the table, and says why.
            given = {**plain_config(spec.base), **{name: str(value) for name, value in point.items()}}
            key = digest({"version": __version__, "refused": given})
            found.append(Cell(point, key, None, error))
    return found


def key_of(config: SimulateConfig) -> str:
    """The address of a configuration: sha256 of its completed form and the version of ntkflow.

    A default given and a default left out have one address, and a file counts by its content. An end time
    left open stays open in the hash: it follows from the rest, but its last digit depends on the BLAS.

    Raises:
        InputError: a configuration that cannot be completed.
    """
    completed = replace(load(config).config, t_end=config.t_end)
    return digest({"version": __version__, "config": plain_config(completed)})


def load(config: SimulateConfig) -> Prepared:
    """Read the files a configuration names and prepare its problem."""
    return prepare(config)


def run_cell(config: SimulateConfig) -> Json:
    """Run one configuration: {config, summary, ends}, or {error} with kind and message; never raises.

    It is called in workers, so that it takes and gives plain values only.
    """
    try:
        prepared = load(config)
        solution = run(prepared)
        summary = summarise(solution, prepared)
        return {"config": prepared.config.tables(), "summary": document(summary), "ends": ends(solution)}
    except Exception as error:  # one bad cell must not cost the others; it is recorded and counted
        return {"error": {"kind": type(error).__name__, "message": str(error) or repr(error)}}


def ends(solution: Solution) -> Json:
    """First and last value of the series the summary lacks, and plain facts of the final state.

    bias_mean and bias_spread (largest minus smallest) of b, global_mean = |g|, weight_sum = |W^T 1|.
    """
    state = solution.final
    series = {
        name: {"initial": float(values[0]), "final": float(values[-1])}
        for name, values in solution.series.items()
        if name not in (*neural_collapse.NAMES, "loss")  # the summary has these
    }
    facts = {
        "bias_mean": float(state.b.mean()),
        "bias_spread": float(np.ptp(state.b)),
        "global_mean": float(np.linalg.norm(state.H.mean(axis=1))),
        "weight_sum": float(np.linalg.norm(state.W.sum(axis=0))),
    }
    return {"series": series, "final": facts}

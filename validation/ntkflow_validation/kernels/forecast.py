"""How long a measurement will take, from timing one call of each kind beforehand."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ntkflow_validation.kernels.backends.tiles import tiles
from ntkflow_validation.kernels.budget import COLUMNS
from ntkflow_validation.kernels.methods import two_level
from ntkflow_validation.kernels.methods.gram import by_backend, contractible
from ntkflow_validation.kernels.task import Task
from ntkflow_validation.kernels.threads import blas


@dataclass(frozen=True)
class Forecast:
    """What a measurement is about to cost when nothing of it is stored yet.

    Attributes:
        method: how.
        gradients: per-sample gradients and samples of batched ones, together.
        seconds: about how long, on this machine as busy as it is now.
    """

    method: str
    gradients: int
    seconds: float

    def __str__(self) -> str:
        return f"about {duration(self.seconds)} for {self.gradients:,} gradients by {self.method}"


@dataclass(frozen=True)
class Work:
    """Amounts of one kind of computation.

    Attributes:
        rows: per-sample gradients.
        moments: per-sample gradients reduced to sums and squares.
        pulled: samples times directions of batched gradients.
        grams: N x N products over all parameters.
        kernels: N x N kernels of one direction, gradients and product, which some backends make in one.
    """

    rows: int = 0
    moments: int = 0
    pulled: int = 0
    grams: float | int = 0
    kernels: int = 0

    def __add__(self, other: "Work") -> "Work":
        return Work(
            self.rows + other.rows,
            self.moments + other.moments,
            self.pulled + other.pulled,
            self.grams + other.grams,
            self.kernels + other.kernels,
        )


def of_method(method: str, directions: int, probes: int, counts: np.ndarray) -> Work:
    """What the block constants of so many directions take on classes of these sizes."""
    r = min(probes, directions)
    if method == "class-sums":
        return Work(moments=directions * int(counts.sum()))
    if method == "probes":
        return Work(moments=two_level.gradients(counts, directions, r))
    if method == "sign-probes":
        return Work(pulled=2 * probes * int(counts.sum()))
    return Work(kernels=r if method == "orthogonal-probes" else directions)


def forecast(task: Task, method: str, work: Work) -> Forecast:
    """Time one call of every kind that the work needs, and multiply; a compilation is not counted twice.

    Args:
        task: network and samples.
        method: name for people.
        work: amounts.
    """
    backend, V = task.backend, np.eye(task.backend.n, dtype=np.float32)
    limit, seconds = task.budget.workspace, 0.0
    largest = task.x[: int(task.counts.max())]
    rows, grams, counted = (
        work.rows + work.kernels * task.N,
        work.grams + work.kernels,
        work.moments + work.pulled,
    )
    counted += rows
    if work.kernels and (at_once := contractible(task, min(work.kernels, len(V)))):
        taken = _timed(lambda: by_backend(task, V[:at_once], task.counts))
        seconds, rows, grams = work.kernels * taken / at_once, work.rows, work.grams
    if rows:
        B, k = backend.tile(task.x, len(V), limit)
        seconds += rows * _timed(lambda: list(tiles(backend, task.x[:B], V[:k], B, k))) / (B * k)
    if work.moments:
        B, k = backend.tile(largest, min(len(V), 8), limit)
        fresh = np.ones(B, dtype=bool)
        seconds += work.moments * _timed(lambda: backend.moments(largest[:B], V[:k], fresh)) / (B * k)
    if work.pulled:
        whole = task.coupled
        B, k = (len(task.x), 1) if whole else backend.batch(largest, len(V), limit)
        x, v = (task.x if whole else largest[:B]), np.repeat(V[:k, None], B, axis=1)
        seconds += work.pulled * _timed(lambda: backend.pull(x, v)) / (B * k) * (task.C if whole else 1)
    if grams:
        block = np.ones((task.N, min(COLUMNS, backend.P)), np.float32)
        with blas(task.N):
            seconds += grams * _timed(lambda: block @ block.T) * backend.P / block.shape[1]
    return Forecast(method, counted, seconds)


def _timed(call: Callable[[], object]) -> float:
    call()
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def duration(seconds: float) -> str:
    """A time in words, to two figures at most."""
    for unit, name in ((86400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 1.5 * unit:
            return f"{seconds / unit:.2g} {name}"
    return f"{max(1, round(seconds))} s"

"""The problem that a measurement and a clock make, its members under drawn constants, and what was observed."""

import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Protocol, TypeAlias, cast, runtime_checkable

import numpy as np

from ntkflow.errors import InputError, SolveError
from ntkflow.problem.decay import Decay
from ntkflow.problem.kernels import BlockKernel, SampleKernel, TensorKernel
from ntkflow.problem.problem import Problem
from ntkflow.problem.sizes import Sizes
from ntkflow.problem.state import State
from ntkflow.problem.training_clock import Clock
from ntkflow_validation.kernels import Measurement
from ntkflow_validation.metrics.probe import probe_kernel
from ntkflow_validation.runs.rundir import RunDirectory

# Constants whose errors are drawn, mu_single itself and not kappa_c, from which it would come by a difference.
DRAWN = ("d", "mu_single", "n")


def given(measurement: Measurement, state: State | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """H, W and b that a prediction starts from: those given, or those that were measured."""
    if state is not None:
        return state.H, state.W, state.b
    head = measurement.head
    if head is None:
        raise InputError(
            "state", None, "is needed, no head was measured", "give it, or measure with head=(W, b)"
        )
    return measurement.H, head.W, np.zeros(len(head.W)) if head.b is None else head.b


def problem_of(
    measurement: Measurement,
    parts: tuple[np.ndarray, np.ndarray, np.ndarray],
    rung: str,
    of: str,
    order: np.ndarray,
) -> Problem:
    """The problem of a rung, without loss, decay and clock of a training."""
    family = measurement.features if of == "features" else measurement.row_space
    kernel: SampleKernel | TensorKernel
    # Measured in single precision, they have eigenvalues of rounding where they have none.
    if rung == "sample" and family is not None and family.mean is not None:
        kernel = SampleKernel.regularised(family.mean[np.ix_(order, order)])
    elif (
        rung == "tensor"
        and measurement.full is not None
        and measurement.full.values.shape[0] == len(parts[0])
    ):
        Theta = measurement.full.reordered(order).values.astype(np.float64)
        flat = Theta.reshape((Theta.shape[0] * Theta.shape[1],) * 2)
        kernel = TensorKernel(SampleKernel.regularised(flat).K)
    else:
        return measurement.problem(*parts, rung=rung, of=of)
    state, sizes, _ = State.from_samples(parts[0], parts[1], parts[2], measurement.labels)
    return Problem(sizes, kernel, state)


def of_clock(problem: Problem, clock: Clock, share: float, biased: bool) -> Problem:
    """With the loss and decay of the training; of s of m samples a class in their own time, (m/s) t."""
    d = clock.decay
    kernel = problem.kernel
    if share > 1:
        raise InputError(
            "clock", clock.samples, f"has fewer samples than were measured, {problem.sizes.N}", "correct it"
        )
    if share < 1:
        if not isinstance(kernel, BlockKernel) or not problem.sizes.balanced:
            raise InputError(
                "measurement",
                f"{problem.sizes.N} of {clock.samples} samples",
                "are a part of the training's, which only three constants of balanced classes can stand for",
                "take rung='block', or measure all",
            )
        kernel = _probe(kernel, problem.sizes, share)
    decay = Decay(d.W * share, d.H * share, d.b * share if biased else 0.0)
    return replace(problem, kernel=kernel, loss=clock.flow_loss, decay=decay, train_bias=biased)


def _probe(kernel: BlockKernel, sizes: Sizes, share: float) -> BlockKernel:
    s = sizes.per_class
    return probe_kernel(kernel, s, round(s / share))


def members_of(
    measurement: Measurement, problem: Problem, of: str, members: int, seed: int, share: float
) -> tuple[tuple[Problem, ...], str]:
    """The problem under drawn constants; or why there are none."""
    if not isinstance(problem.kernel, BlockKernel):
        return (), f"none, a {problem.kernel.rung} kernel has no standard errors"
    family = measurement.features if of == "features" else measurement.row_space
    assert family is not None
    constants = [family.constants[name] for name in DRAWN]
    errors = [c.standard_error for c in constants]
    known = [e for e in errors if e is not None and np.isfinite(e)]
    if len(known) < len(errors):
        return (), "none, a standard error of the constants is not known"
    if not any(known):
        return (), "none, all samples and neurons were measured exactly"
    rng = np.random.default_rng(seed)
    found: list[Problem] = []
    for _ in range(50 * members):
        d, mu, n = rng.normal([c.value for c in constants], known)
        if mu > 0:
            drawn = BlockKernel(d, d - mu, n)
            kernel = drawn if share == 1 else _probe(drawn, problem.sizes, share)
            if kernel.kappa_d > 0 and kernel.broken(problem.sizes) is None:
                found.append(replace(problem, kernel=kernel))
        if len(found) == members:
            return tuple(found), ""
    raise SolveError(
        "constants within their standard errors are those of no positive block kernel: measure more"
    )


@runtime_checkable
class HasRun(Protocol):
    """What writes a run directory: a recorder."""

    @property
    def run(self) -> RunDirectory:
        """Its directory."""


# What was observed of a training: its run directory or the path of it, a recorder, or pairs (step, state).
Observed: TypeAlias = RunDirectory | os.PathLike[str] | str | HasRun | Iterable[tuple[int, State]]


def observed(training: Observed) -> list[tuple[int, State]]:
    """Pairs (step, state) of a run directory or its path, of a recorder, or as they are given.

    Raises:
        InputError: of the run there is no prediction, as of one without a rate, whose steps are in no flow time.
    """
    if isinstance(training, Iterable) and not isinstance(training, str):
        return list(training)
    run = training if isinstance(training, RunDirectory) else getattr(training, "run", None)
    run = run or RunDirectory.open(Path(cast(str, training)))
    reason = run.config.unpredicted
    if reason is not None:
        raise InputError(
            "training",
            run.path,
            f"has no prediction: {reason}",
            "give pairs (step, state) where these are steps of the prediction's clock all the same",
        )
    return [(step, run.read_snapshot(step).state) for step in run.steps()]

"""From a configuration to a problem and its solution: what `ntkflow simulate` does, without files or terminal."""

import time
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

import numpy as np

from ntkflow import views
from ntkflow._types import Document, Json
from ntkflow.errors import InputError, SolveError
from ntkflow.integrate.descent import Momentum, descend
from ntkflow.integrate.descent.solution import as_solution
from ntkflow.integrate.horizon import default_horizon
from ntkflow.integrate.solution import Solution
from ntkflow.integrate.solve import run_alone, settle
from ntkflow.integrate.stopping import Stop
from ntkflow.integrate.task import Task
from ntkflow.problem import initial
from ntkflow.problem.decay import Decay
from ntkflow.problem.kernels import KAPPAS, Kernel, kernel_files
from ntkflow.problem.kernels.kernel_files import Arrays as Arrays
from ntkflow.problem.losses import MSE, loss_named
from ntkflow.problem.problem import Problem
from ntkflow.problem.sizes import Sizes, repeated
from ntkflow.problem.state import State
from ntkflow.problem.training_clock import Clock
from ntkflow.progress import Progress
from ntkflow.runs.border.costs import refuse_sizes
from ntkflow.runs.border.schema import flag
from ntkflow.runs.config import LOOSE_RTOL, OFF, STRICT_RTOL, SimulateConfig, fallbacks
from ntkflow.runs.files import StateFile, read_kernel, read_state, sort_kernel

# Discrete runs: more steps than this are taken for a mistake; about this many states are saved.
MOST_STEPS = 2_000_000
SAVED_STEPS = 400
# A loss that grew by this factor has left the basin the steps started in.
DIVERGED = 1e3

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Prepared:
    """A problem with the configuration completed: every default written out.

    Attributes:
        problem: what is solved.
        config: the complete configuration.
        stop: stop conditions.
        kernel_arrays: arrays of a kernel that came from a file, samples sorted by class; empty otherwise.
        optimiser: the optimiser whose steps and decay the options name; None where they name none.
    """

    problem: Problem
    config: SimulateConfig
    stop: Stop
    kernel_arrays: Arrays
    optimiser: Clock | None = None

    __repr__ = views.short


def prepare(
    config: SimulateConfig, measured: StateFile | None = None, kernel_arrays: Arrays | None = None
) -> Prepared:
    """Complete the configuration and build the problem.

    Args:
        config: options as given.
        measured: content of the state file that `config.state` names; None reads it.
        kernel_arrays: content of the kernel file that `config.kernel_file` names; None reads it.

    Raises:
        InputError: options contradict each other or the files, or are out of range.
    """
    if config.layered:
        given = config.widths if config.depth is None else config.depth
        raise InputError(
            "--widths" if config.depth is None else "--depth",
            repeated(given) if isinstance(given, tuple) else given,
            "is of linear layers, whose kernel moves by itself",
            "use `ntkflow simulate`, `theory` or `sweep`, nf.solve_layers in Python",
        )
    # A file that is named is read, whoever calls: nothing else may be run and recorded under its name.
    if measured is None and config.state is not None:
        measured = read_state(config.state, kernel=config.kernel_file is None and kernel_arrays is None)
    if kernel_arrays is None and config.kernel_file is not None:
        kernel_arrays = read_kernel(config.kernel_file, config.rung)
    elif kernel_arrays is not None:
        kernel_arrays = kernel_files.checked(kernel_arrays, config.kernel_file or "kernel_arrays")
    if measured is None:
        config = with_defaults(config, fallbacks("sizes"))
        assert config.per_class is not None
        sizes = _sizes(_given(config.classes), config.per_class, _given(config.features))
        refuse_sizes(sizes.C, sizes.N, sizes.n)
        arrays = sort_kernel(kernel_arrays or {}, sizes, np.arange(sizes.N))
        config, kernel = kernel_of(config, arrays, fallbacks("kernel"))
        config, state = _initial(config, sizes, kernel)
    else:
        sizes, state = measured.sizes, measured.state
        config = with_sizes_of(config, sizes)
        source = (
            measured.arrays if kernel_arrays is None else sort_kernel(kernel_arrays, sizes, measured.order)
        )
        arrays = dict(source)
        config, kernel = kernel_of(config, arrays, {})
    if config.rtol is None:
        config = config.completed({"rtol": LOOSE_RTOL if config.ensemble > 1 else STRICT_RTOL})
    optimiser = _optimiser(config, sizes)
    decay = Decay(config.decay_w, config.decay_h, config.decay_b)
    if config.weight_decay is not None:
        assert optimiser is not None
        decay = Decay(optimiser.rate, optimiser.rate, config.decay_b)
    problem = Problem(sizes, kernel, state, loss_named(config.loss_name), decay, config.train_bias)
    if config.t_end is None and config.steps is None:
        config = config.completed({"t_end": default_horizon(problem)})
    return Prepared(problem, config, stop_of(config), arrays, optimiser)


@lru_cache(maxsize=64)
def _sizes(C: int, m: int | tuple[int, ...], n: int) -> Sizes:
    """The sizes; one object for all cells of a sweep, which then find out but once what follows from them."""
    return Sizes(C, m, n)


def _optimiser(config: SimulateConfig, sizes: Sizes) -> Clock | None:
    """The optimiser of the options, in the theory's units."""
    if config.learning_rate is None and config.weight_decay is None:
        return None
    return Clock(
        config.learning_rate,
        "half-squared" if config.loss == MSE.name else config.loss,
        config.loss_reduction or "mean",
        momentum=config.momentum or 0.0,
        nesterov=bool(config.nesterov),
        weight_decay=config.weight_decay,
        samples=sizes.N,
        classes=sizes.C,
        label_smoothing=config.label_smoothing,
        # The biases have an option of their own.
        decay_on="weights",
    )


def run(prepared: Prepared, progress: Progress | None = None) -> Solution:
    """Solve a prepared problem, as a flow or in discrete steps."""
    c = prepared.config
    if c.ensemble > 1:
        raise InputError("ensemble", c.ensemble, "is more than one run", "use ntkflow.ensemble")
    if c.step_size is not None:
        return _descend(prepared, progress)
    return settle(run_alone(task_of(prepared), progress))


def task_of(prepared: Prepared) -> Task:
    """The flow of a prepared problem as a task of the integrators."""
    c = prepared.config
    return Task.of(
        prepared.problem,
        t_end=c.t_end,
        stop=prepared.stop,
        rtol=_given(c.rtol),
        engine=c.engine,
        form=c.form,
    )


def _descend(prepared: Prepared, progress: Progress | None) -> Solution:
    c = prepared.config
    pace = Momentum(_given(c.step_size), c.momentum or 0.0, bool(c.nesterov))
    steps = number_of_steps(c, pace)
    began = time.perf_counter()
    descent = descend(
        prepared.problem,
        steps,
        pace.eta,
        pace.beta,
        pace.nesterov,
        c.batch_per_class,
        c.batch_seed or 0,
        every=max(1, steps // SAVED_STEPS),
        stop=prepared.stop,
        progress=progress,
    )
    if descent.losses[-1] > DIVERGED * max(float(descent.losses[0]), 1.0):
        raise SolveError(
            f"descent diverged: the loss rose from {descent.losses[0]:.3g} to {descent.losses[-1]:.3g}; "
            f"lower --step-size, stability needs less than about 2/rho (see `ntkflow theory`)"
        )
    return as_solution(descent, time.perf_counter() - began)


def number_of_steps(c: SimulateConfig, pace: Momentum) -> int:
    """How many steps a configuration asks for."""
    if c.steps is not None:
        if c.steps > MOST_STEPS:
            raise InputError("--steps", c.steps, f"are more than {MOST_STEPS}", "lower it")
        return c.steps
    steps = pace.steps_to(_given(c.t_end))
    if steps > MOST_STEPS:
        raise InputError(
            "--step-size",
            c.step_size,
            f"needs {steps} steps to t_end = {c.t_end:.4g}",
            "raise it or lower --t-end",
        )
    return steps


def with_defaults(config: SimulateConfig, defaults: Document) -> SimulateConfig:
    """A copy in which fields that were left open have these values."""
    return config.completed(
        {name: value for name, value in defaults.items() if getattr(config, name) is None}
    )


def kernel_of(config: SimulateConfig, arrays: Arrays, defaults: Document) -> tuple[SimulateConfig, Kernel]:
    """The kernel of the files, overridden by kappas given as options; or that of the options alone."""
    if not arrays:
        config = with_defaults(config, defaults)
    given = {name: getattr(config, name) for name in KAPPAS}
    overrides = {name: np.float64(value) for name, value in given.items() if value is not None}
    wants_block = config.rung == "block" or (config.rung is None and not arrays)
    if wants_block and len({*arrays, *overrides} & set(KAPPAS)) < 3:
        absent = next(name for name in KAPPAS if name not in {*arrays, *overrides})
        remedy = f"measure one or pass {flag(absent)}"
        raise InputError("kernel", config.state or config.kernel_file, f"{absent} is not known", remedy)
    kernel = kernel_files.build({**arrays, **overrides}, config.rung)
    if overrides and kernel.kappas is None:
        name = next(iter(overrides))
        raise InputError(
            flag(name),
            given[name],
            f"has no meaning for a {kernel.rung} kernel",
            "drop the option",
        )
    kappas: Json = {}
    if kernel.kappas is not None:
        kappas = dict(zip(KAPPAS, kernel.kappas, strict=True))
    return config.completed({"rung": kernel.rung, **kappas}), kernel


def _initial(config: SimulateConfig, sizes: Sizes, kernel: Kernel) -> tuple[SimulateConfig, State]:
    balanced = kernel.kappas is not None and sizes.balanced
    # With a kernel from a file there may be no balanced state.
    free = {} if balanced else {"init": "gaussian"}
    config = with_defaults(config, {**fallbacks("initial"), **free})
    name, seed, scale = str(config.init), _given(config.seed), _given(config.scale)
    return config, initial.make(name, sizes, kernel, seed, scale, config.beta)


def with_sizes_of(config: SimulateConfig, sizes: Sizes) -> SimulateConfig:
    """A copy with the sizes of a state file, which options may not contradict."""
    have: Json = {"classes": sizes.C, "features": sizes.n, "per_class": sizes.m}
    for name, value in have.items():
        given = getattr(config, name)
        same = given == value or (name == "per_class" and isinstance(given, tuple) and given == sizes.counts)
        if given is not None and not same:
            raise InputError(
                flag(name),
                _readable(given),
                f"contradicts the state file, which has {_readable(value)}",
                "drop the option",
            )
    return config.completed(have)


def _readable(count: object) -> object:
    return repeated(count) if isinstance(count, tuple) else count


def stop_of(config: SimulateConfig) -> Stop:
    """The targets of a configuration, in which zero switches one off."""
    targets = {"nc1": config.stop_nc1, "loss": config.stop_loss, "stationarity": config.stationarity}
    return Stop(**{name: None if value == OFF else value for name, value in targets.items()})


def _given(value: T | None) -> T:
    if value is None:  # pragma: no cover -- with_defaults has filled it
        raise TypeError("an option was left open")
    return value

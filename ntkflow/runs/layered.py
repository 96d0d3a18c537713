"""From a configuration to a problem, of linear layers its run and its summary too."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from ntkflow import __version__, checks
from ntkflow._types import Json
from ntkflow.dynamics.packed import collapse_rate
from ntkflow.errors import InputError
from ntkflow.integrate.descent import Momentum
from ntkflow.integrate.horizon import default_horizon
from ntkflow.integrate.layers import solve
from ntkflow.integrate.layers.descent import descend_layers
from ntkflow.integrate.layers.many import LayersTask
from ntkflow.integrate.layers.outcome import outcome_of
from ntkflow.integrate.layers.solution import LayeredSolution
from ntkflow.integrate.layers.solve import NAMES, solve_layers
from ntkflow.metrics.neural_collapse import centring
from ntkflow.problem.layers import initial
from ntkflow.problem.layers.problem import LayerDecay, LayeredProblem, refuse_moving
from ntkflow.problem.layers.state import LayeredState
from ntkflow.problem.losses import loss_named
from ntkflow.problem.problem import Problem
from ntkflow.problem.sizes import Sizes, repeated
from ntkflow.problem.state import class_means
from ntkflow.progress import Progress
from ntkflow.runs.border.costs import refuse_sizes
from ntkflow.runs.border.plain import SizesRow
from ntkflow.runs.border.schema import flag
from ntkflow.runs.config import LOOSE_RTOL, STRICT_RTOL, SimulateConfig, fallbacks
from ntkflow.runs.files import read_kernel, sort_kernel
from ntkflow.runs.layered_states import read_layers
from ntkflow.runs.predicted import Number
from ntkflow.runs.rundir import OF_LAYERS
from ntkflow.runs.simulate import (
    SAVED_STEPS,
    kernel_of,
    number_of_steps,
    prepare,
    stop_of,
    with_defaults,
    with_sizes_of,
)
from ntkflow.runs.summary import SolverRow, StopRow
from ntkflow.theory.layers.limits import balanced_limit
from ntkflow.theory.layers.prediction import predict_layers
from ntkflow.theory.layers.rates import collapse_rates

# Options of the flow with a given kernel that have no meaning, or no code, for layers.
WITHOUT = {
    "beta": "there is no equal-bias start of layers",
    "decay_h": "layers have rates of their own, --decay-layers",
    "momentum": "steps of layers are plain gradient descent",
    "nesterov": "steps of layers are plain gradient descent",
    "batch_per_class": "steps of layers are of all samples",
    "learning_rate": "an optimiser's clock is not there for layers",
    "weight_decay": "layers have rates of their own, --decay-layers and --decay-w",
}
# A loss below this share of the start's has ended for comparisons with limits at zero loss.
ENDED = 1e-8


def prepare_layers(config: SimulateConfig) -> tuple[LayeredProblem, SimulateConfig]:
    """The problem, and the configuration with every default written out.

    Raises:
        InputError: an option that has no meaning for layers, or one out of its range.
    """
    _refuse(config)
    measured = None if config.state is None else read_layers(config.state)
    file = None if config.kernel_file is None else read_kernel(config.kernel_file, config.rung)
    if measured is None:
        config = with_defaults(config, {**fallbacks("sizes"), **fallbacks("initial")})
        widths = _widths(config)
        config = replace(config, features=widths[-1])
        assert config.classes is not None
        assert config.per_class is not None
        sizes = Sizes(config.classes, config.per_class, widths[-1])
        refuse_sizes(sizes.C, sizes.N, max(widths))
        arrays = sort_kernel(file or {}, sizes, np.arange(sizes.N))
        config, kernel = kernel_of(config, arrays, fallbacks("kernel"))
        refuse_moving(kernel)
        kernel.check(sizes)
        name, seed, scale = str(config.init), config.seed or 0, float(config.scale or 1.0)
        state = initial.make(name, sizes, widths, kernel, seed, scale, config.spectators)
        if config.layer_biases:
            state = replace(state, c=tuple(np.zeros(n) for n in widths))
    else:
        sizes, state = measured.sizes, measured.state
        _refuse_contradiction(config, state)
        config = with_sizes_of(config, sizes)
        source = measured.arrays if file is None else sort_kernel(file, sizes, measured.order)
        config, kernel = kernel_of(config, dict(source), {})
    decay = LayerDecay(config.decay_layers, config.decay_w, config.decay_b)
    problem = LayeredProblem(sizes, kernel, state, loss_named(config.loss_name), decay)
    if config.rtol is None:
        config = replace(config, rtol=LOOSE_RTOL if config.ensemble > 1 else STRICT_RTOL)
    if config.t_end is None and config.steps is None:
        config = replace(config, t_end=solve.default_horizon(problem))
    return problem, config


def _widths(config: SimulateConfig) -> tuple[int, ...]:
    if config.depth is not None:
        assert config.features is not None
        return (config.features,) * config.depth
    return config.widths if isinstance(config.widths, tuple) else (config.widths or 0,)


def _refuse(config: SimulateConfig) -> None:
    last = None if config.widths is None else _widths(config)[-1]
    if last is not None and config.features not in (None, last):
        rule = f"contradicts --widths, whose last is n = {last}"
        raise InputError("--features", config.features, rule, "drop one of the two")
    for name, reason in WITHOUT.items():
        if getattr(config, name):
            raise InputError(
                flag(name), getattr(config, name), f"has no meaning beside --widths: {reason}", "drop it"
            )
    if not config.train_bias:
        raise InputError("--no-train-bias", None, "is not there beside --widths", "drop it")
    if config.engine not in NAMES:
        raise InputError(
            "--engine", config.engine, f"is not one of {', '.join(NAMES)} for layers", "choose one of these"
        )


def _refuse_contradiction(config: SimulateConfig, state: LayeredState) -> None:
    """Refuse widths that are not those of the state file."""
    given = (state.widths[-1],) * config.depth if config.depth is not None else _widths(config)
    if given != state.widths:
        name = "--widths" if config.depth is None else "--depth"
        rule = f"contradicts the state file, which has {repeated(state.widths)}"
        raise InputError(name, repeated(given), rule, "give those of the file")
    if config.layer_biases and not state.c:
        raise InputError("--layer-biases", None, "has no meaning beside this --state", "drop it")
    if config.spectators:
        raise checks.beside("--spectators", config.spectators, "--state")


def run_layers(
    problem: LayeredProblem, config: SimulateConfig, progress: Progress | None = None
) -> LayeredSolution:
    """Solve a prepared problem of layers, as a flow or in discrete steps."""
    stop = stop_of(config)
    if config.step_size is not None:
        steps = number_of_steps(config, Momentum(config.step_size))
        every = max(1, steps // SAVED_STEPS)
        return descend_layers(
            problem, steps, config.step_size, form=config.form, every=every, stop=stop, progress=progress
        )
    return solve_layers(
        problem,
        t_end=config.t_end,
        stop=stop,
        rtol=config.rtol or STRICT_RTOL,
        engine=config.engine,
        form=config.form,
        progress=progress,
    )


def layers_task(problem: LayeredProblem, config: SimulateConfig) -> LayersTask:
    """What `run_layers` asks for, of a flow."""
    return LayersTask.of(
        problem, t_end=config.t_end, stop=stop_of(config), rtol=config.rtol or STRICT_RTOL, engine=config.engine,
        form=config.form,
    )  # fmt: skip


@dataclass(frozen=True)
class LayeredSizesRow(SizesRow):
    """Sizes, and features of each layer from the first to the last, n."""

    widths: tuple[int, ...]


@dataclass(frozen=True)
class SeriesRow:
    """A series at both ends of the run."""

    start: Number
    end: Number


@dataclass(frozen=True)
class GapRow:
    """How far Q_1 .. Q_L went off their law, relative to their terms, and what was asked for."""

    gap: Number
    bound: Number


@dataclass(frozen=True)
class OutcomeRow:
    """What became of a run, how many contrasts it fits, and whether that was foretold."""

    outcome: str
    contrasts: int
    agrees: bool | None


@dataclass(frozen=True, kw_only=True)
class LayeredSummary:
    """summary.json of a run of linear layers.

    Attributes:
        kind: `OF_LAYERS`.
        version: of ntkflow.
        config: tables of the complete configuration; None of a problem made in Python.
        sizes: with the widths.
        kernel: of the inputs.
        decay: rates of every layer, of W and of b.
        loss: its name.
        series: every one, at both ends.
        predicted: what was known beforehand, see `ntkflow.theory.layers.prediction.predict_layers`.
        outcome: what became of it, see `ntkflow.integrate.layers.outcome.outcome_of`.
        compared: see `compared`.
        invariants: how well the law of Q_1 .. Q_L was kept.
        stop_reason: why it ended.
        t_end: flow time there.
        solver: what it cost.
    """

    kind: str
    version: str = ""
    config: Json | None = None
    sizes: LayeredSizesRow
    kernel: Json
    decay: Json
    loss: str
    series: Mapping[str, SeriesRow]
    predicted: Json
    # Runs of before have none.
    outcome: OutcomeRow | None = None
    compared: Mapping[str, Number]
    invariants: GapRow
    stop_reason: StopRow
    t_end: Number
    solver: SolverRow


def layered_sizes(problem: LayeredProblem) -> LayeredSizesRow:
    """Of a problem."""
    sizes = problem.sizes
    return LayeredSizesRow(sizes.C, sizes.m, sizes.n, sizes.N, tuple(problem.widths))


def summarise_layers(solution: LayeredSolution, config: Json | None = None) -> LayeredSummary:
    """What happened beside what was predicted."""
    problem, series = solution.problem, solution.ends
    predicted = predict_layers(problem)
    return LayeredSummary(
        kind=OF_LAYERS,
        version=__version__,
        config=config,
        sizes=layered_sizes(problem),
        kernel=problem.kernel.as_dict(),
        decay=problem.decay.as_dict(),
        loss=problem.loss.name,
        series={name: SeriesRow(float(values[0]), float(values[-1])) for name, values in series.items()},
        predicted=predicted,
        outcome=OutcomeRow(**outcome_of(solution, predicted["verdict"])),
        compared=compared(solution, predicted),
        invariants=GapRow(float(solution.gaps.max()), solution.bound),
        stop_reason=StopRow(solution.reason.value, solution.reason.sentence),
        t_end=float(solution.times[-1]),
        solver=SolverRow(**vars(solution.stats)),
    )


def compared(solution: LayeredSolution, predicted: Json) -> dict[str, float]:
    """Relative distances of the end from what was predicted for it, by name; empty where no prediction has come due."""
    problem, series, end = solution.problem, solution.ends, solution.final
    found: dict[str, float] = {}
    lost = predicted["decay"]
    if lost is not None and lost["p_high"] is not None and series["p_least"][-1] > 0.5 * lost["p_high"]:
        found["share fitted under decay"] = abs(float(series["p_least"][-1]) / lost["p_high"] - 1)
    over = series["loss"][-1] < ENDED * series["loss"][0]
    if predicted["Q"]["zero"] and problem.squared_error and not problem.decay.any and over:
        limit = balanced_limit(problem.sizes, problem.kernel, problem.L, end.b)
        found["W W^T"] = float(np.linalg.norm(end.W @ end.W.T - limit.X) / np.linalg.norm(limit.X))
        for l, (H, G) in enumerate(zip(end.layers, limit.G, strict=True), 1):
            H1 = class_means(H, problem.sizes)
            found[f"G[{l}]"] = float(np.linalg.norm(H1.T @ H1 - G) / np.linalg.norm(G))
        if predicted["kernel_W"] is not None and np.allclose(end.b, 1 / problem.sizes.C, atol=1e-6):
            P = centring(problem.sizes.C)
            if np.linalg.norm(P @ limit.X @ P - limit.X) < ENDED:
                want = predicted["kernel_W"]["kappa_n"]
                size = abs(predicted["kernel_W"]["kappa_d"])
                found["kappa_n, W-weighted"] = abs(float(series["kappa_n_W"][-1]) - want) / size
    return found


def prepared_problem(config: SimulateConfig) -> tuple[Problem | LayeredProblem, SimulateConfig]:
    """The problem of a configuration, and that with every default written out.

    Raises:
        InputError: options contradict each other, or are out of range.
    """
    if config.layered:
        return prepare_layers(config)
    found = prepare(config)
    return found.problem, found.config


def clock_of(problem: Problem | LayeredProblem) -> float:
    """The rate of the class contrasts, in which the times of a figure start."""
    return collapse_rates(problem)[1] if isinstance(problem, LayeredProblem) else collapse_rate(problem)


def horizon_of(problem: Problem | LayeredProblem) -> float:
    """End time where none is given."""
    return solve.default_horizon(problem) if isinstance(problem, LayeredProblem) else default_horizon(problem)

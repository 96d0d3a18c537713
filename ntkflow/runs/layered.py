"""From a configuration with widths to a problem of linear layers, its run and its summary."""

from dataclasses import replace

import numpy as np

from ntkflow import __version__
from ntkflow._types import Json
from ntkflow.errors import InputError
from ntkflow.integrate.layers.solution import LayeredSolution
from ntkflow.integrate.layers.solve import NAMES, default_horizon, solve_layers
from ntkflow.integrate.stopping import Stop
from ntkflow.metrics.neural_collapse import centring
from ntkflow.problem.kernels import KAPPAS, BlockKernel
from ntkflow.problem.layers import initial
from ntkflow.problem.layers.problem import LayerDecay, LayeredProblem
from ntkflow.problem.losses import loss_named
from ntkflow.problem.sizes import Sizes
from ntkflow.progress import Progress
from ntkflow.runs.border.costs import refuse_sizes
from ntkflow.runs.border.schema import flag
from ntkflow.runs.config import OFF, STRICT_RTOL, SimulateConfig, fallbacks
from ntkflow.runs.rundir import OF_LAYERS
from ntkflow.theory.layers.limits import balanced_limit
from ntkflow.theory.layers.prediction import predict_layers

# Options of the flow with a given kernel that have no meaning, or no code, for layers.
WITHOUT = {
    "rung": "K0 is blocks here",
    "kernel_file": "other kernels are for nf.LayeredProblem",
    "state": "a state of layers is for nf.LayeredProblem",
    "beta": "there is no equal-bias start of layers",
    "decay_h": "layers have rates of their own, --decay-layers",
    "step_size": "discrete steps are not there for layers",
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
    assert config.widths is not None
    widths = config.widths if isinstance(config.widths, tuple) else (config.widths,)
    _refuse(config, widths)
    defaults = {
        **fallbacks("sizes"),
        **fallbacks("kernel"),
        **fallbacks("initial"),
        "features": widths[-1],
        "rtol": STRICT_RTOL,
    }
    complete = config.updated(
        {name: value for name, value in defaults.items() if getattr(config, name) is None}
    )
    kappas = [getattr(complete, name) for name in KAPPAS]
    assert complete.classes is not None
    assert complete.per_class is not None
    sizes = Sizes(complete.classes, complete.per_class, widths[-1])
    refuse_sizes(sizes.C, sizes.N, max(widths))
    kernel = BlockKernel(*kappas)
    kernel.check(sizes)
    state = initial.make(
        str(complete.init),
        sizes,
        widths,
        kernel,
        complete.seed or 0,
        float(complete.scale or 1.0),
        complete.spectators,
    )
    decay = LayerDecay(config.decay_layers, config.decay_w, config.decay_b)
    problem = LayeredProblem(sizes, kernel, state, loss_named(config.loss), decay)
    if complete.t_end is None:
        complete = replace(complete, t_end=default_horizon(problem))
    return problem, complete


def _refuse(config: SimulateConfig, widths: tuple[int, ...]) -> None:
    if config.features is not None and config.features != widths[-1]:
        rule = f"contradicts --widths, whose last is n = {widths[-1]}"
        raise InputError("--features", config.features, rule, "drop one of the two")
    for name, reason in WITHOUT.items():
        if getattr(config, name):
            raise InputError(
                flag(name), getattr(config, name), f"has no meaning beside --widths: {reason}", "drop it"
            )
    if not config.train_bias:
        raise InputError("--no-train-bias", None, "is not there beside --widths", "drop it")
    if config.ensemble > 1:
        raise InputError(
            "--ensemble", config.ensemble, "is not there beside --widths", "run the seeds one by one"
        )
    if config.engine not in NAMES:
        raise InputError(
            "--engine", config.engine, f"is not one of {', '.join(NAMES)} for layers", "choose one of these"
        )


def run_layers(
    problem: LayeredProblem, config: SimulateConfig, progress: Progress | None = None
) -> LayeredSolution:
    """Solve a prepared problem of layers."""
    targets = {"nc1": config.stop_nc1, "loss": config.stop_loss, "stationarity": config.stationarity}
    stop = Stop(**{name: None if value == OFF else value for name, value in targets.items()})
    return solve_layers(
        problem,
        t_end=config.t_end,
        stop=stop,
        rtol=config.rtol or STRICT_RTOL,
        engine=config.engine,
        form=config.form,
        progress=progress,
    )


def summarise_layers(solution: LayeredSolution, config: Json | None = None) -> Json:
    """What happened beside what was predicted, plain values only."""
    problem, series = solution.problem, solution.series
    return {
        "kind": OF_LAYERS,
        "version": __version__,
        "config": config,
        "sizes": {**problem.sizes.as_dict(), "widths": list(problem.widths)},
        "kernel": problem.kernel.as_dict(),
        "decay": problem.decay.as_dict(),
        "loss": problem.loss.name,
        "series": {
            name: {"start": float(values[0]), "end": float(values[-1])} for name, values in series.items()
        },
        "predicted": predict_layers(problem),
        "compared": compared(solution),
        "invariants": {"gap": float(solution.gaps.max()), "bound": solution.stats.rtol},
        "stop_reason": {"key": solution.reason.value, "sentence": solution.reason.sentence},
        "t_end": float(solution.times[-1]),
        "solver": solution.stats.as_dict(),
    }


def compared(solution: LayeredSolution) -> dict[str, float]:
    """Relative distances of the end from what was predicted for it, by name; empty where no prediction has come due."""
    problem, series, end = solution.problem, solution.series, solution.final
    predicted = predict_layers(problem)
    found: dict[str, float] = {}
    lost = predicted["decay"]
    if lost is not None and lost["p_high"] is not None and series["p_least"][-1] > 0.5 * lost["p_high"]:
        found["share fitted under decay"] = abs(float(series["p_least"][-1]) / lost["p_high"] - 1)
    over = series["loss"][-1] < ENDED * series["loss"][0]
    if predicted["Q"]["zero"] and problem.squared_error and not problem.decay.any and over:
        limit = balanced_limit(problem.sizes, problem.kernel, problem.L, end.b)
        found["W W^T"] = float(np.linalg.norm(end.W @ end.W.T - limit.X) / np.linalg.norm(limit.X))
        for l, (H, G) in enumerate(zip(end.layers, limit.G, strict=True), 1):
            H1 = np.add.reduceat(H, problem.sizes.starts, axis=1) / problem.sizes.masses
            found[f"G[{l}]"] = float(np.linalg.norm(H1.T @ H1 - G) / np.linalg.norm(G))
        if predicted["kernel_W"] is not None and np.allclose(end.b, 1 / problem.sizes.C, atol=1e-6):
            P = centring(problem.sizes.C)
            if np.linalg.norm(P @ limit.X @ P - limit.X) < ENDED:
                want = predicted["kernel_W"]["kappa_n"]
                size = abs(predicted["kernel_W"]["kappa_d"])
                found["kappa_n, W-weighted"] = abs(float(series["kappa_n_W"][-1]) - want) / size
    return found

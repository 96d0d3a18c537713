"""From a configuration to a problem and its solution: what `ntkflow simulate` does, without files or terminal."""

from dataclasses import dataclass, replace
from typing import Any

from ntkflow import initial
from ntkflow.config import OFF, SimulateConfig
from ntkflow.errors import InputError
from ntkflow.integrate import Progress, default_horizon, solve
from ntkflow.kernels import BlockKernel
from ntkflow.problem import Problem
from ntkflow.sizes import Sizes
from ntkflow.solution import Solution
from ntkflow.stopping import Stop
from ntkflow.store import StateFile

DEFAULT_SIZES = {"classes": 10, "per_class": 12, "features": 64}
DEFAULT_KERNEL = {"kappa_d": 1.0, "kappa_c": 0.5, "kappa_n": 0.1}
DEFAULT_INITIAL = {"init": "balanced-contrast", "scale": 1.0, "seed": 0}


@dataclass(frozen=True, eq=False)
class Prepared:
    """A problem with the configuration completed: every default written out."""

    problem: Problem
    config: SimulateConfig
    stop: Stop


def prepare(config: SimulateConfig, measured: StateFile | None = None) -> Prepared:
    """Complete the configuration and build the problem.

    Args:
        config: options as given.
        measured: content of the state file when `config.state` names one.

    Raises:
        InputError: options contradict each other or the state file, or are out of range.
    """
    if measured is None:
        config = _with_defaults(config, DEFAULT_SIZES | DEFAULT_KERNEL | DEFAULT_INITIAL)
        sizes = Sizes(_whole(config.classes), _whole(config.per_class), _whole(config.features))
        kernel = _kernel(config)
        state = initial.make(str(config.init), sizes, kernel, _whole(config.seed), float(config.scale or 0.0))
    else:
        sizes, state = measured.sizes, measured.state
        kernel = _kernel_beside_state(config, measured)
        config = _with_sizes_of(config, sizes)
    problem = Problem(sizes, kernel, state)
    kappas: dict[str, Any] = {"kappa_d": kernel.kappa_d, "kappa_c": kernel.kappa_c, "kappa_n": kernel.kappa_n}
    t_end = config.t_end if config.t_end is not None else default_horizon(problem)
    return Prepared(problem, replace(config, **kappas, t_end=t_end), _stop(config))


def run(prepared: Prepared, progress: Progress | None = None) -> Solution:
    """Solve a prepared problem."""
    c = prepared.config
    return solve(
        prepared.problem,
        t_end=c.t_end,
        stop=prepared.stop,
        rtol=c.rtol,
        engine=c.engine,
        form=c.form,
        progress=progress,
    )


def _with_defaults(config: SimulateConfig, defaults: dict) -> SimulateConfig:
    return replace(
        config, **{name: value for name, value in defaults.items() if getattr(config, name) is None}
    )


def _kernel(config: SimulateConfig) -> BlockKernel:
    return BlockKernel(config.kappa_d, config.kappa_c, config.kappa_n)  # type: ignore[arg-type]


def _kernel_beside_state(config: SimulateConfig, measured: StateFile) -> BlockKernel:
    given = {name: getattr(config, name) for name in DEFAULT_KERNEL}
    if measured.kernel is None:
        absent = [name for name, value in given.items() if value is None]
        if absent:
            option = f"--{absent[0].replace('_', '-')}"
            raise InputError(
                "state",
                config.state,
                "holds no kernel (kappa_d, kappa_c, kappa_n)",
                f"measure one or pass {option}",
            )
        return _kernel(config)
    return replace(measured.kernel, **{name: value for name, value in given.items() if value is not None})


def _with_sizes_of(config: SimulateConfig, sizes: Sizes) -> SimulateConfig:
    have: dict[str, Any] = {
        "classes": sizes.C,
        "features": sizes.n,
        "per_class": sizes.m if sizes.balanced else None,
    }
    for name, value in have.items():
        given = getattr(config, name)
        if given is not None and given != value:
            raise InputError(
                f"--{name.replace('_', '-')}",
                given,
                f"contradicts the state file, which has {value}",
                "drop the option",
            )
    return replace(config, **have)


def _stop(config: SimulateConfig) -> Stop:
    targets = {name: getattr(config, name) for name in ("nc1", "loss", "stationarity")}
    return Stop(**{name: None if value == OFF else value for name, value in targets.items()})


def _whole(value: int | None) -> int:
    if value is None:  # pragma: no cover -- _with_defaults has filled it
        raise TypeError("a size was left open")
    return value

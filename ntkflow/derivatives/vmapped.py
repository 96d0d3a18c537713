"""Many initial states, or many kernels, integrated in one vmapped call."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ntkflow import checks, views
from ntkflow._types import Array, Floats, Times
from ntkflow.derivatives.gradient import checked, setting, split
from ntkflow.derivatives.jax_metrics import metric
from ntkflow.errors import InputError
from ntkflow.integrate.engines import jax_flow
from ntkflow.integrate.engines.precision import x64
from ntkflow.problem.problem import Problem
from ntkflow.problem.sizes import Sizes


@dataclass(frozen=True, eq=False)
class Ensemble:
    """Metrics of the members of an ensemble.

    Attributes:
        times: (T,).
        series: name to values (members, T); NaN from where a member failed.
        failed: for each member whether it did not reach the end.
    """

    times: Times
    series: dict[str, Floats]
    failed: Floats

    __repr__ = views.short


def ensemble(
    problems: Sequence[Problem],
    times: Sequence[float] | Times,
    *,
    names: Sequence[str] = ("loss", "NC1", "NC2", "NC3", "E_norm"),
    rtol: float = 1e-9,
    atol: float = 1e-11,
    solver: str = "Tsit5",
    max_steps: int = 4096,
) -> Ensemble:
    """Solve problems of equal sizes together; one slow member makes all of them wait.

    Args:
        problems: block kernels, which may differ, and initial states.
        times: increasing, positive.
        names: keys of `METRICS`.
        rtol: relative tolerance of the local error.
        atol: absolute tolerance.
        solver: as in `ntkflow.integrate.engines.jax_flow.solve`.
        max_steps: limit on steps.

    Raises:
        InputError: no problem, different sizes, another kind of problem, or an unknown metric.
    """
    if not problems or len({problem.sizes for problem in problems}) > 1:
        raise InputError(
            "problems",
            f"{len(problems)} problems",
            "must be at least one, all of the same sizes",
            "give problems of one size, or call once for each",
        )
    held = {problem.train_bias for problem in problems}
    if len(held) > 1:
        raise InputError(
            "problems",
            "biases that are trained and biases that are held",
            "must be the same flow",
            "call once for each",
        )
    kernels, sizes = [checked(problem) for problem in problems], problems[0].sizes
    for name in names:
        metric(name)
    grid = checks.times("times", times)
    checks.positive("times", grid[0], "drop earlier ones")
    how = _How(rtol, atol, solver, max_steps, held.pop())
    with x64():
        kappas = jnp.asarray([kernel.kappas for kernel in kernels])
        H, W, b = (
            jnp.stack([jnp.asarray(getattr(problem.state, part)) for problem in problems]) for part in "HWb"
        )
        program = _program(sizes, tuple(names), len(grid), how)
        values, failed = program(kappas, H, W, b, jnp.asarray(grid))
    series = {name: np.asarray(value) for name, value in values.items()}
    return Ensemble(grid, series, np.asarray(failed) != 0)


class _How(NamedTuple):
    """How a flow is integrated, as the compiled program depends on it: see `jax_flow.solve`."""

    rtol: float
    atol: float
    solver: str
    max_steps: int
    train_bias: bool


Program = Callable[[Array, Array, Array, Array, Array], tuple[dict[str, Array], Array]]


# Compiling takes some ten times as long as an ensemble of a thousand small members: what was compiled is kept, by all that
# the program depends on. Called within `x64`, whose precision is part of it.
@lru_cache(maxsize=8)
def _program(sizes: Sizes, names: tuple[str, ...], count: int, how: _How) -> Program:
    """The jitted flow of all members: kernels, states and `count` times to metrics and result codes."""

    def member(kappas: Array, H: Array, W: Array, b: Array, saved: Array) -> tuple[dict[str, Array], Array]:
        H1, deviations = split(H, sizes)
        kd, kc, kn = kappas[0], kappas[1], kappas[2]
        found = jax_flow.solve(kd, kc, kn, H1, deviations, W, b, saved, m=sizes.counts, **how._asdict())
        # The result code has no time axis, and must not be mapped over one.
        states = found._replace(failed=jnp.zeros(count))
        around = setting(kappas, sizes)

        def at(state: jax_flow.Trajectory, name: str) -> Array:
            return metric(name)(state.H1, state.L, state.W, state.b, around)

        values = {name: jax.vmap(partial(at, name=name))(states) for name in names}
        # Times that a failed member did not reach are infinite in diffrax's arrays: NaN says it better.
        return {name: jnp.where(jnp.isfinite(v), v, jnp.nan) for name, v in values.items()}, found.failed

    return jax.jit(jax.vmap(member, in_axes=(0, 0, 0, 0, None)))

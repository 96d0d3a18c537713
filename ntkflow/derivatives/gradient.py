"""Gradient of a metric at a time by the kernel constants, the initial state and the time."""

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from ntkflow import checks, views
from ntkflow._types import Array
from ntkflow.derivatives.jax_metrics import Setting, metric
from ntkflow.errors import InputError, SolveError
from ntkflow.integrate.engines import jax_flow
from ntkflow.integrate.engines.precision import x64
from ntkflow.problem.kernels import BlockKernel
from ntkflow.problem.kernels.block import class_coefficients
from ntkflow.problem.problem import Problem
from ntkflow.problem.sizes import Sizes
from ntkflow.problem.state import State


@dataclass(frozen=True, eq=False)
class Gradient:
    """Value of a metric at time t of a flow, and its derivatives.

    Attributes:
        value: the metric.
        kappa_d: derivative by kappa_d, the initial state and the other constants held fixed.
        kappa_c: derivative by kappa_c.
        kappa_n: derivative by kappa_n.
        t: derivative by the time.
        state: derivative by every entry of the initial H, W and b, also of biases that are held.
    """

    value: float
    kappa_d: float
    kappa_c: float
    kappa_n: float
    t: float
    state: State

    __repr__ = views.short


def gradient(
    name: str,
    problem: Problem,
    t: float,
    *,
    rtol: float = 1e-9,
    atol: float = 1e-11,
    solver: str = "Tsit5",
    max_steps: int = 4096,
) -> Gradient:
    """Differentiate a metric at time t through the whole flow, by reverse mode.

    Args:
        name: a key of `METRICS`, the names of `Solution.series`.
        problem: block kernel, squared error, no decay; biases that are trained, or held.
        t: time in units of the sum loss (4).
        rtol: relative tolerance of the local error.
        atol: absolute tolerance.
        solver: as in `ntkflow.integrate.engines.jax_flow.solve`.
        max_steps: limit on steps.

    Raises:
        InputError: unknown metric, or a problem of another kind.
        SolveError: the step limit was reached.
    """
    measured, kernel = metric(name), checked(problem)
    checks.positive("t", t, "give a time > 0")
    flow = partial(jax_flow.solve, m=problem.sizes.counts, rtol=rtol, atol=atol, solver=solver)
    flow = partial(flow, max_steps=max_steps, train_bias=problem.train_bias)
    with x64():
        arguments = jax.tree.map(
            jnp.asarray,
            (
                np.array(kernel.kappas),
                (problem.state.H, problem.state.W, problem.state.b),
                np.float64(t),
            ),
        )

        def at_end(kappas: Array, state: Array, t: Array) -> tuple[Array, Array]:
            H, W, b = state
            H1, deviations = split(H, problem.sizes)
            kd, kc, kn = kappas[0], kappas[1], kappas[2]
            end = flow(kd, kc, kn, H1, deviations, W, b, t)
            return measured(end.H1, end.L, end.W, end.b, setting(kappas, problem.sizes)), end.failed

        # One sweep backwards gives all derivatives at once; the result code rides along, since nothing may raise inside.
        differentiate = jax.jit(jax.value_and_grad(at_end, argnums=(0, 1, 2), has_aux=True))
        (value, failed), (kappas, state, time) = differentiate(*arguments)
    if int(failed):
        raise SolveError(
            f"diffrax gave up before t = {t:g}; raise max_steps, take solver='Kvaerno5', "
            "or use ntkflow.derivatives.sensitivity for stiff runs"
        )
    return Gradient(
        value=float(value),
        kappa_d=float(kappas[0]),
        kappa_c=float(kappas[1]),
        kappa_n=float(kappas[2]),
        t=float(time),
        state=State(*(np.asarray(part) for part in state)),
    )


def split(H: Array, sizes: Sizes) -> tuple[Array, Array]:
    """Class means and deviations; the deviations are themselves a factor L (theory 4.1)."""
    # All N deviations and no thin factor: a factorisation has no derivative where singular values coincide or vanish.
    Y = jnp.asarray(sizes.Y)
    H1 = (H @ Y.T) / jnp.asarray(sizes.masses)
    return H1, H - H1 @ Y


def setting(kappas: Array, sizes: Sizes) -> Setting:
    """What metrics need besides the state."""
    masses = jnp.asarray(sizes.masses)
    kernel, mu_single = class_coefficients(kappas[0], kappas[1], kappas[2], masses)
    return Setting(masses, sizes.labels, kernel, mu_single)


def checked(problem: Problem) -> BlockKernel:
    """The problem's block kernel.

    Raises:
        InputError: another kernel, loss or decay.
    """
    if problem.blocks is None or not problem.undisturbed:
        raise InputError(
            "problem",
            f"{problem.kernel.rung} kernel, {problem.loss.name} loss, decay {problem.decay.rates}",
            "must have a block kernel, the squared error and no decay here",
            "use ntkflow.derivatives.sensitivity for other kernels and decay",
        )
    return problem.blocks

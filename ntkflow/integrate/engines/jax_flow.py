"""The thin block system (Theorem 5.1) as a pure function of its constants, state and time, by diffrax."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import optimistix
from jax.flatten_util import ravel_pytree

from ntkflow import checks
from ntkflow._types import Array
from ntkflow.dynamics.fields import thin_field
from ntkflow.integrate.engines.precision import double, x64
from ntkflow.problem.kernels.block import KAPPAS, class_coefficients

SOLVERS = ("Tsit5", "Dopri5", "Dopri8", "Kvaerno5")


class Trajectory(NamedTuple):
    """Thin states at the times asked for, with a leading axis T when there were several, and the result code.

    Attributes:
        H1: class means, n x C.
        L: within-class factor, n x r, with L L^T = m S.
        W: weights, C x n.
        b: biases, (C,).
        failed: 0 where the integration reached the end, otherwise diffrax's result code.
    """

    H1: Array
    L: Array
    W: Array
    b: Array
    failed: Array


def solver_named(name: str, tolerance: Array = 1e-8) -> diffrax.AbstractAdaptiveSolver[Any]:
    """A diffrax solver; the implicit one always with a root finder that converges.

    The default root finder of Kvaerno5 stalls on this flow's stiff manifolds; Newton's method with its own
    tolerances does not.

    Raises:
        InputError: unknown name.
    """
    checks.choice("solver", name, SOLVERS)
    if name == "Kvaerno5":
        # Dimensionless: rms norm of the step's own tolerances is below one when converged.
        return diffrax.Kvaerno5(root_finder=optimistix.Newton(rtol=tolerance, atol=tolerance))
    solver: diffrax.AbstractAdaptiveSolver[Any] = getattr(diffrax, name)()
    return solver


def solve(
    kappa_d: Array,
    kappa_c: Array,
    kappa_n: Array,
    H1: Array,
    L: Array,
    W: Array,
    b: Array,
    t: Array,
    *,
    m: int | Sequence[int],
    rtol: float = 1e-9,
    atol: float = 1e-11,
    solver: str = "Tsit5",
    max_steps: int = 4096,
    adjoint: diffrax.AbstractAdjoint | None = None,
    train_bias: bool = True,
) -> Trajectory:
    """Integrate the block flow from 0 to t; differentiable in every positional argument, also t.

    Main arguments:
        kappa_d: kernel of a sample with itself.
        kappa_c: kernel within a class.
        kappa_n: kernel between classes.
        H1: class means, n x C.
        L: any factor of the within-class moments, n x r, L L^T = sum over samples of (h - mean)(h - mean)^T.
        W: weights, C x n.
        b: biases, (C,).
        t: final time in units of the sum loss (4), or an increasing array (T,) of times to save.

    Other Arguments:
        m: samples per class, one number or one per class; static.
        rtol: relative tolerance of the local error.
        atol: absolute tolerance.
        solver: one of `SOLVERS`; Kvaerno5 for stiff problems.
        max_steps: static limit on steps; reverse-mode derivatives keep about the square root of it in memory.
        adjoint: diffrax's way to differentiate; None means reverse mode with checkpoints.
            `diffrax.ForwardMode()` for few inputs and many outputs.
        train_bias: static; False holds the biases where they are.

    Returns:
        The thin states. Outside `jit` and `grad` they are float64 arrays.

    Raises:
        InputError: unknown solver, or traced arrays that are not float64.
    """
    with x64():
        names = (*KAPPAS, "H1", "L", "W", "b", "t")
        values = (kappa_d, kappa_c, kappa_n, H1, L, W, b, t)
        kd, kc, kn, *y0, times = (double(name, value) for name, value in zip(names, values, strict=True))
        masses = jnp.asarray(np.broadcast_to(np.asarray(m, dtype=np.float64), (y0[3].shape[0],)))
        return _integrate(
            (kd, kc, kn),
            tuple(y0),
            times,
            masses,
            rtol,
            atol,
            name=solver,
            max_steps=max_steps,
            adjoint=diffrax.RecursiveCheckpointAdjoint() if adjoint is None else adjoint,
            train_bias=train_bias,
        )


def _integrate(
    kappas: tuple[Array, Array, Array],
    y0: tuple[Array, ...],
    times: Array,
    masses: Array,
    rtol: Array,
    atol: Array,
    *,
    name: str,
    max_steps: int,
    adjoint: diffrax.AbstractAdjoint,
    train_bias: bool,
) -> Trajectory:
    kernel, mu_single = class_coefficients(*kappas, masses)
    goal = jnp.eye(masses.shape[0], dtype=masses.dtype)
    end = times[-1] if times.ndim else times
    # One flat array compiles in half the time of four.
    packed, unravel = ravel_pytree(y0)

    # In units of the end time the interval is fixed, and the derivative by t is one by a parameter.
    def scaled(_: Array, y: Array, end: Array) -> Array:
        *others, of_b = thin_field(masses, kernel, mu_single, goal, *unravel(y))
        return end * ravel_pytree((*others, of_b if train_bias else jnp.zeros_like(of_b)))[0]

    found = diffrax.diffeqsolve(
        diffrax.ODETerm(scaled),
        solver_named(name, rtol),
        t0=0.0,
        t1=1.0,
        dt0=None,
        y0=packed,
        args=end,
        saveat=diffrax.SaveAt(ts=times / end) if times.ndim else diffrax.SaveAt(t1=True),
        stepsize_controller=diffrax.PIDController(rtol=rtol, atol=atol),
        max_steps=max_steps,
        adjoint=adjoint,
        # The result code instead: nothing can be raised from compiled code, and one member must not stop all the others.
        throw=False,
    )
    H1, L, W, b = jax.vmap(unravel)(found.ys) if times.ndim else unravel(found.ys[0])
    return Trajectory(H1, L, W, b, found.result._value)

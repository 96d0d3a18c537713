"""diffrax's solvers as engines of `ntkflow.solve`: one compiled step at a time behind the `Stepper` protocol."""

from collections.abc import Callable
from typing import Any

import diffrax
import jax
import jax.numpy as jnp
import numpy as np

from ntkflow._types import Vector
from ntkflow.dynamics import ThinSystem
from ntkflow.jaxflow.flow import solver_named
from ntkflow.jaxflow.precision import x64

Array = Any
# Spectral radius times final time. Below it explicit; above it implicit, as long as a dense Jacobian is affordable.
EXPLICIT_STIFFNESS = 150.0
DENSE_LIMIT = 1500
SMALLEST_STEP = 1e-15


class DiffraxStepper:
    """One integration of a thin system under way: Dopri8, or Kvaerno5 where it is stiff and small enough.

    Args:
        system: the thin system; decay and schedules are honoured.
        y0: packed initial state.
        t_end: final time.
        rtol: relative tolerance.
        atol: absolute tolerance, one per entry of y0.

    Attributes:
        t: current time.
        y: packed state at t.
        status: 'running', 'finished' or 'failed'.
        nfev: evaluations of the field, estimated from the stages of each attempted step.
    """

    def __init__(self, system: ThinSystem, y0: Vector, t_end: float, rtol: float, atol: Vector) -> None:
        stiffness = system.spectral_radius(system.unpack(y0)) * t_end
        stiff = stiffness > EXPLICIT_STIFFNESS and y0.size <= DENSE_LIMIT
        self.t, self.y, self.status, self.nfev = 0.0, np.array(y0), "running", 0
        self.t_end = float(t_end)
        self._stages = 7 if stiff else 14
        with x64():
            self._solver: Any = solver_named("Kvaerno5" if stiff else "Dopri8", max(rtol, 1e-13))
            self._controller: Any = diffrax.PIDController(
                rtol=rtol, atol=jnp.asarray(atol), pcoeff=0.4, icoeff=0.3
            )
            self._term = diffrax.ODETerm(packed_field(system))
            self._attempt = jax.jit(self._one)
            y = jnp.asarray(self.y)
            start, end = jnp.asarray(0.0), jnp.asarray(self.t_end)
            self._next, self._memory = self._controller.init(
                self._term, start, end, y, None, None, self._solver.func, self._solver.error_order(self._term)
            )
            self._carry = self._solver.init(self._term, start, self._next, y, None)
        self._dense: Callable[[float], Vector] | None = None

    def _one(self, t: Array, after: Array, y: Array, carry: Any, memory: Any) -> tuple[Any, ...]:
        made_jump = jnp.asarray(False)
        new, error, dense, moved, result = self._solver.step(self._term, t, after, y, None, carry, made_jump)
        failed = result != diffrax.RESULTS.successful
        error = jnp.where(failed | ~jnp.isfinite(error), jnp.inf, error)
        adapted = self._controller.adapt_step_size(
            t, after, y, new, None, error, self._solver.error_order(self._term), memory
        )
        keep, t0, t1, _, memory, _ = adapted
        y = jnp.where(keep, new, y)
        carry = jax.tree.map(lambda a, b: jnp.where(keep, a, b), moved, carry)
        return keep, t0, t1, y, carry, memory, dense

    def step(self) -> None:
        """Take one accepted step, or set `status` to 'failed'."""
        if self.status != "running":
            raise RuntimeError(f"the integration has {self.status}; start a new one")
        with x64():
            keep = False
            while not keep:
                t, after = self.t, min(float(self._next), self.t_end)
                if not after - t > SMALLEST_STEP * max(self.t_end, t):
                    self.status = "failed"
                    return
                keep, _, following, y, self._carry, self._memory, dense = self._attempt(
                    jnp.asarray(t), jnp.asarray(after), jnp.asarray(self.y), self._carry, self._memory
                )
                self.nfev += self._stages
                length = float(following) - (after if keep else t)
                self._next = (after if keep else t) + length
            self.t, self.y = after, np.asarray(y)
            interpolation = self._solver.interpolation_cls(t0=t, t1=after, **dense)
        self._dense = lambda time: _evaluated(interpolation, time)
        if self.t >= self.t_end:
            self.status = "finished"

    def dense(self) -> Callable[[float], Vector]:
        """The solver's interpolant of the last step."""
        if self._dense is None:
            raise RuntimeError("there is no step to interpolate yet; call step first")
        return self._dense


def _evaluated(interpolation: Any, time: float) -> Vector:
    with x64():
        return np.asarray(interpolation.evaluate(jnp.asarray(time)))


def packed_field(system: ThinSystem) -> Callable[[Array, Array, Any], Array]:
    """dy/dt of the packed thin state (H1, L, W, b), for constant and scheduled kernels."""
    knots = system.schedule or ((0.0, system),)
    times = jnp.asarray([t for t, _ in knots])
    kernels = jnp.stack([jnp.asarray(knot.class_kernel) for _, knot in knots])
    rates = jnp.stack([jnp.asarray(knot.rates) for _, knot in knots])
    masses, goal = jnp.asarray(system.masses), jnp.asarray(system.goal)
    cuts = np.cumsum([int(np.prod(shape)) for shape in system.shapes])[:-1]
    lw, lh, lb = system.decay

    def field(t: Array, y: Array, _: Any) -> Array:
        H1, L, W, b = (
            part.reshape(shape) for part, shape in zip(jnp.split(y, cuts), system.shapes, strict=True)
        )
        # Weight of each knot: the piecewise linear function that is one there and zero at the others.
        hats = jax.vmap(lambda row: jnp.interp(t, times, row))(jnp.eye(len(knots), dtype=y.dtype))
        R1, WL = W @ H1 + b[:, None] - goal, W @ L
        R1m = R1 * masses
        parts = (
            -(W.T @ (R1 @ jnp.tensordot(hats, kernels, 1))) - lh * H1,
            -(W.T @ (WL * (hats @ rates))) - lh * L,
            -(R1m @ H1.T + WL @ L.T) - lw * W,
            -R1m.sum(axis=1) - lb * b,
        )
        return jnp.concatenate([part.ravel() for part in parts])

    return field

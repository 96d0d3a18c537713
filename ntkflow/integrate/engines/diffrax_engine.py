"""diffrax's solvers as engines of `ntkflow.solve`: one compiled step at a time behind the `Stepper` protocol."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import diffrax
import jax
import jax.numpy as jnp
import numpy as np

from ntkflow._types import Array, Vector
from ntkflow.dynamics.fields import ThinSystem, thin_field
from ntkflow.integrate.engines.jax_flow import solver_named
from ntkflow.integrate.engines.precision import x64

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
        # diffrax does not count evaluations; stages of each attempt are the nearest to it.
        self._stages = 7 if stiff else 14
        self._how = ("Kvaerno5" if stiff else "Dopri8", float(max(rtol, 1e-13)), float(rtol))
        with x64():
            self._atol, self._constants = jnp.asarray(atol), constants(system)
            y, end = jnp.asarray(self.y), jnp.asarray(self.t_end)
            self._next, self._memory, self._carry = _first(self._how, self._atol, self._constants, y, end)
            self._interpolation: Callable[..., diffrax.AbstractLocalInterpolation] = solver_named(
                self._how[0]
            ).interpolation_cls
        self._dense: Callable[[float], Vector] | None = None

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
                keep, _, following, y, self._carry, self._memory, dense = _attempt(
                    self._how,
                    self._atol,
                    self._constants,
                    (jnp.asarray(t), jnp.asarray(after), jnp.asarray(self.y)),
                    self._carry,
                    self._memory,
                )
                self.nfev += self._stages
                length = float(following) - (after if keep else t)
                self._next = (after if keep else t) + length
            self.t, self.y = after, np.asarray(y)
            interpolation = self._interpolation(t0=t, t1=after, **dense)

        def dense_at(time: float) -> Vector:
            with x64():
                return np.asarray(interpolation.evaluate(jnp.asarray(time)))

        self._dense = dense_at
        if self.t >= self.t_end:
            self.status = "finished"

    def dense(self) -> Callable[[float], Vector]:
        """The solver's interpolant of the last step."""
        if self._dense is None:
            raise RuntimeError("there is no step to interpolate yet; call step first")
        return self._dense


class Constants(NamedTuple):
    """A thin system as arrays, so that systems of one shape share one compiled step.

    Attributes:
        times: knots, (k,); one for a constant kernel.
        kernels: class kernel at each knot, (k, C, C).
        rates: rates of the columns of L at each knot, (k, r).
        masses: samples of each class, (C,).
        goal: outputs that the means should have, (outputs, C).
        decay: rates of W, H and b, (3,).
        train_bias: whether the biases move.
    """

    times: Array
    kernels: Array
    rates: Array
    masses: Array
    goal: Array
    decay: Array
    train_bias: Array


def constants(system: ThinSystem) -> Constants:
    """The arrays of a thin system; call inside `x64()`."""
    knots = system.schedule or ((0.0, system),)
    return Constants(
        jnp.asarray([t for t, _ in knots]),
        jnp.stack([jnp.asarray(knot.class_kernel) for _, knot in knots]),
        jnp.stack([jnp.asarray(knot.rates) for _, knot in knots]),
        jnp.asarray(system.masses),
        jnp.asarray(system.goal),
        jnp.asarray(system.decay),
        jnp.asarray(system.train_bias),
    )


def packed_field(t: Array, y: Array, system: Constants) -> Array:
    """dy/dt of the packed thin state (H1, L, W, b), for constant and scheduled kernels."""
    C, groups = system.goal.shape
    r = system.rates.shape[1]
    n = (y.size - C) // (groups + r + C)
    shapes = (n, groups), (n, r), (C, n), (C,)
    cuts = np.cumsum([int(np.prod(shape)) for shape in shapes])[:-1]
    H1, L, W, b = (part.reshape(shape) for part, shape in zip(jnp.split(y, cuts), shapes, strict=True))
    # Weight of each knot: the piecewise linear function that is one there and zero at the others.
    hats = jax.vmap(lambda row: jnp.interp(t, system.times, row))(jnp.eye(len(system.times), dtype=y.dtype))
    lw, lh, lb = system.decay
    kernel, rates = jnp.tensordot(hats, system.kernels, 1), hats @ system.rates
    flow = thin_field(system.masses, kernel, rates, system.goal, H1, L, W, b)
    flow = (*flow[:3], jnp.where(system.train_bias, flow[3], 0.0))
    parts = [d - rate * part for d, rate, part in zip(flow, (lh, lh, lw, lb), (H1, L, W, b), strict=True)]
    return jnp.concatenate([part.ravel() for part in parts])


How = tuple[str, float, float]
# Whether a step is kept, its ends, the state, what solver and controller remember, and what the interpolant is made of.
Attempt = tuple[Array, Array, Array, Array, object, object, dict[str, Array]]


def _parts(name: str, newton: float, rtol: float, atol: Array) -> tuple[Any, Any, Any]:
    """Solver, step size controller and term."""
    controller: Any = diffrax.PIDController(rtol=rtol, atol=atol, pcoeff=0.4, icoeff=0.3)
    return solver_named(name, newton), controller, diffrax.ODETerm(packed_field)


@partial(jax.jit, static_argnums=0)
def _first(how: How, atol: Array, system: Constants, y: Array, end: Array) -> tuple[Array, object, object]:
    """End of the first trial step, and what controller and solver remember."""
    solver, controller, term = _parts(*how, atol)
    start, order = jnp.zeros_like(end), solver.error_order(term)
    after, memory = controller.init(term, start, end, y, None, system, solver.func, order)
    return after, memory, solver.init(term, start, after, y, system)


@partial(jax.jit, static_argnums=0)
def _attempt(
    how: How, atol: Array, system: Constants, now: tuple[Array, Array, Array], carry: object, memory: object
) -> Attempt:
    """One trial step from now[0] to now[1]; whether it is kept, and where the next one leads."""
    solver, controller, term = _parts(*how, atol)
    t, after, y = now
    new, error, dense, moved, result = solver.step(term, t, after, y, system, carry, jnp.asarray(False))
    # A Newton iteration that fails is a step with an infinite error: the controller then shortens it as any other.
    failed = result != diffrax.RESULTS.successful
    error = jnp.where(failed | ~jnp.isfinite(error), jnp.inf, error)
    adapted = controller.adapt_step_size(t, after, y, new, system, error, solver.error_order(term), memory)
    keep, t0, t1, _, memory, _ = adapted
    y = jnp.where(keep, new, y)
    carry = jax.tree.map(lambda a, b: jnp.where(keep, a, b), moved, carry)
    return keep, t0, t1, y, carry, memory, dense

"""Nonlinear least squares on the simulated trajectory, with exact derivatives."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from ntkflow._types import Floats
from ntkflow.derivatives.linearised import Path
from ntkflow.derivatives.sensitivity import PATH_SHARE, Direction, Thinned, adjoint, forward
from ntkflow.errors import SolveError
from ntkflow.fitting.family import Family, Parameters
from ntkflow.fitting.observed import Data

# Derivatives only steer the iteration and scale the errors; these accuracies cost little and suffice.
JACOBIAN_RTOL = 1e-5
ERROR_RTOL = 1e-3
# Each probe is one more integration, and the error of the trace falls with the root of their number only.
PROBES = 6
# In units of the motion, far above any residual of a simulation that succeeds.
HOPELESS = 1e3

Residuals = Float64[Floats, "S D"]


@dataclass(frozen=True, eq=False)
class Optimum:
    """Where the iteration ended.

    Attributes:
        theta: parameters.
        residuals: simulated minus observed after the first state, in weighed thin coordinates, (S, D).
        jacobian: their derivative by the parameters, (S, D, p).
        converged: whether the iteration met its tolerances.
        evaluations: simulations.
    """

    theta: Parameters
    residuals: Residuals
    jacobian: Float64[Floats, "S D p"]
    converged: bool
    evaluations: int


class Simulator:
    """Simulated trajectories of a family from the first observed state.

    Args:
        data: what is to be explained.
        family: among what.
        rtol: relative tolerance of the simulation.
    """

    def __init__(self, data: Data, family: Family, rtol: float) -> None:
        self.data, self.family, self.rtol = data, family, rtol
        self.target = data.weighed(data.packed[1:])
        # Residuals in units of the motion: tolerances mean the same for any features. The floor keeps 0/0 out.
        self.scale = max(float(np.linalg.norm(self.target - data.weighed(data.packed[:1]))), 1e-300)
        self.evaluations = 0
        # The optimiser asks for residuals and Jacobian at the same parameters: one integration serves both.
        self._last: tuple[Parameters, Path] | None = None

    def path(self, theta: Parameters) -> Path:
        """The trajectory of a parameter vector."""
        if self._last is None or not np.array_equal(self._last[0], theta):
            system = self.family.system(theta, self.data.sizes, self.data.thin.frame, self.data.train_bias)
            y0 = self.data.thin.initial.pack()
            self.evaluations += 1
            self._last = theta.copy(), Path(system, y0, self.data.times[-1], PATH_SHARE * self.rtol)
        return self._last[1]

    def thin(self, theta: Parameters) -> Thinned:
        """The frame with the system of a parameter vector."""
        return Thinned(self.path(theta).system, self.data.thin.frame, self.data.thin.initial)

    def residuals(self, theta: Parameters) -> Residuals:
        """Simulated minus observed."""
        path = self.path(theta)
        return self.data.weighed(np.stack([path(t) for t in self.data.times[1:]])) - self.target

    def scaled(self, theta: Parameters) -> Floats:
        """Residuals for the optimiser; hopeless ones where the simulation fails."""
        try:
            return self.residuals(theta).ravel() / self.scale
        except SolveError:
            return np.full(self.target.size, HOPELESS)

    def jacobian(self, theta: Parameters) -> Float64[Floats, "S D p"]:
        """Derivative of the residuals."""
        directions = [Direction(unit) for unit in self.family.units]
        path = self.path(theta)
        found = forward(path, self.thin(theta), directions, self.data.times[1:], JACOBIAN_RTOL)
        return np.moveaxis(self.data.weighed(found), 1, 2)

    def optimise(self, starts: list[Parameters]) -> Optimum:
        """Refine the better of the starts, within the bounds."""
        from scipy.optimize import least_squares

        best = min(starts, key=lambda theta: float(np.sum(self.scaled(theta) ** 2)))
        size = float(np.abs(best).max()) or 1.0
        found = least_squares(
            self.scaled,
            np.maximum(best, self.family.lower),
            lambda theta: self.jacobian(theta).reshape(-1, len(theta)) / self.scale,
            bounds=(self.family.lower, np.inf),
            # One scale for all: constants share a unit, and one near zero is as free to move as the others.
            x_scale=size,
            # Below the accuracy of the simulation the cost is not smooth.
            ftol=1e-2 * self.rtol,
            xtol=1e-2 * self.rtol,
            # Practically off: with clean data a small gradient says that the fit is good, not that it is finished.
            gtol=1e-14,
            max_nfev=60,
        )
        theta = found.x
        return Optimum(theta, self.residuals(theta), self.jacobian(theta), found.status > 0, self.evaluations)

    def initial_noise(self, optimum: Optimum) -> tuple[Float64[Floats, "p p"], float]:
        """How noise in the first state reaches the residuals: J^T S S^T J and tr S^T S.

        S is the derivative of the simulated states by the first one. J^T S is one adjoint integration; the
        trace is estimated from a few random signs, whose relative error is small beside that of a variance.
        """
        theta, times = optimum.theta, self.data.times[1:]
        path, thin = self.path(theta), self.thin(theta)
        back = adjoint(path, times, np.moveaxis(optimum.jacobian, 2, 1), ERROR_RTOL)
        signs = np.random.default_rng(0).choice([-1.0, 1.0], size=(PROBES, thin.system.size))
        if self.data.silent:
            # Held biases, the last entries, are known.
            back[:, -self.data.silent :] = signs[:, -self.data.silent :] = 0.0
        blank = [Direction()] * PROBES
        ahead = forward(path, thin, blank, times, ERROR_RTOL, self.data.unweighed(signs))
        return back @ back.T, float(np.sum(self.data.weighed(ahead) ** 2)) / PROBES

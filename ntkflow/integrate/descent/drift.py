"""The law by which finite steps change what the flow conserves.

A step x -> x + eta F(x) with F = (-Op[W^T R] - lh H, -R H^T - lw W) changes the quadratic form
F(x) = [W^T W - sym(Op^{-1}[H] H^T)] / m of `ntkflow.metrics.quantities` by exactly eta D + eta^2 Q with
    D = -2 lw W^T W / m + 2 lh sym(Op^{-1}[H] H^T) / m,
    Q = [dW^T dW - sym(Op^{-1}[dH] dH^T)] / m,
for any residual R, masked and weighted ones included. Without decay D = 0 and for a sample kernel
    m dE = eta^2 [H R^T R H^T - W^T R K R^T W];
with equal decay m E+ = (1 - eta l)^2 m E + eta^2 [...]. Momentum obeys it to leading order with the step of
`Momentum.effective_step`; the extra -D'/2 is the modified flow x' = F - (eta_eff/2) F'F. Its exact law is that of
`ntkflow.integrate.descent.momentum_law`. Not in the paper.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ntkflow._types import Biases, FeatureMatrix, Features, Floats, Vector, Weights
from ntkflow.integrate.descent.momentum import Momentum
from ntkflow.metrics.quantities import Conserved
from ntkflow.problem.kernels.base import Kernel
from ntkflow.problem.problem import Problem
from ntkflow.problem.sizes import Sizes
from ntkflow.problem.state import State


def accumulated_bound(eta: float, sizes: Sizes, first: float, last: float) -> float:
    """(eta/m)(L(0) - L(end)): bound of the trace norm of the total change of E by plain steps, to leading order.

    One step changes m E by eta^2 times a matrix whose trace norm is at most -dL/dt, and eta dL/dt adds up to the
    fall of the loss. No decay, no momentum, all samples (theory 11.3).

    Args:
        eta: step of the sum loss.
        sizes: C, m, n; m is the mean over classes.
        first: the loss at the start.
        last: the loss at the end.
    """
    return eta * sizes.C / sizes.N * (first - last)


class Force(NamedTuple):
    """F(x): minus the gradient a step follows, decay included; `potential` is Op^{-1} of its H part.

    Sums of forces, velocities and displacements, have the same parts.
    """

    H: Features
    W: Weights
    b: Biases
    potential: Features

    def after(self, beta: float, before: "Force") -> "Force":
        """This force plus `beta` times an earlier sum of forces."""
        return Force(*(new + beta * old for new, old in zip(self, before, strict=True)))


def force(problem: Problem, kernel: Kernel, state: State, R: Floats) -> Force:
    """F at a state for a residual R, (C, N), masked or full."""
    G = state.W.T @ R
    lw, lh, lb = problem.decay.rates
    potential = -G if lh == 0 else -G - lh * kernel.solve(state.H, problem.sizes)
    return Force(
        -kernel.apply(G, problem.sizes) - lh * state.H,
        -(R @ state.H.T) - lw * state.W,
        -R.sum(axis=1) - lb * state.b,
        potential,
    )


@dataclass(frozen=True, eq=False)
class StepLaw:
    """Change of the conserved numbers in one step: exact for plain steps, leading order with momentum.

    With momentum `ntkflow.integrate.descent.momentum_law.MomentumLaw` is exact.

    Attributes:
        problem: kernel, loss, decay.
        quantities: the conserved numbers of its kernel.
        momentum: step size and momentum.
    """

    problem: Problem
    quantities: Conserved
    momentum: Momentum

    def change(self, state: State, k: int, step: Force, full: Force | None = None) -> Vector:
        """Change of `quantities.values` in step k, one number each.

        Args:
            state: state before the step.
            k: number of the step, from 0; it sets the flow time and how far the velocity has built up.
            step: the force that the step follows.
            full: the force of all samples, when `step` is that of a minibatch and there is momentum.
        """
        eta, dt = self.momentum.effective_step, self.momentum.time_step
        t = k * dt
        drift = self.momentum.reach(k) * self.decay(state, t)
        mean = step if full is None else full
        second = self.pair(mean, mean)
        drift = drift + dt * eta * second
        if full is not None:
            # Independent noise gains (sum c)^2 only, which is the time step instead of the effective step.
            drift = drift + dt * dt * (self.pair(step, step) - second)
        if self.problem.decay.any and eta != dt:
            # The modified flow: D' along F, of which steps that lag behind by eta - dt see the half.
            lw, lh, _ = self.problem.decay.rates
            features = self.quantities.kernel.at(t).solve(state.H, self.problem.sizes) @ mean.H.T
            slope = -2 * lw * (state.W.T @ mean.W) + 2 * lh * features
            drift = drift - dt * (eta - dt) / 2 * (slope + slope.T) / self._m
        return self.quantities.symmetries.project(drift)

    @property
    def _m(self) -> float:
        return self.problem.sizes.N / self.problem.sizes.C

    def pair(self, f: Force, g: Force) -> FeatureMatrix:
        """B(f, g), the symmetric bilinear form of Q(f) = B(f, f), for two displacements."""
        features = f.potential @ g.H.T
        if f is not g:
            # Equal to its mirror image in every direction that commutes with the operator, and only there.
            features = (features + g.potential @ f.H.T) / 2
        total = f.W.T @ g.W - features
        return (total + total.T) / (2 * self._m)

    def decay(self, state: State, t: float) -> FeatureMatrix:
        """D: the derivative of the quadratic form along F, to which decay alone contributes."""
        lw, lh, _ = self.problem.decay.rates
        if not self.problem.decay.any:
            return np.zeros((state.W.shape[1], state.W.shape[1]))
        weights, features = self.quantities.terms(state, t)
        return -2 * lw * weights + 2 * lh * features

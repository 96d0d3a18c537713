"""The exact law by which steps with momentum change what the flow conserves.

With the symmetric bilinear form B of F(x) = B(x, x), a step x -> x + eta u changes F by 2 eta B(x, u) + eta^2 B(u, u),
and 2 B(x, F(x)) = D(x): the residual drops out, whatever it is. The velocity v <- beta v + F(x) carries along
    a_k = 2 B(x_{k-1}, v_k),    a_{k+1} = beta [a_k + 2 eta B(u_{k-1}, v_k)] + D(x_k),
since x_k = x_{k-1} + eta u_{k-1}. Hence, exactly,
    heavy ball, u = v:             change of F in step k = eta a_{k+1} + eta^2 B(u, u),
    Nesterov, u = F(x) + beta v:   change of F in step k = eta [D(x_k) + beta a_{k+1}] + eta^2 B(u, u).
Without decay and for the heavy ball that is m dE_k = eta^2 [q(v_{k+1}) + 2 sum_{j=1..k} beta^j q(v_{k+1-j})] with q = m B.
For gradients that change slowly the sums are those of `Momentum.effective_step`. Not in the paper.
"""

from ntkflow._types import FeatureMatrix, Vector
from ntkflow.integrate.descent.drift import Force, StepLaw
from ntkflow.problem.kernels.base import Kernel
from ntkflow.problem.state import State


class MomentumLaw:
    """Follows one descent step by step; exact up to rounding, decay, minibatches and moving kernels included.

    Args:
        law: kernel, decay, step size and momentum.

    Attributes:
        velocity: v after the last step; None before the first.
    """

    def __init__(self, law: StepLaw) -> None:
        self.law = law
        self.velocity: Force | None = None
        self._u: Force | None = None
        self._a: FeatureMatrix | float = 0.0
        self._kernel: Kernel | None = None

    def step(self, state: State, k: int, force: Force) -> tuple[Force, Vector]:
        """The displacement u of step k, which moves by eta u, and the change of `quantities.values` in it.

        Args:
            state: state before the step.
            k: number of the step, from 0.
            force: the force there, of a minibatch where there is one.
        """
        law, beta, eta = self.law, self.law.momentum.beta, self.law.momentum.eta
        t = k * law.momentum.time_step
        # Before the velocity is renewed: a_k belongs to the one that led here.
        decay = law.decay(state, t)
        self._a = beta * self._carried(state, t) + decay
        self.velocity = force if self.velocity is None else force.after(beta, self.velocity)
        self._u, first = self.velocity, self._a
        if law.momentum.nesterov:
            self._u, first = force.after(beta, self.velocity), decay + beta * self._a
        change = eta * first + eta**2 * law.pair(self._u, self._u)
        return self._u, law.quantities.symmetries.project(change)

    def _carried(self, state: State, t: float) -> FeatureMatrix | float:
        """2 B(x_k, v_k), with the kernel at x_k's time, to which it may have moved since the last step."""
        kernel = self.law.problem.kernel.at(t)
        before, self._kernel = self._kernel, kernel
        if self.velocity is None or self._u is None:
            return 0.0
        carried = self._a + 2 * self.law.momentum.eta * self.law.pair(self._u, self.velocity)
        if kernel is not before:
            # B is that of the kernel of now: of the velocity's past only what Op^{-1} makes of it has changed.
            sizes = self.law.problem.sizes
            potential = kernel.solve(self.velocity.H, sizes)
            turned = (potential - self.velocity.potential) @ state.H.T * sizes.C / sizes.N
            carried = carried - (turned + turned.T)
            self.velocity = self.velocity._replace(potential=potential)
        return carried

"""The saddle W = H = 0: how fast contrasts leave it and fall into it, for biases that are trained or held (theory 7.4)."""

import math
from dataclasses import dataclass

import numpy as np

from ntkflow.problem.decay import Decay
from ntkflow.problem.kernels import Kernel
from ntkflow.problem.problem import Problem
from ntkflow.problem.sizes import Sizes


@dataclass(frozen=True)
class Saddle:
    """The saddle W = H = 0, b = 1/C: contrasts grow or fall there as exp(+-g t), slowed or sped up by decay.

    Attributes:
        growing: the rate at which they leave it, > 0.
        falling: the rate at which they fall into it.

    With held biases the sum over outputs leaves it too, faster than the contrasts: `of_problem`.
    """

    growing: float
    falling: float

    @classmethod
    def of(cls, decay: Decay, clock: float) -> "Saddle | None":
        """From g = `clock`: the rates solve (r + lw)(r + lh) = g^2. None where decay makes the origin attract."""
        mean, half = (decay.W + decay.H) / 2, (decay.W - decay.H) / 2
        spread = math.hypot(half, clock)
        # spread - mean, without the difference of two alike.
        growing = (
            (clock - math.sqrt(decay.W * decay.H)) * (clock + math.sqrt(decay.W * decay.H)) / (spread + mean)
        )
        return cls(growing, spread + mean) if growing > 0 else None

    @classmethod
    def of_problem(cls, problem: Problem, clock: float) -> "Saddle | None":
        """`of` with the largest rate at which the residual b 1^T - Y of the problem's biases lets anything grow.

        Trained biases are where they rest at W = H = 0, b_c = m_c / (N + lb); for equal classes under equal blocks that rate
        is the clock itself.
        """
        contrasts = cls.of(problem.decay, clock)
        if problem.train_bias:
            fastest = cls.of(problem.decay, _growth(problem, clock))
            if fastest is None or contrasts is None:
                return fastest
            return cls(fastest.growing, min(contrasts.falling, fastest.falling))
        gain = largest_eigenvalue(problem.kernel, problem.sizes)
        residual = problem.loss.residual(
            np.repeat(problem.state.b[:, None], problem.sizes.N, axis=1), problem.sizes.Y
        )
        fastest = cls.of(problem.decay, max(clock, float(np.linalg.norm(residual, 2)) * math.sqrt(gain)))
        if fastest is None or contrasts is None:
            return fastest
        # The slower fall beside the faster growth: a run into the saddle ends rather too early than too late.
        return cls(fastest.growing, contrasts.falling)

    def depth(self, amplification: float) -> float:
        """Share to which a state falling into it has shrunk when errors in the growing directions, relative to it,
        have been amplified so much.
        """
        share: float = amplification ** (-self.falling / (self.growing + self.falling))
        return share


def _growth(problem: Problem, clock: float) -> float:
    """The largest g with d^2 W/dt^2 = g^2 W at W = H = 0: the root of R1 M Kc R1^T, R1 = b 1^T - I (theory 7.4)."""
    sizes, thin = problem.sizes, problem.thin
    if thin is None or not problem.squared_error or (sizes.balanced and problem.equal_blocks is not None):
        return clock
    b = sizes.masses / (sizes.N + problem.decay.b)
    R1 = b[:, None] - np.eye(sizes.C)
    knots = [knot for _, knot in thin.schedule] or [thin]
    squares = [np.linalg.eigvals(R1 @ (sizes.masses[:, None] * knot.class_kernel.T) @ R1.T) for knot in knots]
    return math.sqrt(max(0.0, max(float(values.real.max()) for values in squares)))


def largest_eigenvalue(kernel: Kernel, sizes: Sizes) -> float:
    """Estimate of a kernel's largest eigenvalue at any of its knots, by a few power iterations."""
    gain = 0.0
    for knot in kernel.at_knots:
        # Eight images of the vector of ones, which has a large part along the leading eigenvector of a kernel with positive
        # entries from the start.
        probe, growth = np.ones((sizes.n, sizes.N)), 0.0
        for _ in range(8):
            image = knot.apply(probe, sizes)
            growth = float(np.linalg.norm(image) / np.linalg.norm(probe))
            probe = image / max(growth, np.finfo(float).tiny)
        gain = max(gain, growth)
    return gain

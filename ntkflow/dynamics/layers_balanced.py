"""Balanced linear layers as one matrix: Om = (F - b 1^T) K0^{-1/2} alone is closed where all Q_l = 0 (theory 18.1).

dOm = - sum_{j=1..L+1} (Om Om^T)^{(L+1-j)/(L+1)} R K0^{1/2} (Om^T Om)^{(j-1)/(L+1)},  db = -R 1.
Source: Arora, Cohen and Hazan 2018 (arXiv:1802.06509). For block K0 Om is C x (C + rank H2[1]), free of the widths and of m.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ntkflow import checks
from ntkflow._types import Floats, Times, Vector
from ntkflow.dynamics.layers import LayeredFlow
from ntkflow.errors import InputError, SolveError
from ntkflow.problem.layers.problem import LayeredProblem

# A Q_l below this share of its terms is zero.
ZERO = 1e-9


@dataclass(frozen=True, eq=False)
class BalancedFlow:
    """The closed flow of Om and b, on the columns of the packed layers: class means and within-class factor, or samples.

    Attributes:
        flow: of the layers, whose columns these are.
        root, inverse_root: K0^{1/2} and K0^{-1/2} between columns of equal weight.
        start: Om (C x q) and b, one vector.
    """

    flow: LayeredFlow
    root: Floats
    inverse_root: Floats
    start: Vector

    @classmethod
    def build(cls, problem: LayeredProblem) -> "BalancedFlow":
        """Of a balanced start.

        Raises:
            InputError: a Q_l is not zero, the layers have biases, or there is decay.
        """
        flow = LayeredFlow.build(problem)
        for l, (above, own, _) in enumerate(zip(*flow.grams(flow.start), strict=True), 1):
            size = float(np.linalg.norm(above) + np.linalg.norm(own))
            gap = float(np.linalg.norm(above - own))
            if gap > ZERO * size:
                rule = f"must be 0: it is {gap / size:.3g} of its terms"
                raise InputError(f"Q_{l}", "the layers", rule, "start balanced, or integrate the layers")
        if problem.state.c or problem.decay.any:
            what = "biases of layers" if problem.state.c else "decay"
            raise InputError("problem", what, "has no such form", "integrate the layers")
        weights = np.sqrt(flow.weights)
        # `pull` is K0 in columns of unequal weight.
        K = flow.pull(np.diag(weights)) / weights
        values, vectors = np.linalg.eigh((K + K.T) / 2)
        root = (vectors * np.sqrt(values)) @ vectors.T
        inverse = (vectors / np.sqrt(values)) @ vectors.T
        p = flow.unpack(flow.start)
        Om = (p.below[0] @ p.Z * weights) @ inverse
        return cls(flow, root, inverse, np.concatenate([Om.ravel(), p.b]))

    def parts(self, y: Vector) -> tuple[Floats, Floats]:
        """Om and b."""
        C = self.flow.problem.sizes.C
        return y[:-C].reshape(C, -1), y[-C:]

    def outputs(self, y: Vector) -> Floats:
        """F of the columns."""
        Om, b = self.parts(y)
        result: Floats = Om @ self.root / np.sqrt(self.flow.weights) + np.outer(b, self.flow.mask)
        return result

    def field(self, t: float, y: Vector) -> Vector:
        """dy/dt."""
        del t
        L, weights = self.flow.problem.L, np.sqrt(self.flow.weights)
        Om, _ = self.parts(y)
        R = self.flow.residual(self.outputs(y)) * weights
        U, s, Vt = np.linalg.svd(Om, full_matrices=False)
        G = R @ self.root
        # Zero singular values go first: a root of order L + 1 would make 1e-5 of 1e-16.
        s = np.where(s > 1e-10 * s[0], s, 0.0)
        left = [U * s ** (2 * k / (L + 1)) @ U.T for k in range(1, L + 1)]
        right = [Vt.T * s ** (2 * k / (L + 1)) @ Vt for k in range(1, L + 1)]
        dOm = left[-1] @ G + G @ right[-1]
        for j in range(2, L + 1):
            dOm = dOm + left[L - j] @ G @ right[j - 2]
        db = (R * weights) @ self.flow.mask
        return -np.concatenate([dOm.ravel(), db])


def balanced_outputs(
    problem: LayeredProblem, times: Sequence[float] | Times, rtol: float = 1e-9
) -> tuple[Floats, Floats]:
    """F of all N samples and the singular values of Om at the times, from Om alone.

    Args:
        problem: a start with all Q_l = 0, no decay.
        times: increasing.
        rtol: of the integrator.

    Returns:
        Outputs (T, C, N), and singular values (T, C), which are those of W to the power L + 1.

    Raises:
        InputError: the start is not balanced, or a time is out of order.
        SolveError: the integration failed.
    """
    from scipy.integrate import solve_ivp

    times = checks.times("times", times)
    balanced = BalancedFlow.build(problem)
    # From 0 on, where the start is.
    found = solve_ivp(
        balanced.field, (0.0, times[-1]), balanced.start, "DOP853", times, rtol=rtol, atol=rtol * 1e-4
    )
    if not found.success:
        raise SolveError(f"the balanced flow ended at t = {found.t[-1]:.6g}: {found.message}")
    outputs = [balanced.flow.samples(balanced.outputs(y)) for y in found.y.T]
    singular = [np.linalg.svd(balanced.parts(y)[0], compute_uv=False) for y in found.y.T]
    return np.array(outputs), np.array(singular)

"""Standard errors of what was fitted, and what the data cannot tell."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from ntkflow._types import Floats
from ntkflow.fitting.family import Family, Parameters
from ntkflow.fitting.refine import Optimum

# Singular values of the scaled Jacobian below this fraction of the largest are rounding.
NULL = 1e-6
# From here on the worst determined mixture of constants has ten thousand times the error of the best determined one.
ILL_CONDITIONED = 1e4
# Neighbouring residuals correlated by more than this are no noise.
SYSTEMATIC = 0.8
# Fraction of the largest parameter: closer to its bound than this a parameter lies on it.
ACTIVE = 1e-6
# Share of the motion; what is left below it is accuracy of the simulation, correlated or not.
PRECISE = 1e-4


@dataclass(frozen=True)
class Estimate:
    """One constant.

    Attributes:
        value: estimate; NaN where the data do not determine the constant.
        error: standard error; infinite there.
    """

    value: float
    error: float


@dataclass(frozen=True, eq=False)
class Spread:
    """Covariance of the parameters on the identified subspace, and the rest.

    With residuals e - S e_0 of noise e, e_0 and (J^T J)^-1 = A, the covariance is noise^2 (A + A J^T S S^T J A),
    and the residual sum of squares has the mean noise^2 (count - p + tr S^T S - tr A J^T S S^T J).
    """

    covariance: Float64[Floats, "p p"]
    null: Float64[Floats, "k p"]
    noise: float
    condition: float

    @classmethod
    def build(cls, optimum: Optimum, noise_in: tuple[np.ndarray | float, float], silent: int = 0) -> "Spread":
        """From the residuals and their derivative where the iteration ended.

        Args:
            optimum: that.
            noise_in: how noise in the first state reaches the residuals, J^T S S^T J and tr S^T S; zeros where it is known.
            silent: residuals that no noise is in.
        """
        J = optimum.jacobian.reshape(-1, len(optimum.theta))
        # The condition number asks whether constants can stand in for each other, whatever each of them moves: columns
        # of length one. What the data lose is asked of J itself, where all parameters have the unit of the kernel.
        lengths = np.linalg.norm(J, axis=0)
        units = J / np.where(lengths > 0, lengths, 1.0)
        values = np.linalg.svd(units, compute_uv=False)
        s, V = np.linalg.svd(J, full_matrices=False)[1:]
        keep = s > NULL * max(float(s[0]), 1e-300)
        A = (V[keep].T / s[keep] ** 2) @ V[keep]
        # The first state starts the simulation: its noise is in every residual, and the plain covariance would be too
        # small wherever it is amplified.
        middle = A @ noise_in[0] if np.ndim(noise_in[0]) else np.zeros_like(A)
        count = J.shape[0] - silent - int(keep.sum()) + noise_in[1] - float(np.trace(middle))
        variance = float(np.sum(optimum.residuals**2)) / max(count, 1.0)
        condition = float(values[0] / values[-1]) if values[-1] > 0 else np.inf
        return cls(variance * (A + middle @ A), V[~keep], float(np.sqrt(variance)), condition)

    def of(self, row: Parameters, theta: Parameters) -> Estimate:
        """A linear function of the parameters."""
        if self.lost(row):
            return Estimate(float("nan"), float("inf"))
        return Estimate(float(row @ theta), float(np.sqrt(max(float(row @ self.covariance @ row), 0.0))))

    def lost(self, row: Parameters) -> bool:
        """Whether directions that move nothing change this linear function."""
        # Far above the rounding of the null space's directions, far below any share that would matter to the value.
        return float(np.linalg.norm(self.null @ row)) > 1e-3 * float(np.linalg.norm(row))


_REASONS = {
    "mu_single": "the within-class part H2 of the data does not move",
    "mu_class": "the centred class means of the residual do not move the features",
    "mu_global": "the global mean of the residual has vanished",
}


def warnings_of(
    moves: float, chosen: Family, optimum: Optimum, spread: Spread, estimates: dict[str, Estimate]
) -> list[str]:
    """What the data cannot tell, a sentence each; `moves` is the squared motion, in the units of the residuals."""
    found = []
    for name, estimate in estimates.items():
        if np.isinf(estimate.error):
            constant = name.split("[")[0].split(" at ")[0]
            other = "it depends on what moves nothing observed"
            reason = _REASONS.get(constant, other)
            found.append(f"{name} is not identifiable: {reason}")
        elif estimate.error > abs(estimate.value) > ACTIVE * float(np.abs(optimum.theta).max()):
            found.append(f"{name} is not determined: its standard error exceeds it")
    if not len(spread.null) and spread.condition > ILL_CONDITIONED:
        found.append(
            f"the parameters are nearly interchangeable: condition number {spread.condition:.2g} of the Jacobian"
        )
    size = float(np.abs(optimum.theta).max()) or 1.0
    for k, (name, value, lower) in enumerate(zip(chosen.names, optimum.theta, chosen.lower, strict=True)):
        # A parameter that moves nothing sits on its bound by chance, and has been reported above.
        if value - lower <= ACTIVE * size and not spread.lost(np.eye(len(chosen))[k]):
            found.append(f"the bound {name} >= 0 is active: errors around it are one-sided")
    left = float(np.sqrt(np.sum(optimum.residuals**2) / moves))
    if (share := _correlation(optimum.residuals)) > SYSTEMATIC and left > PRECISE:
        found.append(
            f"neighbouring residuals are correlated ({share:.2f}): the model and not noise limits the fit, "
            "and the standard errors are too small"
        )
    if not optimum.converged:
        found.append("the refinement ended before it met its tolerances")
    return found


def _correlation(residuals: Floats) -> float:
    """Correlation of the residuals at one time with those at the next; 0 with fewer than four times."""
    # One or two pairs of neighbours tell nothing.
    if len(residuals) < 4:
        return 0.0
    a, b = residuals[:-1].ravel(), residuals[1:].ravel()
    norms = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / norms if norms > 0 else 0.0

"""Rates and times in closed form that follow from the spectra of `ntkflow.theory.spectrum`.

Rates are per unit of the flow time t of the sum loss (4).
"""

import numpy as np

from ntkflow import checks
from ntkflow._lazy import lister
from ntkflow._types import Floats, Vector
from ntkflow.errors import InputError
from ntkflow.problem.kernels.block import BlockKernel
from ntkflow.problem.sizes import Sizes
from ntkflow.theory.limits import eigenvalues, lambda_balanced_x, x_star

__all__ = [
    "class_rate",
    "largest_step",
    "plateau_time",
    "slowest_within",
    "tail_NC3",
    "tail_column_sums",
    "tail_loss",
    "tail_trace_S",
    "time_to_collapse",
]
__dir__ = lister(__all__)


def class_rate(sizes: Sizes, kernel: BlockKernel) -> float:
    """sqrt(m mu_class), the clock of the class means: growth at the origin, half the fastest rate at collapse."""
    return float(np.sqrt(sizes.per_class * eigenvalues(sizes, kernel).mu_class))


def slowest_within(sizes: Sizes, kernel: BlockKernel, beta: float) -> float:
    """Slowest within-class rate at E = 0 and b = beta 1: mu_single x* min(1, |1 - beta C| sqrt(mu_c/mu_g)).

    It vanishes exactly where NC3 becomes perfect, beta = 1/C. Source: not in the paper (theory 7.3).
    """
    mu = eigenvalues(sizes, kernel)
    uncentred = abs(1 - beta * sizes.C) * float(np.sqrt(mu.mu_class / mu.mu_global))
    return mu.mu_single * x_star(sizes, kernel) * min(1.0, uncentred)


def time_to_collapse(sizes: Sizes, kernel: BlockKernel, factor: float, e: float = 0.0) -> float:
    """Time in which NC1 falls by `factor` once the classes are fitted: ln(factor)/(mu_single x*).

    NC1(t) = NC1(t1) exp(-mu_single x* (t - t1)) at E = 0 from the time t1 of the class fit; tr S falls by the
    same factor in half the time. For large m the rate tends to mu_single/sqrt(kappa_c - kappa_n), so
    collapse takes a time that does not shrink with m, while the class fit does.

    Args:
        sizes: sizes of the problem, with m >= 2.
        kernel: scalar blocks.
        factor: NC1 now over NC1 wanted, at least 1.
        e: eigenvalue of E, which makes x* to x_e, as in `at_collapse`.

    Source: not in the paper (theory 7.6).
    """
    if sizes.per_class == 1:
        raise InputError(
            "m", 1, "leaves nothing to collapse: one sample per class has no spread", "use m >= 2"
        )
    if not factor >= 1:
        raise InputError("factor", factor, "must be at least 1", "give NC1 now over NC1 wanted")
    return float(np.log(factor)) / (
        eigenvalues(sizes, kernel).mu_single * lambda_balanced_x(sizes, kernel, e)
    )


def plateau_time(sizes: Sizes, kernel: BlockKernel, scale: float) -> float:
    """ln(1/scale)/sqrt(m mu_class), about how long a small state stays near the saddle at the origin.

    Args:
        sizes: sizes of the problem.
        kernel: scalar blocks.
        scale: size of the initial (W, H) in the units of the limit, in 0 .. 1.

    Source: not in the paper (theory 7.4).
    """
    # Above one the state is no perturbation of the saddle, and the logarithm a time before the start.
    if not 0 < scale <= 1:
        raise InputError(
            "scale", scale, "must lie in 0 .. 1, zero excluded", "give |W(0)| over |W| at the end"
        )
    return -float(np.log(scale)) / class_rate(sizes, kernel)


def tail_column_sums(t: Vector, sizes: Sizes, kernel: BlockKernel, start: float = np.inf) -> Vector:
    """|W^T 1|^2 / C -> 1/(2 mu_single t): the algebraic tail under the very hypotheses of Theorem 5.2.

    With E = 0, g = 0, b = 1/C and W(0)^T 1 != 0 one direction of row(W) lies outside the class means and has no
    linear decay; the constants do not depend on the initial state (theory 7.3, as all of the `tail_` laws).

    Args:
        t: times.
        sizes: sizes of the problem.
        kernel: scalar blocks.
        start: value at t = 0; with it the law 1/(2 mu_single t + 1/start) is exact where the class means are
            already those of the limit and orthogonal to that direction.
    """
    growth = 2 * eigenvalues(sizes, kernel).mu_single * np.asarray(t, dtype=float)
    if np.isfinite(start):
        # Not by 1/start: zero stays zero.
        return start / (1 + growth * start)
    with np.errstate(divide="ignore"):
        return 1 / growth


def tail_trace_S(t: Vector, sizes: Sizes, kernel: BlockKernel, start: float = np.inf) -> Vector:
    """Trace of S -> 1/(2 m t); `start` is |W(0)^T 1|^2 / C as in `tail_column_sums`, of which it is mu_single/m."""
    share = eigenvalues(sizes, kernel).mu_single / sizes.per_class
    return share * tail_column_sums(t, sizes, kernel, start)


def tail_loss(t: Vector, sizes: Sizes, kernel: BlockKernel) -> Vector:
    """Loss -> 1/(8 mu_single t^2)."""
    # By the square of a quotient, since t^2 may under- or overflow.
    return eigenvalues(sizes, kernel).mu_single / 2 * tail_column_sums(t, sizes, kernel) ** 2


def tail_NC3(t: Vector, sizes: Sizes, kernel: BlockKernel) -> Vector:
    """NC3 -> (2 mu_single t)^{-1/2} / sqrt((C-1) x*)."""
    result: Floats = np.sqrt(tail_column_sums(t, sizes, kernel) / ((sizes.C - 1) * x_star(sizes, kernel)))
    return result


def largest_step(rate: float) -> float:
    """2/lambda_max: gradient descent on the sum loss is stable for steps below it.

    For a loss that is a mean over samples and outputs the bound is N C times larger. With momentum beta it
    is (1 + beta) times larger (heavy ball). Source: not in the paper (theory 11.6).

    Args:
        rate: fastest rate, for example `spectrum.at_zero_loss(...).fastest`.
    """
    checks.positive("rate", rate, "give the fastest rate of a spectrum")
    return 2 / rate

"""The cross-entropy's clock: the margin of balanced symmetric states at all times, with smoothed labels too (theory 17b, c).

In the symmetric sector with E = 0 and centred W, H1 and b the one number p = tr(W H1)/(C - 1), by which the right output leads,
obeys dp/dt = 2 sqrt(m mu_class) p [C/(e^p + C - 1) - epsilon]. Without smoothing that is
    2 C sqrt(m mu_class) t = Ei(p) - Ei(p0) + (C - 1) ln(p/p0),
so that p grows like ln t; with it p ends at ln(C/epsilon - C + 1). Not in the paper.
"""

import math

from ntkflow import checks
from ntkflow.errors import InputError
from ntkflow.problem.kernels.block import BlockKernel
from ntkflow.problem.sizes import Sizes
from ntkflow.theory.exact.times import elapsed
from ntkflow.theory.rates import class_rate

# From here on e^p is no number.
MOST = 700.0


def final_margin(C: int, epsilon: float) -> float:
    """z* = ln(C/epsilon - C + 1), where the outputs are the logarithms of the smoothed labels; infinite without smoothing."""
    epsilon = checks.smoothing("epsilon", epsilon)
    return math.log(C / epsilon - C + 1) if epsilon else math.inf


def margin_time(sizes: Sizes, kernel: BlockKernel, p0: float, p1: float, epsilon: float = 0.0) -> float:
    """Flow time in which the margin goes from p0 to p1.

    Args:
        sizes: sizes of the problem.
        kernel: scalar blocks.
        p0: margin at the start, > 0.
        p1: margin at the end, on the way from p0 to `final_margin`.
        epsilon: label smoothing.

    Raises:
        InputError: a margin is not on the way.
    """
    C, end = sizes.C, final_margin(sizes.C, epsilon)
    p0, p1 = checks.positive("p0", p0, "give a margin > 0"), checks.positive("p1", p1, "give a margin > 0")
    if not (p0 <= p1 < min(end, MOST) or end < p1 <= p0 < MOST):
        rule = f"must lie between p0 = {p0:.6g} and the end {end:.6g}"
        raise InputError("p1", p1, rule, "the margin moves towards its end")
    unit = 2 * class_rate(sizes, kernel)
    if not epsilon:
        from scipy.special import expi

        return float((expi(p1) - expi(p0) + (C - 1) * math.log(p1 / p0)) / (unit * C))
    from scipy.integrate import quad

    def slowness(u: float) -> float:
        # In u = ln |p - end| the end is far away, and the integrand smooth up to it.
        p = end + math.copysign(math.exp(u), p0 - end)
        # C - epsilon (e^p + C - 1) = -epsilon e^end (e^{p - end} - 1), without the difference of two numbers that are alike.
        push = -epsilon * math.exp(end) * math.expm1(p - end)
        return (math.exp(p) + C - 1) / (p * push) * (p - end)

    return float(quad(slowness, math.log(abs(p0 - end)), math.log(abs(p1 - end)), limit=200)[0] / unit)


def margin_at(sizes: Sizes, kernel: BlockKernel, p0: float, t: float, epsilon: float = 0.0) -> float:
    """The margin at time t from p0 at 0; see `margin_time` for the arguments.

    Raises:
        InputError: p0 is not positive, or t is negative or not finite.
    """
    from scipy.optimize import brentq

    t, end = elapsed(t), final_margin(sizes.C, epsilon)
    p0 = checks.positive("p0", p0, "give a margin > 0")
    if t == 0 or p0 == end:
        return p0
    # Next to the end nothing moves any more.
    far = math.nextafter(min(end, MOST), p0) if end < MOST else MOST * (1 - 1e-9)
    if margin_time(sizes, kernel, p0, far, epsilon) <= t:
        return far
    return float(brentq(lambda p: margin_time(sizes, kernel, p0, p, epsilon) - t, p0, far, xtol=1e-13))

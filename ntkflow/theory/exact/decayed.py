"""Weight decay in closed form: the limit that it enforces, and the slow drift when only W decays.

Neither is in the paper (theory 11.1). Decay enters as dW/dt -= lw W and dH/dt -= lh H.
"""

import math

import numpy as np

from ntkflow import checks
from ntkflow._types import Vector
from ntkflow.errors import InputError
from ntkflow.metrics.neural_collapse import centring
from ntkflow.problem.decay import Decay
from ntkflow.problem.kernels.block import BlockKernel
from ntkflow.problem.sizes import Sizes
from ntkflow.theory.exact.lambert import lambert_w_of_exp
from ntkflow.theory.exact.times import elapsed
from ntkflow.theory.limits import Limit, complete, eigenvalues, x_star
from ntkflow.theory.rates import class_rate

# Above this ln y, no drift with finite rate and time can be seen in x, and y overflows; below its negative y is so small
# that the drift is exponential.
LARGE = 600.0


def fraction(sizes: Sizes, kernel: BlockKernel, decay: Decay) -> tuple[float, float]:
    """rho = sqrt(lw lh/(m mu_class)), what decay leaves of the class contrasts unfitted, and the same of the mean.

    At rho >= 1 nothing of them is fitted: W and H vanish (theory 11.1).
    """
    # Roots first: the product of two rates may under- or overflow.
    pull = math.sqrt(decay.W) * math.sqrt(decay.H)
    mean = math.sqrt(sizes.per_class * eigenvalues(sizes, kernel).mu_global)
    return pull / class_rate(sizes, kernel), pull / mean


def regularised_limit(sizes: Sizes, kernel: BlockKernel, decay: Decay) -> Limit:
    """Where a generic start ends under decay of W and H: collapse, enforced by the decay.

    With rho = sqrt(lw lh/(m mu_class)): R1 = -rho P, b = 1/C, H1 = sqrt(lw mu_class/(lh m)) W^T,
    X = (1 - rho) sqrt(lh m/(lw mu_class)) P, S = 0, and m E = (lh/lw - 1) H K^{-1} H^T.

    Decay of the biases, lb, leaves 1 - C b = lb/(N + lb) to W and the mean. They take it up only beyond
    rho_g = sqrt(lw lh/(m mu_global)), and then down to rho_g: X gets the part
    (1 - rho_g (1 + N/lb)) sqrt(lh m/(lw mu_global)) J, and NC3 fails.

    Args:
        sizes: sizes of the problem.
        kernel: scalar blocks.
        decay: rates of W and H positive.

    Raises:
        InputError: a rate of W or H is zero, or decay is so strong that the class means merge at the end.
    """
    C, root = sizes.C, class_rate(sizes, kernel)
    if not (decay.W > 0 and decay.H > 0):
        raise InputError(
            "decay", decay.rates, "must pull on W and on H in this formula", "see weight_decay_drift"
        )
    rho, mean = fraction(sizes, kernel, decay)
    if rho >= 1:
        raise InputError(
            "decay",
            decay.rates,
            f"is too strong: sqrt(lw lh) must stay below sqrt(m mu_class) = {root:.3g}, "
            "beyond it the class means merge",
            "lower a rate",
        )
    # lw W^T W = lh H K^{-1} H^T at rest: how the two share a product is the ratio of their rates.
    P, ratio = centring(C), math.sqrt(decay.H) / math.sqrt(decay.W)
    J = np.eye(C) - P
    of_contrasts = ratio * x_star(sizes, kernel)
    of_mean = ratio * math.sqrt(sizes.per_class / eigenvalues(sizes, kernel).mu_global)
    left = decay.b / (sizes.N + decay.b)
    common = 1 - mean * (1 + sizes.N / decay.b) if left > mean else 0.0
    x, y = (1 - rho) * of_contrasts, common * of_mean
    beta = (1 - common - min(left, mean)) / C
    return complete(
        X=x * P + y * J,
        G=(1 - rho) / of_contrasts * P + common / of_mean * J,
        b=np.full(C, beta),
        excess=y / ((C - 1) * x),
        hypotheses="decay of W and H at the given rates, and a generic start",
    )


def decay_rates(sizes: Sizes, kernel: BlockKernel, decay: Decay) -> Vector:
    """Rates at which a start ends at `regularised_limit`, or at W = H = 0 beyond it, ascending and distinct.

    Rates zero, rotations of the features, are left out. With sigma = lw + lh and c = (1 - rho)/rho, the contrasts have
    those of the matrix [[c sigma, lw - lh], [c (lw - lh), sigma]], sigma/rho and lw/rho; the global mean and the biases
    those of [[mu_global x + lh, mu_global sqrt(x)], [N sqrt(x), N]]; directions beside the class means lw, lh and sigma.

    Args:
        sizes: sizes of the problem.
        kernel: scalar blocks.
        decay: rates of W and H positive, that of b zero.

    Source: not in the paper.
    """
    if not (decay.W > 0 and decay.H > 0) or decay.b:
        raise InputError("decay", decay.rates, "must pull on W and on H alone here", "set the rate of b to 0")
    lw, lh, mu, N = decay.W, decay.H, eigenvalues(sizes, kernel), float(sizes.N)
    rho, _ = fraction(sizes, kernel, decay)
    if rho >= 1:
        low, high = _roots(lw + lh, lw * lh * (1 - rho**-2))
        return np.unique([low, high, lw, lh, N])
    sigma, c = lw + lh, (1 - rho) / rho
    x = (1 - rho) * math.sqrt(lh * sizes.per_class / (lw * mu.mu_class))
    rates = [*_roots((1 + c) * sigma, 4 * c * lw * lh), lw / rho, N]
    rates += _roots(N + mu.mu_global * x + lh, N * lh)
    if sizes.C > 2:
        rates.append(sigma / rho)
    if sizes.n > sizes.C - 1:
        rates += [lw, lh, sigma]
    elif sizes.per_class > 1:
        rates.append(mu.mu_single * x + lh)
    return np.unique(rates)


def _roots(trace: float, determinant: float) -> tuple[float, float]:
    """Eigenvalues of a 2 x 2 matrix that are real; the smaller one without cancellation."""
    high = (trace + math.sqrt(max(0.0, trace**2 - 4 * determinant))) / 2
    return determinant / high, high


def weight_decay_drift(sizes: Sizes, kernel: BlockKernel, x0: float, rate: float, t: float) -> float:
    """x(t) of X = x P on the zero-loss manifold when only W decays, slowly: W shrinks, H grows.

    dx/dt = -2 lw mu_class x^3/(mu_class x^2 + m). With y = m/(mu_class x^2) it is y + ln y = 4 lw t + const,
    so y is Lambert's W of an exponential. Leading order in lw.

    Args:
        sizes: sizes of the problem.
        kernel: scalar blocks.
        x0: x at t = 0, for example `limits.x_star`.
        rate: lw, small against the rates of the fit.
        t: flow time.

    Raises:
        InputError: x0 is not positive, rate or t is negative, or one of them is not finite.
    """
    return _along_the_minima(sizes, kernel, x0, rate, t, -2)


def feature_decay_drift(sizes: Sizes, kernel: BlockKernel, x0: float, rate: float, t: float) -> float:
    """x(t) of X = x P when only H decays, slowly: H shrinks, W grows. `weight_decay_drift` with m/(mu_class x) for x.

    dx/dt = 2 lh m x/(mu_class x^2 + m).

    Args:
        sizes: sizes of the problem.
        kernel: scalar blocks.
        x0: x at t = 0.
        rate: lh, small against the rates of the fit.
        t: flow time.

    Raises:
        InputError: x0 is not positive, rate or t is negative, or one of them is not finite.
    """
    return _along_the_minima(sizes, kernel, x0, rate, t, 2)


def _along_the_minima(
    sizes: Sizes, kernel: BlockKernel, x0: float, rate: float, t: float, power: int
) -> float:
    """x(t) where y = (x/x*)^power grows as y + ln y = 4 rate t + const."""
    x0 = checks.positive("x0", x0, "use limits.x_star or an observed value")
    rate, t = checks.not_negative("rate", rate, "give a rate >= 0"), elapsed(t)
    natural = x_star(sizes, kernel)
    log_y0 = power * (math.log(x0) - math.log(natural))
    if log_y0 > LARGE:
        return x0
    z = 4 * rate * t + math.exp(log_y0) + log_y0
    if z < -LARGE:
        # Here y grows exponentially to all digits, and may itself underflow.
        return x0 * math.exp(4 * rate * t / power)
    return float(natural * lambert_w_of_exp(z) ** (1 / power))

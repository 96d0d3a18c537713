"""Weight decay in closed form: the limit that it enforces, and the slow drift when only W decays.

Neither is in the paper (theory 11.1). Decay enters as dW/dt -= lw W and dH/dt -= lh H.
"""

import math

import numpy as np

from ntkflow.checks import real
from ntkflow.errors import InputError
from ntkflow.metrics.neural_collapse import centring
from ntkflow.problem.decay import Decay
from ntkflow.problem.kernels.block import BlockKernel
from ntkflow.problem.sizes import Sizes
from ntkflow.theory.exact.lambert import lambert_w_of_exp
from ntkflow.theory.exact.times import elapsed
from ntkflow.theory.limits import Limit, complete, eigenvalues, x_star
from ntkflow.theory.rates import class_rate

# Above this ln y, x is so small that no drift with finite rate and time can be seen in it, and y overflows.
SMALL = 600.0


def regularised_limit(sizes: Sizes, kernel: BlockKernel, decay: Decay) -> Limit:
    """Where a generic start ends under decay of W and H with free biases: collapse, enforced by the decay.

    With rho = sqrt(lw lh/(m mu_class)): R1 = -rho P, b = 1/C, H1 = sqrt(lw mu_class/(lh m)) W^T,
    X = (1 - rho) sqrt(lh m/(lw mu_class)) P, S = 0, and m E = (lh/lw - 1) H K^{-1} H^T.

    Args:
        sizes: sizes of the problem.
        kernel: scalar blocks.
        decay: both rates positive, none on the biases.

    Raises:
        InputError: a rate of W or H is zero, that of b is not, or decay is so strong that all is zero at the end.
    """
    rate = class_rate(sizes, kernel)
    if not (decay.W > 0 and decay.H > 0 and decay.b == 0):
        raise InputError(
            "decay",
            decay.rates,
            "must pull on W and H and not on b in this formula",
            "see weight_decay_drift",
        )
    # Roots first: the product and the quotient of two rates may under- or overflow.
    root_W, root_H = math.sqrt(decay.W), math.sqrt(decay.H)
    rho = root_W * root_H / rate
    if rho >= 1:
        raise InputError(
            "decay",
            decay.rates,
            f"is too strong: sqrt(lw lh) must stay below sqrt(m mu_class) = {rate:.3g}, "
            "beyond it W and H vanish",
            "lower a rate",
        )
    P, ratio = centring(sizes.C), root_H / root_W * x_star(sizes, kernel)
    return complete(
        X=(1 - rho) * ratio * P,
        G=(1 - rho) / ratio * P,
        b=np.full(sizes.C, 1 / sizes.C),
        excess=0.0,
        hypotheses="decay of W and H at the given rates, none of b, and a generic start",
    )


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
    x0, rate, t = real("x0", x0), real("rate", rate), elapsed(t)
    if not x0 > 0:
        raise InputError("x0", x0, "must be positive", "use limits.x_star or an observed value")
    if rate < 0:
        raise InputError("rate", rate, "must be at least 0", "give a rate >= 0")
    scale = sizes.per_class / eigenvalues(sizes, kernel).mu_class
    log_y0 = math.log(scale) - 2 * math.log(x0)
    if log_y0 > SMALL:
        return x0
    return math.sqrt(scale / lambert_w_of_exp(4 * rate * t + math.exp(log_y0) + log_y0))

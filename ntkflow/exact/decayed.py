"""Weight decay in closed form: the limit that it enforces, and the slow drift when only W decays.

Neither is in the paper (theory 11.1). Decay enters as dW/dt -= lw W and dH/dt -= lh H.
"""

import math

import numpy as np

from ntkflow.collapse import centring
from ntkflow.decay import Decay
from ntkflow.errors import InputError
from ntkflow.exact.lambert import lambert_w_of_exp
from ntkflow.kernels.block import BlockKernel
from ntkflow.limits import Limit, complete, eigenvalues
from ntkflow.sizes import Sizes


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
    m, mu = sizes.per_class, eigenvalues(sizes, kernel)
    if not (decay.W > 0 and decay.H > 0 and decay.b == 0):
        raise InputError(
            "decay",
            decay.rates,
            "must pull on W and H and not on b in this formula",
            "see weight_decay_drift",
        )
    rho = math.sqrt(decay.W * decay.H / (m * mu.mu_class))
    if rho >= 1:
        raise InputError(
            "decay",
            decay.rates,
            f"is too strong: sqrt(lw lh) must stay below sqrt(m mu_class) = {math.sqrt(m * mu.mu_class):.3g}, "
            "beyond it W and H vanish",
            "lower a rate",
        )
    P, ratio = centring(sizes.C), math.sqrt(decay.H * m / (decay.W * mu.mu_class))
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
    """
    scale = sizes.per_class / eigenvalues(sizes, kernel).mu_class
    if not x0 > 0:
        raise InputError("x0", x0, "must be positive", "use limits.x_star or an observed value")
    y0 = scale / x0**2
    return math.sqrt(scale / lambert_w_of_exp(4 * rate * t + y0 + math.log(y0)))

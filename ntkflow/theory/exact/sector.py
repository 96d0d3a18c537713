"""The permutation symmetric sector: all classes alike, two decoupled scalar systems (not in the paper).

In an orthonormal frame V (n x C): W = (wP P + wJ J) V^T, H1 = V (hP P + hJ J), S = V (sP P + sJ J) V^T and
b = beta 1. The flow preserves this form (theory 4.5).
"""

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float64

from ntkflow._types import Floats
from ntkflow.checks import real
from ntkflow.errors import InputError
from ntkflow.metrics.neural_collapse import centring
from ntkflow.problem.kernels.block import BlockKernel
from ntkflow.problem.sizes import Sizes
from ntkflow.problem.state import State, ThinState
from ntkflow.problem.thin import Frame
from ntkflow.theory.exact.lambert import lambert_w_of_exp
from ntkflow.theory.exact.times import elapsed
from ntkflow.theory.limits import Limit, complete, eigenvalues, lambda_balanced_x
from ntkflow.theory.rates import class_rate

NAMES = ("wP", "hP", "sP", "wJ", "hJ", "sJ", "beta")
# Amplitudes below this (where 1 is a fitted product) grow exponentially to all digits.
LINEAR = 1e-9


@dataclass(frozen=True)
class Sector:
    """One symmetric state as seven numbers: contrasts (P), sums over classes (J), and the common bias.

    Raises:
        InputError: a number is not finite or beyond 1e60, or sP or sJ is negative, or positive with one sample per class.
    """

    sizes: Sizes
    kernel: BlockKernel
    wP: float
    hP: float
    sP: float
    wJ: float
    hJ: float
    sJ: float
    beta: float

    def __post_init__(self) -> None:
        eigenvalues(self.sizes, self.kernel)
        for name in NAMES:
            object.__setattr__(self, name, real(name, getattr(self, name), "give a finite number"))
        for name in ("sP", "sJ"):
            value = getattr(self, name)
            if value < 0 or (value > 0 and self.sizes.per_class == 1):
                rule = "is a variance: at least 0, and 0 with one sample per class"
                raise InputError(name, value, rule, "give a value >= 0, or m >= 2")

    @property
    def e_P(self) -> float:
        """Constant wP^2/m - hP^2/mu_class - sP/mu_single, the eigenvalue of E on contrasts."""
        mu = eigenvalues(self.sizes, self.kernel)
        return self.wP**2 / self.sizes.per_class - self.hP**2 / mu.mu_class - _share(self.sP, mu.mu_single)

    @property
    def e_J(self) -> float:
        """Constant wJ^2/m - hJ^2/mu_global - sJ/mu_single, the eigenvalue of E on the sum over classes."""
        mu = eigenvalues(self.sizes, self.kernel)
        return self.wJ**2 / self.sizes.per_class - self.hJ**2 / mu.mu_global - _share(self.sJ, mu.mu_single)

    def field(self) -> Float64[Floats, " 7"]:
        """Time derivatives of `NAMES`, the two scalar systems of theory 4.5."""
        m, C, mu = self.sizes.per_class, self.sizes.C, eigenvalues(self.sizes, self.kernel)
        rP = self.wP * self.hP - 1
        rJ = self.wJ * self.hJ + C * self.beta - 1
        return np.array(
            [
                -m * (rP * self.hP + self.wP * self.sP),
                -mu.mu_class * self.wP * rP,
                -2 * mu.mu_single * self.wP**2 * self.sP,
                -m * (rJ * self.hJ + self.wJ * self.sJ),
                -mu.mu_global * self.wJ * rJ,
                -2 * mu.mu_single * self.wJ**2 * self.sJ,
                -m * rJ,
            ]
        )

    def state(self, frame: Float64[Floats, "n C"]) -> State:
        """The full state in an orthonormal frame V; class c has its spread on its first two samples.

        Args:
            frame: V, n x C with orthonormal columns, so n >= C.
        """
        C, m = self.sizes.C, self.sizes.per_class
        if frame.shape != (self.sizes.n, C) or not np.allclose(frame.T @ frame, np.eye(C), atol=1e-10):
            raise InputError(
                "frame",
                f"array of shape {frame.shape}",
                f"must be {self.sizes.n} x {C} with orthonormal columns",
                "use np.linalg.qr of a random matrix, and n >= C",
            )
        P = centring(C)
        J = np.eye(C) - P
        Q = np.zeros((self.sizes.N, C))
        # Two samples are enough to carry any variance; the others of a class stay on its mean.
        if m > 1:
            first = np.arange(C) * m
            Q[first, np.arange(C)], Q[first + 1, np.arange(C)] = 1 / np.sqrt(2), -1 / np.sqrt(2)
        L = np.sqrt(m) * frame @ (np.sqrt(self.sP) * P + np.sqrt(self.sJ) * J)
        thin = ThinState(
            frame @ (self.hP * P + self.hJ * J),
            L,
            (self.wP * P + self.wJ * J) @ frame.T,
            np.full(C, self.beta),
        )
        return Frame(self.sizes, Q, np.eye(self.sizes.n), (0,) * C).compose(thin)

    def contrast_at(self, t: float) -> tuple[float, float]:
        """(wP, hP) at time t for sP = 0, explicitly.

        p = wP hP obeys dp/dt = (1-p) sqrt((m mu_c eP)^2 + 4 m mu_c p^2), which 1/(1-p) turns into a hyperbolic
        sine; wP and hP follow since sqrt(mu_c) wP + sqrt(m) hP grows as sqrt(mu_c) wP - sqrt(m) hP shrinks.
        For eP = 0 and hP = wP/x* it is the logistic law wP^2 = x*/(1 + (x*/wP0^2 - 1) exp(-2 sqrt(m mu_c) t)).

        Nothing is divided by what may underflow: starts of any size, zero included, are answered.

        Raises:
            InputError: sP is not zero, or t is negative or not finite.
        """
        if self.sP != 0:
            raise InputError("sP", self.sP, "must be 0 for the closed form", "integrate `field` instead")
        m, mu = self.sizes.per_class, eigenvalues(self.sizes, self.kernel)
        rate = class_rate(self.sizes, self.kernel)
        z = rate * elapsed(t)
        scale = math.sqrt(rate)
        w, h = math.sqrt(mu.mu_class) * self.wP / scale, math.sqrt(m) * self.hP / scale
        plus, minus = w + h, w - h
        p = self.wP * self.hP
        if max(abs(plus), abs(minus)) <= LINEAR:
            # Near the saddle products of the two would underflow, and p is of no account.
            linear = min(z, math.log(LINEAR) - math.log(abs(plus)) if plus else math.inf)
            plus, minus = _times_exp(plus, linear), _times_exp(minus, -linear)
            z, p = z - linear, (plus - minus) * (plus + minus) / 4
        if z > 0:
            plus, minus = _grown(plus, minus, p, z)
        return (
            scale * (plus + minus) / (2 * math.sqrt(mu.mu_class)),
            scale * (plus - minus) / (2 * math.sqrt(m)),
        )

    def sums_at(self, beta: float) -> tuple[float, float]:
        """(wJ, hJ) when the common bias has reached `beta`, for sJ = 0.

        With d = beta - beta(0) and k = sqrt(mu_global/m): wJ = wJ0 cosh(kd) + (hJ0/k) sinh(kd) and
        hJ = hJ0 cosh(kd) + k wJ0 sinh(kd); what overflows is infinite.

        Raises:
            InputError: sJ is not zero, or beta is not finite.
        """
        if self.sJ != 0:
            raise InputError("sJ", self.sJ, "must be 0 for the closed form", "integrate `field` instead")
        k = self._k
        z = k * (real("beta", beta) - self.beta)
        if abs(z) <= 1:
            cosh, sinh = math.cosh(z), math.sinh(z)
            return self.wJ * cosh + self.hJ / k * sinh, self.hJ * cosh + k * self.wJ * sinh
        # Hyperbolic functions overflow where a small amplitude keeps the product moderate.
        plus, minus = _times_exp(k * self.wJ + self.hJ, z), _times_exp(k * self.wJ - self.hJ, -z)
        return (plus + minus) / (2 * k), (plus - minus) / 2

    def beta_limit(self) -> float:
        """The common bias at the end, for sJ = 0: the root of wJ hJ + C beta = 1, which rises in beta.

        For eJ = 0 and hJ = k wJ: 1 - C beta = u = (C/2k) LambertW((2k^2/C) wJ0^2 exp(2k(1/C - beta0))).
        """
        C, k = self.sizes.C, self._k
        plus, minus = k * self.wJ + self.hJ, k * self.wJ - self.hJ
        self.sums_at(self.beta)
        if plus == minus == 0:
            return 1 / C
        if abs(minus) <= 1e-15 * abs(plus):
            argument = 2 * math.log(abs(plus)) - math.log(2 * C) + 2 * k * (1 / C - self.beta)
            return (1 - C / (2 * k) * lambert_w_of_exp(argument)) / C
        # wJ hJ = (plus^2 e^{2kd} - minus^2 e^{-2kd})/4k, so the root lies between 1/C and the balance of the two.
        return self._bisect(plus, minus)

    def _bisect(self, plus: float, minus: float) -> float:
        C, k = self.sizes.C, self._k

        def product(beta: float) -> float:
            z = 2 * k * (beta - self.beta)
            if abs(z) <= 1:
                # For a small k the difference of exponentials would cancel.
                slope = (self.hJ**2 / k + k * self.wJ**2) / 2
                return self.wJ * self.hJ * math.cosh(z) + slope * math.sinh(z)
            rising, falling = _times_exp(plus, z / 2), _times_exp(minus, -z / 2)
            return (rising * rising - falling * falling) / (4 * k)

        # The logarithm of the quotient would overflow with it.
        balance = (math.log(abs(minus)) - math.log(abs(plus))) / (2 * k) if plus and minus else None
        low = high = 1 / C
        if balance is not None:
            low, high = min(low, self.beta + balance), max(high, self.beta + balance)
        elif minus:
            high = low + 1.0
            while product(high) + C * high < 1:
                high += high - low
        while low < (middle := (low + high) / 2) < high:
            low, high = (middle, high) if product(middle) + C * middle < 1 else (low, middle)
        return (low + high) / 2

    def limit(self) -> Limit:
        """Gram matrices at the end, for sJ = 0 and any sP: X = x_eP P + wJ^2 J, G = P/x_eP + hJ^2 J.

        Raises:
            InputError: sJ is not zero, or the state runs into the saddle wP = hP = 0.
        """
        if self.into_saddle:
            raise InputError(
                "wP, hP",
                (self.wP, self.hP),
                "run into the saddle wP = hP = 0",
                "perturb the state",
            )
        C, beta = self.sizes.C, self.beta_limit()
        wJ, hJ = self.sums_at(beta)
        x, P = lambda_balanced_x(self.sizes, self.kernel, self.e_P), centring(C)
        J = np.eye(C) - P
        return complete(
            X=x * P + wJ**2 * J,
            G=P / x + hJ**2 * J,
            b=np.full(C, beta),
            excess=wJ**2 / (x * (C - 1)),
            hypotheses="a state symmetric under relabelling of the classes without sJ, and the loss tends to 0",
        )

    def with_values(self, values: Float64[Floats, " 7"]) -> "Sector":
        """The same sector at other values of `NAMES`."""
        changes: dict[str, Any] = dict(zip(NAMES, values, strict=True))
        return replace(self, **changes)

    @property
    def _k(self) -> float:
        return math.sqrt(eigenvalues(self.sizes, self.kernel).mu_global / self.sizes.per_class)

    @property
    def into_saddle(self) -> bool:
        """Whether the contrasts run into the saddle wP = hP = 0 instead of a zero of the loss."""
        # sqrt(mu_class) wP + sqrt(m) hP is the growing combination of theory 7.4; without it, and without sP to stir it up,
        # nothing is left that grows.
        mu, m = eigenvalues(self.sizes, self.kernel), self.sizes.per_class
        size = math.sqrt(mu.mu_class) * abs(self.wP) + math.sqrt(m) * abs(self.hP)
        plus = math.sqrt(mu.mu_class) * self.wP + math.sqrt(m) * self.hP
        return size == 0 or (self.sP == 0 and abs(plus) <= 1e-15 * size)


def _share(s: float, mu_single: float) -> float:
    return s / mu_single if s else 0.0


def _times_exp(amplitude: float, z: float) -> float:
    """amplitude e^z, infinite where it overflows; neither factor need be representable."""
    if amplitude == 0:
        return 0.0
    exponent = z + math.log(abs(amplitude))
    return math.copysign(math.exp(exponent) if exponent < 700 else math.inf, amplitude)


def _grown(plus: float, minus: float, p: float, z: float) -> tuple[float, float]:
    """Both amplitudes after the time z = sqrt(m mu_c) t; their product stays, and p = (plus^2 - minus^2)/4."""
    product = plus * minus
    p = _fitted(p, abs(product) / 2, 2 * z)
    # The larger of the two is a sum without cancellation, the other follows from the product.
    larger = math.sqrt(math.hypot(2 * p, product) + abs(2 * p))
    if larger == 0:
        return 0.0, 0.0
    if p > 0:
        plus = math.copysign(larger, plus)
        return plus, product / plus
    minus = math.copysign(larger, minus)
    return product / minus, minus


def _fitted(p0: float, a: float, z: float) -> float:
    """p at the time z = 2 sqrt(m mu_c) t of dp/dz = (1-p) sqrt(p^2 + a^2), from p0.

    u = 1/(1-p) obeys du/dz = sqrt(s^2 u^2 - 2u + 1), s^2 = 1 + a^2, so s^2 u - 1 is a combination of cosh and sinh
    of s z. Numerator and denominator of p = 1 - 1/u are here divided by s^2 e^{sz} (nothing overflows) and arranged
    in terms of one sign where p0 >= 0 (nothing cancels, however small p is).
    """
    if a == 0 and p0 <= 0:
        # Into the saddle p = 0, or at rest there.
        e = math.exp(-z)
        return p0 * e / (1 - p0 * -math.expm1(-z))
    s2 = 1 + a * a
    s, bent = math.sqrt(s2), a * a / s2
    e, gone = math.exp(-s * z), -math.expm1(-s * z)
    speed = math.hypot(p0, a) / s
    rise, fall = speed + p0 / s2, speed - p0 / s2
    if p0 < 0:
        rise = bent * (1 + p0 * p0 + a * a) / (s2 * fall)
    above = bent * (gone * gone / 2 + p0 * e) + (rise - e * e * fall) / 2
    return above / (e / s2 + bent * (1 + e * e) / 2 + gone * (rise + e * fall) / 2)

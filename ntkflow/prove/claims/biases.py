"""Errata of the equal-bias case (App. B.4) and of the remarks on alpha."""

from fractions import Fraction

import sympy

from ntkflow.prove.algebra.letters import Model, model_algebra
from ntkflow.prove.algebra.scalars import C, Scalar, m, mu_s, symbol
from ntkflow.prove.claims import witnesses
from ntkflow.prove.claims.limits import balanced_scale, both_signs, outer, weights_equal_bias
from ntkflow.prove.entry import Claim, Equation, Equations, Fact, Verdict
from ntkflow.prove.instances import counterexample, small_model

x, r, s = (symbol[name] for name in ("x", "r", "s"))
HALVES: dict[str, Fraction] = {"x": Fraction(2), "r": Fraction(1, 2), "s": Fraction(1)}
BIAS = "C = 2, beta = 0, 1 - alpha C = 1/4, m/mu_class = 4"


def gamma_as_printed() -> Equations:
    """The gap 1 - gamma C at beta = 1/C."""
    gap = abs(1 - Fraction(1, 2) * 2) * Fraction(1, 2)
    return (Fact("gamma < 1/C", gap > 0, f"C = 2, beta = 1/2: 1 - gamma C = {gap}"),)


def features_root(ratio: Scalar) -> Equations:
    """I - rho 1 1' with 1 - rho C = ratio as root of (I - beta 1 1')^2."""
    M = balanced_scale()
    root = outer(M, (1 - ratio) / C)
    positive = Equation("root is P + ratio J", root, M.P + M.J * ratio)
    signs = both_signs()
    squares = tuple(
        Equation(f"square, {name}", root * root, outer(M, beta) * outer(M, beta)) for name, beta in signs
    )
    # The printed ratio fails in the squares already; positivity is asked of the corrected one.
    return (*squares, positive) if ratio == s else squares


def root_inverse(sign: int) -> Equations:
    """The inverse of I - phi 1 1', phi = (1 - sqrt(1 - alpha C))/C."""
    M, phi = balanced_scale(), (1 - r) / C
    inverse = M.I + M.u * M.u.T * (phi / (1 - phi * C)) if sign > 0 else outer(M, phi / (1 + phi * C))
    return (Equation("(I - phi 1 1') times its inverse", outer(M, phi) * inverse, M.I),)


def means_gram(ratio: Scalar) -> Equations:
    """H1'H1 = (P + ratio J)/x in G Mc G = A'A, ratio = 1 - theta C."""
    M = balanced_scale()
    G, A = outer(M, (1 - ratio) / C) / x, outer(M, (1 - s) / C)
    return (Equation("G Mc G = A'A", G * M.inverse_class_kernel * G, A.T * A),)


def corrected_factor() -> Equations:
    """Inverse, the product of (66), and the equation it solves; phi^2 root as well."""
    M, phi, rho = balanced_scale(), (1 - r) / C, (1 - s) / C
    product = outer(M, rho) * (M.I + M.u * M.u.T * (phi / (1 - phi * C)))
    return (
        *root_inverse(1),
        Equation("(I - phi 1 1')^2 = I - alpha 1 1'", outer(M, phi) * outer(M, phi), outer(M, M.alpha)),
        Equation("product = I - theta 1 1'", product, outer(M, (1 - s / r) / C)),
        *means_gram(s / r),
    )


def printed_factor() -> Equations:
    """The printed inverse, and theta of (66)."""
    phi = (1 - r) / C
    return (*root_inverse(-1), *means_gram(s * (1 - phi / (1 + phi * C) * C)))


def centred_gram(scale: Scalar) -> Equations:
    """Limit alpha C -> 1 of (63) between projectors: (M'M)^2 = P A'A P/x^2 = P/x^2, M'M = scale P."""
    M = Model(model_algebra(), mu_s, m / x**2)
    A = M.I - M.b * M.u.T
    right = M.P * A.T * A * M.P / x**2
    return (Equation("(M'M)^2", (M.P * scale) * (M.P * scale), right),)


def limit_of_means() -> Equations:
    """G of (63) by the root T of Q A'A Q, Q = P + r J, r = sqrt(1 - alpha C): P G P = P T P/x, and T -> P as r -> 0."""
    M = balanced_scale()
    T = M.algebra.declare("T", "C", "C", symmetric=True)
    A, Q, Qi = M.I - M.b * M.u.T, M.P + M.J * r, M.P + M.J / r
    inner = Q * A.T * A * Q
    M.algebra.rule("T T", inner)
    G = Qi * T * Qi / x
    at_zero = M.P * A.T * A * M.P
    return (
        Equation("G (I - alpha 1 1') G = A'A/x^2", G * outer(M, M.alpha) * G, A.T * A / x**2),
        Equation("P G P = P T P/x", M.P * G * M.P, M.P * T * M.P / x),
        Equation("T^2 at r = 0", (M.P + M.J * 0) * A.T * A * (M.P + M.J * 0), at_zero),
        Equation("P A'A P = P, so T = P at r = 0", at_zero, M.P),
        *centred_gram(1 / x),
    )


def alpha_limit() -> Equations:
    """Alpha C -> 1 as C -> infinity at fixed kernel values."""
    mu, kn, size, classes = sympy.symbols("mu_c kappa_n m C", positive=True)
    alpha = kn * size / (mu + classes * kn * size)
    return (
        Equation("lim alpha C", sympy.limit(alpha * classes, classes, sympy.oo), sympy.Integer(1)),
        Equation("1 - alpha C = mu_class/mu_global", 1 - alpha * classes, mu / (mu + classes * kn * size)),
    )


def alpha_as_printed() -> Equations:
    """Alpha C at kappa = (1.5, 1, 0.3), m = 12, in exact numbers."""
    kd, kc, kn, size = Fraction(3, 2), Fraction(1), Fraction(3, 10), 12
    values = [k * kn * size / (kd - kc + size * (kc - kn) + k * kn * size) for k in (10, 100, 1000)]
    text = "alpha C = " + ", ".join(f"{float(value):.3f}" for value in values) + " at C = 10, 100, 1000"
    return (Fact("alpha C falls with C", values[2] < values[0], text),)


def _case(equation: Equation | Fact, where: str) -> str | None:
    return counterexample(equation, small_model(2, 2, 3, **HALVES), where)


CLAIMS = (
    Claim(
        "eq-30", "gamma and rho against 1/C, (30) and App. B.4", "gamma < 1/C, rho < 1/C",
        "1 - gamma C = |1 - beta C| sqrt(1 - alpha C), which vanishes at beta = 1/C (the ETF)",
        Verdict.CORRECTED, weights_equal_bias, "gamma <= 1/C, rho <= 1/C, with equality exactly for beta = 1/C",
        gamma_as_printed, lambda: _case(gamma_as_printed()[0], "beta = 1/C"), witnesses.gamma_strict, erratum=True,
    ),
    Claim(
        "eq-64", "rho~ after (64), used in (65)", "rho~ = (1 - |beta - 1/C|)/C",
        "square and projector form, both signs of 1 - beta C",
        Verdict.CORRECTED, lambda: features_root(s), "rho~ = (1 - |1 - beta C|)/C", lambda: features_root(s / C),
        lambda: _case(features_root(s / C)[0], BIAS), witnesses.eq_64, erratum=True,
    ),
    Claim(
        "eq-66", "inverse of I - phi 1 1', and theta",
        "I - phi/(1 + phi C) 1 1', theta = rho~ + phi/(1 + phi C) - C rho~ phi/(1 + phi C)",
        "product with the inverse, then G Mc G = A'A",
        Verdict.CORRECTED, corrected_factor,
        "I + phi/(1 - phi C) 1 1', theta = (1 - |1 - beta C| sqrt(mu_global/mu_class))/C",
        printed_factor, lambda: _case(printed_factor()[0], BIAS), witnesses.eq_66, erratum=True,
    ),
    Claim(
        "eq-68", "theta", "theta = (1 - |1 - beta C|/(2 - sqrt(1 - alpha C)))/C", "G Mc G = A'A; the positive solution is unique",
        Verdict.CORRECTED, lambda: means_gram(s / r), "theta = (1 - |1 - beta C|/sqrt(1 - alpha C))/C",
        lambda: means_gram(s / (2 - r)), lambda: _case(means_gram(s / (2 - r))[0], BIAS), witnesses.eq_68, erratum=True,
    ),
    Claim(
        "eq-70", "scale of M'M as alpha C -> 1", "M'M -> (mu_class/m)(I - 1 1'/C)",
        "solution of (63) by a positive root T; roots are continuous, and T^2 -> P A'A P = P",
        Verdict.CORRECTED, limit_of_means, "M'M -> sqrt(mu_class/m) (I - 1 1'/C)", lambda: centred_gram(1 / x**2),
        lambda: _case(centred_gram(1 / x**2)[0], "C = 2, m/mu_class = 4"), witnesses.eq_70, erratum=True,
    ),
    Claim(
        "alpha-remark", "remark on alpha -> 0: what C -> infinity does", "alpha -> 0, so alpha becomes negligible",
        "every formula has alpha C, whose limit is 1",
        Verdict.CORRECTED, alpha_limit, "alpha C -> 1 as C -> infinity; only kappa_n/kappa_c -> 0 makes it small",
        alpha_as_printed, lambda: _case(alpha_as_printed()[0], "kappa = (1.5, 1, 0.3), m = 12"),
        witnesses.alpha_remark, erratum=True,
    ),
)  # fmt: skip

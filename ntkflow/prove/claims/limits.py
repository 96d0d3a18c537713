"""Claims about zero-loss states: W H1 = I - b 1' and W H2 = 0 as rewrite rules.

Positive roots: if Q is a sum of orthogonal projectors with coefficients >= 0 and Q^2 = B then Q = B^{1/2}, the root
being unique; likewise G Mc G = B has one positive solution G. Equations below show the square and the projector form.
"""

import sympy

from ntkflow.prove.algebra.letters import Model, assume, model, model_algebra
from ntkflow.prove.algebra.scalars import C, Scalar, m, mu_c, mu_s, symbol
from ntkflow.prove.algebra.words import Poly
from ntkflow.prove.entry import Claim, Equation, Equations

x, r, s, beta = (symbol[name] for name in ("x", "r", "s", "beta"))


def at_zero_loss(base: Model | None = None) -> Model:
    """The model with R = 0: W H1 = I - b 1', W H2 = 0."""
    M = base or model()
    return assume(M, W_H1=M.I - M.b * M.u.T, W_H2=0)


def balanced_scale() -> Model:
    """mu_class = m/x^2 and 1 - alpha C = r^2, so that all roots are rational."""
    # The roots are the symbols: in rational functions of them equality is decided, not searched for.
    return Model(model_algebra(), mu_s, m / x**2, m / (x * r) ** 2)


def outer(M: Model, coefficient: Scalar) -> Poly:
    """I - coefficient 1 1'."""
    return M.I - M.u * M.u.T * coefficient


def any_invariant() -> Equations:
    """Gram equations at zero loss for every E."""
    M = at_zero_loss()
    A, E, Mc = M.I - M.b * M.u.T, M.invariant, M.inverse_class_kernel
    return (
        Equation("X^2 = A Mc A' + m W E W'", M.X * M.X, A * Mc * A.T + M.W * E * M.W.T * m),
        Equation(
            "G Mc G + (m/mu_s) H1'S H1 = A'A - m H1'E H1",
            M.G * Mc * M.G + M.H1.T * M.S * M.H1 * (m / mu_s),
            A.T * A - M.H1.T * E * M.H1 * m,
        ),
        Equation("<M, W'> = C - 1", (M.W * M.H1 * M.P).trace(), M.algebra.number(C - 1)),
        Equation("b = 1/C - W g", M.b, M.u / C - M.W * M.g),
    )


def weights_general_bias() -> Equations:
    """(29) and (60): A Mc A' written out, for E = 0."""
    M = at_zero_loss()
    inner = outer(M, M.alpha) + (M.b * M.b.T * C - M.b * M.u.T - M.u * M.b.T) * (1 - M.alpha * C)
    balance = M.W * M.invariant * M.W.T * m
    return (Equation("(29) + m W E W'", M.X * M.X, inner * (m / mu_c) + balance),)


def means_general_bias() -> Equations:
    """(63) for E = 0 and S = 0."""
    M = at_zero_loss()
    collapsed = assume(M, H2=0)
    right = M.I - M.b * M.u.T - M.u * M.b.T + M.u * M.u.T * (M.b.T * M.b)
    left = M.G * outer(M, M.alpha) * M.G
    rest = M.H1.T * M.invariant * M.H1 * mu_c
    return (
        Equation(
            "(63) - mu_class H1'E H1",
            collapsed.algebra.adopt(left),
            collapsed.algebra.adopt(right * (mu_c / m) - rest),
        ),
    )


def both_signs() -> tuple[tuple[str, Scalar], ...]:
    """Beta with |1 - beta C| = s, on either side of 1/C."""
    # An absolute value is no rational function: both of its signs are proved.
    return ("beta < 1/C", (1 - s) / C), ("beta > 1/C", (1 + s) / C)


def weights_equal_bias() -> Equations:
    """(61) and (62) for b = beta 1."""
    M = balanced_scale()
    gamma = (1 - s * r) / C
    root = outer(M, gamma) * x
    found = [
        Equation(
            "root is positive: x (P + |1 - beta C| sqrt(1 - alpha C) J)", root, (M.P + M.J * (r * s)) * x
        )
    ]
    for name, value in both_signs():
        A = outer(M, value)
        rho = (1 - (1 - M.alpha * C) * (1 - value * C) ** 2) / C
        found += [
            Equation(f"(61), {name}", A * M.inverse_class_kernel * A.T, outer(M, rho) * x**2),
            Equation(f"(62), {name}", root * root, A * M.inverse_class_kernel * A.T),
        ]
    return tuple(found)


def means_equal_bias() -> Equations:
    """(64) and (67) with the corrected (66)."""
    M = balanced_scale()
    G = outer(M, (1 - s / r) / C) / x
    found = [
        Equation("G is positive: (P + |1 - beta C|/sqrt(1 - alpha C) J)/x", G, (M.P + M.J * (s / r)) / x),
        Equation("(67): M'M = P G P = P/x*", M.P * G * M.P, M.P / x),
        Equation("(65), rho~ as in eq-64", G * outer(M, (1 - r) / C) * x, outer(M, (1 - s) / C)),
    ]
    for name, value in both_signs():
        A = outer(M, value)
        found.append(Equation(f"G Mc G = A'A, {name}", G * M.inverse_class_kernel * G, A.T * A))
        found.append(
            Equation(f"(64), {name}", G * outer(M, M.alpha) * G, outer(M, value) * outer(M, value) / x**2)
        )
    return tuple(found)


def scaled_limit() -> Equations:
    """(56)-(58): what multiplying (55) by H1 and W gives at zero loss with b = 1/C, lambda = m/x^2."""
    M, lam = model(), m / x**2
    M = at_zero_loss(assume(M, b=M.u / C))
    gap = M.W.T * M.W * lam - M.H1 * M.H1.T * m
    return (
        Equation("(57), first line", M.H1.T * gap * M.H1, M.P * M.P * lam - M.G * M.G * m),
        Equation("(57), second line corrected", M.W * gap * M.W.T, M.X * M.X * lam - M.P * M.P * m),
        Equation("(58): G = P/x solves m G^2 = lambda P", (M.P / x) * (M.P / x) * m, M.P * lam),
        Equation("(58): X = x P solves lambda X^2 = m P", (M.P * x) * (M.P * x) * lam, M.P * m),
    )


def centred_duality() -> Equations:
    """W'P = x* M at zero loss with E = 0, S = 0, b = beta 1, G as in (66) corrected; NC3 without centring."""
    M = balanced_scale()
    found = []
    for name, value in both_signs():
        Z = at_zero_loss(assume(M, b=M.u * value))
        G = (Z.P + Z.J * (s / r)) / x
        # W'W = H1 Mc H1' multiplied by H1 P; E and H1'H1 enter as given.
        left = Z.W.T * Z.W * Z.H1 * Z.P
        right = Z.H1 * Z.inverse_class_kernel * G * Z.P
        found += [
            Equation(f"W'W H1 P = W'P, {name}", left, Z.W.T * Z.P),
            Equation(f"H1 Mc G P = x* M, {name}", right, Z.H1 * Z.P * x),
        ]
    X, one = (M.P + M.J * (r * s)) * x, M.algebra.number
    M_norm, W_norm = (M.P / x).trace(), X.trace()
    ratio = (C - 1) ** 2 / ((C - 1) * (C - 1 + r * s))
    return (*found, Equation("<M,W'>^2/(|M||W|)^2", M_norm * W_norm * ratio, one((C - 1) ** 2)))


def invariant_of(M: Model, W: Poly, H1: Poly, S: Poly) -> Poly:
    """E of (26) for given matrices."""
    return W.T * W / M.m - H1 * M.inverse_class_kernel * H1.T / M.m - S / M.mu_s


def with_frame(sign: int) -> tuple[Model, Poly, Scalar]:
    """A frame V with V'V = I, and e = sign c_1^2; m = p^2, x = q^2, mu_class such that e = x/m - 1/(mu_class x)."""
    p, q, e = symbol["p"], symbol["q"], sign * symbol["c_1"] ** 2
    M = Model(model_algebra(p**2), mu_s, 1 / (q**2 * (q**2 / p**2 - e)), m=p**2)
    V = M.algebra.declare("V", "n", "C")
    M.algebra.rule("V' V", 1)
    return M, V, e


def multiples_of_projectors() -> Equations:
    """The three zero-loss states with E = e Pi and b = 1/C of 5.5; the first at e = 0 is 5.4."""
    found = []
    p, q, size = symbol["p"], symbol["q"], symbol["c_1"]
    for sign, text in ((1, "e > 0"), (-1, "e < 0")):
        M, V, e = with_frame(sign)
        H1, narrow, wide = V * M.P / q, M.P * V.T * q, (M.P * q + M.J * (p * size)) * V.T
        nothing, spread = V * V.T * 0, V * M.J * V.T * (M.mu_s * size**2)
        found += [
            Equation(f"W H1 = P, d = C-1, {text}", narrow * H1, M.P),
            Equation(f"E = e Pi, d = C-1, {text}", invariant_of(M, narrow, H1, nothing), V * M.P * V.T * e),
        ]
        if sign > 0:
            found += [
                Equation("W H1 = P, d = C", wide * H1, M.P),
                Equation("E = e Pi, d = C, e > 0", invariant_of(M, wide, H1, nothing), V * V.T * e),
                Equation("X = x P + m e J", wide * wide.T, M.P * q**2 + M.J * (M.m * e)),
                Equation(
                    "|M|^2 |W|^2 = (C - 1)(C - 1 + m e/x), for NC3",
                    (M.P / q**2).trace() * (wide * wide.T).trace(),
                    M.algebra.number((C - 1) * (C - 1 + M.m * e / q**2)),
                ),
            ]
        else:
            found += [
                Equation("E = e Pi, d = C, e < 0", invariant_of(M, narrow, H1, spread), V * V.T * e),
                Equation("tr S = mu_single |e|", spread.trace(), M.algebra.number(-M.mu_s * e)),
                Equation("W S = 0", narrow * spread, narrow * 0),
            ]
    return tuple(found)


def scale_of_projector() -> Equations:
    """x_e solves e = x/m - 1/(mu_c x)."""
    e, size, mu = sympy.symbols("e m mu_c", positive=True)
    found = []
    for sign in (1, -1):
        value = size / 2 * (sign * e + sympy.sqrt(e**2 + 4 / (size * mu)))
        found.append(Equation(f"x_e, sign {sign}", value / size - 1 / (mu * value), sign * e))
    return tuple(found)


def any_kernel_limit() -> Equations:
    """Zero loss with any kernel: W H = A Y, so X^2 = A (Y K^{-1} Y') A' + W E_K W'."""
    M = model()
    A = M.I - M.b * M.u.T
    M = assume(M, W_H=A * M.Y)
    A = M.algebra.adopt(A)
    E = M.W.T * M.W - M.H * M.Ki * M.H.T
    return (
        Equation("R = 0", M.residual, M.R * 0),
        Equation("X^2", M.X * M.X, A * M.Y * M.Ki * M.Y.T * A.T + M.W * E * M.W.T),
    )


CLAIMS = (
    Claim(
        "sec-5.1", "Gram equations of every zero-loss state, for every E",
        "X^2 = A Mc A' + m W E W',  G Mc G + (m/mu_single) H1'S H1 = A'A - m H1'E H1,  <M, W'> = C - 1, b = 1/C - W g",
        "zero loss as rewrite rules W H1 = I - b 1', W H2 = 0", proof=any_invariant,
    ),
    Claim(
        "eq-29", "weights for general biases, also (60)",
        "(W W')^2 = (m/mu_class) (I - alpha 1 1' + (1 - alpha C)(C b b' - b 1' - 1 b')) for E = 0",
        "normal form; the exact difference for any E is m W E W'", proof=weights_general_bias,
    ),
    Claim(
        "eq-63", "class means for general biases",
        "G (I - alpha 1 1') G = (mu_class/m) (I - b 1' - 1 b' + |b|^2 1 1') for E = 0, S = 0",
        "normal form; the exact difference for any E is mu_class H1' E H1", proof=means_general_bias,
    ),
    Claim(
        "eq-62", "weights for equal biases, (61) and (62), hence (30)",
        "W W' = x* (I - gamma 1 1'), gamma = (1 - |1 - beta C| sqrt(1 - alpha C))/C",
        "square of the root on both sides of beta = 1/C; the root is positive in projector form",
        proof=weights_equal_bias,
    ),
    Claim(
        "eq-67", "class means for equal biases, (64), (65) and (67), with theta as corrected in eq-66",
        "H1'H1 = (I - theta 1 1')/x*, M'M = P/x*, 1 - theta C = |1 - beta C|/sqrt(1 - alpha C)",
        "G Mc G = A'A for both signs of 1 - beta C; its positive solution is unique", proof=means_equal_bias,
    ),
    Claim(
        "eq-58", "limits when E is proportional to W'W, (56)-(58) with (57) corrected",
        "H1'H1 = sqrt(lambda/m) P, W W' = sqrt(m/lambda) P",
        "(55) multiplied by H1 and W at zero loss; squares of the projector forms", proof=scaled_limit,
    ),
    Claim(
        "sec-5.3", "equal biases: centred weights are dual to the centred class means, the uncentred NC3 fails",
        "W'P = x* M,  NC3^2 = 2 - 2 sqrt((C-1)/(C-1 + 1 - gamma C))",
        "W'W = H1 Mc H1' (E = 0, S = 0) times H1 P, both sides reduced", proof=centred_duality,
    ),
    Claim(
        "sec-5.5", "zero-loss states with E = e Pi and b = 1/C; e = 0 and d = C-1 is 5.4",
        "d = C-1: X = x_e P, G = P/x_e, S = 0;  d = C, e > 0: X = x_e P + m e J;  d = C, e < 0: tr S = mu_single |e|",
        "states written in an orthonormal frame V; E computed and compared", proof=multiples_of_projectors,
    ),
    Claim(
        "sec-5.5-scale", "the NC scale as a function of e", "x_e = (m/2)(e + sqrt(e^2 + 4/(m mu_class)))",
        "substitution for either sign of e", proof=scale_of_projector,
    ),
    Claim(
        "sec-5.6", "any constant SPD kernel: Y K^{-1} Y' takes the place of Mc",
        "X^2 = A (Y K^{-1} Y') A' + W E_K W', E_K = W'W - H K^{-1} H'",
        "zero loss as the rewrite rule W H = (I - b 1') Y, free K", proof=any_kernel_limit,
    ),
)  # fmt: skip

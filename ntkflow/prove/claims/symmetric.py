"""Claims about exactly solvable cases: the symmetric sector, the aligned solution, the frozen-class Riccati flow."""

import sympy

from ntkflow.prove.algebra.letters import Model, assume, model, model_algebra
from ntkflow.prove.algebra.scalars import C, Scalar, m, mu_c, mu_g, mu_s, symbol
from ntkflow.prove.algebra.words import Poly
from ntkflow.prove.entry import Claim, Equation, Equations

w_P, w_J, h_P, h_J, s_P, s_J, beta = (
    symbol[name] for name in ("w_P", "w_J", "h_P", "h_J", "s_P", "s_J", "beta")
)


def scalar_rates() -> dict[str, Scalar]:
    """The two scalar systems of the permutation-symmetric sector."""
    r_P, r_J = w_P * h_P - 1, w_J * h_J + C * beta - 1
    return {
        "w_P": -m * (r_P * h_P + w_P * s_P), "h_P": -mu_c * w_P * r_P, "s_P": -2 * mu_s * w_P**2 * s_P,
        "w_J": -m * (r_J * h_J + w_J * s_J), "h_J": -mu_g * w_J * r_J, "s_J": -2 * mu_s * w_J**2 * s_J,
        "beta": -m * r_J,
    }  # fmt: skip


def symmetric_sector() -> Equations:
    """The flow of W, H1, S, b at a symmetric state is the symmetric state's rate."""
    M = model()
    V = M.algebra.declare("V", "n", "C")
    M.algebra.rule("V' V", 1)

    def both(on_P: Scalar, on_J: Scalar) -> Poly:
        return M.P * on_P + M.J * on_J

    W, H1, S, b = both(w_P, w_J) * V.T, V * both(h_P, h_J), V * both(s_P, s_J) * V.T, M.u * beta
    R1, rates = W * H1 + b * M.u.T - M.I, scalar_rates()
    within = -(W.T * W * S + S * W.T * W) * mu_s
    return (
        Equation("dW/dt", -(R1 * H1.T + W * S) * m, W.rate({}, rates)),
        Equation("dH1/dt", -(W.T * R1 * M.class_kernel), H1.rate({}, rates)),
        Equation("dS/dt", within, S.rate({}, rates)),
        Equation("db/dt", -(R1 * M.u) * m, b.rate({}, rates)),
        Equation(
            "dS/dt is that of H2 H2'",
            M.S.rate(M.class_flow()),
            -(M.W.T * M.W * M.S + M.S * M.W.T * M.W) * mu_s,
        ),
    )


def sector_invariants() -> Equations:
    """e_P and e_J have rate zero: weight part against feature part."""
    # Part against part, not their difference against zero: a rate that is empty by mistake would pass for conserved.
    M, rates = model(), scalar_rates()
    one = M.algebra.number
    found = []
    for name, w, h, s, mu in (("e_P", w_P, h_P, s_P, mu_c), ("e_J", w_J, h_J, s_J, mu_g)):
        weights, features = one(w**2 / m).rate({}, rates), one(h**2 / mu + s / mu_s).rate({}, rates)
        found.append(Equation(name, weights, features))
    return tuple(found)


def product_of_contrasts() -> Equations:
    """dp/dt for p = w_P h_P, s_P = 0, with its square root made explicit."""
    M, rates = model(), scalar_rates()
    one = M.algebra.number
    p, root = w_P * h_P, m * h_P**2 + mu_c * w_P**2
    e = w_P**2 / m - h_P**2 / mu_c
    speed = one(p).rate({}, {**rates, "w_P": -m * (p - 1) * h_P})
    return (
        Equation("dp/dt = (1 - p)(m h^2 + mu_c w^2)", speed, one((1 - p) * root)),
        Equation("(m h^2 + mu_c w^2)^2", one(root**2), one((m * mu_c * e) ** 2 + 4 * m * mu_c * p**2)),
    )


def logistic_solution() -> Equations:
    """Logistic y = w_P^2 for e_P = s_P = 0, h_P = w_P/x*."""
    t, x, y0, size = sympy.symbols("t x y0 m", positive=True)
    rate = size / x  # sqrt(m mu_c) with mu_c = m/x^2
    y = x / (1 + (x / y0 - 1) * sympy.exp(-2 * rate * t))
    w = sympy.sqrt(y)
    weight_rate = -size * (w * w / x - 1) * w / x
    feature_rate = -(size / x**2) * w * (w * w / x - 1)
    return (
        Equation("dy/dt = 2 w dw/dt", sympy.diff(y, t), sympy.expand(2 * w * weight_rate)),
        Equation("h = w/x stays", feature_rate, weight_rate / x),
        Equation("y(0)", y.subs(t, 0), y0),
        Equation("y(inf) = x*", sympy.limit(y, t, sympy.oo), x),
    )


def constant_direction() -> Equations:
    """J system with s_J = 0 as a function of d = beta - beta_0, k = sqrt(mu_g/m), and its Lambert-W end."""
    d, k, w0, h0, classes, beta0, u = sympy.symbols("d k w0 h0 C beta0 u", positive=True)
    w = w0 * sympy.cosh(k * d) + h0 / k * sympy.sinh(k * d)
    h = h0 * sympy.cosh(k * d) + k * w0 * sympy.sinh(k * d)
    # dbeta = -m r, dw = -m r h, dh = -mu_g w r: divide by dbeta.
    balanced_w, balanced_h = (f.subs(h0, k * w0) for f in (w, h))
    end = (1 - u) / classes - beta0
    start = sympy.sqrt(u / (k * sympy.exp(2 * k * end)))  # w0 for which w h + C beta = 1 at d = end
    L = 2 * k * u / classes
    argument = 2 * k**2 / classes * start**2 * sympy.exp(2 * k * (1 / classes - beta0))
    return (
        Equation("dw/dbeta = h", sympy.diff(w, d), h),
        Equation("dh/dbeta = (mu_g/m) w", sympy.diff(h, d), k**2 * w),
        Equation("w(0), h(0)", w.subs(d, 0) + h.subs(d, 0), w0 + h0),
        Equation(
            "h0 = k w0: h = k w = k w0 exp(k d)", balanced_h + balanced_w, (k + 1) * w0 * sympy.exp(k * d)
        ),
        Equation("end of the flow: w h = u = 1 - C beta", k * start**2 * sympy.exp(2 * k * end), u),
        Equation("L e^L = argument for L = 2 k u/C", L * sympy.exp(L), argument),
        Equation("w_inf^2 = u/k", (start * sympy.exp(k * end)) ** 2, u / k),
    )


def aligned_solution() -> Equations:
    """H1 = W'/x*, H2 = 0, W'1 = 0, b = 1/C is invariant; X^{-1} relaxes linearly on range(P)."""
    x = symbol["x"]
    M = Model(model_algebra(), mu_s, m / x**2)
    flow = M.class_flow()
    Xi = M.algebra.declare("Xi", "C", "C", symmetric=True)
    at = assume(M, H1=M.W.T / x, H2=0, b=M.u / C, Wt_u=0)
    at.algebra.rule("Xi u", 0)
    at.algebra.rule("Xi W W'", at.P)
    at.algebra.rule("W W' Xi", at.P)
    adopt = at.algebra.adopt
    X_rate = adopt(M.X.rate(flow))
    return (
        Equation("dH1 = dW'/x*", adopt(flow["H1"]), adopt(flow["W"].T) / x),
        Equation("dW = -(m/x) (X/x - P) W", adopt(flow["W"]), -((at.X / x - at.P) * at.W) * (m / x)),
        Equation("dX = -(2m/x)(X^2/x - X)", X_rate, -(at.X * at.X / x - at.X) * (2 * m / x)),
        Equation(
            "d(X^{-1}) = (2m/x)(P/x - X^{-1})",
            -(adopt(Xi) * X_rate * adopt(Xi)),
            (at.P / x - adopt(Xi)) * (2 * m / x),
        ),
        Equation("E = 0: both parts", adopt(M.W.T * M.W / m), adopt(M.W.T * M.W / m - M.invariant)),
        Equation("dH2 = 0", adopt(flow["H2"]), adopt(M.H2 * 0)),
        Equation("db = 0", adopt(flow["b"]), adopt(M.u * 0)),
        Equation("d(W'1) = 0", adopt((M.W.T * M.u).rate(flow)), adopt(M.W.T * M.u * 0)),
    )


def frozen_riccati() -> Equations:
    """The frozen-class flow and its closed form, letters A = Et, B = exp(-A t), F = Psi(t), L = L0, Z the inverse."""
    M = model()
    for name in ("A", "B", "F"):
        M.algebra.declare(name, "n", "n", symmetric=True)
    L, Z = M.algebra.declare("L", "n", "w"), M.algebra.declare("Z", "w", "w", symmetric=True)
    A, B = M.A, M.B
    Q = M.algebra.identity("w") + L.T * M.F * L * (2 * m)
    rates = {"B": -(A * B), "F": B * B, "Z": -(Z * (L.T * B * B * L) * Z) * (2 * m)}
    # exp(-A t) is a function of A; nothing else about the exponential is used but its rate.
    M.algebra.commute("A", "B")
    S = B * L * Z * L.T * B
    frozen = {"H2": -(M.W.T * M.W * M.H2) * mu_s, "W": -(M.W * M.S) * m}
    weights = M.W.T * M.W
    Et = weights * mu_s - M.S * m
    return (
        Equation("d(mu_s W'W) = d(m S)", (weights * mu_s).rate(frozen), (M.S * m).rate(frozen)),
        Equation(
            "dS = -(Et S + S Et) - 2 m S^2", M.S.rate(frozen), -(Et * M.S + M.S * Et) - M.S * M.S * (2 * m)
        ),
        Equation(
            "d(W'W) = Et W'W + W'W Et - 2 mu_s (W'W)^2",
            weights.rate(frozen),
            Et * weights + weights * Et - weights * weights * (2 * mu_s),
        ),
        Equation("dQ for the inverse Z = Q^{-1}: dZ = -Z dQ Z", rates["Z"], -(Z * Q.rate(rates) * Z)),
        Equation("closed form", S.rate(rates), -(A * S + S * A) - S * S * (2 * m)),
    )


def riccati_scalars() -> Equations:
    """Psi' = exp(-2 c t), Psi(0) = 0, its value at c = 0, and phi(-c) = exp(2ct) phi(c) of the stable form."""
    t, c, size, s0 = sympy.symbols("t c m s0", positive=True)
    phi = (1 - sympy.exp(-2 * c * t)) / (2 * c)
    S = s0 * sympy.exp(-2 * c * t) / (1 + 2 * size * s0 * phi)
    S_zero = s0 / (1 + 2 * size * s0 * t)
    S_negative = S.subs(c, -c)
    return (
        Equation("d phi/dt", sympy.diff(phi, t), sympy.exp(-2 * c * t)),
        # Plus one: two sides of zero would agree whatever else is wrong.
        Equation("phi(0)", phi.subs(t, 0) + 1, sympy.Integer(1)),
        Equation("c -> 0: phi = t", sympy.limit(phi, c, 0), t),
        Equation("phi(-c)", phi.subs(c, -c), sympy.exp(2 * c * t) * phi),
        Equation(
            "c > 0: S e^{2ct} has a limit",
            sympy.limit(S * sympy.exp(2 * c * t), t, sympy.oo),
            s0 / (1 + size * s0 / c),
        ),
        Equation("c = 0: 2 m t S -> 1", sympy.limit(2 * size * t * S_zero, t, sympy.oo), sympy.Integer(1)),
        Equation("c < 0: S -> |c|/m", sympy.limit(S_negative, t, sympy.oo), c / size),
    )


def slow_direction() -> Equations:
    """7.3: w' = -m w s^2, s' = -mu_s w^2 s on the balanced curve s^2 = (mu_s/m) w^2, in its exact form."""
    t, mu, size, w0 = sympy.symbols("t mu_s m w0", positive=True)
    w = 1 / sympy.sqrt(2 * mu * t + 1 / w0**2)
    s = sympy.sqrt(mu / size) * w
    loss = size / 2 * (w * s) ** 2
    return (
        Equation("dw/dt", sympy.diff(w, t), -size * w * s**2),
        Equation("ds/dt", sympy.diff(s, t), -mu * w**2 * s),
        Equation("tr S -> 1/(2 m t)", sympy.limit(s**2 * 2 * size * t, t, sympy.oo), sympy.Integer(1)),
        Equation("|W'1|^2/C -> 1/(2 mu_s t)", sympy.limit(w**2 * 2 * mu * t, t, sympy.oo), sympy.Integer(1)),
        Equation("L -> 1/(8 mu_s t^2)", sympy.limit(loss * 8 * mu * t**2, t, sympy.oo), sympy.Integer(1)),
    )


CLAIMS = (
    Claim(
        "sec-4.5", "the permutation-symmetric sector is preserved and splits into two scalar systems",
        "W = (wP P + wJ J)V', H1 = V(hP P + hJ J), S = V(sP P + sJ J)V', b = beta 1; dwP = -m(rP hP + wP sP), ...",
        "flow at the symmetric state against its own rate, V'V = I as a rule", proof=symmetric_sector,
    ),
    Claim(
        "sec-4.5-invariants", "each scalar system keeps its invariant",
        "e_P = wP^2/m - hP^2/mu_class - sP/mu_single,  e_J = wJ^2/m - hJ^2/mu_global - sJ/mu_single",
        "product rule on rational functions", proof=sector_invariants,
    ),
    Claim(
        "sec-4.5-product", "the product p = wP hP obeys a scalar equation",
        "dp/dt = (1 - p) sqrt((m mu_class e_P)^2 + 4 m mu_class p^2), sP = 0",
        "dp/dt = (1 - p)(m h^2 + mu_c w^2), whose square is the radicand", proof=product_of_contrasts,
    ),
    Claim(
        "sec-4.5-logistic", "balanced contrasts grow logistically",
        "wP^2(t) = x*/(1 + (x*/wP0^2 - 1) exp(-2 sqrt(m mu_class) t))",
        "substitution into the scalar system, initial value, limit", proof=logistic_solution,
    ),
    Claim(
        "sec-4.5-lambert", "weights and mean as functions of the bias; its limit by Lambert's W",
        "1 - C beta_inf = u, u = (C/2k) LambertW((2k^2/C) wJ0^2 exp(2k(1/C - beta0))), wJ_inf^2 = u/k",
        "derivatives by beta; the end point satisfies L e^L = argument with L = 2ku/C", proof=constant_direction,
    ),
    Claim(
        "sec-4.6", "the aligned solution",
        "X(t)^{-1} = P/x* + exp(-2 sqrt(m mu_class) t) (X(0)^{-1} - P/x*) for H1 = W'/x*, H2 = 0, W'1 = 0, b = 1/C",
        "the unconstrained flow is tangent to the set; linear equation for X^{-1}, m/x* = sqrt(m mu_class)",
        proof=aligned_solution,
    ),
    Claim(
        "sec-8", "the frozen-class flow is a Riccati equation with a closed form",
        "S(t) = e^{-Et t} L0 [I + 2m L0' Psi(t) L0]^{-1} L0' e^{-Et t}, Psi = int_0^t e^{-2 Et s} ds",
        "product rule with letters for e^{-Et t}, Psi and the inverse; e^{-Et t} commutes with Et", proof=frozen_riccati,
    ),
    Claim(
        "sec-8-modes", "eigenvalues of Psi and the long-time law of a mode",
        "phi(c) = (1 - e^{-2ct})/(2c); c > 0: S ~ e^{-2ct}, c = 0: S ~ 1/(2mt), c < 0: S -> |c|/m",
        "exact derivatives and limits in symbols c, m, s0 > 0", proof=riccati_scalars,
    ),
    Claim(
        "sec-7.3", "the decoupled slow direction, exactly", "w^2 = 1/(2 mu_single t + 1/w0^2), |s|^2 = (mu_single/m) w^2",
        "substitution and limits; that the full flow follows it asymptotically is not part of this entry",
        proof=slow_direction,
    ),
)  # fmt: skip

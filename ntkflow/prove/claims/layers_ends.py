"""Claims about where linear layers end: rates at collapse, and what decay leaves (theory 18.5, 18.8)."""

from math import prod

import sympy

from ntkflow.prove.algebra.letters import Model, model_algebra
from ntkflow.prove.algebra.scalars import C, Scalar, m, mu_g, mu_s, symbol
from ntkflow.prove.algebra.words import Poly
from ntkflow.prove.claims.layers import DEPTHS, Layers, over_layers
from ntkflow.prove.entry import Claim, Equation, Equations

# s_1 .. s_{L+1}, singular values of V_1 .. V_L, W on the contrasts.
_SINGULAR = ("s", "t", "q", "r")


def _collapsed(L: int) -> tuple[Model, list[Scalar], list[Poly], list[Poly]]:
    """A collapsed point in frames E_l of the contrasts, E_l' E_l = P: the model, s_l, U_1 .. U_{L+1} and H[l]' H[l]."""
    s = [symbol[name] for name in _SINGULAR[: L + 1]]
    # The point of zero loss: prod s_l^2 = m/mu_c, a monomial that is put for mu_c.
    mu_c = m / prod((value**2 for value in s), start=m / m)
    shapes = {f"E{l}": f"n{l} C" for l in range(1, L + 1)}
    more = {**shapes, "y": "C 1", "z": "C 1", "v": "N 1"}
    M = Model(model_algebra(more=more, spaces=[f"n{l}" for l in range(1, L + 1)]), mu_s, mu_c, mu_g)
    for l in range(1, L + 1):
        M.algebra.rule(f"E{l}' E{l}", M.P)
        M.algebra.rule(f"E{l} u", 0)
    E = [M.algebra.letter(f"E{l}") for l in range(1, L + 1)]
    layers = [E[l] * E[l - 1].T * s[l] for l in range(1, L)]
    U = [E[-1].T * s[L]]
    for V in reversed(layers):
        U.append(U[-1] * V)
    # Unit singular values of the inputs' contrasts are sqrt(mu_c/m) = 1/prod s_l.
    H = [E[0] * M.Y * (s[0] / prod(s, start=m / m))]
    for V in layers:
        H.append(V * H[-1])
    return M, s, [*U[::-1], M.I], [M.kernel, *(features.T * features for features in H)]


def rates() -> Equations:
    """The six families of 18.5 as residuals that the whole kernel multiplies, at free contrasts y, z and samples v."""
    found = []
    for L in DEPTHS:
        M, s, U, grams = _collapsed(L)
        within = M.algebra.identity("N") - M.Y.T * M.Y / m
        y, ones = M.P * M.y, M.o * M.o.T
        pull = prod((value**2 for value in s[1:]), start=m / m)
        contrast, deviation = M.z.T * M.P * M.Y, M.v.T * within
        families = (
            (
                "contrasts of the class means",
                y * contrast,
                m * sum((1 / value**2 for value in s[1:]), 1 / s[0] ** 2),
            ),
            ("mean along contrasts", y * M.o.T, C * m + pull * mu_g),
            ("W along 1, on the contrasts", M.u * contrast, m / s[-1] ** 2),
            ("mean of the biases", M.u * M.o.T, C * m),
            ("within classes", y * deviation, pull * mu_s),
            ("within classes along 1", M.u * deviation, 0 * m),
        )
        for name, R, rate in families:
            found.append(Equation(f"L = {L}: {name}", R * ones + over_layers(U, R, grams), R * rate))
    return tuple(found)


def points_of_rest() -> Equations:
    """What rest under decay asks of the layers, for a free residual: what they pull at each other, and the deviations."""
    found: list[Equation] = []
    for L in DEPTHS:
        layers, rate = Layers(L), symbol["lam_w"]
        M = layers.M
        pulls = _pulls(layers, M.R)
        # Of V_1 what it does on the inputs' span, V_1 V_1' = Z K^{-1} Z'.
        own = [pulls[0] * M.Ki * M.Z.T, *(pull * V.T for pull, V in zip(pulls[1:], layers.V, strict=True))]
        # At rest l_l V_l is the pull on V_l, so that this is l_{l+1} V_{l+1}' V_{l+1} = l_l V_l V_l'.
        found += [
            Equation(f"L = {L}: V_{l + 1}' pull_{l + 1} = pull_{l} V_{l}'", V.T * pull, below)
            for l, (V, pull, below) in enumerate(zip(layers.V, pulls[1:], own[:-1], strict=True), 1)
        ]
        shared = -(layers.U[0] * M.Z * M.R.T).trace()
        found += [
            Equation(f"L = {L}: <pull_{l}, V_{l}> = -<R, W H>", each.trace(), shared)
            for l, each in enumerate(own, 1)
        ]
        squares = Layers(L, symbol["p"] ** 2)
        N = squares.M
        H2 = N.Z * N.Q2 / symbol["p"]
        flow = squares.flow(squares.outputs - N.Y, N.kernel, rate)
        fall = -(squares.U[0].T * squares.U[0] * H2) * N.mu_s - H2 * rate
        found.append(Equation(f"L = {L}: dH2 = -(mu_s U_1' U_1 + l_1) H2", H2.rate(flow), fall))
    return tuple(found)


def _pulls(layers: Layers, R: Poly) -> list[Poly]:
    """What moves Z, V_2 .. V_L and W where the layers have no biases."""
    H = [layers.M.Z]
    for V in layers.V[:-1]:
        H.append(V * H[-1])
    upper = [-(U.T * R * features.T) for U, features in zip(layers.U[1:], H, strict=False)]
    return [-(layers.U[0].T * R * layers.M.K), *upper, -(R * H[-1].T)]


def thresholds() -> Equations:
    """One contrast under decay, for every L: where it rests, where the roots meet, where collapse stops to be the best."""
    L, p, size, x, lb = sympy.symbols("L p m x lb", positive=True)
    # q = p^a with a = (L-1)/(L+1) is a letter of its own, so that all is rational: p^{2/(L+1)} = p/q and dq/dp = a q/p.
    q = sympy.Symbol("q", positive=True)

    def slope(f: sympy.Expr) -> sympy.Expr:
        return sympy.diff(f, p) + sympy.diff(f, q) * (L - 1) / (L + 1) * q / p

    balance = size * q * (1 - p)
    # All l_l s_l^2 are equal at rest and multiply to lb^{L+1} p^2 x^{L+1}, since prod s_l^2 = p^2 m/mu_c: each is lb x p/q.
    energy = size * (1 - p) ** 2 / 2 + (L + 1) / 2 * lb * x * p / q
    rest = balance / x
    top, even = (L - 1) / (2 * L), (L - 1) / L
    return (
        Equation("q dF/dp = lb x - m q (1 - p)", q * slope(energy), lb * x - balance),
        Equation("dlb/dp", slope(rest), size * q / (x * p) * (L - 1 - 2 * L * p) / (L + 1)),
        Equation("dlb/dp = 0 at p = (L-1)/(2L)", slope(rest).subs(p, top), sympy.Integer(0)),
        Equation("lb_sn", rest.subs(p, top), size / x * q * (L + 1) / (2 * L)),
        Equation("F(p) - F(0) at rest", energy.subs(lb, rest) - size / 2, size / 2 * p * (L - 1 - L * p)),
        Equation("lb_1, where this is 0", rest.subs(p, even), size / x * q / L),
    )


CLAIMS = (
    Claim(
        "sec-18.5", "rates of linear layers at a collapsed point with singular values s_1 .. s_{L+1} (NEW)",
        "m sum_j s_j^{-2}; N + u mu_g, m/s_{L+1}^2, N, u mu_s, 0, with u = m/(mu_c s_1^2) and prod s_j^2 = m/mu_c",
        "action of the whole kernel on six families of residuals, free contrasts and sample vectors, L = 2 and 3", proof=rates,
    ),
    Claim(
        "sec-18.8-rest", "linear layers at rest under decay (NEW)",
        "l_{l+1} V_{l+1}' V_{l+1} = l_l V_l V_l', (mu_s U_1' U_1 + l_1) H2 = 0, d|V_l|^2/dt = -2 <R, W H> - 2 l_l |V_l|^2",
        "product rule for a free residual and any K, L = 2 and 3", proof=points_of_rest,
    ),
    Claim(
        "sec-18.8", "decay's thresholds: lb_sn where a fitted contrast is lost, lb_1 where collapse is no longer the best (NEW)",
        "m p^a (1 - p) = lb x, a = (L-1)/(L+1); lb_sn = (m/x) ((L-1)/(2L))^a (L+1)/(2L), lb_1 = (m/x) ((L-1)/L)^a/L",
        "energy of one contrast, every L: F(p) - F(0) = (m/2) p (L - 1 - L p) at rest", proof=thresholds,
    ),
)  # fmt: skip

"""Claims about more general kernels: class-dependent blocks, A (x) K, matrix blocks, any positive operator."""

from ntkflow.prove.algebra.calculus import Letter
from ntkflow.prove.algebra.letters import Model, model, model_algebra
from ntkflow.prove.algebra.scalars import ONE, C, N, m, n, symbol
from ntkflow.prove.algebra.words import Algebra, Poly
from ntkflow.prove.entry import Claim, Equation, Equations

a = symbol["a"]


def class_dependent_algebra() -> Model:
    """Imbalanced classes: Y Y' = D (class sizes), K = T + Y' B Y, T Y' = Y' V with T, V, D diagonal.

    F = B + V D^{-1} is the class kernel over D; a trailing i marks an inverse.
    """
    spaces = {"W": "C n", "H": "n N", "R": "C N", "Y": "C N", "b": "C 1", "u": "C 1", "o": "N 1"}
    pairs = {name: pair.split() for name, pair in spaces.items()}
    letters = {name: Letter(row, col) for name, (row, col) in pairs.items()}
    letters |= {name: Letter("C", "C", True) for name in ("D", "Di", "V", "Vi", "F", "Fi")}
    letters |= {name: Letter("N", "N", True) for name in ("T", "Ti")}
    algebra = Algebra(letters, {"C": C, "n": n, "N": N, "1": ONE})
    for one in ("D Di", "Di D", "V Vi", "Vi V", "F Fi", "Fi F", "T Ti", "Ti T"):
        algebra.rule(one, 1)
    for first, second in (("D", "V"), ("D", "Vi"), ("Di", "V"), ("Di", "Vi")):
        algebra.commute(first, second)
    algebra.rule("Y Y'", algebra.letter("D"))
    algebra.rule("Y T", algebra.letter("V") * algebra.letter("Y"))
    algebra.rule("Y Ti", algebra.letter("Vi") * algebra.letter("Y"))
    algebra.rule("Y o", algebra.letter("D") * algebra.letter("u"))
    algebra.rule("Y' u", algebra.letter("o"))
    return Model(algebra)


def class_dependent() -> Equations:
    """L1: inverse kernel, class dynamics, and E_K in class means and within-class parts."""
    M = class_dependent_algebra()
    Y, one = M.Y, M.algebra.identity("N")
    B = M.F - M.V * M.Di
    K = M.T + Y.T * B * Y
    Ki = M.Ti - Y.T * M.Vi * M.Di * Y + Y.T * M.Di * M.Fi * M.Di * Y
    rates = M.raw_flow(M.R, K)
    H1, within = M.H * Y.T * M.Di, M.H - M.H * Y.T * M.Di * Y
    R1, features = M.R * Y.T * M.Di, M.H * Ki * M.H.T
    E_rate, S = features.rate({"H": rates["H"]}), within * within.T
    return (
        Equation("K K^{-1} = I", K * Ki, one),
        Equation("Y K^{-1} Y' = (B + V/D)^{-1}", Y * Ki * Y.T, M.Fi),
        Equation(
            "H K^{-1} H' = H1 (B + V/D)^{-1} H1' + sum_c S_c/mu_s^c",
            features,
            H1 * M.Fi * H1.T + within * M.Ti * within.T,
        ),
        Equation("dH1 = -W' R1 (V + D B)", H1.rate(rates), -(M.W.T * R1 * (M.V + M.D * B))),
        Equation("d within = -W' (R - R1 Y) T", within.rate(rates), -(M.W.T * (M.R - R1 * Y) * M.T)),
        Equation("dW = -(R1 D H1' + within)", rates["W"], -(R1 * M.D * H1.T + (M.R - R1 * Y) * within.T)),
        Equation("d(W'W)/dt = d(H K^{-1} H')/dt", (M.W.T * M.W).rate(rates), E_rate),
        Equation(
            "d(within T^{-1} within') with the MSE residual",
            (within * M.Ti * within.T).rate(M.raw_flow(M.W * M.H + M.b * M.o.T - M.Y, K)),
            -(M.W.T * M.W * S + S * M.W.T * M.W),
        ),
    )


def general_kernel() -> Equations:
    """L2: the matrix invariant, its trace, and the general mean/bias relation for a free kernel."""
    M = model()
    rates = M.raw_flow(M.R, M.K)
    features = M.H * M.Ki * M.H.T
    return (
        Equation("d(W'W) = d(H K^{-1} H')", (M.W.T * M.W).rate(rates), features.rate(rates)),
        Equation("traces", (M.W.T * M.W).trace().rate(rates), features.trace().rate(rates)),
        Equation("d(H K^{-1} 1) = W' db", (M.H * M.Ki * M.o).rate(rates), M.W.T * rates["b"]),
    )


def kronecker() -> Equations:
    """L3: dH = -A W' R K; one invariant for every eigenspace Pi of A with value a."""
    M = model()
    A, Pi = (M.algebra.declare(name, "n", "n", symmetric=True) for name in ("A", "Pi"))
    M.algebra.rule("Pi Pi", Pi)
    M.algebra.rules[("Pi", "A")] = M.algebra.rules[("A", "Pi")] = Pi * a
    rates = {"H": -(A * M.W.T * M.R * M.K), "W": -(M.R * M.H.T)}
    weights, features = Pi * M.W.T * M.W * Pi, Pi * M.H * M.Ki * M.H.T * Pi / a
    return (
        Equation("d(Pi W'W Pi)/dt = d(Pi H K^{-1} H' Pi/a)/dt", weights.rate(rates), features.rate(rates)),
    )


def matrix_blocks_model() -> tuple[Model, dict[str, Poly]]:
    """L4: Bd = Ad, Bc = Ad + m Ac, Bg = Bc + N An as letters with inverses; Z commutes with all of them."""
    M = model()
    # The levels are the letters, since they are what is inverted; Ad, Ac and An follow from them.
    names = ("Bd", "Bc", "Bg", "Bdi", "Bci", "Bgi", "Z")
    parts = {name: M.algebra.declare(name, "n", "n", symmetric=True) for name in names}
    for name in ("Bd", "Bc", "Bg"):
        M.algebra.rule(f"{name} {name}i", 1)
        M.algebra.rule(f"{name}i {name}", 1)
    for name in names[:-1]:
        M.algebra.commute("Z", name)
    return M, parts


def matrix_blocks_flow(M: Model, parts: dict[str, Poly], R: Poly) -> dict[str, Poly]:
    """(72) with all signs minus: dH = -Ad G - Ac G Y'Y - An G 1 1', G = W' R."""
    Ad, Ac, An = parts["Bd"], (parts["Bc"] - parts["Bd"]) / m, (parts["Bg"] - parts["Bc"]) / N
    G = M.W.T * R
    return {
        "H": -(Ad * G) - Ac * G * M.Y.T * M.Y - An * G * M.o * M.o.T,
        "W": -(R * M.H.T),
        "b": -(R * M.o),
    }


def matrix_blocks() -> Equations:
    """L4: the class dynamics (73) and the invariant I_Z for a free residual."""
    # With a free R the identity holds for any loss; with that of MSE only for one.
    M, parts = matrix_blocks_model()
    rates = matrix_blocks_flow(M, parts, M.R)
    H1, g, R1 = M.H * M.Y.T / m, M.H * M.o / N, M.R * M.Y.T / m
    within = M.algebra.identity("N") - M.Y.T * M.Y / m
    S = M.H * within * M.H.T / m
    features = parts["Bci"] * H1 * M.P * H1.T + parts["Bgi"] * g * g.T * C + parts["Bdi"] * S
    weights = (parts["Z"] * M.W.T * M.W).trace() / m
    An = (parts["Bg"] - parts["Bc"]) / N
    class_rate = -(parts["Bc"] * M.W.T * R1) - An * M.W.T * R1 * M.u * M.u.T * m
    H2 = M.H * M.Q2
    return (
        Equation("dH1 of (73)", H1.rate(rates), class_rate),
        Equation("dH2 of (73)", H2.rate(rates), -(parts["Bd"] * M.W.T * M.R * M.Q2)),
        Equation(
            "d tr(Z W'W)/m = d tr Z[...]", weights.rate(rates), (parts["Z"] * features).trace().rate(rates)
        ),
    )


def matrix_blocks_monotone() -> Equations:
    """L4 with MSE: H2' Ad^{-1} H2 decreases; a part N with N W'R = 0 does not act."""
    M, parts = matrix_blocks_model()
    rates = matrix_blocks_flow(M, parts, M.residual)
    H2 = M.H * M.Q2
    gram = M.W * H2
    M.algebra.declare("Nn", "n", "n")
    M.algebra.rule("Nn W' R", 0)
    scaled = M.algebra.identity("n") * a
    return (
        Equation("d(H2' Ad^{-1} H2)", (H2.T * parts["Bdi"] * H2).rate(rates), -(gram.T * gram) * 2),
        Equation("(a I + N) W'R = a W'R", (scaled + M.Nn) * M.W.T * M.R, M.W.T * M.R * a),
    )


def any_operator() -> Equations:
    """L5: one scalar, with H and W'R as long vectors h, j and any symmetric invertible operator."""
    M = model()
    M.algebra.sizes["v"] = n * N
    h, j = M.algebra.declare("h", "v", "1"), M.algebra.declare("j", "v", "1")
    op, inverse = (M.algebra.declare(name, "v", "v", symmetric=True) for name in ("Op", "Opi"))
    M.algebra.rule("Op Opi", 1)
    M.algebra.rule("Opi Op", 1)
    weights = (M.W.T * M.W).trace().rate({"W": -(M.R * M.H.T)})
    return (
        Equation("d tr W'W = -2 <W'R, H>", weights, -((M.W.T * M.R).T * M.H).trace() * 2),
        Equation(
            "d <H, Kop^{-1} H> = -2 <W'R, H>", (h.T * inverse * h).rate({"h": -(op * j)}), -(j.T * h) * 2
        ),
    )


def linear_network() -> Equations:
    """With dV = -W' R D', H = V D: the kernel is D'D and m E is the balancedness of V and W."""
    M = Model(model_algebra())
    M.algebra.sizes["d"] = symbol["t"]
    V, D = M.algebra.declare("V", "n", "d"), M.algebra.declare("D", "d", "N")
    H = V * D
    rates = {"V": -(M.W.T * M.R * D.T), "W": -(M.R * H.T)}
    return (
        Equation("dH = -W' R (D'D)", H.rate(rates), -(M.W.T * M.R * (D.T * D))),
        Equation("d(W'W) = d(V V')", (M.W.T * M.W).rate(rates), (V * V.T).rate(rates)),
    )


CLAIMS = (
    Claim(
        "L1", "class-dependent blocks and imbalanced classes",
        "E_K = W'W - H1 (B + diag(mu_s^c/m_c))^{-1} H1' - sum_c S_c/mu_s^c",
        "diagonal letters that commute, T Y' = Y' V; inverse kernel checked, then product rule", proof=class_dependent,
    ),
    Claim(
        "L2", "any SPD sample kernel", "E_K = W'W - H K^{-1} H'", "as sec-3.1",
        proof=general_kernel,
    ),
    Claim(
        "L3", "kernel A (x) K", "Pi (W'W - H K^{-1} H'/a) Pi for every eigenspace A Pi = a Pi",
        "rules Pi^2 = Pi, A Pi = Pi A = a Pi", proof=kronecker,
    ),
    Claim(
        "L4", "matrix blocks Ad, Ac, An: (73) and one scalar for every symmetric Z that commutes with them",
        "I_Z = tr Z [W'W/m - Bc^{-1} H1 P H1' - C Bg^{-1} g g' - Bd^{-1} S], Bd = Ad, Bc = Ad + m Ac, Bg = Bc + N An",
        "commutation rules for Z, trace cyclicity, free residual", proof=matrix_blocks,
    ),
    Claim(
        "L4-monotone", "matrix blocks with MSE: within-class monotonicity; parts of the kernel that do not act",
        "d(H2' Ad^{-1} H2)/dt = -2 (W H2)'(W H2)", "normal form", proof=matrix_blocks_monotone,
    ),
    Claim(
        "L5", "any positive operator Kop on features", "tr W'W - <H, Kop^{-1} H> is constant",
        "features as one long vector", proof=any_operator,
    ),
    Claim(
        "sec-15", "a two-layer linear network f = W V x + b has the constant kernel D'D of its inputs D",
        "dH/dt = -W' R D'D for H = V D, and d(W'W - V V')/dt = 0", "product rule", proof=linear_network,
    ),
)  # fmt: skip

"""Steps of the paper's appendices that stand between its results: eqs. (6)-(9), (31)-(35), (44), (51)-(53), (59), (75), (76)."""

from ntkflow.prove.algebra.letters import assume, model
from ntkflow.prove.algebra.scalars import C, N, m, mu_c, mu_g, mu_s, n, symbol
from ntkflow.prove.algebra.words import Poly
from ntkflow.prove.entry import Claim, Equation, Equations


def parameter_flow() -> Equations:
    """Features and outputs when parameters w follow -grad L: h, f long vectors, Jh, Jf their Jacobians, r = f - y."""
    M = model()
    M.algebra.sizes |= {"p": symbol["t"], "v": n * N, "l": C * N}
    Jh, Jf = M.algebra.declare("Jh", "v", "p"), M.algebra.declare("Jf", "l", "p")
    Wl = M.algebra.declare("Wl", "l", "v")
    r = M.algebra.declare("r", "l", "1")
    # Outputs depend on the parameters below the last layer through the features: Jf = Wl Jh, Wl = W (x) I.
    below = -((Wl * Jh).T * r)
    step = symbol["s"]
    return (
        Equation("(31)-(35): dh = -Theta^h Wl' r", Jh * below, -((Jh * Jh.T) * (Wl.T * r))),
        Equation("(34): <grad h, grad f> = Theta^h Wl'", Jh * (Wl * Jh).T, (Jh * Jh.T) * Wl.T),
        Equation("(6), (8): f+ - f = -eta Theta r", Jf * (-(Jf.T * r) * step), -((Jf * Jf.T) * r) * step),
        Equation("(9): r+ = (I - eta Theta) r", r + Jf * (-(Jf.T * r) * step), r - ((Jf * Jf.T) * r) * step),
    )


def end_of_training_flow() -> Equations:
    """(25) with R1 = 0, that is W H1 = I - b 1', is (44); R1 = 0 itself is not kept unless W S H1 = 0 (sec-2-residual)."""
    M = model()
    at = assume(M, W_H1=M.I - M.b * M.u.T)
    flow = at.class_flow()
    return (
        Equation("dH1 = 0", flow["H1"], at.H1 * 0),
        Equation("dH2", flow["H2"], -(at.W.T * at.W * at.H2) * mu_s),
        Equation("dW", flow["W"], -(at.W * at.S) * m),
        Equation("db = 0", flow["b"], at.b * 0),
    )


def zero_variability() -> Equations:
    """(51) gives (52), since |H2|^2 = tr H2 H2'; and (53) with a zero mean gives the biases of Theorem 5.2."""
    M = model()
    at = assume(M, H1_u=0)
    return (
        Equation("|H2|^2 = tr H2 H2'", (M.H2.T * M.H2).trace(), (M.H2 * M.H2.T).trace()),
        Equation("(53) times 1: C b = 1", (at.W * at.H1 + at.b * at.u.T) * at.u, at.b * C),
        Equation("the right side", at.I * at.u, at.u),
    )


def balanced_end() -> Equations:
    """(59): the invariant of (26) with H2 = 0, and both of its forms."""
    M = model()
    at = assume(M, H2=0)
    means = at.H1 * (at.I - at.u * at.u.T * at.alpha) * at.H1.T / mu_c
    return (
        Equation("E at H2 = 0", at.invariant, at.W.T * at.W / m - means),
        Equation("with P and J", means, at.H1 * (at.P / mu_c + at.J / mu_g) * at.H1.T),
    )


def rotated_dynamics() -> Equations:
    """(75) = (76) for A~ = Q'AQ of (80): the flow of (W Q, Q'H) is the rotated flow, blocks of any form."""
    M = model()
    Q = M.algebra.declare("Q", "n", "n")
    M.algebra.rule("Q' Q", 1)
    M.algebra.rule("Q Q'", 1)
    Ad, Ac, An = (M.algebra.declare(name, "n", "n") for name in ("Ad", "Ac", "An"))
    classes, all_ = M.R * M.Y.T * M.Y, M.R * M.o * M.o.T

    def rate(W: Poly, d: Poly, c: Poly, a: Poly) -> Poly:
        return -(d * W.T * M.R) - c * W.T * classes - a * W.T * all_

    rotated = rate(M.W * Q, *(Q.T * A * Q for A in (Ad, Ac, An)))
    return (
        Equation("outputs W H", (M.W * Q) * (Q.T * M.H), M.W * M.H),
        Equation("(75) = (76)", Q * rotated, rate(M.W, Ad, Ac, An)),
        Equation("dW in the new frame", -(M.R * (Q.T * M.H).T), -(M.R * M.H.T) * Q),
    )


CLAIMS = (
    Claim(
        "eq-35", "features and outputs move by their tangent kernels, (6)-(9) and (31)-(35)",
        "dh = -Theta^h W' r,  f+ = f - eta Theta r + O(eta^2),  Theta^h = Jh Jh', Theta = Jf Jf'",
        "chain rule with features, outputs and parameters as long vectors", proof=parameter_flow,
    ),
    Claim(
        "eq-44", "the flow with the class means fitted",
        "dH1 = 0, dH2 = -mu_single W'W H2, dW = -m W H2 H2', db = 0", "R1 = 0 as a rewrite rule",
        proof=end_of_training_flow,
    ),
    Claim(
        "eq-53", "no variability follows from (50), and b = 1/C from zero loss with a zero mean, (51)-(53)",
        "H2 H2' -> 0 implies H2 -> 0;  W H1 + b 1' = I and H1 1 = 0 imply b = 1/C",
        "trace; zero loss and zero mean as rewrite rules", proof=zero_variability,
    ),
    Claim(
        "eq-59", "the invariant without variability",
        "E = W'W/m - H1 (I - alpha 1 1') H1'/mu_class, zero for E = 0", "H2 = 0 as a rewrite rule", proof=balanced_end,
    ),
    Claim(
        "eq-75", "relaxed blocks that rotate as Q'AQ leave the dynamics rotation invariant, (74)-(76) and (80)",
        "Q A~ Q' W'R = A W'R for A~ = Q'AQ, class and global terms alike", "Q orthogonal as rewrite rules",
        proof=rotated_dynamics,
    ),
)  # fmt: skip

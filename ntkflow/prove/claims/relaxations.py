"""Errata of Appendix D: matrix blocks, their invariants, rotations."""

from ntkflow.prove.algebra.letters import assume, model
from ntkflow.prove.algebra.scalars import N, m, symbol
from ntkflow.prove.claims import witnesses
from ntkflow.prove.claims.ladder import any_operator, matrix_blocks
from ntkflow.prove.entry import Claim, Equation, Equations, Verdict
from ntkflow.prove.instances import Instance, counterexample, exact, small_model

a, c1, c2 = symbol["a"], symbol["c_1"], symbol["c_2"]


def block_flow(sign: int) -> Equations:
    """The rate of H from the kernel (71): Ad on the diagonal, Ac within classes, An everywhere."""
    M = model()
    Ad, Ac, An = (M.algebra.declare(name, "n", "n", symmetric=True) for name in ("Ad", "Ac", "An"))
    G = M.W.T * M.R
    R_class, R_global = M.R * M.Y.T * M.Y / m, M.R * M.o * M.o.T / N
    truth = -(Ad * G) - Ac * G * (M.Y.T * M.Y) - An * G * (M.o * M.o.T)
    mean_part, global_part = Ac * M.W.T * R_class * m, An * M.W.T * R_global * N
    return (Equation("dH/dt", truth, -(Ad * M.W.T * M.R) - (mean_part + global_part) * sign),)


def scalar_blocks() -> Equations:
    """With multiples of the identity the corrected form is (19)."""
    M = model()
    values = (M.kappa_d - M.kappa_c, M.kappa_c - M.kappa_n, M.kappa_n)
    G = M.W.T * M.R
    flow = -(G * values[0]) - G * M.Y.T * M.Y * values[1] - G * M.o * M.o.T * values[2]
    return (*block_flow(1), Equation("special case (19)", flow, -(G * M.kernel)))


def invariant_rate(part: str, sign: int) -> Equations:
    """Rate of W'W - c1 H1 H1' - c2 S under (73) at H1 1 = 0; `part` is the line that is kept."""
    M = model()
    Ad, Ac, An = (M.algebra.declare(name, "n", "n") for name in ("Ad", "Ac", "An"))
    rates = {
        "H1": -((Ad + Ac * m) * M.W.T * M.R1) - An * M.W.T * M.R1 * M.u * M.u.T * m,
        "H2": -(Ad * M.W.T * M.W * M.H2),
        "W": M.class_flow()["W"],
    }
    E = M.W.T * M.W - M.H1 * M.H1.T * c1 - M.S * c2
    one = M.algebra.identity("n")
    first = ((Ad + Ac * m) * c1 - one * m) * M.W.T * M.R1 * M.H1.T
    second = (Ad * c2 - one * m) * M.W.T * M.W * M.S
    right = first + first.T * sign + second + second.T * sign
    at = assume(M, H1_u=0, **{"77": {"H2": 0}, "78": {"H1": 0}, "": {}}[part])
    return (
        Equation(
            f"dE/dt{', only (' + part + ')' if part else ''}",
            at.algebra.adopt(E.rate(rates)),
            at.algebra.adopt(right),
        ),
    )


def both_lines() -> Equations:
    """(77) and (78) with plus signs, together and alone."""
    return (*invariant_rate("", 1), *invariant_rate("77", 1), *invariant_rate("78", 1))


def relaxed_instance() -> Instance:
    """Integers for the matrix blocks; H1 has zero row sums."""
    base = small_model(c_1=1, c_2=1)
    blocks = {
        "Ad": [[2, 1, 0], [1, 2, 0], [0, 0, 1]],
        "Ac": [[1, 0, 1], [0, 1, 0], [1, 0, 2]],
        "An": [[1, 0, 0]] + [[0, 0, 0]] * 2,
    }
    H1 = exact([[1, -1], [2, -2], [0, 0]])
    return Instance({**base.matrices, **{k: exact(v) for k, v in blocks.items()}, "H1": H1}, base.numbers)


def relaxed_kernel(printed: bool) -> Equations:
    """The sample kernel of (71) with the constants of (79) and N_c = N_d = 0, A_n = kappa_n I."""
    M = model()
    kd, kc, kn = M.kappa_d, M.kappa_c, M.kappa_n
    single, same = (kd, kc) if printed else (kd - kc, kc - kn)
    built = M.algebra.identity("N") * single + M.Y.T * M.Y * same + M.o * M.o.T * kn
    return (Equation("kernel", M.kernel, built),)


def rotated_part(transposed: bool) -> Equations:
    """Q'(kappa I + N)Q, and where its N-part acts."""
    M = model()
    Q, N_ = M.algebra.declare("Q", "n", "n"), M.algebra.declare("Nn", "n", "n")
    M.algebra.rule("Q' Q", 1)
    M.algebra.rule("Q Q'", 1)
    turned = Q.T * N_ * Q
    one = M.algebra.identity("n") * a
    shape = Equation("Q'(kappa I + N) Q", Q.T * (one + N_) * Q, one + (turned.T if transposed else turned))
    M.algebra.rule("Nn W' R", 0)
    acts = Equation("(kappa I + Q'NQ)(WQ)'R", (one + turned) * (M.W * Q).T * M.R, (M.W * Q).T * M.R * a)
    return (shape,) if transposed else (shape, acts)


def rotated_instance() -> Instance:
    """Q a permutation, N strictly upper triangular."""
    base = small_model(a=1)
    extra = {"Q": exact([[0, 1, 0], [1, 0, 0], [0, 0, 1]]), "Nn": exact([[0, 1, 2], [0, 0, 3], [0, 0, 0]])}
    return Instance({**base.matrices, **extra}, base.numbers)


def linear_example() -> Equations:
    """Blocks of H = V D are multiples of I, so Q'AQ = A: both transformation rules are the same there."""
    M = model()
    M.algebra.sizes["d"] = symbol["t"]
    Q = M.algebra.declare("Q", "n", "n")
    D, V = M.algebra.declare("D", "d", "N"), M.algebra.declare("V", "n", "d")
    M.algebra.rule("Q' Q", 1)
    block = M.algebra.identity("n") * a
    rate = (V * D).rate({"V": -(M.W.T * M.R * D.T)})
    return (
        Equation(
            "dH = -(I) W' R (D'D): every block is a multiple of I",
            rate,
            -(M.algebra.identity("n") * M.W.T * M.R * (D.T * D)),
        ),
        Equation("Q'(a I)Q = a I", Q.T * block * Q, block),
    )


RELAXED = "C = 2, m = 2, n = 3, small integer matrices"

CLAIMS = (
    Claim(
        "eq-72", "signs of dH/dt", "dH = -Ad W'R + m Ac W'R_class + N An W'R_global",
        "kernel (71) summed over samples; (19) as special case",
        Verdict.CORRECTED, scalar_blocks, "all three terms with minus", lambda: block_flow(-1),
        lambda: counterexample(block_flow(-1)[0], relaxed_instance(), RELAXED), witnesses.eq_72, erratum=True,
    ),
    Claim(
        "eq-77", "sign of the second term, first line",
        "(c1 (Ad + m Ac) - m I) W'R1 H1' - H1 R1'W (c1 (Ad + m Ac)' - m I)", "product rule under (73), then H1 1 = 0",
        Verdict.CORRECTED, both_lines, "plus between the two terms (they are transposes)", lambda: invariant_rate("77", -1),
        lambda: counterexample(invariant_rate("77", -1)[0], relaxed_instance(), RELAXED + ", H2 = 0"),
        witnesses.eq_77, erratum=True,
    ),
    Claim(
        "eq-78", "sign of the second term, second line",
        "(c2 Ad - m I) W'W H2 H2' - H2 H2' W'W (c2 Ad' - m I)", "as eq-77",
        Verdict.CORRECTED, both_lines, "plus between the two terms", lambda: invariant_rate("78", -1),
        lambda: counterexample(invariant_rate("78", -1)[0], relaxed_instance(), RELAXED + ", H1 = 0"),
        witnesses.eq_78, erratum=True,
    ),
    Claim(
        "eq-79", "constants of the relaxed blocks", "A_c = kappa_c I + N_c, A_d = kappa_d I + N_d",
        "the convention of D.1, where the blocks add up; N_c = N_d = 0",
        Verdict.CORRECTED, lambda: relaxed_kernel(False),
        "A_c = (kappa_c - kappa_n) I + N_c, A_d = (kappa_d - kappa_c) I + N_d, or read kappa as new constants",
        lambda: relaxed_kernel(True), lambda: counterexample(relaxed_kernel(True)[0], small_model(), "kappa = (3, 2, 1)"),
        witnesses.eq_79, erratum=True,
    ),
    Claim(
        "D.2-rotation", "third bullet: the rotated N. Both forms agree when N is symmetric, as it is for p.s.d. A_c, A_d",
        "A~ = kappa I + N~', N~' in ker(R'W Q)", "Q orthogonal as rewrite rules; N W'R = 0 for the action",
        Verdict.CORRECTED, lambda: rotated_part(False), "A~ = kappa I + N~ with N~ = Q'N Q, and N~ (W Q)'R = 0",
        lambda: rotated_part(True),
        lambda: counterexample(rotated_part(True)[0], rotated_instance(), "Q a transposition, N strictly upper triangular"),
        witnesses.rotated_part, erratum=True,
    ),
    Claim(
        "D.1-invariant", "no invariant in general: only no matrix of that form; scalars always exist",
        "the dynamics (73) does not in general have an invariant analogous to (26)",
        "L4 and L5: a scalar for every symmetric Z that commutes with the blocks (as Z = I does), and for any positive operator",
        Verdict.PROVED, lambda: (*matrix_blocks(), *any_operator()),
        "tr Z [W'W/m - Bc^{-1} H1 P H1' - C Bg^{-1} g g' - Bd^{-1} S] and tr W'W - <H, Kop^{-1} H> are constant", erratum=True,
    ),
    Claim(
        "D.1-example", "the linear network is no example against A~ = Q'AQ",
        "for H = V X the kernel does not change under rotation, A~ = A, unlike Q'AQ",
        "its blocks are multiples of the identity, where Q'AQ = A", Verdict.PROVED, linear_example,
        "both rules coincide for the linear network", erratum=True,
    ),
)  # fmt: skip

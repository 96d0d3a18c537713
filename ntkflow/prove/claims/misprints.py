"""Misprints in the dynamics and the proof of NC1: eqs. (28), (40), (46)-(50), (54), (55), (57), and two inequalities."""

from fractions import Fraction

from ntkflow.prove.algebra.letters import Model, assume, model, model_algebra
from ntkflow.prove.algebra.scalars import C, N, Scalar, m, mu_c, mu_g, mu_s, symbol
from ntkflow.prove.algebra.words import Poly
from ntkflow.prove.claims import witnesses
from ntkflow.prove.claims.limits import at_zero_loss
from ntkflow.prove.claims.symmetric import riccati_scalars
from ntkflow.prove.entry import Claim, Equation, Equations, Fact, Verdict
from ntkflow.prove.instances import Instance, counterexample, exact, small_model

DIAGONAL = "C = n = 3, m = 2, Et = diag(2, 1, 0), integer H2"
COLLAPSED = "C = 2, m = 4, W = [[1,0,0],[-1,0,0]], H1 = W'/2, lambda = 1"
WHERE = "C = 2, m = 2, n = 3, kappa = (3, 2, 1), small integer matrices"


def weights_against_features(sign: int) -> Equations:
    """W'W under E = 0, g = 0 against a (H1 H1'/mu_c + sign S/mu_s), a = m."""
    M = model()
    features = (M.H1 * M.P * M.H1.T / mu_c + M.g * M.g.T * (C / mu_g) + M.S / mu_s) * m
    at = assume(M, Wt_W=features, H1_u=0)
    return (Equation("W'W", at.W.T * at.W, at.H1 * at.H1.T * (m / mu_c) + at.S * (sign * m / mu_s)),)


def diagonal_instance() -> Instance:
    """W = I, so W'W = I: H1 H1'/mu_c = diag(1, 0)/2, S/mu_s = diag(0, 1)/2, and E = 0 since m = 2."""
    base = small_model(n=2, mu_s=2, mu_c=4, mu_g=8)
    state = {"W": [[1, 0], [0, 1]], "H1": [[1, -1], [0, 0]], "H2": [[0, 0], [1, 0]]}
    return Instance({**base.matrices, **{name: exact(rows) for name, rows in state.items()}}, base.numbers)


def no_multiple() -> Equations:
    """The printed form fails with factor m, and on the diagonal instance with every other factor."""
    at = diagonal_instance()
    M = model()
    means, within = at.value(M.H1 * M.H1.T / mu_c), at.value(M.S / mu_s)
    # A counterexample to every factor at once: two entries ask for two different ones.
    needed = 1 / means[0, 0], -1 / within[1, 1]
    text = f"W'W = I needs the factors {needed[0]} and {needed[1]} at once"
    return (*weights_against_features(-1), Fact("some multiple fits", needed[0] == needed[1], text))


def order_of_eigenvalues() -> Equations:
    """mu_single <= mu_class <= mu_global."""
    M = model()
    one = M.algebra.number
    return (
        Equation(
            "mu_class - mu_single = m (kappa_c - kappa_n) >= 0",
            one(mu_c - mu_s),
            one(m * (M.kappa_c - M.kappa_n)),
        ),
        Equation("mu_global - mu_class = N kappa_n >= 0", one(mu_g - mu_c), one(N * M.kappa_n)),
    )


def order_as_printed() -> Equations:
    """The two largest of three distinct eigenvalues at kappa = (3, 2, 1), C = m = 2."""
    single, cls, whole = 3 - 2, 3 - 2 + 2 * (2 - 1), 3 - 2 + 2 * (2 - 1) + 4 * 1
    text = f"mu_single = {single}, mu_class = {cls}, mu_global = {whole}"
    return (
        Fact(
            "the two largest are mu_single and mu_class",
            sorted([single, cls, whole])[1:] == [single, cls],
            text,
        ),
    )


def weight_rate(sign: int) -> Equations:
    """dW/dt from (19) in class variables; m = p^2."""
    p = symbol["p"]
    M = model(m=p**2)
    H = M.H1 * M.Y + M.H2 * M.Q2.T * p
    truth = -((M.W * H + M.b * M.o.T - M.Y) * H.T)
    return (Equation("dW/dt", truth, -(M.R1 * M.H1.T + M.W * M.S * sign) * M.m),)


def frozen() -> tuple[Model, Poly, dict[str, Poly]]:
    """End-of-training flow (44), Et of (45)."""
    M = model()
    rates = {"H2": -(M.W.T * M.W * M.H2) * mu_s, "W": -(M.W * M.S) * m}
    return M, M.W.T * M.W * mu_s - M.S * m, rates


def within_rate(factor: Scalar | int) -> Equations:
    """dH2/dt in terms of Et."""
    M, Et, rates = frozen()
    return (Equation("dH2/dt", rates["H2"], -((Et + M.S * m) * M.H2) * factor),)


def frozen_system() -> Equations:
    """Both lines of (46) and both forms of (45)."""
    M, Et, rates = frozen()
    whole = M.invariant + M.H1 * M.inverse_class_kernel * M.H1.T / m
    return (
        *within_rate(1),
        Equation("dW/dt = -W (mu_s W'W - Et)", rates["W"], -(M.W * (M.W.T * M.W * mu_s - Et))),
        Equation("(45)", Et, whole * (m * mu_s)),
        Equation("Et is constant", (M.W.T * M.W * mu_s).rate(rates), (M.S * m).rate(rates)),
    )


def covariance_rate(factor: Scalar | int) -> Equations:
    """dS/dt in terms of Et."""
    M, Et, rates = frozen()
    return (Equation("d(H2 H2')/dt", M.S.rate(rates), -(Et * M.S + M.S * Et) - (M.S * M.S) * factor),)


def component_rate(factor: Scalar | int, diagonal: bool) -> Equations:
    """The same between eigenvectors v_k, v_l of Et, with sum_j v_j v_j' = I as the matrix A of eigenvectors."""
    M = model()
    v, w = M.algebra.declare("v_k", "n", "1"), M.algebra.declare("v_l", "n", "1")
    A = M.algebra.declare("A", "n", "n")
    Et = M.algebra.declare("Et", "n", "n", symmetric=True)
    M.algebra.rule("A A'", 1)
    c_k, c_l = symbol["c_1"], symbol["c_1"] if diagonal else symbol["c_2"]
    M.algebra.rule("Et v_k", v * c_k)
    M.algebra.rule("Et v_l", w * c_l)
    w, other = (v, "k") if diagonal else (w, "l")
    rate = {"H2": -((Et + M.S * m) * M.H2)}
    row, column = v.T * M.S * A, A.T * M.S * w
    truth, a_kl = (v.T * M.S * w).rate(rate), v.T * M.S * w
    return (Equation(f"d alpha_k{other}/dt", truth, -(a_kl * (c_k + c_l)) - (row * column) * factor),)


def frozen_instance() -> Instance:
    """Integers for the components: Et = diag(2, 1, 0), v_k = (1,0,0), v_l = (0,1,0), A = I.

    C = n = 3, so that some W has mu_s W'W = Et + m S, which is positive semidefinite.
    """
    base = small_model(C=3, c_1=2, c_2=1)
    axes = exact([[1, 0, 0], [0, 1, 0], [0, 0, 1]])
    extra = {
        "Et": exact([[2, 0, 0], [0, 1, 0], [0, 0, 0]]),
        "A": axes,
        "v_k": axes[:, :1],
        "v_l": axes[:, 1:2],
    }
    return Instance({**base.matrices, **extra}, base.numbers)


def mean_term(extra: Scalar | int) -> Equations:
    """(54): the left side is E minus a multiple of <h><h>'."""
    M = model()
    left = M.W.T * M.W / m - M.H1 * M.H1.T / mu_c - M.S / mu_s
    return (Equation("(54)", left, M.invariant - (M.g * M.g.T) * (M.alpha * C**2 / mu_c * extra)),)


def collapsed_family() -> Equations:
    """X = x P, H1 = W'/x, b = 1/C has zero loss, S = 0, E = e W'W/x; gamma = m mu_c e/x = mu_c - m/x^2."""
    x = symbol["x"]
    M = Model(model_algebra())
    at = assume(M, H1=M.W.T / x, H2=0, b=M.u / C, Wt_u=0, W_Wt=M.P * x)
    adopt, gram = at.algebra.adopt, at.W.T * at.W
    e = x / m - 1 / (mu_c * x)
    left = adopt(M.W.T * M.W * mu_c - M.H1 * M.H1.T * m)
    number = M.algebra.number
    return (
        Equation("zero loss", adopt(M.R1 + M.P), at.P),
        Equation("E = e W'W/x", adopt(M.invariant), gram * (e / x)),
        Equation("gamma = m mu_class e/x", left, gram * (m * mu_c * e / x)),
        Equation("lambda = mu_class - gamma = m/x^2 > 0", number(mu_c - m * mu_c * e / x), number(m / x**2)),
    )


def gamma_as_printed() -> Equations:
    """Gamma >= 0 at m = 4, mu_class = 1, x = 1 (x* = 2), a stable collapsed state by sec-7.2."""
    mm, mu, xx = Fraction(4), Fraction(1), Fraction(1)
    gamma = mu - mm / xx**2
    return (
        Fact(
            "gamma >= 0",
            gamma >= 0,
            f"m = 4, mu_class = 1, x = 1: e = {xx / mm - 1 / (mu * xx)}, gamma = {gamma}",
        ),
    )


def second_line(factor: Scalar | int) -> Equations:
    """(57), second line, from (56) at zero loss: lambda W'W = m H1 H1' as a rule on W W' W."""
    lam = symbol["a"]
    M = model()
    M = at_zero_loss(assume(M, b=M.u / C))
    gap = M.W * (M.W.T * M.W * lam - M.H1 * M.H1.T * m) * M.W.T
    return (Equation("(57) - W (56) W'", M.X * M.X * lam - M.P * M.P * factor, gap),)


def collapsed_instance() -> Instance:
    """W = [[1,0,0],[-1,0,0]], H1 = W'/2, b = 1/2: X = 2 P, lambda = m/4."""
    W = exact([[1, 0, 0], [-1, 0, 0]])
    base = small_model(m=4, a=1)
    half = Fraction(1, 2)
    state = {"W": W, "H1": W.T * half, "b": exact([[half], [half]]), "H2": exact([[0] * 6] * 3)}
    return Instance({**base.matrices, **state}, base.numbers)


CLAIMS = (
    Claim(
        "eq-28", "sign of the within-class term when E = 0 and <h> = 0",
        "W'W ~ H1 H1'/mu_class - H2 H2'/mu_single", "E = 0 and H1 1 = 0 as rewrite rules",
        Verdict.CORRECTED, lambda: weights_against_features(1), "W'W ~ H1 H1'/mu_class + H2 H2'/mu_single, factor m",
        no_multiple, lambda: counterexample(no_multiple()[1], diagonal_instance(), "C = m = n = 2, W = I, E = 0"),
        witnesses.eq_28, erratum=True,
    ),
    Claim(
        "eq-39", "which eigenvalues mu_single and mu_class are (sentence after (39), App. B.2)",
        "mu_single and mu_class are the two largest eigenvalues", "differences of eigenvalues",
        Verdict.CORRECTED, order_of_eigenvalues, "they are the two smallest: mu_single <= mu_class <= mu_global",
        order_as_printed, lambda: counterexample(order_as_printed()[0], small_model(), "C = m = 2, kappa = (3, 2, 1)"),
        witnesses.two_smallest, erratum=True,
    ),
    Claim(
        "eq-40", "sign of the within-class term of dW/dt",
        "dW/dt = -m (R1 H1' - W H2 H2')", "(19) with H = H1 Y + sqrt(m) H2 Q2'",
        Verdict.CORRECTED, lambda: weight_rate(1), "dW/dt = -m (R1 H1' + W H2 H2'), as in (25) and (38)",
        lambda: weight_rate(-1),
        lambda: counterexample(weight_rate(-1)[0], small_model(m=4, p=2), WHERE.replace("m = 2", "m = 4")),
        witnesses.eq_40, erratum=True,
    ),
    Claim(
        "eq-46", "factor of dH2/dt at the end of training",
        "dH2/dt = -mu_single (Et + m H2 H2') H2", "Et = mu_single W'W - m H2 H2' inserted; also (45)",
        Verdict.CORRECTED, frozen_system, "dH2/dt = -(Et + m H2 H2') H2", lambda: within_rate(mu_s),
        lambda: counterexample(within_rate(mu_s)[0], small_model(mu_s=3), WHERE + ", but mu_single = 3"),
        witnesses.eq_46, erratum=True,
    ),
    Claim(
        "eq-47", "coefficient of the quadratic term", "... - 2 (H2 H2')^2", "product rule under (44)",
        Verdict.CORRECTED, lambda: covariance_rate(2 * m), "d(H2 H2')/dt = -Et H2 H2' - H2 H2' Et - 2 m (H2 H2')^2",
        lambda: covariance_rate(2), lambda: counterexample(covariance_rate(2)[0], small_model(), WHERE),
        witnesses.eq_47, erratum=True,
    ),
    Claim(
        "eq-48", "coefficient of the quadratic term, entry k, l", "... - 2 sum_j alpha_kj alpha_jl",
        "eigenvectors of Et as letters, sum_j v_j v_j' = I as a rule",
        Verdict.CORRECTED, lambda: component_rate(2 * m, False),
        "d alpha_kl/dt = -alpha_kl (c_k + c_l) - 2 m sum_j alpha_kj alpha_jl", lambda: component_rate(2, False),
        lambda: counterexample(component_rate(2, False)[0], frozen_instance(), DIAGONAL),
        witnesses.eq_48, erratum=True,
    ),
    Claim(
        "eq-49", "coefficient of the quadratic term, diagonal", "... - 2 sum_j alpha_kj^2", "eq-48 with l = k",
        Verdict.CORRECTED, lambda: component_rate(2 * m, True),
        "d alpha_kk/dt = -2 c_k alpha_kk - 2 m sum_j alpha_kj^2", lambda: component_rate(2, True),
        lambda: counterexample(component_rate(2, True)[0], frozen_instance(), DIAGONAL),
        witnesses.eq_49, erratum=True,
    ),
    Claim(
        "eq-50", "not a misprint: no rate is given, and it is not always exponential",
        "alpha_kk -> 0", "exact scalar solutions of the corrected equation and their limits (a mode of sec-8)",
        Verdict.PROVED, riccati_scalars, "e^{-2ct} for c > 0, but only 1/(2mt) for c = 0 (and |c|/m remains for c < 0)",
        erratum=True,
    ),
    Claim(
        "eq-54", "factor of the global-mean term", "E - (alpha m C^2/mu_class) <h><h>'", "E of (26), <h> = H1 1/C",
        Verdict.CORRECTED, lambda: mean_term(1), "E - (alpha C^2/mu_class) <h><h>'", lambda: mean_term(m),
        lambda: counterexample(mean_term(m)[0], small_model(), WHERE), witnesses.eq_54, erratum=True,
    ),
    Claim(
        "eq-55", "signs of gamma and lambda", "gamma >= 0, lambda = mu_class - gamma >= 0",
        "a collapsed zero-loss state for every x > 0; gamma = m mu_class e/x has the sign of e",
        Verdict.CORRECTED, collapsed_family, "gamma of either sign; lambda = m/x^2 > 0",
        gamma_as_printed, lambda: counterexample(gamma_as_printed()[0], small_model(), "collapsed state X = x P"),
        witnesses.eq_55, erratum=True,
    ),
    Claim(
        "eq-57", "factor m in the second line", "lambda (W W')^2 - (I - beta 1 1')^2 -> 0",
        "(56) times W at zero loss, beta = 1/C",
        Verdict.CORRECTED, lambda: second_line(m), "lambda (W W')^2 - m (I - beta 1 1')^2 -> 0; (58) is right",
        lambda: second_line(1),
        lambda: counterexample(second_line(1)[0], collapsed_instance(), COLLAPSED),
        witnesses.eq_57, erratum=True,
    ),
)  # fmt: skip

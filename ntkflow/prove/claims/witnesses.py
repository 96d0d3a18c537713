"""Numeric sizes of the paper's misprints: random float64 inputs of a fixed seed, plain numpy, no symbolic engine.

Every function returns a `Witness`; a residual is |left - right|_F / max(|left|_F, |right|_F).
"""

import numpy as np

from ntkflow._types import Floats
from ntkflow.prove.draws import (
    SEED,
    Draw,
    compared,
    draw,
    end_of_training,
    off_line,
    positive_root,
    projectors,
    residual,
)
from ntkflow.prove.entry import Witness


def eq_28() -> Witness:
    """E = 0, g = 0: W from the rank-C matrix m (H1 H1'/mu_c + S/mu_s)."""
    d = draw()
    rng = np.random.default_rng(SEED)
    mu_s, mu_c, _ = d.mu
    _, _, P = projectors(d.C)
    line = rng.normal(size=(d.n, 1))
    d = d.with_H(d.H1 @ P, line @ rng.normal(size=(1, d.N - d.C)))
    one, two = d.H1 @ d.H1.T / mu_c, d.S / mu_s
    values, vectors = np.linalg.eigh(d.m * (one + two))
    W = (vectors[:, -d.C :] * np.sqrt(values[-d.C :])).T
    gram = W.T @ W
    return Witness(
        "distance of W'W from the multiples of the right side, relative",
        off_line(gram, one - two),
        off_line(gram, one + two),
    )


def eq_40() -> Witness:
    """The rate of W from (19) against the class form."""
    d = draw()
    R1 = d.W @ d.H1 + d.b - np.eye(d.C)
    one, two = R1 @ d.H1.T, d.W @ d.S
    return compared(-d.R @ d.H.T, -d.m * (one - two), -d.m * (one + two), "dW/dt")


def _frozen() -> tuple[Draw, Floats, Floats, Floats]:
    d = end_of_training()
    dH2 = -d.W.T @ d.R @ d.K @ d.Q2 / np.sqrt(d.m)
    Et = d.mu[0] * d.W.T @ d.W - d.m * d.S
    return d, dH2, Et, dH2 @ d.H2.T + d.H2 @ dH2.T


def eq_46() -> Witness:
    """The rate of H2 from (19) with R1 = 0."""
    d, dH2, Et, _ = _frozen()
    right = -(Et + d.m * d.S) @ d.H2
    return compared(dH2, d.mu[0] * right, right, "dH2/dt")


def eq_47() -> Witness:
    """The rate of S from (19) with R1 = 0."""
    d, _, Et, dS = _frozen()
    linear, square = -(Et @ d.S + d.S @ Et), d.S @ d.S
    return compared(dS, linear - 2 * square, linear - 2 * d.m * square, "d(H2 H2')/dt")


def _components() -> tuple[Draw, Floats, Floats, Floats]:
    d, _, Et, dS = _frozen()
    c, V = np.linalg.eigh(Et)
    return d, c, V.T @ d.S @ V, V.T @ dS @ V


def eq_48() -> Witness:
    """The same in the eigenbasis of Et, all entries."""
    d, c, a, da = _components()
    linear = -a * (c[:, None] + c[None, :])
    square = np.einsum("kj,jl->kl", a, a)
    return compared(da, linear - 2 * square, linear - 2 * d.m * square, "d alpha_kl/dt")


def eq_49() -> Witness:
    """Diagonal entries."""
    d, c, a, da = _components()
    linear, square = -2 * c * np.diag(a), np.sum(a**2, axis=1)
    return compared(np.diag(da), linear - 2 * square, linear - 2 * d.m * square, "d alpha_kk/dt")


def eq_54() -> Witness:
    """Left side against E minus the mean term."""
    d = draw()
    mu_s, mu_c, _ = d.mu
    weights, within = d.W.T @ d.W / d.m, d.S / mu_s
    middle = np.eye(d.C) - d.alpha * np.ones((d.C, d.C))
    E = weights - d.H1 @ middle @ d.H1.T / mu_c - within
    left = weights - d.H1 @ d.H1.T / mu_c - within
    g = d.H.mean(axis=1, keepdims=True)
    mean = d.alpha * d.C**2 / mu_c * (g @ g.T)
    return compared(left, E - d.m * mean, E - mean, "both sides")


def _collapsed(scale: float) -> tuple[Draw, Floats, Floats, Floats, float]:
    """A collapsed zero-loss state X = x P with x = scale x*: draw, W, H1, X, x."""
    d = draw()
    rng = np.random.default_rng(SEED)
    _, _, P = projectors(d.C)
    V = np.linalg.qr(rng.normal(size=(d.n, d.C)))[0]
    x = scale * np.sqrt(d.m / d.mu[1])
    W = np.sqrt(x) * P @ V.T
    return d, W, W.T / x, W @ W.T, x


def eq_55() -> Witness:
    """Gamma of a collapsed state with x < x*: negative."""
    d, W, H1, _, x = _collapsed(0.7)
    mu_c = d.mu[1]
    left = mu_c * W.T @ W - d.m * H1 @ H1.T
    gamma = np.vdot(left, W.T @ W) / np.vdot(W.T @ W, W.T @ W)
    expected = d.m * mu_c * (x / d.m - 1 / (mu_c * x)) / x
    return Witness(
        "-gamma/mu_class, claimed <= 0; residual with gamma = m mu_class e/x",
        float(-gamma / mu_c),
        residual(left, expected * W.T @ W),
    )


def eq_57() -> Witness:
    """Second line at a collapsed state."""
    d, _, _, X, x = _collapsed(0.7)
    _, _, P = projectors(d.C)
    left = d.m / x**2 * X @ X
    return compared(left, P @ P, d.m * P @ P, "the second line")


def _equal_bias() -> tuple[Draw, float, float, float, Floats, Floats]:
    """Draw, beta, |1 - beta C|, sqrt(1 - alpha C), A, and the true H1'H1 from the geometric mean."""
    d = draw()
    beta = float(d.b[0, 0])
    A = np.eye(d.C) - beta * np.ones((d.C, d.C))
    Mc = d.m * np.linalg.inv(d.mu[1] * np.eye(d.C) + d.kappa[2] * d.m * np.ones((d.C, d.C)))
    root = positive_root(Mc)
    G = np.linalg.solve(root, positive_root(root @ A.T @ A @ root)) @ np.linalg.inv(root)
    return d, beta, abs(1 - beta * d.C), float(np.sqrt(1 - d.alpha * d.C)), A, G


def eq_64() -> Witness:
    """Positive root of (I - beta 11')^2."""
    d, beta, s, _, A, _ = _equal_bias()
    ones = np.ones((d.C, d.C))
    roots = [np.eye(d.C) - (1 - value) / d.C * ones for value in (abs(beta - 1 / d.C), s)]
    return compared(positive_root(A @ A), roots[0], roots[1], "the positive root of (I - beta 11')^2")


def eq_66() -> Witness:
    """H1'H1 with the printed and the corrected factor."""
    d, _, s, r, _, G = _equal_bias()
    ones, identity = np.ones((d.C, d.C)), np.eye(d.C)
    phi, rho = (1 - r) / d.C, (1 - s) / d.C
    scale = np.sqrt(d.mu[1] / d.m)
    base = scale * (identity - rho * ones)
    printed = base @ (identity - phi / (1 + phi * d.C) * ones)
    return compared(G, printed, base @ (identity + phi / (1 - phi * d.C) * ones), "H1'H1")


def eq_68() -> Witness:
    """H1'H1 with both theta."""
    d, _, s, r, _, G = _equal_bias()
    ones, scale = np.ones((d.C, d.C)), np.sqrt(d.mu[1] / d.m)
    forms = [scale * (np.eye(d.C) - (1 - ratio) / d.C * ones) for ratio in (s / (2 - r), s / r)]
    return compared(G, forms[0], forms[1], "H1'H1")


def eq_70() -> Witness:
    """M'M for random biases at 1 - alpha C = 1e-30, in 80-digit arithmetic (the statement is a limit)."""
    import mpmath  # type: ignore[import-untyped]

    d = draw()
    with mpmath.workdps(80):
        C, mu_c, m = d.C, mpmath.mpf(d.mu[1]), d.m
        J = mpmath.matrix([[mpmath.mpf(1) / C] * C for _ in range(C)])
        P = mpmath.eye(C) - J
        b = mpmath.matrix([[float(value)] for value in d.b[:, 0]])
        A = mpmath.eye(C) - b * mpmath.ones(1, C)
        small = mpmath.mpf(10) ** -30
        root, inverse = (P + mpmath.sqrt(s) * J for s in (small, 1 / small))
        values, vectors = mpmath.eigsy(root * A.T * A * root)
        middle = vectors * mpmath.diag([mpmath.sqrt(abs(v)) for v in values]) * vectors.T
        gram = mpmath.sqrt(mu_c / m) * (P * inverse * middle * inverse * P)
        sizes = [
            mpmath.norm(gram - c * P) / max(mpmath.norm(gram), mpmath.norm(c * P))
            for c in (mu_c / m, mpmath.sqrt(mu_c / m))
        ]
    return Witness("relative residual of M'M at 1 - alpha C = 1e-30", float(sizes[0]), float(sizes[1]))


def gamma_strict() -> Witness:
    """The gap 1 - gamma C at beta = 1/C."""
    d = draw()
    beta, r = 1 / d.C, np.sqrt(1 - d.alpha * d.C)
    gamma = (1 - abs(1 - beta * d.C) * r) / d.C
    identity, J, _ = projectors(d.C)
    square = (identity - gamma * d.C * J) @ (identity - gamma * d.C * J)
    return Witness(
        "gap 1 - gamma C at beta = 1/C, claimed > 0; residual of (I - gamma 11')^2 = P",
        float(1 - gamma * d.C),
        residual(square, identity - J),
    )


def two_smallest() -> Witness:
    """Eigenvalues of the block kernel."""
    d = draw()
    values = np.linalg.eigvalsh(d.K)
    mu = np.array(sorted(d.mu))
    distinct = np.array([values[0], values[d.N - d.C], values[-1]])
    return Witness(
        "(mu_global - mu_single)/mu_global, claimed <= 0; residual of the three eigenvalues",
        float((values[-1] - d.mu[0]) / values[-1]),
        residual(distinct, mu),
    )


def alpha_remark() -> Witness:
    """Alpha C at kappa = (1.5, 1, 0.3), m = 12, C = 1000."""
    (kd, kc, kn), m, C = (1.5, 1.0, 0.3), 12, 1000
    mu_c = kd - kc + m * (kc - kn)
    alpha = kn * m / (mu_c + C * kn * m)
    ratios = 1 / (kc / kn * (1 - 1 / m) + kd / kn / m + C - 1)
    return Witness(
        "alpha C at C = 1000, claimed to be negligible; residual of (69) and 1 - alpha C = mu_class/mu_global",
        alpha * C,
        max(abs(alpha / ratios - 1), abs((1 - alpha * C) - mu_c / (mu_c + C * kn * m))),
    )


def _blocks() -> tuple[Draw, Floats, Floats, Floats]:
    d = draw()
    rng = np.random.default_rng(SEED)
    Ad, Ac, An = (A @ A.T for A in rng.normal(size=(3, d.n, d.n)))
    return d, Ad, Ac, An


def eq_72() -> Witness:
    """The rate of H summed sample by sample over the kernel (71)."""
    d, Ad, Ac, An = _blocks()
    G, labels = d.W.T @ d.R, np.repeat(np.arange(d.C), d.m)
    # Sample by sample, as (71) defines the kernel: a product of blocks would repeat the formula that is tested.
    truth = np.zeros_like(d.H)
    for i in range(d.N):
        for j in range(d.N):
            kernel = An + (labels[i] == labels[j]) * Ac + (i == j) * Ad
            truth[:, i] -= kernel @ G[:, j]
    one, two = Ac @ G @ d.Y.T @ d.Y, An @ G @ np.ones((d.N, d.N))
    return compared(truth, -Ad @ G + one + two, -Ad @ G - one - two, "dH/dt")


def _invariant_rate(only: str) -> Witness:
    d, Ad, Ac, An = _blocks()
    P = projectors(d.C)[2]
    d = d.with_H(d.H1 @ P if only != "H2" else 0 * d.H1, d.H2 if only != "H1" else 0 * d.H2)
    c1, c2, C, m = 0.7, 1.3, d.C, d.m
    G = d.W.T @ d.R
    dH = -Ad @ G - Ac @ G @ d.Y.T @ d.Y - An @ G @ np.ones((d.N, d.N))
    dW = -d.R @ d.H.T
    dH1, dH2 = dH @ d.Y.T / m, dH @ d.Q2 / np.sqrt(m)
    halves = dW.T @ d.W - c1 * dH1 @ d.H1.T - c2 * dH2 @ d.H2.T
    identity, R1 = np.eye(d.n), d.W @ d.H1 + d.b - np.eye(C)
    one = (c1 * (Ad + m * Ac) - m * identity) @ d.W.T @ R1 @ d.H1.T
    two = (c2 * Ad - m * identity) @ d.W.T @ d.W @ d.S
    printed, corrected = one - one.T + two - two.T, one + one.T + two + two.T
    return compared(halves + halves.T, printed, corrected, "dE/dt")


def eq_77() -> Witness:
    """First line: H2 = 0."""
    return _invariant_rate("H1")


def eq_78() -> Witness:
    """Second line: H1 = 0."""
    return _invariant_rate("H2")


def eq_79() -> Witness:
    """Kernel of (71) with the constants of (79), N_c = N_d = 0."""
    d = draw()
    kd, kc, kn = d.kappa
    same, ones, identity = d.Y.T @ d.Y, np.ones((d.N, d.N)), np.eye(d.N)
    printed, corrected = (
        kd * identity + kc * same + kn * ones,
        (kd - kc) * identity + (kc - kn) * same + kn * ones,
    )
    return compared(d.K, printed, corrected, "the sample kernel")


def rotated_part() -> Witness:
    """Q'(kappa I + N) Q for a random N that is not symmetric."""
    d = draw()
    rng = np.random.default_rng(SEED)
    Q, N = np.linalg.qr(rng.normal(size=(d.n, d.n)))[0], rng.normal(size=(d.n, d.n))
    turned, base = Q.T @ N @ Q, d.kappa[1] * np.eye(d.n)
    return compared(Q.T @ (base + N) @ Q, base + turned.T, base + turned, "the rotated kernel")

"""Claims about exact reductions: dimensionless form, the E = 0 system, the floor of the variability, mode counts."""

import numpy as np

from ntkflow._types import Floats
from ntkflow.prove.algebra.letters import Model, model, model_algebra
from ntkflow.prove.algebra.scalars import mu_g, mu_s, symbol
from ntkflow.prove.draws import draw, projectors
from ntkflow.prove.entry import Claim, Equation, Equations, Verdict, Witness

p, q, r, s = (symbol[name] for name in ("p", "q", "r", "s"))


def dimensionless() -> Equations:
    """With m = q^2 s, mu_class = s/q^2: W = q w, (H1, H2) = (h1, h2)/q, b kept, d/dtau = (1/s) d/dt."""
    M = Model(model_algebra(q**2 * s), mu_s, s / q**2, mu_g, q**2 * s)
    w, h1, h2, b = M.W, M.H1, M.H2, M.b
    W, H1, H2 = w * q, h1 / q, h2 / q
    R1, r1 = W * H1 + b * M.u.T - M.I, w * h1 + b * M.u.T - M.I
    rho_s, rho_g, nu = M.mu_s / M.mu_c, M.mu_g / M.mu_c, q**2
    return (
        Equation("R1", R1, r1),
        Equation("dw/dtau", -(R1 * H1.T + W * H2 * H2.T) * (M.m / (q * s)), -(r1 * h1.T + w * h2 * h2.T)),
        Equation("dh1/dtau", -(W.T * R1 * M.class_kernel) * (q / s), -(w.T * r1 * (M.P + M.J * rho_g))),
        Equation("dh2/dtau", -(W.T * W * H2) * (M.mu_s * q / s), -(w.T * w * h2) * rho_s),
        Equation("db/dtau", -(R1 * M.u) * (M.m / s), -(r1 * M.u) * nu),
    )


def balanced_system() -> Equations:
    """E = 0 as H = W' Z K^{1/2}, Z Z' = I: closed rates of X, Z1 = Z Q1, b. Roots of the mu are r, c_1, c_2, of m is p."""
    root_c, root_g = symbol["c_1"], symbol["c_2"]
    M = Model(model_algebra(p**2), r**2, root_c**2, root_g**2, p**2)
    Z = M.algebra.declare("Z", "C", "N")
    M.algebra.rule("Z Z'", 1)
    within = M.algebra.identity("N") - M.Y.T * M.Y / M.m
    D = M.P * root_c + M.J * root_g
    half = within * r + M.Y.T * D * M.Y / M.m
    H = M.W.T * Z * half
    R = M.W * H + M.b * M.o.T - M.Y
    Z1 = Z * M.Y.T / p
    R1 = M.X * Z1 * D / p + M.b * M.u.T - M.I
    gam = R1 * D * Z1.T * p + M.X * (M.I - Z1 * Z1.T) * M.mu_s
    # Chosen so that H = W' Z K^{1/2} moves by (19), which the equations below check.
    rates = {"W": -(gam * M.W), "Z": gam.T * Z - R * half, "b": -(R * M.o)}
    return (
        Equation("K^{1/2} squared", half * half, M.kernel),
        Equation("H K^{-1} H' = W'W", H * M.kernel_inverse * H.T, M.W.T * M.W),
        Equation("R1", R * M.Y.T / M.m, R1),
        Equation("dW = -Gam W is (19)", rates["W"], -(R * H.T)),
        Equation("dH is (19)", H.rate(rates), -(M.W.T * R * M.kernel)),
        Equation("Z Z' = I stays", rates["Z"] * Z.T, -(Z * rates["Z"].T)),
        Equation("dX", M.X.rate(rates), -(gam * M.X) - M.X * gam.T),
        Equation("dZ1", Z1.rate(rates), gam.T * Z1 - R1 * D * p),
        Equation("db", rates["b"], -(R1 * M.u) * M.m),
        Equation("G", (H * M.Y.T / M.m).T * (H * M.Y.T / M.m), D * Z1.T * M.X * Z1 * D / M.m),
        Equation(
            "tr S", (H * within * H.T / M.m).trace(), (M.X * (M.I - Z1 * Z1.T)).trace() * (M.mu_s / M.m)
        ),
    )


def variability_floor() -> Equations:
    """-E = S/mu_s + (H1 Mc H1' - W'W)/m, where the bracket has at most C positive eigenvalues."""
    M = model()
    means = M.H1 * M.inverse_class_kernel * M.H1.T
    return (Equation("-E", -M.invariant, M.S / mu_s + (means - M.W.T * M.W) / M.m),)


def all_rates_of_the_jacobian() -> Witness:
    """Eigenvalues of the parameter-space Jacobian at a collapsed point against the table, in coordinates H K^{-1/2}.

    The field is polynomial, so a complex step gives the Jacobian to rounding; in these coordinates it is symmetric.
    """
    d = draw(C=3, m=2, n=4)
    single, cls, whole = d.mu
    x = 0.8 * np.sqrt(d.m / cls)
    P = projectors(d.C)[2]
    V = np.linalg.qr(np.random.default_rng(3).normal(size=(d.n, d.C)))[0]
    values, vectors = np.linalg.eigh(d.K)
    half, inverse = ((vectors * values**power) @ vectors.T for power in (0.5, -0.5))
    W = np.sqrt(x) * P @ V.T
    start = np.concatenate([W.ravel(), (W.T / x @ d.Y @ inverse).ravel(), np.full(d.C, 1 / d.C)])
    cut, end = d.C * d.n, d.C * d.n + d.n * d.N

    def field(z: Floats) -> Floats:
        W, H, b = z[:cut].reshape(d.C, d.n), z[cut:end].reshape(d.n, d.N), z[end:]
        R = W @ H @ half + b[:, None] - d.Y
        return np.concatenate([(-R @ half @ H.T).ravel(), (-W.T @ R @ half).ravel(), -R.sum(axis=1)])

    steps = 1e-30j * np.eye(len(start))
    jacobian = np.stack([field(start + step).imag / 1e-30 for step in steps], axis=1)
    C, N = d.C, d.N
    table = {
        d.m / x + cls * x: (C - 1) ** 2,
        N + whole * x: C - 1,
        d.m / x: C - 1,
        N: 1,
        single * x: (C - 1) * (N - C),
    }
    rates = [-rate for rate, count in table.items() for _ in range(count)]
    expected = np.sort(rates + [0.0] * (len(start) - len(rates)))
    found = np.linalg.eigvalsh(jacobian)
    return Witness(
        "largest error of an eigenvalue over the largest eigenvalue",
        None,
        float(np.abs(found - expected).max() / -expected[0]),
    )


def collapsed_limit() -> Equations:
    """W = q P V', H1 = W'/x*, b = 1/C, x* = q^2: no loss, no rate, E = 0, and the Gram matrices."""
    x = q**2
    M = Model(model_algebra(), mu_s, symbol["m"] / x**2)
    V = M.algebra.declare("V", "n", "C")
    M.algebra.rule("V' V", 1)
    W, H1 = M.P * V.T * q, V * M.P / q
    E_features = H1 * M.inverse_class_kernel * H1.T / M.m
    return (
        Equation("W H1 + b 1' = I", W * H1 + M.J, M.I),
        Equation("H1 = W'/x*", H1, W.T / x),
        Equation("E = 0", W.T * W / M.m, E_features),
        Equation("X = x* P", W * W.T, M.P * x),
        Equation("G = P/x*", H1.T * H1, M.P / x),
        Equation("g = 0: H1 P = H1", H1 * M.P, H1),
    )


CLAIMS = (
    Claim(
        "sec-2-scaling", "dimensionless form with three parameters rho_s, rho_g, nu",
        "dw = -(R1 h1' + w h2 h2'), dh1 = -w'R1 (P + rho_g J), dh2 = -rho_s w'w h2, db = -nu R1 1",
        "substitution with m = q^2 s, mu_class = s/q^2", proof=dimensionless,
    ),
    Claim(
        "sec-3.5", "variability floor: lambda_k(S) >= mu_single max(lambda_{k+C}(-E), 0)",
        "-E = S/mu_single + (H1 Mc H1' - W'W)/m",
        "identity in normal form; rank H1 <= C and Weyl's inequality lambda_{k+C}(A + B) <= lambda_k(A) + lambda_{C+1}(B)",
        proof=variability_floor,
    ),
    Claim(
        "sec-4.4", "E = 0: closed system in 2 C^2 + C variables",
        "dX = -Gam X - X Gam', dZ1 = -sqrt(m) R1 D + Gam'Z1, db = -m R1 1, Gam = sqrt(m) R1 D Z1' + mu_single X (I - Z1 Z1')",
        "H = W' Z K^{1/2} with Z Z' = I as a rule; both equations of (19) recovered", proof=balanced_system,
    ),
    Claim(
        "sec-5.4", "E = 0, g = 0, b = 1/C: Gram matrices from the kernel alone",
        "X = x* P, G = P/x*, H1 = W'/x*",
        "the state in an orthonormal frame V; unique by sec-5.1 with A = P and positive roots", proof=collapsed_limit,
    ),
    Claim(
        "sec-7.2-jacobian",
        "the parameter-space Jacobian at a collapsed point has these eigenvalues, negated, and otherwise zeros",
        "eigenvalues -(m/x + mu_c x), -(N + mu_g x), -m/x, -N, -mu_s x with the multiplicities of 7.2, and 0",
        "complex-step Jacobian at one random collapsed point, C = 3, m = 2, n = 4; not a proof", Verdict.NUMERIC,
        witness=all_rates_of_the_jacobian,
    ),
)  # fmt: skip

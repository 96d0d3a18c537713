"""Claims about the kernel's eigenvalues (Table 1), its inverse on classes, and the rates at a zero-loss point."""

import sympy

from ntkflow.prove.algebra.letters import Model, model
from ntkflow.prove.algebra.scalars import C, N, m, mu_c, mu_g, mu_s, symbol
from ntkflow.prove.algebra.words import Poly
from ntkflow.prove.entry import Claim, Equation, Equations


def with_unit_vectors() -> tuple[Model, Poly, Poly]:
    """The model with a sample's unit vector e and its class's unit vector f = Y e."""
    # Table 1 names entries of vectors; a unit vector for any one sample says it for all of them at once.
    M = model()
    e, f = M.algebra.declare("e", "N", "1"), M.algebra.declare("f", "C", "1")
    M.algebra.rule("Y e", f)
    for word in ("u' f", "o' e", "e' e", "f' f"):
        M.algebra.rule(word, M.algebra.number(1))
    return M, e, f


def printed_eigenvectors(M: Model, e: Poly, f: Poly) -> tuple[Poly, Poly, Poly]:
    """v_i^c, v_c and v_0 of Table 1 written with unit vectors."""
    return (e * m - M.Y.T * f) / (m - 1), (M.Y.T * f * C - M.o) / (C - 1), M.o


def eigenpairs() -> Equations:
    """The printed vectors are eigenvectors with the printed eigenvalues."""
    M, e, f = with_unit_vectors()
    single, cls, whole = printed_eigenvectors(M, e, f)
    K = M.kernel
    return (
        Equation("K v_i^c", K * single, single * (M.kappa_d - M.kappa_c)),
        Equation("K v_c", K * cls, cls * (M.kappa_d - M.kappa_c + (M.kappa_c - M.kappa_n) * m)),
        Equation("K v_0", K * whole, whole * (mu_c + M.kappa_n * N)),
    )


def projectors(M: Model) -> tuple[Poly, Poly, Poly]:
    """Onto within-class vectors, class contrasts, constants (N x N)."""
    within = M.algebra.identity("N") - M.Y.T * M.Y / m
    return within, M.Y.T * M.P * M.Y / m, M.o * M.o.T / N


def multiplicities() -> Equations:
    """Three orthogonal projectors that sum to the identity; the traces are the multiplicities."""
    M = model()
    parts = projectors(M)
    names, values, sizes = ("single", "class", "global"), (mu_s, mu_c, mu_g), (N - C, C - 1, 1)
    one = M.algebra.identity("N")
    whole = parts[0] * values[0] + parts[1] * values[1] + parts[2] * values[2]
    return (
        *(Equation(f"{a} projector", p * p, p) for a, p in zip(names, parts, strict=True)),
        *(
            Equation(f"{a}: rank", p.trace(), M.algebra.number(k))
            for a, p, k in zip(names, parts, sizes, strict=True)
        ),
        Equation(
            "orthogonal", (parts[0] * parts[1] + parts[0] * parts[2] + parts[1] * parts[2]) * 1, one * 0
        ),
        Equation("complete", parts[0] + parts[1] + parts[2], one),
        Equation("K", M.kernel, whole),
    )


def projected_residual() -> Equations:
    """(11) and (12) for a free residual vector r."""
    M, e, f = with_unit_vectors()
    r = M.algebra.declare("rho", "N", "1")
    single, cls, whole = printed_eigenvectors(M, e, f)
    mean, class_mean = M.o.T * r / N, f.T * M.Y * r / m
    return (
        Equation("<r, v_0>", r.T * whole, mean * N),
        Equation("<r, v_c>", r.T * cls, (class_mean - mean) * (N / (C - 1))),
        Equation("<r, v_i^c>", r.T * single, (e.T * r - class_mean) * (m / (m - 1))),
    )


def one_step() -> Equations:
    """(13)-(15): one step r - eta K r of a constant block kernel."""
    M, e, f = with_unit_vectors()
    r, eta = M.algebra.declare("rho", "N", "1"), symbol["eta"]
    after = r - M.kernel * r * eta

    def parts(v: Poly) -> tuple[Poly, Poly, Poly]:
        mean, class_mean = M.o.T * v / N, f.T * M.Y * v / m
        return mean, class_mean - mean, e.T * v - class_mean

    names, values = ("(13)", "(14)", "(15)"), (mu_g, mu_c, mu_s)
    return tuple(
        Equation(name, new, old * (1 - eta * value))
        for name, value, new, old in zip(names, values, parts(after), parts(r), strict=True)
    )


def class_kernel_inverse() -> Equations:
    """(I - alpha 1 1') and what it is part of."""
    M = model()
    ones, alpha = M.u * M.u.T, M.alpha
    one = M.algebra.number
    return (
        Equation("inverse", (M.I + ones * (M.kappa_n * m / mu_c)) * (M.I - ones * alpha), M.I),
        Equation("Mc Kc = m I", M.inverse_class_kernel * M.class_kernel, M.I * m),
        Equation("Y K^{-1} Y' = Mc", M.Y * M.kernel_inverse * M.Y.T, M.inverse_class_kernel),
        Equation(
            "Mc = (m/mu_class)(I - alpha 1 1')", M.inverse_class_kernel, (M.I - ones * alpha) * (m / mu_c)
        ),
        Equation("Kc = mu_class P + mu_global J", M.class_kernel, M.P * mu_c + M.J * mu_g),
        Equation("1 - alpha C = mu_class/mu_global", one(1 - alpha * C), one(mu_c / mu_g)),
        Equation("alpha = kappa_n m/mu_global", one(alpha), one(M.kappa_n * m / mu_g)),
    )


def alpha_by_ratios() -> Equations:
    """(69)."""
    kd, kc, kn, size, classes = sympy.symbols("kappa_d kappa_c kappa_n m C", positive=True)
    definition = kn * size / (kd - kc + size * (kc - kn) + classes * kn * size)
    ratios = 1 / (kc / kn * (1 - 1 / size) + kd / kn / size + (classes - 1))
    return (Equation("(69)", definition, ratios),)


def operator_is_symmetric() -> Equations:
    """T[R] = R (H'H + 1 1') + W W' R K is symmetric, and <R, T R> is a sum of three squares."""
    M = model()
    A = M.algebra.declare("A", "C", "N")

    def T(R: Poly) -> Poly:
        return R * (M.H.T * M.H + M.o * M.o.T) + M.X * R * M.K

    squares = (A * M.H.T).squared_norm() + (A * M.o).squared_norm() + (M.W.T * A * M.K * A.T * M.W).trace()
    return (
        Equation("dR/dt = -T[R]", M.residual.rate(M.raw_flow(M.residual, M.K)), -T(M.residual)),
        Equation("<A, T R> = <T A, R>", (A.T * T(M.R)).trace(), (T(A).T * M.R).trace()),
        Equation("<A, T A>", (A.T * T(A)).trace(), squares),
    )


def collapse_modes() -> Equations:
    """The six families of 7.2 at X = x P, H'H = Y' P Y/x, for free contrast vectors v, z and within-class q."""
    M, x = model(), symbol["x"]
    v, z, q = (M.algebra.declare(name, space, "1") for name, space in (("v", "C"), ("z", "C"), ("w", "N")))
    for word in ("u' v", "u' z", "Y w", "o' w"):
        M.algebra.rule(word, 0)

    def T(R: Poly) -> Poly:
        return R * (M.Y.T * M.P * M.Y / x + M.o * M.o.T) + M.P * R * M.kernel * x

    modes = {
        "(P, class contrast)": (v * z.T * M.Y, m / x + mu_c * x),
        "(P, global mean)": (v * M.o.T, N + mu_g * x),
        "(J, class contrast)": (M.u * z.T * M.Y, m / x),
        "(J, global mean)": (M.u * M.o.T, N),
        "(P, within class)": (v * q.T, mu_s * x),
    }
    frozen = M.u * q.T
    found = tuple(Equation(name, T(R), R * rate) for name, (R, rate) in modes.items())
    return (*found, Equation("(J, within class): rate 0", T(frozen) + frozen, frozen))


def collapse_rates() -> Equations:
    """Multiplicities fill the C x N residuals; the first rate in terms of e; its value for E = 0."""
    M = model()
    x, one = symbol["x"], M.algebra.number
    e = x / m - 1 / (mu_c * x)
    sizes = (C - 1) ** 2 + (C - 1) + (C - 1) + 1 + (C - 1) * (N - C) + (N - C)
    balanced = m / x**2
    return (
        Equation("multiplicities", one(sizes), one(C * N)),
        Equation("(m/x + mu_c x)^2", one((m / x + mu_c * x) ** 2), one((m * mu_c * e) ** 2 + 4 * m * mu_c)),
        Equation("x = x*: (2 sqrt(m mu_c))^2", one((m / x + balanced * x) ** 2), one(4 * m * balanced)),
        Equation("x = x*: (m/x)^2 = m mu_c", one((m / x) ** 2), one(m * balanced)),
    )


def saddle() -> Equations:
    """Linearised flow at W = 0, H = 0, b = 1/C: rates +-sqrt(m mu_c) on contrasts, -N on biases."""
    M, q = model(m=symbol["q"] ** 2 / mu_c), symbol["q"]
    flow = {"W": M.P * M.H1.T * M.m, "H1": M.W.T * M.P * M.class_kernel}
    growing, shrinking = M.P * M.W * q + M.P * M.H1.T * M.m, M.P * M.W * q - M.P * M.H1.T * M.m
    bias = M.b - M.u / C
    return (
        Equation("growing", growing.rate(flow), growing * q),
        Equation("shrinking", shrinking.rate(flow), shrinking * (-q)),
        Equation("biases", -((M.b * M.u.T - M.J) * M.u) * M.m, -bias * M.N),
    )


CLAIMS = (
    Claim(
        "table-1", "the printed vectors are eigenvectors of the block kernel",
        "lambda_single = kappa_d - kappa_c, lambda_class = lambda_single + m (kappa_c - kappa_n), "
        "lambda_global = lambda_class + N kappa_n",
        "unit vectors of a sample and of its class as letters", proof=eigenpairs,
    ),
    Claim(
        "table-1-multiplicity", "the eigenspaces have dimensions N - C, C - 1, 1",
        "K = mu_single (I - Y'Y/m) + mu_class Y'PY/m + mu_global 1 1'/N",
        "the three projectors are idempotent, orthogonal, complete; rank = trace, for symbolic C and m",
        proof=multiplicities,
    ),
    Claim(
        "eq-12", "projections of a residual on the eigenvectors are means and deviations, (11) and (12)",
        "<r, v_c> = N/(C-1) (<r>_c - <r>),  <r, v_i^c> = m/(m-1) (r(x_i^c) - <r>_c)",
        "normal form with a free vector r", proof=projected_residual,
    ),
    Claim(
        "eq-13", "one step of a constant block kernel contracts the three parts, (13)-(15)",
        "factors 1 - eta lambda_global, 1 - eta lambda_class, 1 - eta lambda_single", "normal form", proof=one_step,
    ),
    Claim(
        "alpha", "alpha and I - alpha 1 1' come from the inverse class kernel",
        "(I + (kappa_n m/mu_class) 1 1')^{-1} = I - alpha 1 1',  1 - alpha C = mu_class/mu_global",
        "normal form, including Y K^{-1} Y' = m Kc^{-1}", proof=class_kernel_inverse,
    ),
    Claim(
        "eq-69", "alpha by ratios of kernel values",
        "alpha = 1/((kappa_c/kappa_n)(1 - 1/m) + (kappa_d/kappa_n)/m + C - 1)",
        "rational functions of five positive symbols", proof=alpha_by_ratios,
    ),
    Claim(
        "sec-7.1", "the residual's rate operator is symmetric and positive",
        "T[R] = R (H'H + 1 1') + W W' R K,  <R, T R> = |R H'|^2 + |R 1|^2 + tr(W' R K R' W)",
        "free letters A, R, K; cyclicity", proof=operator_is_symmetric,
    ),
    Claim(
        "sec-7.2", "the six families of modes at a collapsed point X = x P",
        "rates m/x + mu_c x, N + mu_g x, m/x, N, mu_s x, 0",
        "free contrast vectors and a free within-class vector as letters", proof=collapse_modes,
    ),
    Claim(
        "sec-7.2-rates", "the modes fill C x N residuals; rates at E = 0",
        "(C-1)^2 + 2 (C-1) + 1 + (C-1)(N-C) + (N-C) = C N;  m/x + mu_c x = sqrt((m mu_c e)^2 + 4 m mu_c)",
        "rational functions, e = x/m - 1/(mu_c x)", proof=collapse_rates,
    ),
    Claim(
        "sec-7.4", "the origin is a saddle", "growth rates +-sqrt(m mu_c) on contrasts, -N on biases",
        "linear parts of (25) at W = 0, H = 0, b = 1/C", proof=saddle,
    ),
)  # fmt: skip

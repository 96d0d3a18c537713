"""Claims about weight decay, moving kernels, discrete steps and other losses."""

from ntkflow.prove.algebra.letters import Model, assume, model, model_algebra
from ntkflow.prove.algebra.scalars import C, Scalar, m, mu_c, mu_g, mu_s, symbol
from ntkflow.prove.algebra.words import Poly
from ntkflow.prove.entry import Claim, Equation, Equations

lam_w, lam_h, eta = symbol["lam_w"], symbol["lam_h"], symbol["eta"]


def scaled_invariant(M: Model) -> Poly:
    """W'W - H Ki H' for any kernel, which is m E."""
    return M.W.T * M.W - M.H * M.Ki * M.H.T


def decay() -> Equations:
    """dE/dt with decay lam_w on W and lam_h on H, any kernel, any residual."""
    M = model()
    rates = M.raw_flow(M.R, M.K)
    rates |= {"W": rates["W"] - M.W * lam_w, "H": rates["H"] - M.H * lam_h}
    E = scaled_invariant(M)
    equal = {"W": rates["W"] + M.W * (lam_w - lam_h), "H": rates["H"]}
    return (
        Equation("m dE/dt", E.rate(rates), -E * (2 * lam_w) + M.H * M.Ki * M.H.T * (2 * (lam_h - lam_w))),
        Equation("lam_w = lam_h: m dE/dt = -2 lam m E", E.rate(equal), -E * (2 * lam_h)),
    )


def regularised_limit() -> Equations:
    """The collapsed state is stationary; lam_w = p^2, lam_h = q^2, mu_class = c_1^2, m = c_2^2."""
    p, q, root_mu, root_m = (symbol[name] for name in ("p", "q", "c_1", "c_2"))
    # Rates, mu_class and m are squares of symbols: rho and H1's factor, which have roots of them, are then rational.
    rho, slope = p * q / (root_mu * root_m), p * root_mu / (q * root_m)
    M = Model(model_algebra(root_m**2), mu_s, root_mu**2, m=root_m**2)
    flow = M.class_flow()
    at = assume(M, H1=M.W.T * slope, H2=0, b=M.u / C, Wt_u=0, W_Wt=M.P * ((1 - rho) / slope))
    adopt = at.algebra.adopt
    collapsed = at.W.T * at.W
    return (
        Equation("R1 = -rho P", adopt(M.R1), -at.P * rho),
        Equation("dW = 0: flow against decay", adopt(flow["W"]), at.W * p**2),
        Equation("dH1 = 0: flow against decay", adopt(flow["H1"]), adopt(M.H1) * q**2),
        Equation("db = 0", adopt(flow["b"]), at.u * 0),
        Equation(
            "m E = (lam_h/lam_w - 1) H K^{-1} H'",
            adopt(M.invariant) * M.m,
            adopt(M.H1 * M.inverse_class_kernel * M.H1.T) * (q**2 / p**2 - 1),
        ),
        Equation(
            "H K^{-1} H' is a multiple of W'W",
            adopt(M.H1 * M.inverse_class_kernel * M.H1.T),
            collapsed * (p / q) ** 2,
        ),
    )


def slow_drift() -> Equations:
    """lam_h = 0: dE/dt = -2 lam W'W/m, which moves x of E = e Pi, X = x P by the chain rule."""
    M, x = model(), symbol["x"]
    rates = M.raw_flow(M.R, M.K)
    rates |= {"W": rates["W"] - M.W * lam_w}
    one = M.algebra.number
    e = one(x / m - 1 / (mu_c * x))
    speed = -2 * lam_w * mu_c * x**3 / (mu_c * x**2 + m)
    return (
        Equation("m dE/dt = -2 lam W'W", scaled_invariant(M).rate(rates), -(M.W.T * M.W) * (2 * lam_w)),
        Equation("de/dx dx/dt = -2 lam x/m", e.rate({}, {"x": speed}), one(-2 * lam_w * x / m)),
    )


def moving_kernel() -> Equations:
    """dE/dt when K, or the three eigenvalues, depend on time."""
    M = model()
    D = M.algebra.declare("D", "N", "N", symmetric=True)
    rates = {**M.raw_flow(M.R, M.K), "Ki": -(M.Ki * D * M.Ki)}
    right = M.H * M.Ki * D * M.Ki * M.H.T
    common = {**M.raw_flow(M.R, M.K), "Ki": -(M.Ki * (M.K * symbol["a"]) * M.Ki)}
    E = scaled_invariant(M)
    speeds = {"mu_s": symbol["ds"], "mu_c": symbol["dc"], "mu_g": symbol["dg"]}
    block = (
        M.H1 * M.P * M.H1.T * (speeds["mu_c"] / mu_c**2)
        + M.g * M.g.T * (C * speeds["mu_g"] / mu_g**2)
        + M.S * (speeds["mu_s"] / mu_s**2)
    )
    return (
        Equation("d(K K^{-1})/dt = 0", D * M.Ki, -(M.K * rates["Ki"])),
        Equation("m dE/dt = H K^{-1} K' K^{-1} H'", E.rate(rates), right),
        Equation("three eigenvalues", M.invariant.rate(M.class_flow(), speeds), block),
        Equation("common factor", E.rate(common), (M.W.T * M.W - E) * symbol["a"]),
    )


def discrete_step() -> Equations:
    """Exact change of E in one step, without and with coupled decay."""
    M, shrink = model(), 1 - eta * lam_w
    E = scaled_invariant(M)

    def after(factor: Scalar | int) -> Poly:
        W, H = M.W * factor - M.R * M.H.T * eta, M.H * factor - M.W.T * M.R * M.K * eta
        return W.T * W - H * M.Ki * H.T

    second = M.H * M.R.T * M.R * M.H.T - M.W.T * M.R * M.K * M.R.T * M.W
    return (
        Equation("m (E+ - E) = eta^2 [...]", after(1) - E, second * eta**2),
        Equation("with decay", after(shrink), E * shrink**2 + second * eta**2),
    )


def any_loss() -> Equations:
    """(25) for a free residual, and the two constants of a loss whose residual has zero column sums."""
    p = symbol["p"]
    M = model(m=p**2)
    R1, R2 = M.R * M.Y.T / M.m, M.R * M.Q2 / p
    H1, H2 = M.H * M.Y.T / M.m, M.H * M.Q2 / p
    rates = M.raw_flow(M.R, M.kernel)
    return (
        Equation("dH1", H1.rate(rates), -(M.W.T * R1 * M.class_kernel)),
        Equation("dH2", H2.rate(rates), -(M.W.T * R2) * M.mu_s),
        Equation("dW", rates["W"], -(R1 * H1.T + R2 * H2.T) * M.m),
        Equation("d(W'1) = -H (R'1)", (M.W.T * M.u).rate(rates), -(M.H * (M.R.T * M.u))),
        Equation("d(1'b) = -(R'1)'1", (M.u.T * M.b).rate(rates), -((M.R.T * M.u).T * M.o)),
    )


CLAIMS = (
    Claim(
        "sec-11.1", "weight decay, any kernel and any loss; equal decay makes E shrink as exp(-2 lambda t)",
        "dE/dt = -2 lambda_w E + (2/m)(lambda_h - lambda_w) H K^{-1} H'", "product rule, free R and K", proof=decay,
    ),
    Claim(
        "sec-11.1-limit", "the regularised collapsed state is stationary",
        "rho = sqrt(lw lh/(m mu_class)): R1 = -rho P, H1 = sqrt(lw mu_class/(lh m)) W', X = (1-rho) sqrt(lh m/(lw mu_class)) P",
        "square roots of the parameters as symbols; that every generic start reaches it is not part of this entry",
        proof=regularised_limit,
    ),
    Claim(
        "sec-11.1-drift", "no decay on features: drift along the zero-loss manifold, to first order in lambda_w",
        "dx/dt = -2 lambda_w mu_class x^3/(mu_class x^2 + m)",
        "exact dE/dt, then chain rule on e(x); staying on the manifold is the first-order assumption", proof=slow_drift,
    ),
    Claim(
        "sec-11.2", "a kernel that moves",
        "m dE/dt = H K^{-1} K' K^{-1} H';  K = s(t) K0: dE/dt = (s'/s)(W'W/m - E)",
        "product rule with dK^{-1} = -K^{-1} K' K^{-1}; symbols of the eigenvalues' rates", proof=moving_kernel,
    ),
    Claim(
        "sec-11.3", "exact change of E in a step of gradient descent, any residual (so minibatches too)",
        "m (E+ - E) = eta^2 [H R'R H' - W' R K R' W];  with decay m E+ = (1 - eta l)^2 m E + eta^2 [...]",
        "normal form, symbolic eta", proof=discrete_step,
    ),
    Claim(
        "sec-11.7", "any loss with R = dL/dF; for cross-entropy R'1 = 0, so W'1 and 1'b are constant",
        "dH1 = -W'R1 Kc, dH2 = -mu_single W'R2, dW = -m (R1 H1' + R2 H2'), d(W'1)/dt = -H R'1",
        "normal form with a free residual", proof=any_loss,
    ),
)  # fmt: skip

"""Claims about the flow itself: the kernel's action, the two systems, the invariant, monotone quantities."""

from ntkflow.prove.algebra.letters import Model, assume, model
from ntkflow.prove.algebra.scalars import C, mu_c, mu_g, mu_s, symbol
from ntkflow.prove.algebra.words import Poly
from ntkflow.prove.entry import Claim, Equation, Equations


def kernel_action() -> Equations:
    """R K in terms of R, its class means and its global mean."""
    M = model()
    R_class, R_global = M.R * M.Y.T * M.Y / M.m, M.R * M.o * M.o.T / M.N
    kd, kc, kn = M.kappa_d, M.kappa_c, M.kappa_n
    F, R = M.W * M.H, M.residual
    return (
        Equation(
            "R K", M.R * M.kernel, R_class * ((kc - kn) * M.m) + M.R * (kd - kc) + R_global * (kn * M.N)
        ),
        Equation("m R_class", F * M.Y.T * M.Y + (M.b * M.o.T - M.Y) * M.m, R * M.Y.T * M.Y),
        Equation("N R_global", F * M.o * M.o.T + M.b * M.o.T * M.N - M.u * M.o.T * M.m, R * M.o * M.o.T),
        Equation("K^{-1} K = I", M.kernel_inverse * M.kernel, M.algebra.identity("N")),
    )


def decomposition() -> Equations:
    """(19) in the variables H1 = H Y'/m and H2 = H Q2 / sqrt(m) is (25)."""
    # H2 has a root of m in it, which is a symbol here.
    M = model(m=symbol["p"] ** 2)
    p = symbol["p"]
    H1, H2 = M.H * M.Y.T / M.m, M.H * M.Q2 / p
    R, rates = M.residual, M.raw_flow(M.residual, M.kernel)
    R1 = M.W * H1 + M.b * M.u.T - M.I
    return (
        Equation("H = H1 Y + sqrt(m) H2 Q2'", M.H, H1 * M.Y + H2 * M.Q2.T * p),
        Equation("R Y'/m = W H1 + b 1' - I", R * M.Y.T / M.m, R1),
        Equation("dH1/dt", H1.rate(rates), -(M.W.T * R1 * M.class_kernel)),
        Equation("dH2/dt", H2.rate(rates), -(M.W.T * M.W * H2) * M.mu_s),
        Equation("dW/dt", rates["W"], -(R1 * H1.T + M.W * H2 * H2.T) * M.m),
        Equation("db/dt", rates["b"], -(R1 * M.u) * M.m),
        Equation("H H' = m (H1 H1' + H2 H2')", M.H * M.H.T, (H1 * H1.T + H2 * H2.T) * M.m),
    )


def mean_residual_relation() -> Equations:
    """(41) and (42): the last term of dH1/dt in terms of R1."""
    M = model()
    long = M.W * M.H1 * M.u * M.u.T / C + M.b * M.u.T - M.u * M.u.T / C
    return (
        Equation("(41)", long, M.R1 * M.u * M.u.T / C),
        Equation("(42)", M.R1 * M.mu_c + long * (M.kappa_n * M.N), M.R1 * M.class_kernel),
    )


def invariant_any_kernel() -> Equations:
    """W'W and H Ki H' have the same rate for a free residual R and a free invertible symmetric K."""
    M = model()
    rates = M.raw_flow(M.R, M.K)
    return (
        Equation(
            "d(W'W)/dt = d(H K^{-1} H')/dt", (M.W.T * M.W).rate(rates), (M.H * M.Ki * M.H.T).rate(rates)
        ),
    )


def invariant_block() -> Equations:
    """Both rates under (25), and the three ways to write E."""
    M = model(m=symbol["p"] ** 2)
    rates, E = M.class_flow(), M.invariant
    H = M.H1 * M.Y + M.H2 * M.Q2.T * symbol["p"]
    three = M.W.T * M.W / M.m - M.H1 * M.P * M.H1.T / M.mu_c - M.g * M.g.T * (C / M.mu_g) - M.S / M.mu_s
    features = M.W.T * M.W / M.m - E
    return (
        Equation("m E = W'W - H K^{-1} H'", E * M.m, M.W.T * M.W - H * M.kernel_inverse * H.T),
        Equation("E with three eigenvalues", E, three),
        Equation("d(W'W/m)/dt = d(W'W/m - E)/dt", (M.W.T * M.W / M.m).rate(rates), features.rate(rates)),
    )


def end_of_training() -> Equations:
    """(20) and (27): with R Y' = 0 and R 1 = 0 the flow is that of free features, scaled by mu_s."""
    M = assume(model(), R_Yt=0, R_o=0)
    rates = M.raw_flow(M.R, M.kernel)
    return (
        Equation("dH/dt = -mu_s W' R", rates["H"], -(M.W.T * M.R) * M.mu_s),
        Equation(
            "d(W'W)/dt = d(H H'/mu_s)/dt", (M.W.T * M.W).rate(rates), (M.H * M.H.T / M.mu_s).rate(rates)
        ),
        Equation("W'W rate", (M.W.T * M.W).rate(rates), -(M.H * M.R.T * M.W + M.W.T * M.R * M.H.T)),
    )


def residual_dynamics() -> Equations:
    """dR/dt for any symmetric K, and dR1/dt for the block kernel."""
    M = model()
    R = M.residual
    rate = R.rate(M.raw_flow(R, M.K))
    R1_rate = M.R1.rate(M.class_flow())
    return (
        Equation("dR/dt", rate, -(R * (M.H.T * M.H + M.o * M.o.T)) - M.X * R * M.K),
        Equation(
            "dR1/dt",
            R1_rate,
            -(M.R1 * (M.G + M.u * M.u.T)) * M.m - M.X * M.R1 * M.class_kernel - (M.W * M.S * M.H1) * M.m,
        ),
    )


def loss_rate() -> Equations:
    """dL/dt for L = tr(R R')/2 and any symmetric K; L by class means for the block kernel."""
    M = model(m=symbol["p"] ** 2)
    R = M.residual
    rate = R.squared_norm().rate(M.raw_flow(R, M.K)) / 2
    fall = (R * M.H.T).squared_norm() + (R * M.o).squared_norm() + (M.W.T * R * M.K * R.T * M.W).trace()
    parts = (M.R1.squared_norm() + (M.W * M.H2).squared_norm()) * M.m
    H = M.H1 * M.Y + M.H2 * M.Q2.T * symbol["p"]
    split = (M.W * H + M.b * M.o.T - M.Y).squared_norm()
    return (Equation("dL/dt", rate, -fall), Equation("2 L = m (|R1|^2 + |W H2|^2)", split, parts))


def mean_and_bias() -> Equations:
    """Global mean and bias move together, for any residual."""
    M = model()
    rates = M.raw_flow(M.R, M.kernel)
    general = M.raw_flow(M.R, M.K)
    g = M.H * M.o / M.N
    return (
        Equation("dg/dt = (mu_g/N) W' db/dt", g.rate(rates), M.W.T * rates["b"] * (mu_g / M.N)),
        Equation("dg/dt = -mu_g W' rbar", M.g.rate(M.class_flow()), -(M.W.T * _rbar(M)) * mu_g),
        Equation("any K", (M.H * M.Ki * M.o).rate(general), M.W.T * general["b"]),
    )


def _rbar(M: Model) -> Poly:
    return M.W * M.g + M.b - M.u / C


def bias_mean_function() -> Equations:
    """V falls at the rate 2 N |rbar|^2."""
    M = model()
    away = M.b - M.u / C
    V = away.T * away + (M.g.T * M.g) * (M.N / mu_g)
    return (Equation("dV/dt", V.rate(M.class_flow()), -(_rbar(M).T * _rbar(M)) * (2 * M.N)),)


def within_class_monotone() -> Equations:
    """d(H2' H2)/dt is minus a Gram matrix."""
    M = model()
    Z = M.W * M.H2
    return (Equation("d(H2' H2)/dt", (M.H2.T * M.H2).rate(M.class_flow()), -(Z.T * Z) * (2 * mu_s)),)


def trace_of_variability() -> Equations:
    """Rate of tr S: with E >= 0 every term on the right is <= -2 m tr S^2."""
    M = model()
    S, E = M.S, M.invariant
    rest = (E * S).trace() * M.m + (M.H1 * M.inverse_class_kernel * M.H1.T * S).trace()
    return (
        Equation("d tr S/dt", S.trace().rate(M.class_flow()), -(S * S).trace() * (2 * M.m) - rest * (2 * mu_s)),
        Equation("Mc is positive: m (P P/mu_c + J J/mu_g)", M.inverse_class_kernel,
                 (M.P * M.P / mu_c + M.J * M.J / mu_g) * M.m),
    )  # fmt: skip


def column_sum() -> Equations:
    """d(W'1)/dt."""
    p = symbol["p"]
    M = model(m=p**2)
    H = M.H1 * M.Y + M.H2 * M.Q2.T * p
    excess = M.u.T * M.b - M.algebra.number(1)
    right = -(H * H.T * M.W.T * M.u) - M.g * excess * M.N
    return (Equation("d(W'1)/dt", (M.W.T * M.u).rate(M.class_flow()), right),)


def zero_mean() -> Equations:
    """The two families on which g = 0 stays, and the start of the drift for b = 0.

    Rates are those of the unconstrained flow, evaluated on each family afterwards.
    """
    M, beta = model(), symbol["beta"]
    flow = M.class_flow()
    dg, db, dsum = flow["H1"] * M.u / C, flow["b"], (M.W.T * M.u).rate(flow)
    optimal = assume(M, H1_u=0, b=M.u / C).algebra.adopt
    equal = assume(M, H1_u=0, b=M.u * beta, Wt_u=0).algebra.adopt
    free = assume(M, H1_u=0, b=0).algebra.adopt
    none, zero = M.u * 0, M.W.T * M.u * 0
    return (
        Equation("b = 1/C: dg/dt = 0", optimal(dg), zero),
        Equation("b = 1/C: db/dt = 0", optimal(db), none),
        Equation("b = beta 1, W'1 = 0: dg/dt = 0", equal(dg), zero),
        Equation("b = beta 1, W'1 = 0: d(W'1)/dt = 0", equal(dsum), zero),
        Equation("b = beta 1, W'1 = 0: db/dt", equal(db), -(M.u * ((beta - 1 / C) * M.N))),
        Equation("b = 0: dg/dt = mu_g W'1/C", free(dg), M.W.T * M.u * (mu_g / C)),
    )


def elimination() -> Equations:
    """W S in terms of E, H1 and W."""
    M = model()
    inner = M.X * M.W / M.m - M.W * M.H1 * (M.P / mu_c + M.J / mu_g) * M.H1.T - M.W * M.invariant
    return (Equation("W S", M.W * M.S, inner * mu_s),)


CLAIMS = (
    Claim(
        "eq-19", "the block kernel acts on a residual through its class means and global mean",
        "R K = (kappa_d - kappa_c) R + (kappa_c - kappa_n) m R_class + kappa_n N R_global",
        "normal form, K written out as in the proof of Theorem 4.1", proof=kernel_action,
    ),
    Claim(
        "eq-20", "with R_class = R_global = 0 features follow the gradient scaled by mu_single, and (27) is conserved",
        "dH/dt = -mu_single W'R;  E_eot = W'W - H H'/mu_single",
        "normal form with the hypotheses R Y' = 0, R 1 = 0 as rewrite rules", proof=end_of_training,
    ),
    Claim(
        "eq-25", "class means and within-class coordinates turn (19) into (25), eqs. (21)-(25), (36)-(38)",
        "dH1 = -W'R1 Kc, dH2 = -mu_single W'W H2, dW = -m (R1 H1' + W H2 H2'), db = -m R1 1",
        "product rule on H1 = H Y'/m, H2 = H Q2/sqrt(m), then normal form", proof=decomposition,
    ),
    Claim(
        "eq-41", "the global-mean term of dH1/dt is R1 1 1'/C, which gives (42)",
        "W H1 1 1'/C + b 1' - 1 1'/C = R1 1 1'/C", "normal form", proof=mean_residual_relation,
    ),
    Claim(
        "eq-26", "E is constant along (25), and m E = W'W - H K^{-1} H'",
        "E = W'W/m - H1 (I - alpha 1 1') H1'/mu_class - H2 H2'/mu_single",
        "product rule under (25); the rates of W'W/m and of the feature terms have one normal form",
        proof=invariant_block,
    ),
    Claim(
        "sec-3.1", "W'W - H K^{-1} H' is constant for ANY constant invertible symmetric K and ANY residual R(t), so for any loss",
        "d/dt (W'W - H K^{-1} H') = 0 when dW = -R H', dH = -W' R K",
        "product rule with free letters R and K, rewrite rules K K^{-1} = K^{-1} K = I", proof=invariant_any_kernel,
    ),
    Claim(
        "sec-2-residual", "closed dynamics of the residual; R1 = 0 is not invariant unless W S H1 = 0",
        "dR/dt = -R (H'H + 1 1') - W W' R K;  dR1/dt = -m R1 (G + 1 1') - X R1 Kc - m W S H1",
        "product rule, normal form", proof=residual_dynamics,
    ),
    Claim(
        "sec-2-loss", "the loss falls by three squares",
        "dL/dt = -|R H'|^2 - |R 1|^2 - tr(W' R K R' W),  L = (m/2)(|R1|^2 + |W H2|^2)",
        "product rule under the trace, cyclicity", proof=loss_rate,
    ),
    Claim(
        "sec-3.2", "global mean and bias move together, whatever the loss",
        "dg/dt = (mu_g/N) W' db/dt = -mu_g W' rbar;  d(H K^{-1} 1)/dt = W' db/dt",
        "product rule with a free residual; second form with the MSE residual", proof=mean_and_bias,
    ),
    Claim(
        "sec-3.3", "a Lyapunov function of biases and global mean",
        "V = |b - 1/C|^2 + (N/mu_g) |g|^2,  dV/dt = -2 N |W g + b - 1/C|^2",
        "product rule on 1 x 1 words", proof=bias_mean_function,
    ),
    Claim(
        "sec-3.4", "H2' H2 decreases in the Loewner order",
        "d(H2' H2)/dt = -2 mu_single (W H2)' (W H2)", "normal form; the right side is minus a Gram matrix",
        proof=within_class_monotone,
    ),
    Claim(
        "sec-3.6", "E >= 0 forces NC1: d tr S/dt <= -2 m tr S^2 <= -2 m (tr S)^2/rank S",
        "d tr S/dt = -2 m tr S^2 - 2 mu_single [m tr(E S) + tr(H1 Mc H1' S)]",
        "W'W eliminated through E, cyclicity; both bracket terms are >= 0 for E >= 0",
        proof=trace_of_variability,
    ),
    Claim(
        "sec-3.7", "rate of the column sum of W", "d(W'1)/dt = -H H' (W'1) - N g (1'b - 1)",
        "normal form", proof=column_sum,
    ),
    Claim(
        "sec-3.8", "zero mean stays for b = 1/C, or for b = beta 1 with W'1 = 0; from b = 0 it moves at once",
        "dg/dt = 0, dbeta/dt = -N (beta - 1/C);  b = 0: dg/dt = mu_g W'1/C",
        "the hypotheses as rewrite rules", proof=zero_mean,
    ),
    Claim(
        "sec-4.2", "elimination of the within-class covariance by the invariant",
        "W S = mu_s [X W/m - W H1 (P/mu_c + J/mu_g) H1' - W E]", "normal form", proof=elimination,
    ),
)  # fmt: skip

"""How fast L linear layers move: rates at the start and at collapse, plateau, tail (theory 18.5, 18.6)."""

import math

import numpy as np

from ntkflow.problem.layers.problem import LayeredProblem


def collapse_rates(problem: LayeredProblem) -> tuple[float, float, float]:
    """Rates within classes, of class contrasts and of everything at the balanced collapse point (theory 18.5).

    mu_single x^L, (L + 1) mu_class x^L and N + mu_global x^L, x = (m/mu_class)^{1/(L+1)}; of kernels without blocks
    those of the block kernel nearest to them.
    """
    sizes, L = problem.sizes, problem.L
    mu_s, mu_c, mu_g = mean_eigenvalues(problem)
    x = (sizes.N / sizes.C / mu_c) ** (L / (L + 1))
    return mu_s * x, (L + 1) * mu_c * x, max((L + 1) * mu_c * x, sizes.N + mu_g * x)


def mean_eigenvalues(problem: LayeredProblem) -> tuple[float, float, float]:
    """Means of K0 within classes, over class contrasts and along the constant vector; its eigenvalues for equal blocks."""
    sizes = problem.sizes
    blocks = problem.equal_blocks
    if blocks is not None:
        mu = blocks.eigenvalues(sizes)
        return mu.mu_single, mu.mu_class, mu.mu_global
    thin = problem.thin
    if thin is not None:
        weights = np.maximum(sizes.masses - 1, 0.0)
        within = float(weights @ thin.within / weights.sum()) if weights.any() else float(thin.within.mean())
        values = np.sort(np.linalg.eigvals(thin.class_kernel).real)
        common = float(sizes.masses @ thin.class_kernel.sum(axis=0)) / sizes.N
        return within, float((values.sum() - common) / (sizes.C - 1)), common
    K = problem.kernel.sample_matrix
    assert K is not None
    Y = sizes.Y / np.sqrt(sizes.masses)[:, None]
    own = float(np.trace(Y @ K @ Y.T))
    common = float(K.sum()) / sizes.N
    within = (float(np.trace(K)) - own) / max(sizes.N - sizes.C, 1)
    return within, (own - common) / (sizes.C - 1), common


def largest_rate(problem: LayeredProblem) -> float:
    """The largest rate at the start or at collapse, whichever is more; decay included."""
    state, sizes, L = problem.state, problem.sizes, problem.L
    below = state.below
    mu = max(mean_eigenvalues(problem))
    layers = state.layers
    start = mu * float(np.linalg.norm(below[0], 2)) ** 2 + sizes.N
    squares = [float(np.linalg.norm(H, 2)) ** 2 for H in layers]
    start += (
        sum(s * float(np.linalg.norm(U, 2)) ** 2 for s, U in zip(squares[:-1], below[1:], strict=True))
        + squares[-1]
    )
    return max(start, collapse_rates(problem)[2]) + max(problem.decay.rates(L))


def start_size(problem: LayeredProblem) -> float:
    """s_0: geometric mean over V_1 .. V_L, W of |.|_F over the root of C - 1 or its rank; what a plateau depends on."""
    state, C = problem.state, problem.sizes.C
    inner = float(np.linalg.norm(state.H)) / math.sqrt(max(mean_eigenvalues(problem)))
    norms = [inner, *(float(np.linalg.norm(V)) for V in (*state.V, state.W))]
    return float(np.exp(np.mean(np.log(np.maximum(norms, 1e-300))))) / math.sqrt(C)


def plateau(problem: LayeredProblem, s0: float | None = None) -> float:
    """Time before the fit of an aligned start of size s0 (theory 18.6).

    ln(s*/s0)/sqrt(m mu_class) at L = 1, (s0^{-(L-1)} - s*^{-(L-1)})/((L-1) sqrt(m mu_class)) at L >= 2; 0 where s0 is not small.
    """
    sizes, L = problem.sizes, problem.L
    mu_c, m = mean_eigenvalues(problem)[1], sizes.N / sizes.C
    clock, star = math.sqrt(m * mu_c), (m / mu_c) ** (1 / (2 * (L + 1)))
    s0 = start_size(problem) if s0 is None else s0
    if s0 >= star:
        return 0.0
    if L == 1:
        return math.log(star / s0) / clock
    return (math.pow(s0, 1 - L) - math.pow(star, 1 - L)) / ((L - 1) * clock)


def collapse_spectrum(problem: LayeredProblem, singular: tuple[float, ...] | None = None) -> dict[str, float]:
    """Rates at a collapse point of the squared error under scalar blocks, by what they move (theory 18.5).

    Args:
        problem: its sizes, K0 and L.
        singular: s_1 .. s_{L+1} of V_1 .. V_L, W on the contrasts, whose squares multiply to m/mu_class; None for the
            balanced point, s_l^2 = x.
    """
    sizes, L, m = problem.sizes, problem.L, problem.sizes.N / problem.sizes.C
    mu_s, mu_c, mu_g = mean_eigenvalues(problem)
    x = (m / mu_c) ** (1 / (L + 1))
    squares = [x] * (L + 1) if singular is None else [s**2 for s in singular]
    u = m / (mu_c * squares[0])
    found = {
        "contrasts of the class means": m * sum(1 / s for s in squares),
        "mean of the outputs along contrasts": sizes.N + u * mu_g,
        "W along 1, on the contrasts": m / squares[-1],
        "mean of the biases": float(sizes.N),
    }
    return found | ({"within classes": u * mu_s} if sizes.N > sizes.C else {})


def tail(problem: LayeredProblem, t: float) -> dict[str, float]:
    """The algebraic end for Q_l = 0, V(0) = 0 and W(0)^T 1 != 0, by q = (2 L mu_single t)^{-1/L} (theory 18.5).

    Returns:
        |W^T 1|^2/C, tr S of the last layer, the loss and NC3 at large t.
    """
    sizes, L = problem.sizes, problem.L
    mu_s, mu_c, _ = mean_eigenvalues(problem)
    m = sizes.N / sizes.C
    q, star = (2 * L * mu_s * t) ** (-1 / L), (m / mu_c) ** (1 / (2 * (L + 1)))
    return {
        "W1": q,
        "trace_S": 1 / (2 * L * m * t),
        "loss": mu_s / 2 * q ** (L + 1),
        "NC3": math.sqrt(q) / (math.sqrt(sizes.C - 1) * star),
    }

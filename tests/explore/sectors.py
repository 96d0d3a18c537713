"""States that the page speaks of, built in full by numpy: the symmetric sector of L linear layers with one spectator."""

from itertools import pairwise

import numpy as np

import ntkflow as nf

# What the page's settings are called, with values that have a flow.
SETTINGS = {
    "C": 3,
    "m": 5,
    "n": 5,
    "kappa_d": 1.0,
    "kappa_c": 0.6,
    "kappa_n": 0.2,
    "scale": 0.3,
    "share": 0.5,
    "scale_J": 0.4,
    "share_J": 0.5,
    "e_P": 0.0,
    "e_J": 0.0,
    "beta": 0.0,
    "spectators": 0.0,
    "decay": 0.0,
    "L": 1,
    "loss": "mse",
    "length": 1.0,
}


def problem(settings: dict[str, object], seed: int = 0) -> nf.LayeredProblem:
    """The settings in frames drawn at random: all in the units of collapse, as the page has it."""
    s = {**SETTINGS, **settings}
    C, m, n, L = s["C"], s["m"], s["n"], s["L"]
    sizes, kernel = nf.Sizes(C, m, n), nf.BlockKernel(s["kappa_d"], s["kappa_c"], s["kappa_n"])
    mu = kernel.eigenvalues(sizes)
    x = (m / mu.mu_class) ** (1 / (L + 1))
    rng = np.random.default_rng(seed)
    bases = [np.linalg.qr(rng.standard_normal((n, n)))[0] for _ in range(L)]
    J = np.full((C, C), 1 / C)
    parts = {"P": (np.eye(C) - J, mu.mu_class), "J": (J, mu.mu_global)}
    shares = {"P": 1.0 if s["loss"] == "cross-entropy" else s["share"], "J": s["share_J"]}
    means = deviations = between = W = np.zeros((C, C))
    for name, (projector, own) in parts.items():
        size = x * s["scale" if name == "P" else "scale_J"] ** 2
        q = x * s[f"e_{name}"]
        below, above, share = size + max(-q, 0.0), size + max(q, 0.0), shares[name]
        means = means + np.sqrt(share * below * own / m) * projector
        deviations = deviations + np.sqrt((1 - share) * below * mu.mu_single) * projector
        between = between + np.sqrt(below) * projector
        W = W + np.sqrt(above) * projector
    Q = within_class(sizes, C + 1, rng)
    H = np.repeat(bases[0][:, :C] @ means, m, axis=1) + bases[0][:, :C] @ deviations @ Q[:, :C].T
    V = [after[:, :C] @ between @ before[:, :C].T for before, after in pairwise(bases)]
    if s["spectators"]:
        sigma = s["spectators"] * np.sqrt(x)
        H = H + sigma * np.sqrt(mu.mu_single) * np.outer(bases[0][:, C], Q[:, C])
        V = [
            v + sigma * np.outer(after[:, C], before[:, C])
            for v, (before, after) in zip(V, pairwise(bases), strict=True)
        ]
    state = nf.LayeredState(H, tuple(V), W @ bases[-1][:, :C].T, np.full(C, s["beta"] / C))
    rate = s["decay"] * m / x
    loss = nf.CrossEntropy() if s["loss"] == "cross-entropy" else nf.MSE()
    return nf.LayeredProblem(sizes, kernel, state, loss, nf.LayerDecay(rate, rate))


def of_one_layer(found: nf.LayeredProblem) -> nf.Problem:
    """The same as the flow of features under a kernel that stands still."""
    decay = nf.Decay(found.decay.W, found.decay.W, 0.0)
    state = nf.State(found.state.H, found.state.W, found.state.b)
    return nf.Problem(found.sizes, found.kernel, state, found.loss, decay)


def within_class(sizes: nf.Sizes, columns: int, rng: np.random.Generator) -> np.ndarray:
    """Orthonormal columns that sum to zero over every class, N x columns."""
    Z = rng.standard_normal((sizes.C, sizes.per_class, columns))
    return np.linalg.qr((Z - Z.mean(axis=1, keepdims=True)).reshape(sizes.N, columns))[0]

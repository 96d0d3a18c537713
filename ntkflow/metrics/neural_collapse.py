"""Neural collapse measured: NC1-NC4 with every published variant under its own name.

M = H1 P are the centred class means (not normalised), S_W the within-class covariance (mean over all
samples), S_B = M M^T / C the between-class covariance. For imbalanced classes the centre is the mean of
the class means, so that every class counts the same.

| key | definition | source |
|---|---|---|
| NC1 | mean over classes and features of the standard deviation within the class | the paper's code |
| NC1_frobenius | sqrt(tr S / C), S = C S_W for balanced classes | eq. (24) |
| NC1_papyan | tr(S_W S_B^+) / C | Papyan, Han & Donoho 2020 |
| NC1_tirer | tr S_W / tr S_B | Tirer, Huang & Niles-Weed 2022 |
| NC1_galanti | class-distance normalised variance, mean over pairs | Galanti, Gyorgy & Hutter 2022 |
| NC2 | distance of M^T M / its norm from P / sqrt(C-1); identically 0 for C = 2 | the paper's code |
| NC2_unit | distance of M^T M with unit columns from C/(C-1) P | paper, section 2.1 |
| NC2_equinorm | standard deviation / mean of the norms of the columns of M | Papyan, Han & Donoho 2020 |
| NC2_equiangular | mean over pairs of abs(cos + 1/(C-1)) | Papyan, Han & Donoho 2020 |
| NC3 | distance of M / its norm from W^T / its norm | the paper's code |
| NC3_unit | the same, M with unit columns | paper, section 2.1 |
| NC4 | share of samples whose predicted class is the nearest class mean's | paper, section 2.1 |

All but NC1 are the same after a rotation of features, H -> Q^T H and W -> W Q, which changes nothing in the dynamics:
the paper's NC1 averages standard deviations feature by feature, so it depends on the axes; NC1_frobenius does not and is
what it is compared with. None depends on the order of classes or of the samples of a class.

A metric that divides by zero (all class means equal, W = 0) is NaN.
"""

from types import ModuleType

import numpy as np

from ntkflow._types import Array, ClassMatrix, Integers
from ntkflow.problem.sizes import Sizes
from ntkflow.problem.state import State, ThinState
from ntkflow.problem.thin import Frame, decompose
from ntkflow.scaling import unit

NC1_NAMES = ("NC1", "NC1_frobenius", "NC1_papyan", "NC1_tirer", "NC1_galanti")
NC2_NAMES = ("NC2", "NC2_unit", "NC2_equinorm", "NC2_equiangular")
NC3_NAMES = ("NC3", "NC3_unit")
RATIOS = ("NC1_papyan", "NC1_tirer", "NC1_galanti")
NAMES = (*NC1_NAMES, *NC2_NAMES, *NC3_NAMES, "NC4")


def centring(C: int) -> ClassMatrix:
    """P = I - 11^T / C."""
    return np.eye(C) - 1.0 / C


def measure(state: State, sizes: Sizes) -> dict[str, float]:
    """All metrics of a full state, keyed by `NAMES`."""
    thin, frame = decompose(state, sizes, subspace=False)
    return measure_thin(thin, frame)


def measure_thin(thin: ThinState, frame: Frame) -> dict[str, float]:
    """All metrics of a thin state in all n feature coordinates (`Frame.lift` first).

    Features of any size that float64 holds: means, deviations and weights are measured each in their own unit.
    """
    M, of_means = unit(thin.H1 - thin.H1.mean(axis=1, keepdims=True))
    L, of_deviations = unit(thin.L)
    W, _ = unit(thin.W)
    sizes = frame.sizes
    # variances[c, f] of feature f within class c
    # From the thin factor: the deviations of all N samples are never composed.
    variances = np.einsum("fr,crf->cf", L, frame.class_grams @ L.T) / sizes.masses[:, None]
    gram = M.T @ M
    with np.errstate(divide="ignore", invalid="ignore", over="ignore", under="ignore"):
        values = {
            **nc1_of(np, M, L, np.maximum(variances, 0.0), sizes.N),
            **nc2_of(np, gram),
            **nc3_of(np, M, W),
            "NC4": _nc4(thin, frame),
        }
        # No deviations stay none, however small the means are.
        ratio = np.float64(of_deviations / of_means) ** 2 if np.any(L) else np.float64(1.0)
        units = {"NC1": of_deviations, "NC1_frobenius": of_deviations, **dict.fromkeys(RATIOS, ratio)}
        values |= {name: values[name] * size for name, size in units.items()}
    # The pseudo-inverse of nothing is nothing, and would call merged classes collapsed.
    if not np.any(gram):
        values["NC1_papyan"] = np.nan
    return {name: float(values[name]) for name in NAMES}


def nc1_of(xp: ModuleType, M: Array, L: Array, variances: Array, N: Array) -> dict[str, Array]:
    """Every NC1 by the functions of `xp`, numpy or jax.numpy.

    Args:
        xp: whose functions.
        M: centred class means, n x C.
        L: within-class factor, or the deviations themselves.
        variances: of every feature within every class, C x n.
        N: number of samples.
    """
    C, gram = M.shape[1], M.T @ M
    total, spread, diagonal = xp.sum(L**2), variances.sum(axis=1), xp.diag(gram)
    # C x C in place of S_B^+, n x n: tr(S_W S_B^+) is the same by M^+ = (M^T M)^+ M^T. M has rank C - 1 at most, and 1e-12
    # cuts off the eigenvalue that centring makes zero.
    pinv = xp.linalg.pinv(gram, rtol=1e-12, hermitian=True)
    first, second = _pairs(C)
    squares = (diagonal[:, None] + diagonal[None, :] - 2 * gram)[first, second]
    return {
        "NC1": xp.sqrt(variances).mean(),
        "NC1_frobenius": xp.sqrt(total / N),
        "NC1_papyan": xp.sum((pinv @ (M.T @ L)) ** 2) / N,
        "NC1_tirer": (total / N) / (xp.trace(gram) / C),
        "NC1_galanti": ((spread[first] + spread[second]) / (2 * squares)).mean(),
    }


def nc2_of(xp: ModuleType, gram: Array) -> dict[str, Array]:
    """Every NC2 from M^T M by the functions of `xp`."""
    C = gram.shape[0]
    P, norms = centring(C), xp.sqrt(xp.diag(gram))
    cosines = gram / xp.outer(norms, norms)
    return {
        "NC2": xp.linalg.norm(gram / xp.linalg.norm(gram) - P / np.sqrt(C - 1)),
        "NC2_unit": xp.linalg.norm(cosines - P * (C / (C - 1))),
        "NC2_equinorm": norms.std() / norms.mean(),
        "NC2_equiangular": xp.abs(cosines[_pairs(C)] + 1 / (C - 1)).mean(),
    }


def nc3_of(xp: ModuleType, M: Array, W: Array) -> dict[str, Array]:
    """Every NC3 by the functions of `xp`."""
    units = M / xp.sqrt(xp.diag(M.T @ M))
    dual = W.T / xp.linalg.norm(W)
    return {
        "NC3": xp.linalg.norm(M / xp.linalg.norm(M) - dual),
        "NC3_unit": xp.linalg.norm(units / xp.linalg.norm(units) - dual),
    }


def _pairs(C: int) -> tuple[Integers, Integers]:
    """Every ordered pair of two classes: what divides by their distance must not see a class and itself."""
    first, second = np.nonzero(~np.eye(C, dtype=bool))
    return first, second


def _nc4(thin: ThinState, frame: Frame) -> float:
    """Agreement of argmax(W h + b) with the nearest class mean; C x N products only."""
    counts = frame.sizes.counts
    _, of_features = unit(np.concatenate([thin.H1, thin.L], axis=1))
    H1, L = thin.H1 / of_features, thin.L / of_features
    W, of_weights = unit(thin.W)
    b, of_biases = unit(thin.b)
    # Both terms of the logits in the unit of the larger one.
    of_logits = max(of_weights * of_features, of_biases)
    W, b = W * (of_weights * of_features / of_logits), b * (of_biases / of_logits)
    logits = np.repeat(W @ H1 + b[:, None], counts, axis=1) + (W @ L) @ frame.Q.T
    means = H1.T @ H1
    # argmin |h - mean_c|^2 = argmax (mean_c . h - |mean_c|^2 / 2)
    scores = np.repeat(means, counts, axis=1) + (H1.T @ L) @ frame.Q.T - np.diag(means)[:, None] / 2
    return float(np.mean(logits.argmax(axis=0) == scores.argmax(axis=0)))

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

from ntkflow._types import Array, ClassMatrix, Floats, Integers
from ntkflow.problem.sizes import Sizes
from ntkflow.problem.state import State, ThinState
from ntkflow.problem.thin import Frame, Frames, decompose
from ntkflow.scaling import units

NC1_NAMES = ("NC1", "NC1_frobenius", "NC1_papyan", "NC1_tirer", "NC1_galanti")
NC2_NAMES = ("NC2", "NC2_unit", "NC2_equinorm", "NC2_equiangular")
NC3_NAMES = ("NC3", "NC3_unit")
RATIOS = ("NC1_papyan", "NC1_tirer", "NC1_galanti")
# Eigenvalues of M^T M below this share of the largest count as zero; an inverse whose entries are smaller than this, in units of
# the mean eigenvalue, has none near it.
RANK, WELL = 1e-12, 1e6
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
    found = measure_stack(thin.H1[None], thin.L[None], thin.W[None], thin.b[None], frame)
    return {name: float(values[0]) for name, values in found.items()}


def measure_stack(
    H1: Floats, L: Floats, W: Floats, b: Floats, frame: Frame | Frames, V: Floats | None = None
) -> dict[str, Floats]:
    """All metrics of a stack of thin states, (T,) each.

    Args:
        H1: class means, (T, n, C).
        L: within-class factors, (T, n, r).
        W: weights, (T, C, n).
        b: biases, (T, C).
        frame: of all of them, or their frames.
        V: takes their coordinates to those of all n features, which only NC1 depends on, (n, k) or (T, n, k); None where
            they are these.
    """
    M, of_means = units(H1 - H1.mean(axis=2, keepdims=True))
    L, of_deviations = units(L)
    W, of_weights = units(W)
    sizes = frame.sizes
    # variances[t, c, f] of feature f within class c
    # From the thin factor: the deviations of all N samples are never composed.
    D = L if V is None else V @ L
    grams = np.moveaxis(frame.class_grams, -3, -2)
    # All classes beside each other, so that it is one product.
    C, r = grams.shape[-2:]
    images = (D @ grams.reshape(*grams.shape[:-2], C * r)).reshape(*D.shape[:2], C, r)
    variances = np.einsum("tfcr,tfr->tcf", images, D) / sizes.masses[:, None]
    gram = np.swapaxes(M, 1, 2) @ M
    with np.errstate(divide="ignore", invalid="ignore", over="ignore", under="ignore"):
        values = {
            **nc1_of(np, M, L, np.maximum(variances, 0.0), sizes.N),
            **nc2_of(np, gram),
            **nc3_of(np, M, W),
            "NC4": _nc4(H1, L, W, b, of_deviations, of_weights, frame),
        }
        # No deviations stay none, however small the means are.
        ratio = np.where(np.any(L, axis=(1, 2)), (of_deviations / of_means) ** 2, 1.0)
        scales = {"NC1": of_deviations, "NC1_frobenius": of_deviations, **dict.fromkeys(RATIOS, ratio)}
        values |= {name: values[name] * size for name, size in scales.items()}
    # The pseudo-inverse of nothing is nothing, and would call merged classes collapsed.
    values["NC1_papyan"] = np.where(np.any(gram, axis=(1, 2)), values["NC1_papyan"], np.nan)
    return {name: values[name] for name in NAMES}


def nc1_frobenius(L: Floats, N: int) -> Floats:
    """NC1_frobenius alone of a stack of within-class factors, (T,)."""
    L, of_deviations = units(L)
    result: Floats = np.sqrt(np.sum(L**2, axis=(-2, -1)) / N) * of_deviations
    return result


def nc1_of(xp: ModuleType, M: Array, L: Array, variances: Array, N: Array) -> dict[str, Array]:
    """Every NC1 by the functions of `xp`, numpy or jax.numpy; of one state, or of every one of a stack.

    Args:
        xp: whose functions.
        M: centred class means, n x C.
        L: within-class factor, or the deviations themselves.
        variances: of every feature within every class, C x n.
        N: number of samples.
    """
    C, Mt = M.shape[-1], xp.swapaxes(M, -1, -2)
    gram = Mt @ M
    total, spread = xp.sum(L**2, axis=(-2, -1)), variances.sum(axis=-1)
    diagonal = xp.diagonal(gram, axis1=-2, axis2=-1)
    # C x C in place of S_B^+, n x n: tr(S_W S_B^+) is the same by M^+ = (M^T M)^+ M^T.
    pinv = pseudo_inverse(gram) if xp is np else xp.linalg.pinv(gram, rtol=RANK, hermitian=True)
    first, second = _pairs(C)
    squares = (diagonal[..., :, None] + diagonal[..., None, :] - 2 * gram)[..., first, second]
    return {
        "NC1": xp.sqrt(variances).mean(axis=(-2, -1)),
        "NC1_frobenius": xp.sqrt(total / N),
        "NC1_papyan": xp.sum((pinv @ (Mt @ L)) ** 2, axis=(-2, -1)) / N,
        "NC1_tirer": (total / N) / (diagonal.sum(axis=-1) / C),
        "NC1_galanti": ((spread[..., first] + spread[..., second]) / (2 * squares)).mean(axis=-1),
    }


def pseudo_inverse(gram: Floats) -> Floats:
    """(M^T M)^+ of every centred M of a stack.

    M has rank C - 1 at most, and `RANK` cuts off the eigenvalue that centring makes zero. Where it is the only one, an
    inverse with that direction filled in is the same, for a quarter of the time.
    """
    C = gram.shape[-1]
    size = np.trace(gram, axis1=-2, axis2=-1)[..., None, None] / max(C - 1, 1)
    try:
        found: Floats = np.linalg.inv(gram + size / C)
    except np.linalg.LinAlgError:
        # One that is singular changes no digit of the others.
        if gram.ndim > 2:
            return np.stack([pseudo_inverse(one) for one in gram])
        return np.asarray(np.linalg.pinv(gram, rtol=RANK, hermitian=True))
    unsure = ~(np.abs(found).max(axis=(-2, -1)) * size[..., 0, 0] < WELL)
    found -= 1 / (C * size)
    if np.any(unsure):
        found[unsure] = np.linalg.pinv(gram[unsure], rtol=RANK, hermitian=True)
    return found


def nc2_of(xp: ModuleType, gram: Array) -> dict[str, Array]:
    """Every NC2 from M^T M by the functions of `xp`."""
    C = gram.shape[-1]
    P, norms = centring(C), xp.sqrt(xp.diagonal(gram, axis1=-2, axis2=-1))
    cosines = gram / (norms[..., :, None] * norms[..., None, :])
    first, second = _pairs(C)
    return {
        "NC2": _frobenius(xp, _normed(xp, gram) - P / np.sqrt(C - 1)),
        "NC2_unit": _frobenius(xp, cosines - P * (C / (C - 1))),
        "NC2_equinorm": norms.std(axis=-1) / norms.mean(axis=-1),
        "NC2_equiangular": xp.abs(cosines[..., first, second] + 1 / (C - 1)).mean(axis=-1),
    }


def nc3_of(xp: ModuleType, M: Array, W: Array) -> dict[str, Array]:
    """Every NC3 by the functions of `xp`."""
    columns = M / xp.sqrt(xp.sum(M**2, axis=-2))[..., None, :]
    dual = _normed(xp, xp.swapaxes(W, -1, -2))
    return {
        "NC3": _frobenius(xp, _normed(xp, M) - dual),
        "NC3_unit": _frobenius(xp, _normed(xp, columns) - dual),
    }


def _frobenius(xp: ModuleType, A: Array) -> Array:
    return xp.linalg.norm(A, axis=(-2, -1))


def _normed(xp: ModuleType, A: Array) -> Array:
    return A / _frobenius(xp, A)[..., None, None]


def _pairs(C: int) -> tuple[Integers, Integers]:
    """Every ordered pair of two classes: what divides by their distance must not see a class and itself."""
    first, second = np.nonzero(~np.eye(C, dtype=bool))
    return first, second


def _nc4(
    H1: Floats,
    L: Floats,
    W: Floats,
    b: Floats,
    of_deviations: Floats,
    of_weights: Floats,
    frame: Frame | Frames,
) -> Floats:
    """Agreement of argmax(W h + b) with the nearest class mean, L and W in units; C x N products only."""
    H1, of_features = units(H1)
    # Means and deviations in the unit of the larger one.
    most = np.maximum(of_features, of_deviations)
    H1, L = H1 * (of_features / most)[:, None, None], L * (of_deviations / most)[:, None, None]
    b, of_biases = units(b)
    # Both terms of the logits in the unit of the larger one.
    of_logits = np.maximum(of_weights * most, of_biases)
    W, b = W * (of_weights * most / of_logits)[:, None, None], b * (of_biases / of_logits)[:, None]
    # Every sample is its class and its deviation, so that its logits are one product, a row each: rows are quick to search.
    Q, which = frame.Q, np.repeat(np.eye(frame.sizes.C), frame.sizes.counts, axis=0)
    samples = np.concatenate([Q, np.broadcast_to(which, (*Q.shape[:-1], len(which.T)))], axis=-1)
    logits = samples @ _rows(W @ L, W @ H1 + b[..., None])
    H1t = np.swapaxes(H1, 1, 2)
    means = H1t @ H1
    # argmin |h - mean_c|^2 = argmax (mean_c . h - |mean_c|^2 / 2)
    halves = np.diagonal(means, axis1=1, axis2=2)[..., None] / 2
    scores = samples @ _rows(H1t @ L, means - halves)
    result: Floats = np.mean(logits.argmax(axis=2) == scores.argmax(axis=2), axis=1)
    return result


def _rows(of_deviations: Floats, of_classes: Floats) -> Floats:
    """What samples are multiplied by: a row for each column of the two."""
    both: Floats = np.swapaxes(np.concatenate([of_deviations, of_classes], axis=2), 1, 2)
    return both

"""NC1: what is left of the variability within classes, beside that between them."""

import numpy as np

from ntkflow.metrics.published.facts import ONCE, Facts, times
from ntkflow.metrics.published.geometry import UndefinedError, squared_distances
from ntkflow.metrics.published.registry import PAPER, PAPYAN, metric


@metric(
    "NC1", "mean over classes and features of the standard deviation within the class", PAPER, of_samples=True
)
def of_features(f: Facts) -> float:
    """Depends on the axes of feature space; has the features' unit."""
    f.spread()
    return times(float(np.sqrt(f.variances).mean()), f.geometry.size)


@metric("NC1_frobenius", "sqrt(tr S_W)", f"{PAPER}, eq. (24)", of_samples=True)
def frobenius(f: Facts) -> float:
    """Root mean square distance from the class mean; has the features' unit."""
    return times(float(np.sqrt(f.spread())), f.geometry.size)


@metric("NC1_papyan", "tr(S_W S_B^+) / C", PAPYAN, of_samples=True)
def papyan(f: Facts) -> float:
    """S_B^+ inverts the directions that the centred means span, above rounding."""
    return _along(f, len(f.geometry.spanned[0]))


@metric(
    "NC1_svd",
    "tr(S_W U s^-1 U^T) / C with the C-1 largest eigenvalues s of S_B and their vectors U",
    "the package neural-collapse of Wu & Papyan",
    "C <= n, and means that span C-1 directions",
    of_samples=True,
)
def truncated(f: Facts) -> float:
    """The same as NC1_papyan about the mean of the class means, where it exists."""
    C, n = f.geometry.M.shape
    if n < C:
        raise UndefinedError(f"needs C <= n, here C = {C} and n = {n}")
    rank = len(f.geometry.spanned[0])
    if rank < C - 1:
        raise UndefinedError(f"the class means span {rank} directions, not C-1 = {C - 1}")
    return _along(f, C - 1)


def _along(f: Facts, k: int) -> float:
    f.geometry.some_mean()
    f.spread()
    if f.along is None:
        raise UndefinedError(ONCE)
    s = f.geometry.spanned[0][:k]
    # Roots first: of small features the squares s^2 would vanish before their quotient is taken.
    return float(np.sum((np.sqrt(np.maximum(f.along[:k], 0)) / s) ** 2)) / f.N


@metric("NC1_tirer", "tr S_W / tr S_B", "Tirer, Huang & Niles-Weed 2022", of_samples=True)
def quotient(f: Facts) -> float:
    """Quotient of traces."""
    _, size = f.M
    between = float(np.trace(f.gram)) / f.C
    # Twice by the unit, whose square may be no number.
    return f.spread() / size / size / between


@metric(
    "NC1_galanti",
    "class-distance normalised variance: mean over pairs of (v_i + v_j) / (2 |mu_i - mu_j|^2), v_c = tr of class c's covariance",
    "Galanti, Gyorgy & Hutter 2022",
    "no two classes with one mean",
    of_samples=True,
)
def cdnv(f: Facts) -> float:
    """CDNV, v_c the mean squared deviation in class c."""
    f.spread()
    M, size = f.M
    i, j = np.triu_indices(f.C, 1)
    distances = squared_distances(M)
    same = np.flatnonzero(distances <= (f.geometry.floor / size) ** 2)
    if len(same):
        raise UndefinedError(f"classes {i[same[0]]} and {j[same[0]]} have the same mean")
    v = f.variances.sum(axis=1) / size / size
    return float(np.mean((v[i] + v[j]) / (2 * distances)))


@metric(
    "NC1_total",
    "tr S_W / tr S_T, S_T the covariance of all samples",
    "share of the variance that is within classes",
)
def of_total(f: Facts) -> float:
    """Within over total; classes count by their samples, whatever the centre."""
    within = f.spread() * f.N
    offsets = f.geometry.relative - f.geometry.of_samples
    total = within + float(f.counts @ np.sum(offsets**2, axis=1))
    if total <= f.N * f.geometry.floor**2:
        raise UndefinedError("all features are equal")
    return within / total

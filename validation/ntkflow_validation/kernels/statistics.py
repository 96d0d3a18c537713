"""Block constants of a kernel, with spreads and standard errors, from sums that need no N x N object."""

from dataclasses import asdict, dataclass

import numpy as np
from jaxtyping import Float64

from ntkflow import views
from ntkflow._types import Json, SampleKernel
from ntkflow.problem.sizes import one_hot
from ntkflow.scaling import cosine, deviation, unit

NAMES = ("d", "c", "n", "mu_single", "mu_class", "mu_global")
Counts = Float64[np.ndarray, " C"]
Values = Float64[np.ndarray, "k 6"]


@dataclass(frozen=True, eq=False)
class BlockSums:
    """What the block constants need to know of the kernels K_k of some directions, class by class.

    Attributes:
        counts: samples of each class, (C,).
        diagonal: mean over samples i of class c of K_ii, (k, C).
        within: mu_single of class c: sum_i |J_i - class mean|^2 / (m_c - 1), measured on the deviations
            themselves and so free of the cancellation kappa_d - kappa_c; NaN for a single sample; (k, C).
        means: product of the class means of J, the mean over all m_c m_c' pairs of K_ij, (k, C, C).
    """

    counts: Counts
    diagonal: Float64[np.ndarray, "k C"]
    within: Float64[np.ndarray, "k C"]
    means: Float64[np.ndarray, "k C C"]

    __repr__ = views.short

    @property
    def constants(self) -> Values:
        """kappa_d, kappa_c, kappa_n, mu_single, mu_class, mu_global of each direction, (k, 6).

        kappa_d, kappa_c, kappa_n are the means over the entries of their kind, the projection on block
        kernels. mu_single = kappa_d - kappa_c, evaluated without subtracting the two. mu_class and mu_global
        are the mean of v^T K v over the class contrasts and the constant vector *of these samples*; the
        eigenvalues at another m follow from the kappas.
        """
        m, N, C = self.counts, self.counts.sum(), len(self.counts)
        d = self.diagonal @ (m / N)
        pairs = m * (m - 1)
        if pairs.sum() > 0:
            # Classes of one sample have no pairs; their NaN must not enter.
            share, within = pairs / pairs.sum(), np.where(m > 1, self.within, 0.0)
            # kappa_d weighs classes by their samples, kappa_c by their pairs: what the weights differ by is left of kappa_d.
            mu_single = within @ share + self.diagonal @ (m / N - share)
        else:
            mu_single = np.full(len(d), np.nan)
        sums = self.means * m[:, None] * m
        own = np.einsum("kcc->kc", sums)
        total = sums.sum(axis=(1, 2))
        n = (total - own.sum(axis=1)) / (N**2 - (m**2).sum())
        mu_global = total / N
        mu_class = ((own / m).sum(axis=1) - mu_global) / (C - 1)
        return np.stack([d, d - mu_single, n, mu_single, mu_class, mu_global], axis=1)

    def times(self, sizes: Float64[np.ndarray, " k"]) -> "BlockSums":
        """The sums of directions that are `sizes` times as long, one size for all or one each."""
        rows = sizes[:, None]
        within, means = self.within * rows * rows, self.means * rows[..., None] * rows[..., None]
        return BlockSums(self.counts, self.diagonal * rows * rows, within, means)

    def of(self, chosen: slice) -> "BlockSums":
        """Those of some of the directions."""
        return BlockSums(self.counts, self.diagonal[chosen], self.within[chosen], self.means[chosen])

    @property
    def class_values(self) -> tuple[Float64[np.ndarray, " C"], Float64[np.ndarray, "C C"]]:
        """kappa_d of every class and B: kappa_c^c on the diagonal, kappa_n^{cc'} off it; mean over directions."""
        kd, B = self.diagonal.mean(axis=0), self.means.mean(axis=0)
        np.fill_diagonal(B, kd - self.within.mean(axis=0))
        return kd, B


@dataclass(frozen=True)
class Constant:
    """One block constant.

    Attributes:
        value: mean over neurons, and over the entries of its kind.
        spread_entries: standard deviation over the entries of the kernel's mean over neurons; None without it.
        spread_neurons: standard deviation over neurons; None if only combinations of neurons were measured, or nothing.
        spread_classes: standard deviation over classes, for kappa_n over pairs of classes.
        standard_error: of `value`, from measuring some neurons, some samples or probes; 0 when everything was
            measured; None when it cannot be told (fewer than two neurons or probes, or three samples a class).
    """

    value: float
    spread_entries: float | None
    spread_neurons: float | None
    spread_classes: float | None
    standard_error: float | None

    def to_dict(self) -> Json:
        """Plain values; None for what does not exist."""
        return {k: None if v is None or not np.isfinite(v) else float(v) for k, v in asdict(self).items()}


def constants(
    sums: BlockSums,
    mean: SampleKernel | None,
    labels: np.ndarray,
    totals: np.ndarray,
    population: int | None,
    combined: bool = False,
) -> dict[str, Constant]:
    """The constants of `NAMES` with their spreads and errors.

    Args:
        sums: of each direction measured.
        mean: the kernel's mean over them; None without N x N kernels.
        labels: class of each sample.
        totals: samples of each class in all.
        population: directions in all; None: those measured are independent and random.
        combined: the directions are combinations of neurons, whose scatter is not that of neurons.
    """
    values = sums.constants
    entries = [None] * 6 if mean is None else entry_spreads(mean, labels)
    classes = class_spreads(sums)
    # Neurons and samples are drawn independently.
    errors = np.hypot(
        direction_error(values, population), sampling_error(mean, labels, totals.astype(np.float64))
    )
    return {
        name: Constant(
            float(values[:, i].mean()),
            entries[i],
            None if combined else _told(float(deviation(values[:, i]))),
            classes[i],
            _told(errors[i]),
        )
        for i, name in enumerate(NAMES)
    }


def _told(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def from_gram(K: SampleKernel, labels: np.ndarray, within: Float64[np.ndarray, " C"]) -> BlockSums:
    """The sums of one kernel.

    Args:
        K: kernel of samples sorted by class.
        labels: class of each.
        within: mu_single of each class, measured on deviations.
    """
    counts = np.bincount(labels).astype(np.float64)
    Y = one_hot(labels, len(counts)).T / counts[labels, None]
    diagonal = np.diag(K) @ Y
    return BlockSums(counts, diagonal[None], within[None], (Y.T @ K @ Y)[None])


def stack(parts: list[BlockSums]) -> BlockSums:
    """Several directions as one."""
    fields = (np.concatenate([getattr(p, name) for p in parts]) for name in ("diagonal", "within", "means"))
    return BlockSums(parts[0].counts, *fields)


def block_residual(K: SampleKernel, labels: np.ndarray) -> float:
    """|K - K_block|_F / |K|_F, NaN for K = 0, with the projection of K on block kernels; 0 for an exact block kernel."""
    same = labels[:, None] == labels[None, :]
    eye = np.eye(len(K), dtype=bool)
    K, _ = unit(K)
    fitted = np.zeros_like(K)
    for mask in (eye, same & ~eye, ~same):
        if mask.any():
            fitted[mask] = K[mask].mean()
    return float(np.linalg.norm(K - fitted) / np.linalg.norm(K)) if np.any(K) else float("nan")


def alignment_samples(labels: np.ndarray) -> int:
    """Samples of each class on which `alignment` is taken: half of the smallest class, at least one, as the paper."""
    return max(1, int(np.bincount(labels).min()) // 2)


def alignment(K: SampleKernel, labels: np.ndarray, k: int | None = None) -> float:
    """Kernel alignment <K, Y^T Y> / (|K| |Y^T Y|) on the first k samples of each class, wherever it is reported.

    It depends on k even for an exact block kernel (theory 9), so every file says k beside it.

    Args:
        K: kernel.
        labels: class of each sample.
        k: samples of each class; by default `alignment_samples`.
    """
    k = alignment_samples(labels) if k is None else k
    rows = np.concatenate([np.flatnonzero(labels == c)[:k] for c in range(int(labels.max()) + 1)])
    K, same = K[np.ix_(rows, rows)], labels[rows, None] == labels[None, rows]
    return cosine(K, same.astype(np.float64))


def entry_spreads(K: SampleKernel, labels: np.ndarray) -> list[float | None]:
    """Standard deviation of the entries of each kind; none for the eigenvalues."""
    same, eye = labels[:, None] == labels[None, :], np.eye(len(K), dtype=bool)
    spreads = [float(deviation(K[mask])) if mask.any() else None for mask in (eye, same & ~eye, ~same)]
    return [*spreads, None, None, None]


def class_spreads(sums: BlockSums) -> list[float | None]:
    """Standard deviation over classes, and over pairs of classes for kappa_n."""
    kd, B = sums.class_values
    several = sums.counts > 1
    pairs = B[np.triu_indices(len(B), 1)]
    own = (np.diag(B)[several], (kd - np.diag(B))[several])
    c, mu = (float(deviation(v)) if len(v) else None for v in own)
    return [float(deviation(kd)), c, float(deviation(pairs)), mu, None, None]


def direction_error(values: Float64[np.ndarray, "k q"], population: int | None) -> Float64[np.ndarray, " q"]:
    """Standard error of the mean of k of `population` directions; None: independent random directions.

    k neurons drawn from n, or k orthonormal probes of n: errors shrink to 0 at k = n.
    """
    k = len(values)
    if population is not None and k >= population:
        return np.zeros(values.shape[1])
    if k < 2:
        return np.full(values.shape[1], np.nan)
    # Drawn without replacement: the more of them are measured, the less is left to chance.
    share = 0.0 if population is None else k / population
    found: np.ndarray = deviation(values, axis=0, ddof=1) * np.sqrt((1 - share) / k)
    return found


def sampling_error(K: SampleKernel | None, labels: np.ndarray, totals: Counts) -> Float64[np.ndarray, " 6"]:
    """Standard error from measuring s_c of the m_c samples of each class: a jackknife in every class.

    Each class counts as much as in the measured samples. Nothing for mu_class and mu_global, which are
    defined on these.
    """
    counts = np.bincount(labels).astype(np.float64)
    if np.all(counts >= totals):
        return np.zeros(6)
    # Without one of two samples a class has no pair left, and no kappa_c.
    if K is None or np.any((counts < 3) & (counts < totals)):
        return np.full(6, np.nan)
    variance = np.zeros(4)
    K, size = unit(K)
    left = _leave_one_out(K, labels)
    for c in np.flatnonzero(counts < totals):
        s = counts[c]
        # Leaving a sample out also lowers its class's weight, from s/N to (s-1)/(N-1); a mean is undone exactly.
        reweighted = (s * (len(labels) - 1) / ((s - 1) * len(labels))) ** 2
        variance += (1 - s / totals[c]) * (s - 1) * reweighted * left[labels == c].var(axis=0)
    return np.concatenate([size * np.sqrt(variance), [0.0, 0.0]])


def _leave_one_out(K: SampleKernel, labels: np.ndarray) -> Float64[np.ndarray, "N 4"]:
    """kappa_d, kappa_c, kappa_n, mu_single without each sample in turn."""
    N, diagonal = len(K), np.diag(K)
    counts = np.bincount(labels).astype(np.float64)
    same = labels[:, None] == labels[None, :]
    own_rows, rows = np.where(same, K, 0.0).sum(axis=1), K.sum(axis=1)
    trace = diagonal.sum() - diagonal
    own = own_rows.sum() - 2 * own_rows + diagonal
    total = rows.sum() - 2 * rows + diagonal
    m = counts[labels]
    # Removing one of m samples lowers m^2 by 2m - 1.
    same_pairs = (counts**2).sum() - (2 * m - 1)
    d = trace / (N - 1)
    c = (own - trace) / (same_pairs - (N - 1))
    return np.stack([d, c, (total - own) / ((N - 1) ** 2 - same_pairs), d - c], axis=1)

"""From kernel entries to the three constants of the block kernel, with their spread and errors."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Float64

from ntkflow._types import Labels, SampleKernel
from ntkflow.errors import InputError
from ntkflow.kernels import BlockKernel
from validation.jacobians import NeuronKernel

NAMES = ("kappa_d", "kappa_c", "kappa_n", "mu_single")


@dataclass(frozen=True, eq=False)
class KernelSample:
    """The features' NTK measured on s samples of each class, for some or all neurons.

    Attributes:
        labels: class of each sample, (N,), sorted.
        mean: mean over the neurons of Theta^h_pp, N x N.
        constants: kappa_d, kappa_c, kappa_n, mu_single of each neuron, (neurons, 4).
        total_neurons: n, of which `constants` may hold only some.
        total_per_class: m, of which s were measured.
    """

    labels: Labels
    mean: SampleKernel
    constants: Float64[np.ndarray, "p 4"]
    total_neurons: int
    total_per_class: int

    @property
    def per_class(self) -> int:
        """s, samples of each class measured."""
        return int(np.bincount(self.labels)[0])


@dataclass(frozen=True)
class Estimate:
    """One block constant.

    Attributes:
        value: mean over neurons and over the entries of its kind.
        spread_neurons: standard deviation over neurons.
        spread_entries: standard deviation over the entries of the mean kernel.
        standard_error: of `value`, from measuring only some neurons and samples; 0 if all were measured.
    """

    value: float
    spread_neurons: float
    spread_entries: float
    standard_error: float


@dataclass(frozen=True)
class BlockFit:
    """The block kernel nearest to a measured one.

    Attributes:
        kappa_d: diagonal.
        kappa_c: within a class; kappa_d - mu_single, which equals the mean entry but for rounding.
        kappa_n: between classes.
        mu_single: kappa_d - kappa_c, measured directly on sum-zero combinations within a class.
        alignment: <K, Y^T Y> / norms.
        residual: |K - K_block|_F / |K|_F; 0 when the kernel is exactly block structured.
        neurons: neurons measured.
        per_class: samples of each class measured.
    """

    kappa_d: Estimate
    kappa_c: Estimate
    kappa_n: Estimate
    mu_single: Estimate
    alignment: float
    residual: float
    neurons: int
    per_class: int

    @property
    def broken_order(self) -> str | None:
        """Which inequality of kappa_d > kappa_c >= kappa_n >= 0 fails, or None."""
        kd, kc, kn, mu = (getattr(self, name).value for name in NAMES)
        checks = (
            (mu > 0, f"kappa_d > kappa_c (mu_single = {mu:.6g})"),
            (kc >= kn, f"kappa_c >= kappa_n ({kc:.6g}, {kn:.6g})"),
        )
        for holds, rule in (
            *checks,
            (kn >= 0, f"kappa_n >= 0 ({kn:.6g})"),
            (kd > 0, f"kappa_d > 0 ({kd:.6g})"),
        ):
            if not holds:
                return rule
        return None

    def kernel(self) -> BlockKernel:
        """The rung the simulator runs on.

        Raises:
            InputError: the measured constants do not have the order of a block kernel.
        """
        broken = self.broken_order
        if broken is not None:
            raise InputError(
                "kernel",
                "measured constants",
                f"break {broken}, the order of a block kernel",
                "use a kernel of another snapshot",
            )
        kd = self.kappa_d.value
        return BlockKernel(kd, kd - self.mu_single.value, self.kappa_n.value)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for files."""
        return {**asdict(self), "broken_order": self.broken_order}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "BlockFit":
        """Inverse of `to_dict`."""
        estimates = {name: Estimate(**values[name]) for name in NAMES}
        return cls(
            estimates["kappa_d"],
            estimates["kappa_c"],
            estimates["kappa_n"],
            estimates["mu_single"],
            values["alignment"],
            values["residual"],
            values["neurons"],
            values["per_class"],
        )


def sample(
    kernels: Iterable[NeuronKernel], labels: Labels, total_neurons: int, total_per_class: int
) -> KernelSample:
    """Reduce neuron kernels, as they come, to what the fit needs.

    Args:
        kernels: from `jacobians.neuron_kernels`.
        labels: class of each sample, balanced, sorted or not.
        total_neurons: n of the network.
        total_per_class: m of the data set.

    Raises:
        InputError: classes are imbalanced or have a single sample, or no neuron was measured.
    """
    order = _balanced_order(labels)
    labels = labels[order]
    total, constants = np.zeros((len(labels), len(labels))), []
    for kernel in kernels:
        gram = kernel.gram[np.ix_(order, order)]
        total += gram
        kd, _, kn = block_means(gram, labels)
        mu_single = float(kernel.within.mean())
        constants.append((kd, kd - mu_single, kn, mu_single))
    if not constants:
        raise InputError("neurons", [], "no neuron was measured", "give at least one")
    return KernelSample(labels, total / len(constants), np.array(constants), total_neurons, total_per_class)


def fit(measured: KernelSample) -> BlockFit:
    """The three constants, how far they spread, and how far the kernel is from blocks."""
    K, labels = measured.mean, measured.labels
    values = measured.constants.mean(axis=0)
    spreads = measured.constants.std(axis=0)
    errors = _standard_errors(measured)
    entries = _entry_spreads(K, labels)
    rows = zip(values, spreads, entries, errors, strict=True)
    d, c, n, mu = (Estimate(*(float(v) for v in row)) for row in rows)
    Y = (labels[:, None] == labels[None, :]).astype(np.float64)
    kd, kc, kn = block_means(K, labels)
    blocks = (kd - kc) * np.eye(len(labels)) + (kc - kn) * Y + kn
    return BlockFit(
        d,
        c,
        n,
        mu,
        alignment=float(np.vdot(K, Y) / (np.linalg.norm(K) * np.linalg.norm(Y))),
        residual=float(np.linalg.norm(K - blocks) / np.linalg.norm(K)),
        neurons=len(measured.constants),
        per_class=measured.per_class,
    )


def block_means(K: SampleKernel, labels: Labels) -> tuple[float, float, float]:
    """Mean diagonal, within-class and between-class entries: the projection of K on block kernels."""
    diagonal, within, between = _masks(labels)
    return float(K[diagonal].mean()), float(K[within].mean()), float(K[between].mean())


def _masks(labels: Labels) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    diagonal = np.eye(len(labels), dtype=bool)
    same = labels[:, None] == labels[None, :]
    return diagonal, same & ~diagonal, ~same


def _balanced_order(labels: Labels) -> np.ndarray:
    counts = np.bincount(labels)
    if len(counts) < 2 or np.any(counts != counts[0]):
        raise InputError(
            "labels",
            f"counts {counts.tolist()}",
            "must have equally many samples of each class",
            "draw a balanced set",
        )
    if counts[0] < 2:
        raise InputError(
            "labels",
            "one sample per class",
            "kappa_c needs two samples of a class",
            "measure at least 2 per class",
        )
    return np.argsort(labels, kind="stable")


def _entry_spreads(K: SampleKernel, labels: Labels) -> list[float]:
    d, c, n = (float(K[mask].std()) for mask in _masks(labels))
    # mu_single per class; its entries are the classes' own values of kappa_d - kappa_c.
    own = [float(np.subtract(*block_means_within(K[np.ix_(rows, rows)]))) for rows in _rows(labels)]
    return [d, c, n, float(np.std(own))]


def block_means_within(K: SampleKernel) -> tuple[float, float]:
    """Mean diagonal and mean off-diagonal entry of one class's block."""
    s = len(K)
    diagonal = float(np.trace(K))
    return diagonal / s, (float(K.sum()) - diagonal) / (s * (s - 1))


def _rows(labels: Labels) -> list[np.ndarray]:
    return [np.flatnonzero(labels == c) for c in range(int(labels.max()) + 1)]


def _standard_errors(measured: KernelSample) -> np.ndarray:
    """Sampling of neurons and of samples, in quadrature, each with its finite-population correction."""
    k, n = len(measured.constants), measured.total_neurons
    s, m = measured.per_class, measured.total_per_class
    neurons = np.zeros(4)
    if k < n:
        neurons = (
            measured.constants.std(axis=0, ddof=1) * np.sqrt((1 - k / n) / k) if k > 1 else np.full(4, np.nan)
        )
    samples = np.zeros(4)
    if s < m:
        samples = (
            _jackknife(measured.mean, measured.labels) * np.sqrt(1 - s / m) if s > 2 else np.full(4, np.nan)
        )
    return np.hypot(neurons, samples)


def _jackknife(K: SampleKernel, labels: Labels) -> np.ndarray:
    """Standard errors from leaving out one sample of every class at a time."""
    rows = np.stack(_rows(labels))
    s = rows.shape[1]
    replicates = []
    for left_out in range(s):
        kept = np.delete(rows, left_out, axis=1).ravel()
        kd, kc, kn = block_means(K[np.ix_(kept, kept)], labels[kept])
        replicates.append((kd, kc, kn, kd - kc))
    return np.sqrt((s - 1) * np.var(replicates, axis=0))

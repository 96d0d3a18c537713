"""From kernel entries to the three constants of the block kernel, with their spread and errors."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Float64

from ntkflow._types import Labels, SampleKernel
from ntkflow.errors import InputError
from ntkflow.kernels import BlockKernel
from validation.kernels import statistics

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
        alignment: <K, Y^T Y> / norms on `alignment_k` samples of each class.
        alignment_k: half of those measured, as the paper.
        block_residual: |K - K_block|_F / |K|_F; 0 when the kernel is exactly block structured.
        neurons: neurons measured.
        per_class: samples of each class measured.
    """

    kappa_d: Estimate
    kappa_c: Estimate
    kappa_n: Estimate
    mu_single: Estimate
    alignment: float
    alignment_k: int
    block_residual: float
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
        """Inverse of `to_dict`, also as it comes from a file, where an error that cannot be told is null."""
        numbers = {name: {k: np.nan if v is None else v for k, v in values[name].items()} for name in NAMES}
        estimates = {name: Estimate(**numbers[name]) for name in NAMES}
        return cls(
            estimates["kappa_d"],
            estimates["kappa_c"],
            estimates["kappa_n"],
            estimates["mu_single"],
            values["alignment"],
            # Earlier files took it on all samples and had another name for the residual.
            values.get("alignment_k", values["per_class"]),
            values["block_residual"] if "block_residual" in values else values["residual"],
            values["neurons"],
            values["per_class"],
        )


def fit(measured: KernelSample) -> BlockFit:
    """The three constants, how far they spread, and how far the kernel is from blocks.

    Raises:
        InputError: classes are imbalanced or have a single sample.
    """
    K, labels = measured.mean, measured.labels
    _check_balanced(labels)
    values = measured.constants.mean(axis=0)
    spreads = measured.constants.std(axis=0)
    rows = zip(values, spreads, _entry_spreads(K, labels), _standard_errors(measured), strict=True)
    d, c, n, mu = (Estimate(*(float(v) for v in row)) for row in rows)
    return BlockFit(
        d,
        c,
        n,
        mu,
        alignment=statistics.alignment(K, labels),
        alignment_k=statistics.alignment_samples(labels),
        block_residual=statistics.block_residual(K, labels),
        neurons=len(measured.constants),
        per_class=measured.per_class,
    )


def _check_balanced(labels: Labels) -> None:
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


def _entry_spreads(K: SampleKernel, labels: Labels) -> list[float]:
    """Over entries; for mu_single over the classes' own values of kappa_d - kappa_c."""
    counts = np.bincount(labels)
    sums = statistics.from_gram(K, labels, np.zeros(len(counts)))
    # The mean over all pairs of a class holds its diagonal, a share 1/m of them.
    own = (sums.diagonal[0] - np.diag(sums.means[0])) * counts / (counts - 1)
    spreads = statistics.entry_spreads(K, labels)[:3]
    return [*(float(v or 0.0) for v in spreads), float(own.std())]


def _standard_errors(measured: KernelSample) -> Float64[np.ndarray, " 4"]:
    """Sampling of neurons and of samples, in quadrature, each with its finite-population correction."""
    totals = np.full(int(measured.labels.max()) + 1, float(measured.total_per_class))
    samples = statistics.sampling_error(measured.mean, measured.labels, totals)[:4]
    return np.hypot(statistics.direction_error(measured.constants, measured.total_neurons), samples)

"""Constants of one family of kernels, and what their mean kernel looks like."""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float64

from ntkflow import views
from ntkflow._types import ClassMatrix, Json, PerClass, SampleKernel
from ntkflow.problem.kernels import BlockKernel
from ntkflow.problem.sizes import Sizes
from ntkflow_validation.kernels import statistics
from ntkflow_validation.kernels.methods import shape
from ntkflow_validation.kernels.statistics import NAMES, BlockSums, Constant, alignment_samples


@dataclass(frozen=True, eq=False)
class Summary:
    """Kernels of one family of directions: neurons, outputs, or the row space of W.

    Attributes:
        constants: d, c, n, mu_single, mu_class, mu_global; means over directions and entries. mu_class and
            mu_global are those of the measured samples.
        sums: block sums of each direction measured.
        mean: kernel's mean over the directions, N x N; None without such a method, or where it stayed in its file.
        labels: class of each of these samples.
        norms: |Theta_pp|_F of each direction measured, (k,); None without N x N kernels.
        directions: how many there are, of which len(sums) or probes of them were measured.
        alignment: cosine of the mean kernel with Y^T Y on `alignment_k` samples of each class; None without it.
        block_residual: |K - K_block|_F / |K|_F of the mean kernel; 0 for exact blocks; None without it.
        leak: how far class contrasts move samples of a class apart under the mean kernel (`shape.leak`); None without it.
    """

    constants: dict[str, Constant]
    sums: BlockSums
    mean: SampleKernel | None
    labels: np.ndarray
    norms: Float64[np.ndarray, " k"] | None
    directions: int
    alignment: float | None = None
    block_residual: float | None = None
    leak: float | None = None

    __repr__ = views.short

    @classmethod
    def of(
        cls,
        constants: dict[str, Constant],
        sums: BlockSums,
        mean: SampleKernel | None,
        labels: np.ndarray,
        norms: Float64[np.ndarray, " k"] | None,
        directions: int,
    ) -> "Summary":
        """With what there is to say of the mean kernel."""
        alignment, residual, leak = None, None, None
        if mean is not None:
            alignment = statistics.alignment(mean, labels)
            residual = statistics.block_residual(mean, labels)
            leak = shape.leak(mean, labels)
        return cls(constants, sums, mean, labels, norms, directions, alignment, residual, leak)

    def reordered(self, order: np.ndarray) -> "Summary":
        """The same with the samples in another order."""
        mean = None if self.mean is None else self.mean[np.ix_(order, order)]
        return replace(self, mean=mean, labels=self.labels[order])

    @property
    def class_values(self) -> tuple[PerClass, ClassMatrix]:
        """kappa_d of every class (C,) and B (C, C), means over directions."""
        return self.sums.class_values

    @property
    def trace(self) -> SampleKernel | None:
        """Sum over directions of their kernels, the traced kernel, N x N."""
        return None if self.mean is None else self.directions * self.mean

    @property
    def block_square(self) -> float:
        """|K_block|_F^2 of the block kernel with these constants on these samples."""
        m, N = self.sums.counts, self.sums.counts.sum()
        counts = N, (m * (m - 1)).sum(), N**2 - (m**2).sum()
        values = (self.constants[name].value for name in NAMES[:3])
        # Of Python's floats a power raises, and of numpy's a product warns, where a product of Python's is infinite.
        return sum(float(count) * value * value for count, value in zip(counts, values, strict=True) if count)

    @property
    def mean_square(self) -> float | None:
        """|K|_F^2 of the mean kernel, also where the kernel itself stayed in its file; None where it was not formed."""
        # Squares of the projection on block kernels and of the rest add up.
        left = None if self.block_residual is None else 1 - self.block_residual**2
        return self.block_square / left if left is not None and left > 0 else None

    @property
    def alignment_k(self) -> int:
        """Samples of each class on which `alignment` is taken, half of those measured, as in the paper."""
        return alignment_samples(self.labels)

    def alignment_on(self, k: int) -> float | None:
        """Cosine of the mean kernel with Y^T Y on k samples of each class."""
        return None if self.mean is None else statistics.alignment(self.mean, self.labels, k)

    def broken_order(self, totals: np.ndarray) -> str | None:
        """Which of mu_single, mu_class, mu_global > 0 the constants break on classes of these sizes, or None."""
        d, _, n, mu = (self.constants[name].value for name in NAMES[:4])
        if not mu > 0:
            return f"mu_single > 0 (kappa_d - kappa_c = {mu:.6g})"
        if not d > 0:
            return f"kappa_d > 0 ({d:.6g})"
        return BlockKernel(d, d - mu, n).broken(Sizes(len(totals), tuple(totals.tolist()), 1))

    def to_dict(self, letter: str) -> Json:
        """Plain values; `letter` is kappa or gamma."""
        kd, B = self.class_values
        return {
            **{f"{letter}_{k}" if len(k) == 1 else k: v.to_dict() for k, v in self.constants.items()},
            "class_diagonal": _plain(kd),
            "class_pairs": _plain(B),
            "alignment": self.alignment,
            "alignment_k": self.alignment_k,
            "block_residual": self.block_residual,
            "leak": self.leak,
            "directions": self.directions,
            "reduction": f"mean over {len(self.sums.diagonal)} directions measured for the "
            f"{self.directions} there are, and over all entries of a kind",
        }


def _plain(values: np.ndarray) -> list[object]:
    found: list[object] = np.where(np.isfinite(values), values.astype(object), None).tolist()  # type: ignore[call-overload]
    return found

"""How far a measured kernel is from what three constants say of it: which part of that costs predictions.

The block residual |K - K_block|/|K| adds up what matters and what does not. Here it is told apart: class contrasts that
are learnt at different speeds (cv), class contrasts that move samples of a class apart (leak), neurons that are not alike
(iso), and a kernel that does not stay (drift). Not in the paper.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from ntkflow._types import ClassMatrix, PerClass, SampleKernel
from ntkflow.problem.sizes import one_hot

# Error of three constants on the centred class means, until the class residual is at 1/30: fitted to 316 trainings of
# MLPs on digits and Fashion-MNIST, 12 samples of 12 classes; each explains four fifths of what it was fitted to.
LAW: Mapping[str, tuple[float, float, float]] = MappingProxyType(
    {"small start": (0.31, 0.19, 0.87), "lazy": (0.74, 1.4, 3.1)}
)


@dataclass(frozen=True)
class KernelShape:
    """Departures of a kernel from three constants; what was not measured is None.

    Attributes:
        cv: standard deviation over mean of the C-1 eigenvalues of P Y K Y^T P/m.
        leak: |P Y K (I - Y^T Y/m)|/sqrt(m) over |P Y K Y^T P/m|.
        iso: |Theta^h - I (x) K|/|Theta^h| with K the mean over neurons.
        drift: |K1 - K0|/|K0| of a later kernel.
    """

    cv: float | None = None
    leak: float | None = None
    iso: float | None = None
    drift: float | None = None

    @property
    def foretold(self) -> Mapping[str, float]:
        """Error of three constants on the centred class means that `LAW` foretells, 1 - skill, for both kinds of start.

        A part that was not measured counts nothing, so that the error is then one from below; empty without `cv`.
        """
        if self.cv is None:
            return {}
        parts = self.cv, self.leak or 0.0, self.iso or 0.0
        return {start: sum(a * x * x for a, x in zip(law, parts, strict=True)) for start, law in LAW.items()}


def spread_of_contrasts(means: ClassMatrix, masses: PerClass) -> float | None:
    """`KernelShape.cv`, from the means of the kernel over pairs of classes, own pairs (i, i) included.

    Classes that differ in size enter by their normalised indicators Y_c/sqrt(m_c), and P takes out the constant vector.

    Args:
        means: Y K Y^T over m_c m_c', (C, C).
        masses: samples of each class, (C,).
    """
    if not np.isfinite(means).all():
        return None
    root = np.sqrt(masses / masses.sum())
    P = np.eye(len(root)) - np.outer(root, root)
    contrasts = np.linalg.svd(P)[0][:, :-1]
    K = np.sqrt(masses)[:, None] * means * np.sqrt(masses)
    values = np.linalg.eigvalsh(contrasts.T @ ((K + K.T) / 2) @ contrasts)
    return float(values.std() / values.mean()) if values.mean() > 0 else None


def leak(K: SampleKernel, labels: np.ndarray) -> float | None:
    """`KernelShape.leak`; None where no class contrast is learnt.

    Args:
        K: N x N.
        labels: class of each sample, in any order.
    """
    Y = one_hot(labels, int(labels.max()) + 1)
    root = np.sqrt(Y.sum(axis=1))
    unit = Y / root[:, None]
    weights = root / np.linalg.norm(root)
    contrasts = unit - np.outer(weights, weights @ unit)
    rows = contrasts @ K
    inside = float(np.linalg.norm(rows @ contrasts.T))
    outside = float(np.linalg.norm(rows - (rows @ unit.T) @ unit))
    return outside / inside if inside > 0 else None


def anisotropy(mean_square: float, whole_square: float, neurons: int) -> float:
    """`KernelShape.iso` from |K|^2 of the mean over neurons and |Theta^h|^2: <Theta^h, I (x) K> = n |K|^2.

    Args:
        mean_square: |K|_F^2.
        whole_square: sum over pairs of neurons of |Theta_pq|_F^2.
        neurons: n of these.
    """
    # Estimated norms may put the whole below its part.
    return float(np.sqrt(max(0.0, 1 - neurons * mean_square / whole_square))) if whole_square > 0 else 0.0


def drift(first: SampleKernel, last: SampleKernel) -> float | None:
    """`KernelShape.drift`; None where the first kernel is zero."""
    size = float(np.linalg.norm(first))
    return float(np.linalg.norm(last - first)) / size if size > 0 else None

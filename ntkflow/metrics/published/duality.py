"""NC0, NC3, NC4, NC5: the head beside the means, the decisions that they make, and what comes from outside."""

import numpy as np

from ntkflow._types import Floats
from ntkflow.metrics.published.facts import Facts, etf_error, normalised, times
from ntkflow.metrics.published.geometry import UndefinedError
from ntkflow.metrics.published.registry import PAPER, PAPYAN, WU, ZHU, metric
from ntkflow.scaling import unit

HEAD, TWICE = "with W", "with W; samples are met twice"


@metric("NC0", "|W^T 1| / C", "Zhao, Cheng, Masarczyk & Lucchi 2026", HEAD)
def zero_sum(f: Facts) -> float:
    """Length of the mean of the head's rows; has the unit of W."""
    W = f.weights()
    assert f.head is not None
    return times(float(np.linalg.norm(W.sum(axis=0))) / f.C, f.head.size_W)


@metric("NC3", "|W/|W| - M/|M||", f"{PAPER}; {PAPYAN}", HEAD)
def self_duality(f: Facts) -> float:
    """Distance of the head from the means, both of length 1."""
    return float(np.linalg.norm(normalised(f.weights()) - normalised(f.M[0])))


@metric("NC3_unit", "|W/|W| - U/|U||, U = M with unit rows", f"{PAPER}, section 2.1", HEAD)
def unit_duality(f: Facts) -> float:
    """The same, every mean of length 1."""
    return float(np.linalg.norm(normalised(f.weights()) - normalised(f.geometry.unit_means())))


@metric("NC3_zhu", "|W M^T/|W M^T| - P/sqrt(C-1)|", ZHU, HEAD)
def zhu(f: Facts) -> float:
    """The outputs of the centred means as a simplex; also `self_duality_error` of the package neural-collapse."""
    A = f.weights() @ f.M[0].T
    if np.linalg.norm(A) <= 1e-15 * np.linalg.norm(f.weights()) * np.linalg.norm(f.M[0]):
        raise UndefinedError("W sees nothing of the means, W M^T = 0")
    return etf_error(A)


@metric(
    "NC3_cosine", "mean over classes of cos(W_c, M_c)", PAPYAN, "with W, no row zero, no mean at the centre"
)
def cosine(f: Facts) -> float:
    """1 when every row of the head points to its mean."""
    return float(np.sum(f.unit_weights() * f.geometry.unit_means(), axis=1).mean())


@metric("UNC3", "variance (ddof 1) over classes of <W_c, M_c>, not normalised", WU, HEAD)
def uniform_duality(f: Facts) -> float:
    """Uniform duality; has the squared units of W and of the features."""
    (M, size), W = f.M, f.weights()
    assert f.head is not None
    found = float(np.sum(W * M, axis=1).var(ddof=1))
    return times(found, *(s for s in (f.head.size_W, size, f.geometry.size) for _ in "12"))


@metric("bias_Wg", "|W g|, g the mean of all samples", ZHU, HEAD)
def global_output(f: Facts) -> float:
    """What the head makes of the global mean."""
    return _bias(f, 0.0, 1.0)


@metric("bias_collapse", "|W g + b|, g the mean of all samples", ZHU, "with W and b")
def bias_collapse(f: Facts) -> float:
    """Whether the bias only undoes the global mean."""
    f.weights()
    assert f.head is not None
    if f.head.biases is None:
        raise UndefinedError("needs the bias: pass b")
    return _bias(f, f.head.biases, f.head.size_b)


def _bias(f: Facts, biases: np.ndarray | float, size_b: float) -> float:
    W = f.weights()
    whole: Floats = f.geometry.origin + f.geometry.of_samples
    assert f.head is not None
    g, size = unit(whole)
    size_out = times(1.0, f.head.size_W, size, f.geometry.size)
    if np.isfinite(size_out):
        # Both in the larger of their units. A product of units that vanishes leaves the bias alone.
        most = max(size_out, size_b if np.any(biases) else 0.0)
        if most == 0:
            return 0.0
        outputs = (W @ g) * (size_out / most) + biases * (size_b / most)
        return times(float(np.linalg.norm(outputs)), most)
    return times(float(np.linalg.norm(W @ g)), size_out)


@metric(
    "NC4", "share of samples that argmax(W h + b) puts into the class of the nearest mean", PAPYAN, TWICE,
    of_samples=True,
)  # fmt: skip
def agreement(f: Facts) -> float:
    """Agreement of the head with the nearest class mean."""
    return _share(f, "nearest")


@metric(
    "NC4_unbiased", "the same for argmax(W h), without the bias", "the package neural-collapse of Wu & Papyan", TWICE,
    of_samples=True,
)  # fmt: skip
def agreement_unbiased(f: Facts) -> float:
    """Agreement of the head without its bias with the nearest class mean."""
    return _share(f, "nearest_unbiased")


@metric(
    "accuracy", "share of samples that argmax(W h + b) puts into their class", "-", TWICE, of_samples=True
)
def accuracy(f: Facts) -> float:
    """Accuracy of the head."""
    return _share(f, "own")


@metric(
    "accuracy_ncc", "share of samples whose nearest class mean is their class's", "Ben-Shaul & Dekel 2022",
    "samples are met twice", of_samples=True,
)  # fmt: skip
def accuracy_ncc(f: Facts) -> float:
    """Accuracy of the nearest class centre."""
    found = f.second_pass()
    return found.nearest_own / found.N


def _share(f: Facts, name: str) -> float:
    f.weights()
    found = f.second_pass()
    return found.hits[name] / found.N


@metric(
    "NC5",
    "mean over classes of |cos(mu_c, mu_ood)|, mu_ood the mean of features from outside the classes; neither centred",
    "Ben Ammar et al. 2024 (NECO)",
    "with ood",
)
def outside(f: Facts) -> float:
    """Whether what belongs to no class is orthogonal to all means."""
    if f.outside is None:
        raise UndefinedError("needs features from outside the classes: pass ood")
    away = float(np.linalg.norm(f.outside))
    norms = np.linalg.norm(f.geometry.means, axis=1)
    if away == 0:
        raise UndefinedError("the mean of ood is zero")
    if not norms.all():
        raise UndefinedError(f"the mean of class {np.flatnonzero(norms == 0)[0]} is zero")
    return float(np.abs(f.geometry.means @ f.outside / (norms * away)).mean())

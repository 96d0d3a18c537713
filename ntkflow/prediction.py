"""What the theory says of a problem before it is integrated: conditions, rates, floor, limit."""

from dataclasses import dataclass

import numpy as np

from ntkflow import invariant
from ntkflow._types import Biases, ClassMatrix, Json
from ntkflow.kernels import BlockKernel
from ntkflow.problem import Problem
from ntkflow.sizes import Sizes

# Against the norms of its terms, an invariant this small counts as zero.
ZERO = 1e-10


@dataclass(frozen=True)
class Answer:
    """A reasoned answer: 'yes', 'no' or 'open', and the sentence that gives the reason."""

    verdict: str
    sentence: str


@dataclass(frozen=True, eq=False)
class Prediction:
    """Everything the summary compares a run with.

    Attributes:
        x_star: sqrt(m/mu_class), the eigenvalue of W W^T at collapse when E = 0.
        rates: decay rates at neural collapse with E = 0, by component of the residual (theory 7.2).
        stiffness_ratio: fastest rate over the slowest one (theory 7.5).
        floor_tr_S: lower bound of tr S for all time (theory 3.5).
        zero_invariant: whether E = 0 to rounding.
        zero_mean: whether also g = 0 and b = 1/C, so that the limit is known beforehand.
        conditions: for NC1-NC4, whether the run can or must reach it.
    """

    x_star: float
    rates: dict[str, float]
    stiffness_ratio: float
    floor_tr_S: float
    zero_invariant: bool
    zero_mean: bool
    conditions: dict[str, Answer]

    def as_dict(self) -> Json:
        """Plain values for summary.json."""
        values = {name: value for name, value in vars(self).items() if name != "conditions"}
        return {**values, "conditions": {name: vars(answer) for name, answer in self.conditions.items()}}


@dataclass(frozen=True, eq=False)
class Limit:
    """Gram matrices at zero loss when E = 0 (theory 5.2): X = W W^T and G = H1^T H1."""

    X: ClassMatrix
    G: ClassMatrix


def limit(sizes: Sizes, kernel: BlockKernel, b: Biases) -> Limit:
    """X = (A Mc A^T)^{1/2} and G with G Mc G = A^T A, A = I - b 1^T, for the biases b of the limit.

    Source: eq. (58); G is the matrix geometric mean of Mc^{-1} and A^T A (not in the paper).
    """
    A = np.eye(sizes.C) - b[:, None]
    Mc = kernel.inverse_class_kernel(sizes)
    root, inverse_root = power(Mc, 0.5), power(Mc, -0.5)
    return Limit(power(A @ Mc @ A.T, 0.5), inverse_root @ power(root @ A.T @ A @ root, 0.5) @ inverse_root)


def power(M: ClassMatrix, exponent: float) -> ClassMatrix:
    """A power of a symmetric positive semidefinite matrix; rounding below zero is cut off."""
    values, vectors = np.linalg.eigh((M + M.T) / 2)
    return (vectors * np.maximum(values, 0.0) ** exponent) @ vectors.T


def predict(problem: Problem) -> Prediction:
    """All predictions for scalar blocks and balanced classes."""
    sizes, kernel = problem.sizes, problem.kernel
    assert isinstance(kernel, BlockKernel)
    mu, m = kernel.eigenvalues(sizes), sizes.per_class
    x = float(np.sqrt(m / mu.mu_class))
    rates = {
        "class contrasts": 2 * float(np.sqrt(m * mu.mu_class)),
        "global mean": sizes.N + mu.mu_global * x,
        "sum over outputs, class contrasts": float(np.sqrt(m * mu.mu_class)),
        "sum over outputs, global mean": float(sizes.N),
        "within classes": mu.mu_single * x,
    }
    start = invariant.terms(problem.state, sizes, kernel)
    eigenvalues = np.sort(np.linalg.eigvalsh(-start.E))[::-1]
    zero = float(np.linalg.norm(start.E)) <= ZERO * start.scale
    g = problem.state.H.mean(axis=1)
    centred = max(float(np.abs(g).max()), float(np.abs(problem.state.b - 1 / sizes.C).max())) <= ZERO
    return Prediction(
        x_star=x,
        rates=rates,
        stiffness_ratio=max(rates["class contrasts"], rates["global mean"]) / rates["within classes"],
        floor_tr_S=mu.mu_single * float(np.maximum(eigenvalues[sizes.C :], 0.0).sum()),
        zero_invariant=zero,
        zero_mean=centred,
        conditions=_conditions(problem, start, zero, centred),
    )


def _conditions(
    problem: Problem, start: invariant.InvariantTerms, zero: bool, centred: bool
) -> dict[str, Answer]:
    sizes = problem.sizes
    signs = invariant.eigen_signs(start.E, start.scale)
    contrast = float(np.abs(problem.state.W.sum(axis=0)).max()) <= ZERO
    return {
        "NC1": _nc1(sizes, signs, zero and centred and not contrast),
        "NC2": _nc2(sizes, zero, centred),
        "NC3": _nc3(zero, centred),
        "NC4": Answer("open", "it follows on the training data once NC1 holds and the loss vanishes"),
    }


def _nc1(sizes: Sizes, signs: dict[str, int], algebraic: bool) -> Answer:
    if sizes.m == 1:
        return Answer("yes", "vacuous: one sample per class has no variability")
    if signs["negative"] > sizes.C:
        reason = f"impossible: E has {signs['negative']} negative eigenvalues, more than C = {sizes.C}"
        return Answer("no", reason + ", which leaves a permanent floor under tr S")
    if signs["negative"] == 0:
        speed = "like t^(-1/2), because W^T 1 is not zero" if algebraic else "at least like 1/t in tr S"
        return Answer("yes", f"E is positive semidefinite, so tr S falls to zero, {speed}")
    return Answer("open", f"E has {signs['negative']} negative eigenvalues, not more than C = {sizes.C}")


def _nc2(sizes: Sizes, zero: bool, centred: bool) -> Answer:
    if sizes.C == 2:
        return Answer("yes", "vacuous: with two classes the centred means are always an ETF")
    if zero and centred:
        return Answer("yes", "E = 0 and zero global mean, if the loss vanishes")
    return Answer(
        "open",
        "it depends on the biases of the limit" if zero else "E is not zero, so the limit is not known",
    )


def _nc3(zero: bool, centred: bool) -> Answer:
    if zero and centred:
        return Answer("yes", "E = 0 and zero global mean, if the loss vanishes")
    if zero:
        return Answer("open", "with E = 0 it holds exactly if the biases end at 1/C")
    return Answer(
        "open", "E is not zero; it needs E = a Pi - (C/mu_global) g g^T with Pi the projector on row(W)"
    )

"""A zero-loss point: its Gram matrices, and what the collapse metrics are there."""

from dataclasses import dataclass

import numpy as np

from ntkflow import views
from ntkflow._types import Biases, ClassMatrix
from ntkflow.metrics.neural_collapse import centring

# Relative gap below which two numbers computed from the same closed form count as equal.
SAME = 1e-10


@dataclass(frozen=True, eq=False)
class Limit:
    """Gram matrices of a zero-loss point, and what the collapse metrics are there.

    Attributes:
        X: W W^T, C x C.
        G: H1^T H1, C x C.
        MtM: M^T M with the centred class means M = H1 P, C x C.
        b: biases, (C,).
        trace_S: tr S = sum of the within-class variances of all classes, zero where NC1 holds.
        NC1: mean within-class standard deviation (the code's metric); None where only tr S is known.
        NC2: distance of M^T M / its norm from an ETF (the code's metric).
        NC3: distance of M / its norm from W^T / its norm (the code's metric).
        NC4: whether argmax(W h + b) is the nearest class mean for every feature vector h, not only in training.
        hypotheses: the sentence that says when this limit holds.
    """

    X: ClassMatrix
    G: ClassMatrix
    MtM: ClassMatrix
    b: Biases
    trace_S: float
    NC1: float | None
    NC2: float
    NC3: float
    NC4: bool
    hypotheses: str

    __repr__ = views.short


def complete(
    X: ClassMatrix,
    G: ClassMatrix,
    b: Biases,
    hypotheses: str,
    trace_S: float = 0.0,
    excess: float | None = None,
) -> Limit:
    """Complete a limit; `excess` is (|M| |W| / (C-1))^2 - 1 where it is known without cancellation.

    <M, W^T> = C - 1 at every zero-loss point, so NC3^2 = 2 - 2 (1 + excess)^{-1/2} (theory 5.1).
    """
    C = len(b)
    P = centring(C)
    # E's closed forms are symmetric in exact arithmetic only, and eigenvalues are taken of these.
    X, G = (X + X.T) / 2, (G + G.T) / 2
    MtM = P @ G @ P
    # NC4 for every feature vector (theory 6): W = k H1^T + 1 q^T, and b_c + k |h_c|^2 / 2 the same for all c. The first
    # says that P W and M^T are parallel: that <M, W^T> = C - 1 is as large as the product of their norms.
    weights, means = np.trace(P @ X @ P), np.trace(MtM)
    parallel = weights * means <= (C - 1) ** 2 * (1 + SAME)
    offset = b + weights / (C - 1) * np.diag(G) / 2
    if excess is None:
        excess = max(0.0, float(np.trace(MtM) * np.trace(X)) / (C - 1) ** 2 - 1)
    # In units of its largest entry first: the squares in the norm may under- or overflow.
    shape = MtM / np.abs(MtM).max()
    return Limit(
        X=X,
        G=G,
        MtM=MtM,
        b=b,
        trace_S=trace_S,
        NC1=0.0 if trace_S == 0 else None,
        NC2=float(np.linalg.norm(shape / np.linalg.norm(shape) - P / np.sqrt(C - 1))),
        # expm1 and log1p: near collapse 2 - 2 (1 + excess)^{-1/2} would cancel to noise of 1e-8.
        NC3=float(np.sqrt(-2 * np.expm1(-0.5 * np.log1p(excess)))),
        NC4=bool(parallel and np.ptp(offset) <= SAME * max(1.0, float(np.abs(offset).max()))),
        hypotheses=hypotheses,
    )

"""A linear network trained by hand in float64, of which everything is known."""

import numpy as np

import ntkflow as nf

C, m, n, d = 3, 4, 5, 7
N, RATE = C * m, 0.002
Y = np.random.default_rng(3).permutation(np.arange(N) % C)
ONE_HOT = nf.MSE()
CLOCK = nf.Clock(RATE, "half-squared", "sum", samples=N, classes=C)


def inputs(seed=0, count=N):
    return np.random.default_rng(seed).normal(size=(count, d)) / np.sqrt(d) + 0.3


def loop(steps=30, rate=RATE, labels=Y, parts=1, biased=True, loss=ONE_HOT):
    """(step, H with samples in rows, W, b, V) after every step of gradient descent on the sum loss.

    `parts`: smaller steps that each is made of, so that the flow is followed; `biased`: whether b is trained; `loss`: which.
    """
    rng, X = np.random.default_rng(1), inputs(count=len(labels))
    V, W, b = rng.normal(size=(d, n)) / np.sqrt(d), rng.normal(size=(C, n)) / 2, np.zeros(C)
    for step in range(steps + 1):
        yield step, X @ V, W.copy(), b.copy(), V.copy()
        for _ in range(parts):
            R = loss.residual((X @ V @ W.T + b).T, np.eye(C)[labels].T).T
            V, W, b = (
                V - rate / parts * X.T @ R @ W,
                W - rate / parts * R.T @ (X @ V),
                b - biased * rate / parts * R.sum(axis=0),
            )

"""An independent oracle: Theorem 4.1 with the N x N kernel written out, integrated by scipy at 1e-12."""

import numpy as np
from scipy.integrate import solve_ivp

import ntkflow as nf


def integrate_raw(problem: nf.Problem, times: np.ndarray, rtol: float = 1e-12) -> list[nf.State]:
    """States at `times` from dH = -W^T R K, dW = -R H^T, db = -R 1, shared with nothing in the package."""
    sizes, K = problem.sizes, problem.kernel.matrix(problem.sizes)
    Y = np.eye(sizes.C)[:, sizes.labels]
    shapes = (problem.state.H.shape, problem.state.W.shape, problem.state.b.shape)
    cuts = np.cumsum([int(np.prod(shape)) for shape in shapes])[:-1]

    def split(y):
        return [part.reshape(shape) for part, shape in zip(np.split(y, cuts), shapes, strict=True)]

    def field(_, y):
        H, W, b = split(y)
        R = W @ H + b[:, None] - Y
        return np.concatenate([(-W.T @ R @ K).ravel(), (-R @ H.T).ravel(), -R.sum(axis=1)])

    y0 = np.concatenate([problem.state.H.ravel(), problem.state.W.ravel(), problem.state.b])
    result = solve_ivp(field, (0, times[-1]), y0, "DOP853", times, rtol=rtol, atol=rtol * 1e-2)
    assert result.success
    return [nf.State(*(part.copy() for part in split(y))) for y in result.y.T]


def distance(a: nf.State, b: nf.State) -> float:
    """Largest relative Frobenius distance over H, W and b."""
    return max(
        float(
            np.linalg.norm(getattr(a, name) - getattr(b, name)) / max(1e-3, np.linalg.norm(getattr(b, name)))
        )
        for name in ("H", "W", "b")
    )

"""Linear layers written out: all parameters, their gradients by hand, scipy's integrator, kernels by finite differences.

Shared with nothing in the package; inputs are the Cholesky factor of K0.
"""

import numpy as np
from scipy.integrate import solve_ivp

import ntkflow as nf


class Network:
    """f = W H[L] + b, H[l] = V_l H[l-1] + c_l, H[0] = X with X^T X = K0."""

    def __init__(self, problem: nf.LayeredProblem):
        sizes = problem.sizes
        K = problem.kernel.matrix(sizes)
        self.problem, self.X = problem, np.linalg.cholesky(K).T
        V1 = np.linalg.solve(self.X.T, problem.state.H.T).T
        self.biases = bool(problem.state.c)
        self.L = problem.L
        self.parts = [V1, *problem.state.V, problem.state.W, problem.state.b, *problem.state.c]

    def split(self, y):
        cuts = np.cumsum([part.size for part in self.parts])[:-1]
        return [part.reshape(p.shape) for part, p in zip(np.split(y, cuts), self.parts, strict=True)]

    @property
    def start(self):
        return np.concatenate([part.ravel() for part in self.parts])

    def features(self, y):
        """H[0] .. H[L]."""
        parts = self.split(y)
        found = [self.X]
        for l in range(self.L):
            found.append(parts[l] @ found[-1])
            if self.biases:
                found[-1] = found[-1] + parts[self.L + 2 + l][:, None]
        return found

    def outputs(self, y):
        parts = self.split(y)
        return parts[self.L] @ self.features(y)[-1] + parts[self.L + 1][:, None]

    def field(self, _, y):
        problem, parts, H = self.problem, self.split(y), self.features(y)
        Y = np.eye(problem.sizes.C)[:, problem.sizes.labels]
        F = self.outputs(y)
        if problem.loss.name == "mse":
            R = F - Y
        else:
            e = np.exp(F - F.max(axis=0))
            R = e / e.sum(axis=0) - Y
        W, decay = parts[self.L], problem.decay
        rates = decay.of_layers(self.L)
        back, grads, bias_grads = W.T @ R, [], []
        for l in range(self.L - 1, -1, -1):
            grads.append(back @ H[l].T + rates[l] * parts[l])
            bias_grads.append(back.sum(axis=1))
            back = parts[l].T @ back
        grads = grads[::-1]
        pulls = [*grads, R @ H[-1].T + decay.W * W, R.sum(axis=1) + decay.b * parts[self.L + 1]]
        if self.biases:
            pulls += [g + decay.c * c for g, c in zip(bias_grads[::-1], parts[self.L + 2 :], strict=True)]
        return -np.concatenate([pull.ravel() for pull in pulls])

    def integrate(self, times, rtol=1e-11):
        """Flat parameters at the times."""
        found = solve_ivp(self.field, (0, times[-1]), self.start, "DOP853", times, rtol=rtol, atol=1e-13)
        assert found.success
        return list(found.y.T)

    def state(self, y):
        parts = self.split(y)
        V1 = parts[0]
        return nf.LayeredState(
            V1 @ self.X,
            tuple(parts[1 : self.L]),
            parts[self.L],
            parts[self.L + 1],
            tuple(parts[self.L + 2 :]),
        )

    def tensor(self, y, of):
        """d of(y)/dy times its transpose, by central differences: (rows, N, rows, N)."""
        J = []
        for k in range(len(y)):
            bump = np.zeros(len(y))
            # Features are multilinear in the layers: differences are exact but for rounding.
            bump[k] = 1e-3
            J.append((of(y + bump) - of(y - bump)) / 2e-3)
        J = np.stack(J)
        return np.einsum("kai,kbj->aibj", J, J)


def distance(a, b):
    """Largest distance of two states over all parts, relative to each part's size."""
    pairs = [(a.H, b.H), *zip(a.V, b.V, strict=True), (a.W, b.W), (a.b, b.b), *zip(a.c, b.c, strict=True)]
    return max(float(np.abs(x - y).max() / max(1e-3, np.abs(y).max())) for x, y in pairs)

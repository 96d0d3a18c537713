"""The minimum that decay of W and H leads to, for any kernel on samples, any class sizes and biases with or without decay.

In Z = H K^{-1/2} the flow with decay descends the gradient of
    1/2 |W Z K^{1/2} + b 1^T - Y|^2 + lw/2 |W|^2 + lh/2 |Z|^2 + lb/2 |b|^2.
For a product T = W Z the two squared norms cost at least sqrt(lw lh) |T|_* (nuclear norm), so that T and b minimise
    1/2 |T K^{1/2} + b 1^T - Y|^2 + sqrt(lw lh) |T|_* + lb/2 |b|^2,
a convex problem with one solution. Where n exceeds its rank every local minimum of the first is one of the second (Haeffele
and Vidal 2015), so that generic starts end there. Not in the paper (theory 11.1, 17d).
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from ntkflow._types import Floats
from ntkflow.errors import InputError
from ntkflow.problem.decay import Decay

# Singular values below this fraction of the largest that a fit without decay would have count as zero.
DEAD = 1e-9
# The splitting converges geometrically, in about a hundred steps.
CLOSE, MOST_STEPS = 1e-13, 20_000

Columns = Float64[Floats, "C k"]
Gram = Float64[Floats, "k k"]
Row = Float64[Floats, " k"]


@dataclass(frozen=True, eq=False)
class Minimum:
    """The minimum in coordinates of k samples, or of k = C classes, each class mean times sqrt(m_c).

    Attributes:
        U: left singular vectors of T, C x r.
        s: its singular values that are not zero, descending, (r,).
        Vt: right singular vectors, r x k.
        b: biases, (C,).
        root: K^{1/2}, k x k.
        residual: T root + b row - target, C x k.
        row: the vector 1 in these coordinates, (k,).
        decay: rates.
        gap: by how much the conditions of optimality are violated, relative to sqrt(lw lh).
    """

    U: Floats
    s: Floats
    Vt: Floats
    b: Floats
    root: Gram
    residual: Columns
    row: Row
    decay: Decay
    gap: float

    @property
    def rank(self) -> int:
        """Number of directions that survive the decay."""
        return len(self.s)

    @property
    def W(self) -> Floats:
        """Weights, C x r, up to a rotation of the features."""
        result: Floats = self.U * np.sqrt(self.s * np.sqrt(self.decay.H / self.decay.W))
        return result

    @property
    def Z(self) -> Floats:
        """H K^{-1/2}, r x k, in the same features."""
        result: Floats = np.sqrt(self.s * np.sqrt(self.decay.W / self.decay.H))[:, None] * self.Vt
        return result

    @property
    def loss(self) -> float:
        """The loss that is left, without what decay adds to it."""
        return float(np.sum(self.residual**2)) / 2

    def rates(self) -> Floats:
        """Rates at which a disturbance decays, ascending; zeros are rotations of the features.

        Those of the C x (r + 1) weights, (r + 1) x k features and C biases: the direction r + 1 stands for all that is
        not used. The Hessian of the first functional, whose gradient flow this is in (W, Z, b).
        """
        C, k, q = len(self.b), len(self.row), self.rank + 1
        W = np.hstack([self.W, np.zeros((C, 1))])
        Z = np.vstack([self.Z, np.zeros((1, k))])
        D = C * q + q * k + C
        dW, dZ, db = np.split(np.eye(D), [C * q, C * q + q * k], axis=1)
        dW, dZ = dW.reshape(D, C, q), dZ.reshape(D, q, k)
        dR = (dW @ Z + W @ dZ) @ self.root + db[:, :, None] * self.row
        force = self.residual @ self.root
        rows = (
            dR @ self.root @ Z.T + force @ dZ.transpose(0, 2, 1) + self.decay.W * dW,
            dW.transpose(0, 2, 1) @ force + W.T @ dR @ self.root + self.decay.H * dZ,
            dR @ self.row + self.decay.b * db,
        )
        hessian = np.hstack([part.reshape(D, -1) for part in rows])
        return np.linalg.eigvalsh((hessian + hessian.T) / 2)

    @property
    def unknowns(self) -> int:
        """Size of the eigenvalue problem of `rates`."""
        return len(self.b) * (self.rank + 2) + (self.rank + 1) * len(self.row)


def minimum(kernel: Gram, target: Columns, row: Row, decay: Decay) -> Minimum:
    """The solution of the convex problem, by splitting it into a linear and a shrinking step.

    Args:
        kernel: the kernel of the coordinates, k x k, positive.
        target: what the outputs should be, C x k.
        row: the vector 1 in these coordinates.
        decay: W and H decay, b may.

    Raises:
        InputError: W or H does not decay.
    """
    if not (decay.W > 0 and decay.H > 0):
        raise InputError("decay", decay.rates, "must pull on W and on H here", "give both a rate > 0")
    # lw/2 |W|^2 + lh/2 |Z|^2 is least, for a given product, where both share its singular values: sqrt(lw lh) times their sum.
    cost = np.sqrt(decay.W * decay.H)
    values, vectors = np.linalg.eigh(kernel)
    root = (vectors * np.sqrt(values)) @ vectors.T
    # The best biases for a given T, put in: they take out part of the direction 1.
    shape = np.eye(len(row)) - np.outer(row, row) / (row @ row + decay.b)
    gram, goal = root @ shape @ root, target @ shape @ root
    U, s, Vt = _shrunk(gram, goal, float(cost))
    fit = np.sqrt(np.abs(np.linalg.eigvalsh(gram)).max())
    alive = s > DEAD * float(np.linalg.norm(target, 2)) / fit
    U, s, Vt = U[:, alive], s[alive], Vt[alive]
    T = (U * s) @ Vt
    force = goal - T @ gram
    b = (target - T @ root) @ row / (row @ row + decay.b)
    residual = T @ root + np.outer(b, row) - target
    # A subgradient of the nuclear norm: the force is cost times (U V^T + something of norm 1 or less beside both).
    rest = force - cost * U @ Vt
    beside = max(0.0, float(np.linalg.norm(force, 2)) - float(cost))
    gap = max(beside, float(np.linalg.norm(U.T @ rest)), float(np.linalg.norm(rest @ Vt.T))) / float(cost)
    return Minimum(U, s, Vt, b, root, residual, row, decay, gap)


def _shrunk(gram: Gram, goal: Columns, cost: float) -> tuple[Floats, Floats, Floats]:
    """Singular value decomposition of the T that minimises tr T gram T^T/2 - <T, goal> + cost |T|_*."""
    g, U = np.linalg.eigh((gram + gram.T) / 2)
    g = np.maximum(g, 0.0)
    moving = g[g > 1e-12 * g[-1]]
    # The penalty of the splitting (alternating directions): the geometric mean of the extreme curvatures, the best for a
    # quadratic that lies between them.
    weight = float(np.sqrt(moving[0] * moving[-1]))
    shrunk, dual = np.zeros_like(goal), np.zeros_like(goal)
    found = (np.zeros((len(goal), 0)), np.zeros(0), np.zeros((0, goal.shape[1])))
    for _ in range(MOST_STEPS):
        T = (((goal + weight * (shrunk - dual)) @ U) / (g + weight)) @ U.T
        left, s, right = np.linalg.svd(T + dual, full_matrices=False)
        found = (left, np.maximum(s - cost / weight, 0.0), right)
        now = (found[0] * found[1]) @ found[2]
        dual += T - now
        gap = max(float(np.linalg.norm(T - now)), float(np.linalg.norm(now - shrunk)))
        shrunk = now
        if gap <= CLOSE * max(float(np.linalg.norm(T)), float(np.linalg.norm(dual))):
            break
    return found

"""The vector fields: Theorem 4.1 on (H, W, b) and Theorem 5.1 in thin form. Time is that of the sum loss (4).

Pure functions of arrays; numpy and jax arrays both work. The Jacobian is for implicit engines on small problems.
"""

import math
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from jaxtyping import Float64

from ntkflow import views
from ntkflow._types import Array, ClassMatrix, Floats, PerClass, Vector
from ntkflow.problem.kernels.base import Kernel, ThinCoefficients
from ntkflow.problem.kernels.timeline import bracket
from ntkflow.problem.sizes import Sizes
from ntkflow.problem.state import ThinState


def residual(H: Array, W: Array, b: Array, Y: Array) -> Array:
    """R = W H + b 1^T - Y, shape (C, N). Source: eq. (16)."""
    return W @ H + b[:, None] - Y


def raw_field(H: Array, W: Array, R: Array, kernel: Kernel, sizes: Sizes) -> tuple[Array, Array, Array]:
    """(dH, dW, db)/dt for a residual R = dL/dF of any loss. Source: eq. (19)."""
    return -kernel.apply(W.T @ R, sizes), -(R @ H.T), -R.sum(axis=1)


def thin_field(
    masses: Array, class_kernel: Array, rates: Array, goal: Array, H1: Array, L: Array, W: Array, b: Array
) -> tuple[Array, Array, Array, Array]:
    """(dH1, dL, dW, db)/dt without decay; `goal` is I for classes. Source: eq. (25)."""
    R1, WL = W @ H1 + b[:, None] - goal, W @ L
    # W^T (R1 Kc) and W^T (W L), never W^T W: nothing of size n x n is formed, and no sum runs over samples.
    R1m = R1 * masses
    return -(W.T @ (R1 @ class_kernel)), -(W.T @ (WL * rates)), -(R1m @ H1.T + WL @ L.T), -R1m.sum(axis=1)


@dataclass(frozen=True, eq=False)
class ThinSystem:
    """Theorem 5.1 with MSE, for scalar or class-dependent blocks, in the thin form of theory 4.1.

    dH1 = -W^T R1 Kc,  dL = -W^T W L diag(rates),  dW = -(R1 M H1^T + W L L^T),  db = -R1 m,
    with R1 = W H1 + b 1^T - I and M = diag(masses), and with decay -lh H1, -lh L, -lw W, -lb b besides.
    Cost per evaluation O(nC(C + r)), whatever m is.

    Attributes:
        masses: samples of each class, (C,).
        class_kernel: Kc, (C, C).
        rates: mu_single of the class each column of L belongs to, (r,).
        n: number of feature coordinates of the (reduced) state.
        decay: rates (lw, lh, lb) at which W, H and b are pulled to zero.
        schedule: knots (t, system) of a kernel that changes in time; `class_kernel` and `rates` above are
            then those of the first knot. Empty for a constant kernel.
        targets: outputs that the means of the groups should have, (outputs, groups). None: the groups are the
            classes and the targets the identity. With every sample a group of its own (masses 1, class_kernel
            the N x N kernel, targets Y, no L) the system is Theorem 4.1 for any sample kernel.
        train_bias: whether b moves; held biases stay in the state, and db = 0.
    """

    masses: PerClass
    class_kernel: ClassMatrix
    rates: Float64[Floats, " r"]
    n: int
    decay: tuple[float, float, float] = (0.0, 0.0, 0.0)
    schedule: tuple[tuple[float, "ThinSystem"], ...] = ()
    targets: Float64[Floats, "outputs C"] | None = None
    train_bias: bool = True

    __repr__ = views.short

    @classmethod
    def build(
        cls,
        coefficients: ThinCoefficients,
        sizes: Sizes,
        column_class: tuple[int, ...],
        n_eff: int,
        decay: tuple[float, float, float] = (0.0, 0.0, 0.0),
        train_bias: bool = True,
    ) -> "ThinSystem":
        """From a kernel's coefficients and the frame of a decomposition."""
        # Only left factors act on H2, so a thin factor L keeps its columns, and each column its class (theory 4.1).
        rates = coefficients.within[np.asarray(column_class, dtype=int)]
        schedule = tuple(
            (t, cls.build(knot, sizes, column_class, n_eff, decay, train_bias))
            for t, knot in coefficients.schedule
        )
        kernel = coefficients.class_kernel
        return cls(sizes.masses, kernel, rates, n_eff, decay, schedule, train_bias=train_bias)

    def at(self, t: float) -> "ThinSystem":
        """The constant system in force at time t; itself when the kernel is constant."""
        if not self.schedule:
            return self
        left, right, share = bracket([time for time, _ in self.schedule], t)
        a, b = self.schedule[left][1], self.schedule[right][1]
        if share == 0:
            return a
        return replace(
            a,
            class_kernel=(1 - share) * a.class_kernel + share * b.class_kernel,
            rates=(1 - share) * a.rates + share * b.rates,
        )

    def between(self, begin: float, end: float) -> "ThinSystem":
        """The system from `begin` to `end`, between which no knot lies, in a clock that starts at `begin`."""
        if not self.schedule:
            return self
        # Before the first knot and after the last the kernel stands still, and constant systems are cheaper to step.
        if end <= self.schedule[0][0] or begin >= self.schedule[-1][0]:
            return self.at(begin)
        first, last = self.at(begin), self.at(end)
        return replace(first, schedule=((0.0, first), (end - begin, last)))

    @cached_property
    def inverse(self) -> ClassMatrix:
        """Kc^{-1} M, symmetric: m E contains H1 times it times H1^T."""
        inverse = np.linalg.solve(self.class_kernel, np.diag(self.masses))
        # Symmetric in exact arithmetic only; E must be, or its eigenvalues would not be real.
        return (inverse + inverse.T) / 2

    @property
    def C(self) -> int:
        """Number of classes, rows of W."""
        return len(self.masses) if self.targets is None else len(self.targets)

    @property
    def goal(self) -> Float64[Floats, "outputs C"]:
        """Outputs that the means of the groups should have."""
        return np.eye(self.C) if self.targets is None else self.targets

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """Shapes of H1, L, W, b."""
        return (self.n, len(self.masses)), (self.n, len(self.rates)), (self.C, self.n), (self.C,)

    @property
    def size(self) -> int:
        """Number of unknowns."""
        return sum(math.prod(shape) for shape in self.shapes)

    def field(self, H1: Array, L: Array, W: Array, b: Array) -> tuple[Array, Array, Array, Array]:
        """(dH1, dL, dW, db)/dt of a constant system. Source: eq. (25)."""
        parts = thin_field(self.masses, self.class_kernel, self.rates, self.goal, H1, L, W, b)
        if not self.train_bias:
            parts = (*parts[:3], np.zeros_like(b))
        # Engines call this thousands of times: without decay not one product by zero.
        if not any(self.decay):
            return parts
        lw, lh, lb = self.decay
        return parts[0] - lh * H1, parts[1] - lh * L, parts[2] - lw * W, parts[3] - lb * b

    def unpack(self, y: Vector) -> ThinState:
        """The state that `ThinState.pack` flattened."""
        parts, start = [], 0
        for shape in self.shapes:
            stop = start + math.prod(shape)
            parts.append(y[start:stop].reshape(shape))
            start = stop
        return ThinState(*parts)

    def flat_field(self, t: float, y: Vector) -> Vector:
        """dy/dt of the packed state at time t, which matters only when the kernel changes in time."""
        s = self.unpack(y)
        return np.concatenate([part.ravel() for part in self.at(t).field(s.H1, s.L, s.W, s.b)])

    def loss(self, s: ThinState) -> float:
        """1/2 |R|_F^2, summed over samples and outputs. Source: eq. (4)."""
        R1 = s.W @ s.H1 + s.b[:, None] - self.goal
        return 0.5 * float(np.sum(self.masses * R1**2) + np.sum((s.W @ s.L) ** 2))

    def spectral_radius(self, s: ThinState) -> float:
        """Upper estimate of the largest rate at a state: the residual operator's two terms (theory 7.1)."""
        if self.schedule:
            return max(system.spectral_radius(s) for _, system in self.schedule)
        m = float(self.masses.max())
        # With one sample a class there is nothing within.
        within = _square(s.L) if s.L.size else 0.0
        features = m * float(np.linalg.eigvalsh(s.H1.T @ s.H1 + 1.0)[-1]) + within
        return float(features + _square(s.W) * self._largest + max(self.decay))

    @cached_property
    def _largest(self) -> float:
        """The largest rate of the kernel."""
        return max(float(np.linalg.norm(self.class_kernel, 2)), float(self.rates.max(initial=0.0)))


def _square(A: Floats) -> float:
    """|A|_2^2, the largest eigenvalue of the smaller Gram matrix: for an estimate half of the digits do."""
    return float(np.linalg.eigvalsh(A @ A.T if len(A) <= A.shape[1] else A.T @ A)[-1])


def thin_jacobian(system: ThinSystem, s: ThinState) -> Float64[Floats, "D D"]:
    """d(field)/d(state) of a constant system in the packed order H1, L, W, b; D = nC + nr + Cn + C.

    Derived from eq. (25) by the product rule, with dR1 = dW H1 + W dH1 + db 1^T; decay adds -rate on the
    diagonal. For a kernel that changes in time pass `system.at(t)`.
    """
    n, C, groups, r = system.n, system.C, len(system.masses), len(system.rates)
    # By the product rule, block by block: differences cost an evaluation per unknown, and half of the digits.
    In, IC = np.eye(n), np.eye(C)
    R1 = s.W @ s.H1 + s.b[:, None] - system.goal
    WL, WtW = s.W @ s.L, s.W.T @ s.W
    Kc, m = system.class_kernel, system.masses
    size_H, size_L, size_W = n * groups, n * r, C * n
    h, ell, w, b = np.split(np.arange(system.size), np.cumsum([size_H, size_L, size_W]))
    jac = np.zeros((system.size, system.size))

    # rows H1[i, c]: -(dW^T R1 + W^T dR1) Kc
    jac[np.ix_(h, h)] = -np.einsum("ij,dc->icjd", WtW, Kc).reshape(size_H, size_H)
    via_W = np.einsum("ij,kc->ickj", In, R1 @ Kc) + np.einsum("ki,jc->ickj", s.W, s.H1 @ Kc)
    jac[np.ix_(h, w)] = -via_W.reshape(size_H, size_W)
    jac[np.ix_(h, b)] = -np.einsum("ki,c->ick", s.W, Kc.sum(axis=0)).reshape(size_H, C)

    # rows L[i, q]: -(dW^T W L + W^T dW L + W^T W dL) rates
    jac[np.ix_(ell, ell)] = -np.einsum("ij,pq->iqjp", WtW, np.diag(system.rates)).reshape(size_L, size_L)
    via_W = np.einsum("ij,kq->iqkj", In, WL * system.rates) + np.einsum(
        "ki,jq->iqkj", s.W, s.L * system.rates
    )
    jac[np.ix_(ell, w)] = -via_W.reshape(size_L, size_W)

    # rows W[k, i]: -(dR1 M H1^T + R1 M dH1^T + d(W L L^T))
    via_H = np.einsum("kj,ic->kijc", s.W, s.H1 * m) + np.einsum("kc,ij->kijc", R1 * m, In)
    jac[np.ix_(w, h)] = -via_H.reshape(size_W, size_H)
    via_L = np.einsum("kj,iq->kijq", s.W, s.L) + np.einsum("kq,ij->kijq", WL, In)
    jac[np.ix_(w, ell)] = -via_L.reshape(size_W, size_L)
    moment = (s.H1 * m) @ s.H1.T + s.L @ s.L.T
    jac[np.ix_(w, w)] = -np.einsum("kl,ji->kilj", IC, moment).reshape(size_W, size_W)
    jac[np.ix_(w, b)] = -np.einsum("kl,i->kil", IC, s.H1 @ m).reshape(size_W, C)

    # rows b[k]: -dR1 m, and none for biases that are held
    if system.train_bias:
        jac[np.ix_(b, h)] = -np.einsum("kj,c->kjc", s.W, m).reshape(C, size_H)
        jac[np.ix_(b, w)] = -np.einsum("kl,j->klj", IC, s.H1 @ m).reshape(C, size_W)
        jac[np.ix_(b, b)] = -m.sum() * IC

    of_W, of_H, of_b = system.decay
    jac[np.diag_indices_from(jac)] -= np.repeat([of_H, of_W, of_b], [size_H + size_L, size_W, C])
    return jac

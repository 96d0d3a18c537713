"""The class-decomposed system of kernels that act on features by one matrix per level, eq. (73).

With B_d on deviations, B_c on class contrasts and B_g on the global mean (A_d, A_d + m A_c, A_d + m A_c + N A_n for
matrix blocks; mu_single A, mu_class A, mu_global A for scalar blocks times A),
    dH1/dt = -(B_c W^T R1 P + B_g W^T R1 J),   dL/dt = -B_d W^T W L,   dW/dt = -(m R1 H1^T + W L L^T),
    db/dt = -m R1 1,
so within-class deviations keep their right singular vectors here too, and the cost does not depend on m. The
matrices mix features, so the flow leaves the span of [W^T, H1, L] and n stays n.
"""

from dataclasses import dataclass, replace

import numpy as np

from ntkflow import views
from ntkflow._types import FeatureMatrix, Floats, Vector
from ntkflow.dynamics.fields import ThinSystem
from ntkflow.dynamics.packed import InFrame, collapse_rate, no_thin_form
from ntkflow.problem.kernels import BlockKernel, Kernel, KroneckerKernel, MatrixBlockKernel
from ntkflow.problem.problem import Problem
from ntkflow.problem.sizes import Sizes
from ntkflow.problem.state import ThinState
from ntkflow.problem.thin import Frame, SampleCoordinates, decompose

Levels = tuple[FeatureMatrix, FeatureMatrix, FeatureMatrix]


def levels(kernel: Kernel, sizes: Sizes) -> Levels | None:
    """B_d, B_c, B_g of a constant kernel, None where it has no such form."""
    # With unequal classes the projectors on contrasts and mean do not commute with Kc: no level acts by one matrix.
    if not sizes.balanced:
        return None
    if isinstance(kernel, MatrixBlockKernel):
        return kernel.levels(sizes)
    if isinstance(kernel, KroneckerKernel) and isinstance(kernel.K, BlockKernel):
        mu = kernel.K.eigenvalues(sizes)
        return mu.mu_single * kernel.A, mu.mu_class * kernel.A, mu.mu_global * kernel.A
    return None


def has_levels(problem: Problem) -> bool:
    """Whether `LevelFlow` integrates the problem: the squared error, and such a kernel at all times."""
    knots = problem.kernel.at_knots
    return problem.squared_error and all(levels(knot, problem.sizes) is not None for knot in knots)


@dataclass(frozen=True, eq=False)
class LevelFlow(InFrame):
    """Eq. (73) with the thin factor, packed as H1, L, W, b."""

    problem: Problem
    kernel: Kernel
    shape: ThinSystem
    frame: Frame | SampleCoordinates
    initial: ThinState
    clock: float
    form: str = "thin"

    __repr__ = views.short

    @classmethod
    def build(cls, problem: Problem) -> "LevelFlow":
        """From a problem that `has_levels`.

        Raises:
            InputError: it has none.
        """
        sizes = problem.sizes
        if not has_levels(problem):
            raise no_thin_form(problem)
        # The matrices mix features and lead out of span [W^T, H1, L]: all n coordinates are kept (not theory 4.3).
        thin, frame = decompose(problem.state, sizes, subspace=False)
        return cls.on(problem, frame, thin.pack())

    @classmethod
    def on(cls, problem: Problem, frame: Frame, start: Vector) -> "LevelFlow":
        """From a frame and the packed initial state in it."""
        sizes, r = problem.sizes, frame.Q.shape[1]
        # Its shapes and masses are used, not its kernel, which acts on features here.
        shape = ThinSystem(sizes.masses, np.eye(sizes.C), np.ones(r), sizes.n, problem.decay.rates)
        return cls(problem, problem.kernel, shape, frame, shape.unpack(start), collapse_rate(problem))

    def unpack(self, y: Vector) -> ThinState:
        """H1, L, W, b."""
        return self.shape.unpack(y)

    def field(self, t: float, y: Vector) -> Vector:
        """dy/dt."""
        s, m = self.unpack(y), self.problem.sizes.per_class
        within, contrast, mean = self._levels(self.kernel.at(t))
        R1 = self._residual(s)
        G, WL = s.W.T @ R1, s.W @ s.L
        g = G.mean(axis=1, keepdims=True)
        lw, lh, lb = self.problem.decay.rates
        return ThinState(
            -(contrast @ (G - g) + mean @ g) - lh * s.H1,
            -(within @ (s.W.T @ WL)) - lh * s.L,
            -(m * R1 @ s.H1.T + WL @ s.L.T) - lw * s.W,
            -m * R1.sum(axis=1) - lb * s.b if self.problem.train_bias else np.zeros_like(s.b),
        ).pack()

    def loss(self, y: Vector) -> float:
        """The loss (4)."""
        s, m = self.unpack(y), self.problem.sizes.per_class
        return 0.5 * (m * float(np.sum(self._residual(s) ** 2)) + float(np.sum((s.W @ s.L) ** 2)))

    def spectral_radius(self, y: Vector) -> float:
        """Estimate of the largest rate at y."""
        s, sizes = self.unpack(y), self.problem.sizes
        found = [level for kernel in self.kernel.at_knots for level in self._levels(kernel)]
        largest = max(float(np.linalg.norm(level, 2)) for level in found)
        moment = sizes.per_class * s.H1 @ s.H1.T + s.L @ s.L.T
        weights = float(np.linalg.norm(s.W, 2)) ** 2
        return float(np.linalg.norm(moment, 2)) + sizes.N + weights * largest + max(self.problem.decay.rates)

    def between(self, begin: float, end: float) -> "LevelFlow":
        """The flow on an interval without knots inside, in a clock that starts at `begin`."""
        return replace(self, kernel=self.kernel.between(begin, end))

    def _levels(self, kernel: Kernel) -> Levels:
        found = levels(kernel, self.problem.sizes)
        assert found is not None
        return found

    def _residual(self, s: ThinState) -> Floats:
        return s.W @ s.H1 + s.b[:, None] - np.eye(len(s.b))

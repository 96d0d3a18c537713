"""What a rung does to a network: dH/dt = -Op[W^T R], as an operator on n x N matrices."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float64

from ntkflow._types import Features, Weights
from ntkflow.problem.kernels import Kernel, KroneckerKernel
from ntkflow.problem.sizes import Sizes
from ntkflow.problem.state import class_means, spread
from ntkflow_validation.kernels.methods.class_kernels import ClassTensor, WithinTensor

Residual = Float64[np.ndarray, "C N"]
POWER_STEPS = 60


class Operator(ABC):
    """A symmetric positive semidefinite operator on n x N matrices; constant unless it uses t.

    Attributes:
        sizes: C, m, n of the samples it acts on.
    """

    sizes: Sizes

    @abstractmethod
    def act(self, G: Features, t: float = 0.0) -> Features:
        """Op[G]."""

    def pull(self, W: Weights, R: Residual, t: float = 0.0) -> Features:
        """Op[W^T R], the shape in which the dynamics need it."""
        return self.act(W.T @ R, t)

    @property
    def knots(self) -> tuple[float, ...]:
        """Times at which a moving operator changes its slope, where steps in time must end; none if constant."""
        return ()

    def between(self, begin: float, end: float) -> "Operator":
        """The operator between two times without a knot in between, in a clock that starts at `begin`."""
        del begin, end
        return self

    @cached_property
    def gain(self) -> float:
        """Its largest eigenvalue, by power iteration from a fixed start."""
        probe: Features = np.random.default_rng(0).normal(size=(self.sizes.n, self.sizes.N))
        # Kernels of non-negative entries have their largest eigenvalue along the mean.
        probe += 3.0
        found = 0.0
        for _ in range(self._power_steps):
            probe /= max(float(np.linalg.norm(probe)), np.finfo(float).tiny)
            probe = self.act(probe)
            before, found = found, float(np.linalg.norm(probe))
            if abs(found - before) < 2e-4 * found:
                break
        return found

    @property
    def _power_steps(self) -> int:
        return POWER_STEPS


@dataclass(frozen=True, eq=False)
class KernelOperator(Operator):
    """A kernel of `ntkflow` as an operator; a scheduled one moves in time.

    Attributes:
        kernel: any rung.
        sizes: of the samples.
    """

    kernel: Kernel
    sizes: Sizes

    def act(self, G: Features, t: float = 0.0) -> Features:
        """Op[G] at time t after the start."""
        found: np.ndarray = self.kernel.at(t).apply(G, self.sizes)
        return found

    def pull(self, W: Weights, R: Residual, t: float = 0.0) -> Features:
        """W^T (R K) instead of (W^T R) K: C products of length N^2 instead of n."""
        kernel = self.kernel.at(t)
        if (K := kernel.sample_matrix) is not None:
            found: np.ndarray = W.T @ (R @ K)
        elif isinstance(kernel, KroneckerKernel) and (K := kernel.K.sample_matrix) is not None:
            found = (kernel.A @ W.T) @ (R @ K)
        else:
            found = kernel.apply(W.T @ R, self.sizes)
        return found

    @property
    def knots(self) -> tuple[float, ...]:
        """The knots of a schedule."""
        return self.kernel.knots

    def between(self, begin: float, end: float) -> "KernelOperator":
        """That of the kernel between the two times."""
        return KernelOperator(self.kernel.between(begin, end), self.sizes)

    @cached_property
    def gain(self) -> float:
        """The largest over the knots of a schedule."""
        if self.kernel.moves:
            return max(KernelOperator(knot, self.sizes).gain for knot in self.kernel.at_knots)
        return super().gain


@dataclass(frozen=True, eq=False)
class ClassOperator(Operator):
    """Class sums of G move all samples of a class alike, deviations from the class means move themselves.

    dH_i = -(sum_d T_cd [class sum of G over d] + D_c [G_i - mean of G over c]) for a sample i of class c.
    Block kernels, class-dependent ones and matrix blocks are special cases; restrictions and truncations of
    the measured T and D are others. Not in the paper.

    Attributes:
        T: between features of classes, (n, C, n, C).
        D: within classes, (C, n, n), or one number for every class, (C,).
        sizes: of the samples.
    """

    T: ClassTensor
    D: WithinTensor | Float64[np.ndarray, " C"]
    sizes: Sizes

    def act(self, G: Features, t: float = 0.0) -> Features:
        """Op[G]."""
        del t
        n, C, sizes = self.sizes.n, self.sizes.C, self.sizes
        means = class_means(G, sizes)
        deviations = G - spread(means, sizes)
        sums = (means * sizes.masses).reshape(-1)
        shared = (self.T.reshape(n * C, n * C) @ sums).reshape(n, C)
        if self.D.ndim == 1:
            moved = deviations * self.D[sizes.labels]
        else:
            moved = np.empty_like(G)
            for c, (start, count) in enumerate(zip(sizes.starts, sizes.counts, strict=True)):
                columns = slice(start, start + count)
                moved[:, columns] = self.D[c] @ deviations[:, columns]
        found: np.ndarray = spread(shared, sizes) + moved
        return found


@dataclass(frozen=True, eq=False)
class FactorOperator(Operator):
    """A low-rank operator on all samples plus a multiple of the identity on deviations: sum_k V_k <V_k, G>.

    Attributes:
        V: factors, (k, n, N).
        sizes: of the samples.
    """

    V: Float64[np.ndarray, "k n N"]
    sizes: Sizes

    def act(self, G: Features, t: float = 0.0) -> Features:
        """Op[G]."""
        del t
        flat = self.V.reshape(len(self.V), -1)
        found: np.ndarray = ((flat @ G.reshape(-1)) @ flat).reshape(G.shape)
        return found


def nystrom(
    Z: Float64[np.ndarray, "k n N"], images: Float64[np.ndarray, "k n N"], sizes: Sizes
) -> FactorOperator:
    """The smallest operator that is exact on the span of Z: (Op Z)(Z^T Op Z)^{-1}(Op Z)^T.

    Args:
        Z: directions; dependent ones are dropped.
        images: Op[Z_k].
        sizes: of the samples.
    """
    z, image = Z.reshape(len(Z), -1), images.reshape(len(Z), -1)
    norms = np.linalg.norm(z, axis=1, keepdims=True)
    there = norms[:, 0] > 0
    z, image = z[there] / norms[there], image[there] / norms[there]
    inner = z @ image.T
    values, vectors = np.linalg.eigh((inner + inner.T) / 2)
    kept = values > 1e-9 * values.max(initial=0.0)
    factors = (vectors[:, kept] / np.sqrt(values[kept])).T @ image
    return FactorOperator(factors.reshape(-1, *Z.shape[1:]), sizes)

"""The invariant E of Theorem 5.1, its terms, their alignment, and E at the end of training.

For a thin system E = [W^T W - H1 Kc^{-1} M H1^T - L diag(1/rates) L^T] / m, where m = N/C. For equal
blocks this is eq. (26); for class-dependent blocks and imbalanced classes it is E_K / m (not in the paper).
dE/dt = 0 for any loss.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from types import ModuleType

import numpy as np

from ntkflow import views
from ntkflow._types import Array, FeatureMatrix, Floats
from ntkflow.dynamics.fields import ThinSystem
from ntkflow.errors import InputError
from ntkflow.problem.kernels.base import Kernel
from ntkflow.problem.sizes import Sizes
from ntkflow.problem.state import State, ThinState
from ntkflow.problem.thin import decompose
from ntkflow.scaling import cosine, frobenii, frobenius


@dataclass(frozen=True, eq=False)
class InvariantTerms:
    """The terms of E, each n x n and positive semidefinite: E = weights - means - within.

    Attributes:
        weights: W^T W / m.
        means: H1 (I - alpha 11^T) H1^T / mu_class, class means including the global one.
        global_mean: the part (C / mu_global) g g^T of `means`, g the global mean.
        within: H2 H2^T / mu_single.
    """

    weights: FeatureMatrix
    means: FeatureMatrix
    global_mean: FeatureMatrix
    within: FeatureMatrix

    __repr__ = views.short

    @cached_property
    def features(self) -> FeatureMatrix:
        """H K^{-1} H^T / m, the sum of the feature terms."""
        return self.means + self.within

    @cached_property
    def E(self) -> FeatureMatrix:
        """The invariant matrix."""
        return self.weights - self.features

    @cached_property
    def scale(self) -> float:
        """|weights|_F + |features|_F, against which drift is measured: these two terms exist for every rung."""
        return float(frobenius(self.weights) + frobenius(self.features))

    @property
    def alignment(self) -> float:
        """Cosine between W^T W and H K^{-1} H^T, the panes b of the paper's figures; 1 when proportional.

        Equals 1 at neural collapse only if the global mean vanishes (eq. 28, with a plus sign).
        """
        return cosine(self.weights, self.features)


def thin_terms(thin: ThinState, system: ThinSystem, t: float = 0.0) -> InvariantTerms:
    """Terms of E of a thin state; `t` matters only when the kernel changes in time. Source: eq. (26)."""
    system = system.at(t)
    found = terms_of(np, thin.H1, thin.L, thin.W, system.inverse, system.rates, system.masses.mean())
    return InvariantTerms(**found)


def terms_of(
    xp: ModuleType, H1: Array, L: Array, W: Array, inverse: Array, rates: Array, m: Array
) -> dict[str, Array]:
    """`thin_terms` by the functions of `xp`, numpy or jax.numpy: `inverse` is Kc^{-1} M, m the mean of the masses.

    States may be stacked along a first axis; where the kernel moves, `inverse` and `rates` too, the rates as (T, 1, r).
    """
    found = main_terms_of(xp, H1, L, W, inverse, rates, m)
    # The mean with the weights that split H1 Kc^{-1} M H1^T into contrasts and mean; that of the classes where all are alike.
    mean_weight = inverse.sum(axis=-2)
    total = mean_weight.sum(axis=-1)[..., None]
    g = (H1 @ mean_weight[..., None])[..., 0] / total
    return {**found, "global_mean": g[..., :, None] * g[..., None, :] * (total / m)[..., None]}


def main_terms_of(
    xp: ModuleType, H1: Array, L: Array, W: Array, inverse: Array, rates: Array, m: Array
) -> dict[str, Array]:
    """`terms_of` without the global mean, which is a part of the means."""
    return {
        # The factors are smaller than what they make.
        "weights": xp.swapaxes(W, -1, -2) @ (W / m),
        "means": H1 @ (inverse / m) @ xp.swapaxes(H1, -1, -2),
        "within": (L / (rates * m)) @ xp.swapaxes(L, -1, -2),
    }


def terms(state: State, sizes: Sizes, kernel: Kernel, t: float = 0.0) -> InvariantTerms:
    """Terms of E of a full state under a block structured kernel; `t` as in `thin_terms`.

    Raises:
        InputError: the kernel is singular on these sizes or has no block structure.
    """
    kernel.check(sizes)
    coefficients = kernel.thin(sizes)
    if coefficients is None:
        raise InputError(
            "kernel",
            kernel.rung,
            "has no blocks, so the terms of eq. (26) do not exist",
            "use ntkflow.metrics.conserved for what this rung conserves",
        )
    thin, frame = decompose(state, sizes, coefficients.groups, subspace=False)
    return thin_terms(thin, ThinSystem.build(coefficients, sizes, frame.column_class, frame.n_eff), t)


def E(state: State, sizes: Sizes, kernel: Kernel, t: float = 0.0) -> FeatureMatrix:
    """The invariant E = W^T W / m - H K^{-1} H^T / m, n x n; see `terms`. Source: eq. (26)."""
    return terms(state, sizes, kernel, t).E


def end_of_training(state: State, sizes: Sizes, kernel: Kernel) -> FeatureMatrix:
    """E_eot = W^T W - H H^T / mu_single, conserved only while the class-mean residual is zero. Source: eq. (27).

    Raises:
        InputError: the kernel is singular, or has no single mu_single.
    """
    kernel.check(sizes)
    coefficients = kernel.thin(sizes)
    # With an mu_single for each class no multiple of H H^T would do.
    if coefficients is None or np.ptp(coefficients.within) > 0:
        raise InputError(
            "kernel",
            kernel.rung,
            "has no mu_single common to all classes, which eq. (27) needs",
            "use BlockKernel or class-dependent blocks with equal kappa_d - kappa_c",
        )
    result: Floats = state.W.T @ state.W - state.H @ state.H.T / coefficients.within[0]
    return result


def drift(initial: InvariantTerms, now: InvariantTerms) -> float:
    """|E(t) - E(0)|_F over `scale` at t, the norms of W^T W / m and H K^{-1} H^T / m added."""
    return frobenius(now.E - initial.E) / now.scale if now.scale else 0.0


def drifts(found: Mapping[str, Floats], first: Floats | None = None) -> Floats:
    """`drift` of a stack of states, (T,), from their `terms_of`.

    Args:
        found: the terms.
        first: E from which they have moved, (n, n) or one for each, (T, n, n); None: that of the first state.
    """
    weights, features = found["weights"], found["means"] + found["within"]
    scale = frobenii(weights) + frobenii(features)
    change = weights - features
    change -= change[0].copy() if first is None else first
    moved = frobenii(change)
    result: Floats = np.divide(moved, scale, out=np.zeros_like(moved), where=scale != 0)
    return result

"""Balanced starts that are not aligned, for all times: H2 = 0, g = 0, b = 1/C, W^T 1 = 0, E = 0, any H1 (theory 17a).

With w = W/a, h = a H1, a = (m/mu_class)^{1/4} and tau = sqrt(m mu_class) t the rows q = [h^T; w] obey
    q q^T(tau) = e^{F tau} q0 [I + q0^T (int_0^tau e^{2 F s} ds) q0]^{-1} q0^T e^{F tau},  F = [[0, P], [P, 0]].
Sources: Fukumizu 1998, Braun et al. 2022 (arXiv:2209.05409); `aligned_state` is the case h^T = w.
"""

import numpy as np

from ntkflow._types import ClassMatrix, ClassMeans, Floats
from ntkflow.errors import InputError
from ntkflow.metrics import invariant
from ntkflow.problem.kernels.block import BlockKernel
from ntkflow.problem.sizes import Sizes
from ntkflow.problem.state import State, class_means, deviations
from ntkflow.theory.exact.times import elapsed
from ntkflow.theory.limits import eigenvalues, x_star
from ntkflow.theory.rates import class_rate

# What is smaller than this, relative to what it is made of, is rounding.
ZERO = 1e-9
RISES = 1e-12


def unaligned_grams(
    sizes: Sizes, kernel: BlockKernel, state: State, t: float
) -> tuple[ClassMatrix, ClassMatrix, ClassMatrix]:
    """W W^T, H1^T H1 and W H1 at time t, squared error, biases trained.

    Args:
        sizes: sizes of the problem.
        kernel: scalar blocks.
        state: the start.
        t: flow time.

    Raises:
        InputError: the start has deviations, a mean, biases other than 1/C, columns of W that do not sum to zero or E
            other than 0; or t is negative or not finite.
    """
    H1 = _checked(sizes, kernel, state)
    tau, a = class_rate(sizes, kernel) * elapsed(t), np.sqrt(x_star(sizes, kernel))
    h, w = a * H1.T, state.W / a
    # F is diag(P, -P) on sums and differences, all of which lie in the range of P.
    rising, falling = (h + w) / np.sqrt(2), (h - w) / np.sqrt(2)
    left = np.exp(-2 * tau)
    # N = I + (1 - e^{-2 tau})/2 falling^T falling stays tame; what grows is put over it, so that no e^{tau} is ever formed.
    values, vectors = np.linalg.eigh(np.eye(sizes.n) + (1 - left) / 2 * falling.T @ falling)
    root = (vectors / np.sqrt(values)) @ vectors.T
    A, B = rising @ root, falling @ root
    U, s, Vt = np.linalg.svd(A, full_matrices=False)
    # What does not rise is known to be zero; of rounding size it would grow out of the saddle.
    s[s <= RISES * s[0]] = 0.0
    risen = s > 0
    weight = 1 / np.where(risen, left + (1 - left) / 2 * s**2, 1.0)
    held = np.where(risen, left * weight, 1.0)
    up: Floats = (U * (s**2 * weight)) @ U.T
    # e^{-2 tau} (I + a A^T A)^{-1} is 1 beside the directions of A.
    seen = B @ Vt.T
    cross: Floats = (U * (s * held)) @ seen.T
    down: Floats = left * (B @ B.T - seen @ seen.T + (seen * held) @ seen.T)
    both = cross + cross.T
    return (
        a**2 * (up - both + down) / 2,
        (up + both + down) / 2 / a**2,
        (up + cross - cross.T - down) / 2,
    )


def _checked(sizes: Sizes, kernel: BlockKernel, state: State) -> ClassMeans:
    """H1 of a start of this form."""
    eigenvalues(sizes, kernel)
    H1 = class_means(state.H, sizes)
    H, W = float(np.linalg.norm(state.H)), float(np.linalg.norm(state.W))
    terms = invariant.terms(state, sizes, kernel)
    for what, size, of in (
        ("deviations H2", deviations(state.H, H1, sizes), H),
        ("the mean g", H1.sum(axis=1), H),
        ("W^T 1", state.W.sum(axis=0), W),
        ("b - 1/C", state.b - 1 / sizes.C, 1.0),
        ("E", terms.E, terms.scale),
    ):
        gap = float(np.linalg.norm(size))
        if gap > ZERO * of:
            raise InputError("state", f"|{what}| = {gap:.3g}", "must be zero for this form", "integrate it")
    return H1

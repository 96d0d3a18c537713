"""Initial states of L linear layers: Gaussian, balanced (all Q_l = 0) and aligned (theory 18.4, 18.6). All seeded, float64."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from ntkflow import checks
from ntkflow.errors import InputError
from ntkflow.problem import initial as flat
from ntkflow.problem.kernels.base import Kernel
from ntkflow.problem.kernels.block import BlockKernel
from ntkflow.problem.layers.state import LayeredState
from ntkflow.problem.sizes import Sizes
from ntkflow.problem.state import State

NAMES = ("gaussian", "balanced", "balanced-centred", "balanced-contrast", "aligned")


def gaussian(
    sizes: Sizes, widths: Sequence[int], kernel: Kernel, rng: np.random.Generator, scale: float = 1.0
) -> LayeredState:
    """Every entry of layer l is scale N(0, 1/n_l), of W scale N(0, 1/n_L); b = 0.

    The first layer acts on inputs of Gram matrix K0, so that its images are V_1 X with X^T X = K0.
    """
    V1 = scale * rng.standard_normal((widths[0], sizes.N)) / np.sqrt(widths[0])
    layers = [scale * rng.standard_normal((out, into)) / np.sqrt(out) for into, out in pairwise(widths)]
    W = scale * rng.standard_normal((sizes.C, widths[-1])) / np.sqrt(widths[-1])
    if isinstance(kernel, BlockKernel) and sizes.balanced:
        return LayeredState(kernel.root(V1, sizes), tuple(layers), W, np.zeros(sizes.C))
    K = np.asarray(kernel.apply(np.eye(sizes.N), Sizes(sizes.C, sizes.m, sizes.N)))
    return LayeredState(V1 @ np.linalg.cholesky((K + K.T) / 2).T, tuple(layers), W, np.zeros(sizes.C))


def balanced(
    name: str, sizes: Sizes, widths: Sequence[int], kernel: BlockKernel, seed: int, scale: float
) -> LayeredState:
    """All Q_l = 0: layers that share their singular values with W, over a balanced first layer (theory 18.3).

    Args:
        name: balanced, balanced-centred (g = 0, b = 1/C) or balanced-contrast (W^T 1 = 0 as well).
        sizes: C, m, n_L.
        widths: n_1 .. n_L, each at least the rank of W.
        kernel: scalar blocks.
        seed: seed of the random numbers.
        scale: scale of W.
    """
    rank = sizes.C - (name == "balanced-contrast")
    _refuse_narrow(widths, rank, sizes)
    start = flat.make(name, Sizes(sizes.C, sizes.m, sizes.n), kernel, seed, scale)
    U, s, Vt = np.linalg.svd(start.W, full_matrices=False)
    U, s, Vt = U[:, :rank], s[:rank], Vt[:rank]
    # W = U s V^T and H = W^T Z: every layer gets the same s between frames of its own.
    rng = np.random.default_rng((seed, len(widths)))
    frames = [*(np.linalg.qr(rng.standard_normal((n, rank)))[0] for n in widths[:-1]), Vt.T]
    layers = tuple((frames[l] * s) @ frames[l - 1].T for l in range(1, len(widths)))
    return LayeredState(frames[0] @ (Vt @ start.H), layers, start.W, start.b)


def aligned(
    sizes: Sizes,
    widths: Sequence[int],
    kernel: BlockKernel,
    rng: np.random.Generator,
    scale: float = 1.0,
    spectators: float = 0.0,
) -> LayeredState:
    """Every contrast starts with the singular value `scale` in all layers, in one frame (theory 18.6); b = 1/C, g = 0.

    Args:
        sizes: C, m, n_L.
        widths: n_1 .. n_L, each at least C - 1.
        kernel: scalar blocks.
        rng: source of the frames.
        scale: singular value s_l(0) of V_1 .. V_L and W on the contrasts.
        spectators: size of what is orthogonal to the contrasts and stays frozen: within-class deviations in the first
            layer, and blocks of V_2 .. V_L; 0 for none.
    """
    C, rank = sizes.C, sizes.C - 1
    _refuse_narrow(widths, rank + (1 if spectators else 0), sizes)
    mu = kernel.eigenvalues(sizes)
    kernel.check(sizes)
    contrasts = np.linalg.qr(np.eye(C)[:, 1:] - 1 / C)[0]
    bases = [np.linalg.qr(rng.standard_normal((n, n)))[0] for n in widths]
    frames = [basis[:, :rank] for basis in bases]
    # V_1 has the singular value s on the inputs' class contrasts, whose Gram matrix is mu_class/m P.
    H1 = scale * np.sqrt(mu.mu_class / sizes.per_class) * frames[0] @ contrasts.T
    H = np.repeat(H1, sizes.per_class, axis=1)
    layers = [scale * frames[l] @ frames[l - 1].T for l in range(1, len(widths))]
    if spectators:
        D = rng.standard_normal((sizes.C, sizes.per_class))
        D = (D - D.mean(axis=1, keepdims=True)).ravel()
        H = H + spectators * np.sqrt(mu.mu_single) * np.outer(bases[0][:, rank], D / np.linalg.norm(D))
        layers = [
            layer + spectators * np.outer(bases[l + 1][:, rank], bases[l][:, rank])
            for l, layer in enumerate(layers)
        ]
    return LayeredState(H, tuple(layers), scale * contrasts @ frames[-1].T, np.full(C, 1 / C))


def make(
    name: str,
    sizes: Sizes,
    widths: Sequence[int],
    kernel: Kernel,
    seed: int = 0,
    scale: float = 1.0,
    spectators: float = 0.0,
) -> LayeredState:
    """Initial state by name (one of `NAMES`) from a seed.

    Args:
        name: gaussian takes any kernel between samples; the others are for scalar blocks of equal classes.
        sizes: C, m, and n = n_L.
        widths: n_1 .. n_L.
        kernel: K0.
        seed: seed of the random numbers.
        scale: scale of every layer.
        spectators: for aligned only.

    Raises:
        InputError: unknown name, widths that do not end in n or are too narrow, no scalar blocks where they are
            needed, or a scale that is not positive.
    """
    checks.choice("init", name, NAMES)
    checks.whole("seed", seed, 0)
    checks.positive("scale", scale, "give a scale > 0")
    widths = checked_widths(widths, sizes.n)
    if spectators and name != "aligned":
        raise InputError(
            "spectators", spectators, f"have no meaning for init {name}", "drop it, or use aligned"
        )
    rng = np.random.default_rng(seed)
    if name == "gaussian":
        return gaussian(sizes, widths, kernel, rng, scale)
    if not isinstance(kernel, BlockKernel) or not sizes.balanced:
        raise InputError("init", repr(name), "is for scalar blocks of equal classes only", "use gaussian")
    if name == "aligned":
        return aligned(sizes, widths, kernel, rng, scale, spectators)
    return balanced(name, sizes, widths, kernel, seed, scale)


def of_features(state: State) -> LayeredState:
    """The state of one layer, L = 1."""
    return LayeredState(state.H, (), state.W, state.b)


def checked_widths(widths: Sequence[int], n: int) -> tuple[int, ...]:
    """n_1 .. n_L as whole numbers, the last of which is n."""
    found = tuple(
        checks.whole(f"widths[{l}]", width, 1, "a layer needs features") for l, width in enumerate(widths, 1)
    )
    if not found or found[-1] != n:
        rule = f"must end in n = {n}, the features of the last layer" if found else "must not be empty"
        raise InputError("widths", list(found), rule, "give n_1 .. n_L")
    return found


def _refuse_narrow(widths: Sequence[int], rank: int, sizes: Sizes) -> None:
    for l, n in enumerate(widths, 1):
        if n < rank:
            rule = f"is too narrow for {rank} directions of C = {sizes.C} classes in one frame"
            raise InputError(f"widths[{l}]", n, rule, f"give at least {rank}, or use gaussian")

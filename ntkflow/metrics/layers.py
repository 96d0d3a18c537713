"""The kernel of L linear layers at one state: constants, off-neuron part, block residual, alignment (theory 18.2).

Theta^h = sum_l (B_l B_l^T) (x) H[l-1]^T H[l-1], H[0] = X, B_l = V_L .. V_{l+1}. Everything is a trace of C + r columns, the class
means and the within-class factor, or of all N samples where K0 has no blocks; no N n x N n matrix is formed.
"""

from dataclasses import dataclass

import numpy as np

from ntkflow._types import Floats, Vector
from ntkflow.dynamics.layers import LayeredFlow, Parts
from ntkflow.problem.kernels.block import BlockKernel
from ntkflow.problem.sizes import Sizes


@dataclass(frozen=True)
class KernelOfLayers:
    """Block constants of a sum over layers of sample kernels, and how far it is from blocks.

    Attributes:
        mu_single, mu_class, mu_global: its means within classes, over class contrasts and along the constant vector.
        kappas: kappa_d, kappa_c, kappa_n of the block kernel with these, means over pairs of samples.
        alignment: cosine of the centred kernel with the centred Y^T Y; NaN for a kernel that is zero there.
        block_residual: |K - K_block|_F / |K|_F.
    """

    mu_single: float
    mu_class: float
    mu_global: float
    kappas: tuple[float, float, float]
    alignment: float
    block_residual: float


@dataclass(frozen=True)
class KernelsOfLayers:
    """The kernels at one state.

    Attributes:
        mean: the mean over neurons of the features' kernel, w_l = |B_l|^2/n_L.
        weighted: W-weighted, w_l = |U_l|^2/|W|^2: the one whose rates hold near collapse.
        outputs: the mean over outputs of the whole NTK, gamma, w_l = |U_l|^2/C and the last layer's part.
        off_neuron: share of |Theta^h|_F that is not identity over neurons; 0 for L = 1.
        of_layers: the Gram matrix of each layer's features, H[l]^T H[l], l = 1 .. L.
    """

    mean: KernelOfLayers
    weighted: KernelOfLayers
    outputs: KernelOfLayers
    off_neuron: float
    of_layers: tuple[KernelOfLayers, ...]


@dataclass(frozen=True, eq=False)
class _Basis:
    """Sample space in an orthonormal basis: class indicators first, then deviations; `rest` more where only K0 acts."""

    sizes: Sizes
    K0: Floats
    rest: int
    rest_value: float


def kernels(flow: LayeredFlow, y: Vector) -> KernelsOfLayers | None:
    """The kernels at a packed state; None for classes of unequal size, which have no three constants."""
    sizes = flow.problem.sizes
    if not sizes.balanced:
        return None
    p = flow.unpack(y)
    basis, columns = _columns(flow, p)
    common = np.zeros_like(basis.K0)
    common[: sizes.C, : sizes.C] = sizes.per_class
    grams = [basis.K0, *(A.T @ A for A in columns)]
    # A layer's biases add the constant kernel to what is below the layer.
    below = [G + common if p.c else G for G in grams]
    products = _products(p)
    n, U = p.W.shape[1], [*p.below, np.eye(sizes.C)]
    squares = [float(np.sum(u**2)) for u in U]
    of_neurons = [float(np.trace(B)) / n for B in products]
    whole = squares[-2] or 1.0
    gammas = [s / sizes.C for s in squares]
    return KernelsOfLayers(
        mean=_constants(basis, below[:-1], of_neurons),
        weighted=_constants(basis, below[:-1], [s / whole for s in squares[:-1]]),
        outputs=_constants(basis, [*below[:-1], grams[-1] + common], gammas),
        off_neuron=_off_neuron(basis, below[:-1], products, of_neurons),
        of_layers=tuple(_constants(basis, [basis.K0, G], [0.0, 1.0]) for G in grams[1:]),
    )


def _columns(flow: LayeredFlow, p: Parts) -> tuple[_Basis, list[Floats]]:
    """The basis, and H[1] .. H[L] in it."""
    problem, sizes = flow.problem, flow.problem.sizes
    blocks, layers = problem.equal_blocks, p.columns(flow.mask)
    if flow.frame is not None and blocks is not None:
        mu, r = blocks.eigenvalues(sizes), len(flow.mask) - sizes.C
        K0 = mu.mu_single * np.eye(sizes.C + r)
        K0[: sizes.C, : sizes.C] = blocks.class_kernel(sizes)
        root = np.sqrt(flow.weights)
        return _Basis(sizes, K0, sizes.N - sizes.C - r, mu.mu_single), [H * root for H in layers]
    B = _indicators_first(sizes)
    K0 = np.asarray(problem.kernel.apply(np.eye(sizes.N), Sizes(sizes.C, sizes.m, sizes.N)))
    return _Basis(sizes, B.T @ K0 @ B, 0, 0.0), [flow.samples(H) @ B for H in layers]


def _indicators_first(sizes: Sizes) -> Floats:
    m = sizes.per_class
    indicator = np.full((m, 1), 1 / np.sqrt(m))
    within = np.linalg.qr(np.concatenate([indicator, np.eye(m)[:, 1:]], axis=1))[0][:, 1:]
    eye = np.eye(sizes.C)
    result: Floats = np.concatenate([np.kron(eye, indicator), np.kron(eye, within)], axis=1)
    return result


def _products(p: Parts) -> list[Floats]:
    """B_l B_l^T, l = 1 .. L, n_L x n_L."""
    B: Floats = np.eye(p.W.shape[1])
    found: list[Floats] = [B]
    for layer in reversed(p.V):
        B = B @ layer
        found.append(B @ B.T)
    return found[::-1]


def _constants(basis: _Basis, grams: list[Floats], weights: list[float]) -> KernelOfLayers:
    sizes, C = basis.sizes, basis.sizes.C
    K = sum((w * G for w, G in zip(weights, grams, strict=True)), np.zeros_like(basis.K0))
    rest = weights[0] * basis.rest_value
    classes, within = K[:C, :C], K[C:, C:]
    common = float(classes.sum()) / C
    contrast = (float(np.trace(classes)) - common) / (C - 1)
    deviations = sizes.N - C
    single = (float(np.trace(within)) + basis.rest * rest) / deviations if deviations else 0.0
    kernel = BlockKernel.of_eigenvalues(sizes, max(single, 0.0), contrast, common)
    J = np.full((C, C), 1 / C)
    block = np.diag(np.full(len(K), single))
    block[:C, :C] = contrast * (np.eye(C) - J) + common * J
    off = float(np.sum((K - block) ** 2)) + basis.rest * (rest - single) ** 2
    size = float(np.sum(K**2)) + basis.rest * rest**2
    return KernelOfLayers(
        single, contrast, common, kernel.kappas, _alignment(K, C, basis.rest * rest**2),
        float(np.sqrt(off / size)) if size else 0.0,
    )  # fmt: skip


def _alignment(K: Floats, C: int, rest: float) -> float:
    """<K, Y^T Y> over the norms, both centred by the constant vector, which is 1/sqrt(C) on the class indicators."""
    one = np.zeros(len(K))
    one[:C] = 1 / np.sqrt(C)
    K = K - np.outer(one, one @ K)
    K = K - np.outer(K @ one, one)
    size = float(np.sqrt(np.sum(K**2) + rest))
    return float(np.trace(K[:C, :C])) / (size * np.sqrt(C - 1)) if size else float("nan")


def _off_neuron(basis: _Basis, grams: list[Floats], products: list[Floats], weights: list[float]) -> float:
    """|Theta^h - I (x) mean|_F / |Theta^h|_F from traces of pairs of layers."""
    n = len(products[0])
    off = [B - w * np.eye(n) for B, w in zip(products, weights, strict=True)]
    total, apart = 0.0, 0.0
    for i, G in enumerate(grams):
        for j, F in enumerate(grams):
            inner = float(np.sum(G * F)) + (basis.rest * basis.rest_value**2 if i == j == 0 else 0.0)
            total += inner * float(np.sum(products[i] * products[j]))
            apart += inner * float(np.sum(off[i] * off[j]))
    return float(np.sqrt(max(apart, 0.0) / total)) if total > 0 else 0.0

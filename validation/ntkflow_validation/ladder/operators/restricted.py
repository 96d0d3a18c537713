"""Smaller descriptions of the measured class kernels: averages, restrictions to the row space of W, truncations.

The dynamics only ever apply the operator to G = W^T R, whose columns lie in the row space of W, of dimension
r <= C: entries of T and D outside it matter only for what leaves that space. Each function here takes the
measured (T, D) to another pair and so to a rung; all keep the operator symmetric and positive semidefinite.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float64

from ntkflow._types import Weights
from ntkflow.problem.sizes import Sizes
from ntkflow_validation.kernels.methods.class_kernels import ClassKernels, ClassTensor
from ntkflow_validation.ladder.operators.base import ClassOperator

Basis = Float64[np.ndarray, "r n"]


def row_basis(W: Weights) -> Basis:
    """Orthonormal basis of the row space of W, one vector a row; the whole space where it has no directions."""
    _, s, Vt = np.linalg.svd(W, full_matrices=False)
    # W comes from float32 networks.
    kept = Vt[s > 1e-6 * max(float(s[0]), 1e-300)]
    return kept if len(kept) else np.eye(W.shape[1])


def weighted_rows(W: Weights) -> Basis:
    """Rows of W of the length at which a mean over them weights directions by W^T W/|W|^2; a basis where W is zero."""
    size = float(np.linalg.norm(W))
    found: np.ndarray = W * (np.sqrt(len(W)) / size) if size > 0 else np.eye(W.shape[1])
    return found


def mean_over(found: ClassKernels, U: Basis) -> tuple[Float64[np.ndarray, "C C"], Float64[np.ndarray, " C"]]:
    """T and D averaged over the directions U: one number for a pair of classes, one within each class."""
    T = np.einsum("kp,pcqd,kq->cd", U, found.T, U, optimize=True) / len(U)
    return (T + T.T) / 2, np.einsum("kp,cpq,kq->c", U, found.D, U, optimize=True) / len(U)


def scalar_classes(found: ClassKernels, U: Basis) -> ClassOperator:
    """Class-dependent constants, the same in every direction: the means over the directions U."""
    B, mu = mean_over(found, U)
    return ClassOperator(isotropic(B, found.sizes), mu, found.sizes)


def scalar_blocks(found: ClassKernels, U: Basis) -> ClassOperator:
    """Three constants: the means over the directions U and over classes and pairs of classes."""
    B, mu = mean_over(found, U)
    # A mean gradient of m_c samples holds 1/m_c of their covariance, by which classes of different sizes differ.
    own, masses = mu.mean(), found.sizes.masses
    shared = symmetrised(B - np.diag(mu / masses)) + np.diag(own / masses)
    return ClassOperator(isotropic(shared, found.sizes), np.full(len(mu), own), found.sizes)


def matrix_blocks(found: ClassKernels, U: Basis | None = None) -> ClassOperator:
    """Three matrices between features, the same for every class; with U between the directions U only."""
    C, masses, within = found.sizes.C, found.sizes.masses, found.D.mean(axis=0)
    eye = np.eye(C)
    # As in `scalar_blocks`: without what the covariance adds, which differs with the sizes of classes.
    bare = np.einsum("pcqc->pq", found.T) / C - np.einsum("cpq,c->pq", found.D, 1 / masses) / C
    other = (np.einsum("pcqd->pq", found.T) - np.einsum("pcqc->pq", found.T)) / (C * (C - 1))
    T = np.einsum("pq,cd->pcqd", bare, eye) + np.einsum("pq,cd->pcqd", within, eye / masses)
    T += np.einsum("pq,cd->pcqd", other, 1 - eye)
    D = np.repeat(within[None], C, axis=0)
    return within_directions(ClassOperator(T, D, found.sizes), U)


def class_matrices(found: ClassKernels, U: Basis | None = None) -> ClassOperator:
    """All of T and D; with U between the directions U only."""
    return within_directions(ClassOperator(found.T, found.D, found.sizes), U)


def independent_neurons(found: ClassKernels) -> ClassOperator:
    """Own constants of every neuron for classes and pairs of them; nothing between different neurons."""
    eye = np.eye(found.sizes.n)
    return ClassOperator(found.T * eye[:, None, :, None], found.D * eye, found.sizes)


def within_directions(operator: ClassOperator, U: Basis | None) -> ClassOperator:
    """Pi Op Pi with the projector Pi on the directions U: what leaves them is taken to stand still."""
    if U is None:
        return operator
    projector = U.T @ U
    T = np.einsum("pa,acqd->pcqd", projector, operator.T, optimize=True)
    T = np.einsum("pcbd,bq->pcqd", T, projector, optimize=True)
    return ClassOperator(T, projector @ operator.D @ projector, operator.sizes)


def product(found: ClassKernels, U: Basis) -> ClassOperator:
    """T = B (x) A between the directions U, the nearest product; within classes the mean of D over U."""
    r, C = len(U), found.sizes.C
    T = np.einsum("kp,pcqd,lq->kcld", U, found.T, U, optimize=True)
    # The nearest Kronecker product is the leading singular pair of the rearranged tensor (Van Loan).
    left, s, right = np.linalg.svd(T.transpose(0, 2, 1, 3).reshape(r * r, C * C), full_matrices=False)
    A, B = left[:, 0].reshape(r, r), right[0].reshape(C, C)
    sign = np.sign(np.trace(A)) or 1.0
    A = sign * U.T @ ((A + A.T) / 2) @ U
    T = s[0] * np.einsum("pq,cd->pcqd", A, sign * (B + B.T) / 2)
    return ClassOperator(T, np.full(C, mean_over(found, U)[1].mean()), found.sizes)


def leading_modes(found: ClassKernels, k: int, U: Basis) -> ClassOperator:
    """The k leading eigenvectors of T between the directions U; within classes the mean of D over U."""
    n, C = found.sizes.n, found.sizes.C
    T = within_directions(ClassOperator(found.T, found.D, found.sizes), U).T.reshape(n * C, n * C)
    values, vectors = np.linalg.eigh((T + T.T) / 2)
    V = vectors[:, -k:] * np.sqrt(np.maximum(values[-k:], 0.0))
    return ClassOperator(
        (V @ V.T).reshape(n, C, n, C), np.full(C, mean_over(found, U)[1].mean()), found.sizes
    )


def krylov(
    Z: Float64[np.ndarray, "nC k"], images: Float64[np.ndarray, "nC k"], rest: ClassOperator
) -> ClassOperator:
    """Exact on some directions of class sums, another operator on all others.

    With the images T Z, which are all that is stored, and the other operator's T0,
        T Z (Z^T T Z)^{-1} (T Z)^T + P T0 P,   P = I - Z Z^T,
    is symmetric, positive semidefinite and maps Z to T Z. Within classes it is the other operator.

    Args:
        Z: orthonormal directions.
        images: T Z.
        rest: what holds elsewhere.
    """
    n, C = rest.sizes.n, rest.sizes.C
    values, vectors = np.linalg.eigh(Z.T @ images)
    good = values > 1e-7 * values.max(initial=0.0)
    inverse = (vectors[:, good] / values[good]) @ vectors[:, good].T
    P = np.eye(n * C) - Z @ Z.T
    shared = images @ inverse @ images.T + P @ rest.T.reshape(n * C, n * C) @ P
    return ClassOperator(((shared + shared.T) / 2).reshape(n, C, n, C), rest.D, rest.sizes)


def explored(
    act: Callable[[Float64[np.ndarray, "n C"]], Float64[np.ndarray, "n C"]],
    sums: Float64[np.ndarray, "n C"],
    k: int,
) -> tuple[Float64[np.ndarray, "nC k"], Float64[np.ndarray, "nC k"]]:
    """Orthonormal basis of the Krylov space span(g, T g, .., T^(k-1) g), and T of it; fewer where it is smaller.

    Args:
        act: T.
        sums: g, the class sums of G = W^T R at the start.
        k: directions.
    """
    vector = sums.reshape(-1)
    size = float(np.linalg.norm(vector))
    Z, images = np.empty((len(vector), 0)), np.empty((len(vector), 0))
    while Z.shape[1] < k and size > 0:
        fresh = vector / size
        for _ in range(2):
            fresh = fresh - Z @ (Z.T @ fresh)
        left = float(np.linalg.norm(fresh))
        # What is left of a unit vector at this size is float32 noise of the measured T.
        if left < 1e-5:
            break
        Z = np.column_stack([Z, fresh / left])
        vector = act(Z[:, -1].reshape(sums.shape)).reshape(-1)
        images = np.column_stack([images, vector])
        size = float(np.linalg.norm(vector))
    return Z, images


def quotients(values: dict[str, float], sizes: Sizes) -> ClassOperator:
    """Three eigenvalues: within classes, class contrasts, global mean; from Rayleigh quotients on the residual.

    Args:
        values: `within`, `contrast`, `mean`; a component that is not there (NaN) takes its neighbour's value.
        sizes: of the samples.
    """
    within, contrast, mean = (values[name] for name in ("within", "contrast", "mean"))
    known = [v for v in (within, contrast, mean) if np.isfinite(v)]
    within, contrast, mean = (v if np.isfinite(v) else min(known) for v in (within, contrast, mean))
    # On class sums the projector on class means is diag(1/m_c), and that on the mean of all samples 1/N everywhere.
    B = contrast * np.diag(1 / sizes.masses) + (mean - contrast) / sizes.N
    return ClassOperator(isotropic(B, sizes), np.full(sizes.C, within), sizes)


def isotropic(B: Float64[np.ndarray, "C C"], sizes: Sizes) -> ClassTensor:
    """B (x) I: the same in every direction of feature space."""
    found: np.ndarray = np.einsum("cd,pq->pcqd", B, np.eye(sizes.n))
    return found


def symmetrised(B: Float64[np.ndarray, "C C"]) -> Float64[np.ndarray, "C C"]:
    """One value for a class with itself, one for two classes."""
    C = len(B)
    own = np.trace(B) / C
    other = (B.sum() - C * own) / (C * (C - 1))
    found: np.ndarray = (own - other) * np.eye(C) + other
    return found

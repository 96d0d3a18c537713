"""Kernels of layers from the factors of their gradients, without the gradients."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float64

Inputs = Float[np.ndarray, "N T K"]
Gradients = Float[np.ndarray, "N k T M"]
# Entries of the product of two factors that are held at once.
BLOCK = 2**22


class Factors(NamedTuple):
    """A Jacobian of k directions on N samples in parts.

    Attributes:
        plain: rows of the parameters that are no layer's weights, (N, k, Q).
        inputs: of every layer, (N, T, K).
        gradients: by every layer's outputs, (N, k, T, M); the Jacobian's row is inputs^T gradients.
    """

    plain: Float[np.ndarray, "N k Q"]
    inputs: list[Inputs]
    gradients: list[Gradients]


def layer_kernels(
    a: Inputs, d: Gradients, others: tuple[np.ndarray, np.ndarray] | None = None
) -> Float64[np.ndarray, "k N O"]:
    """<a_i^T d_qi, a_j^T d_qj> of every direction q and pair of samples; j among `others` where these are given."""
    a2, d2 = (a, d) if others is None else others
    (N, T, K), M = a.shape, len(a2)
    found = np.empty((d.shape[1], N, M))
    flat, step = a2.reshape(M * T, K), max(1, BLOCK // (M * T * T))
    for i in range(0, N, step):
        rows = slice(i, min(N, i + step))
        inputs = a[rows].reshape(-1, K) @ flat.T
        for q in range(d.shape[1]):
            own = np.ascontiguousarray(d[rows, q]).reshape(-1, d.shape[3])
            part = own @ np.ascontiguousarray(d2[:, q]).reshape(M * T, -1).T
            part *= inputs
            found[q, rows] = part.reshape(-1, T, M, T).sum(axis=(1, 3), dtype=np.float64)
    return found


def layer_deviations(a: Inputs, d: Gradients, counts: np.ndarray) -> Float64[np.ndarray, "k N"]:
    """|a_i^T d_qi - mean over its class|^2 with all its digits; samples sorted by class.

    With A the class mean of a and D of d, a_i^T d_i - A^T D = A^T (d_i - D) + (a_i - A)^T d_i: again products of
    factors, of twice the positions, and as small as what is asked for.
    """
    found = np.empty((d.shape[1], len(a)))
    for start, m in zip(np.cumsum(counts) - counts, counts, strict=True):
        own, gradients = a[start : start + m], d[start : start + m]
        A, D = own.mean(axis=0), gradients.mean(axis=0)
        inputs = np.concatenate([np.broadcast_to(A, own.shape), own - A], axis=1)
        moved = np.concatenate([gradients - D, gradients], axis=2)
        K = layer_kernels(inputs, moved)
        to_mean = K.mean(axis=2)
        found[:, start : start + m] = (
            np.einsum("qii->qi", K) - 2 * to_mean + to_mean.mean(axis=1, keepdims=True)
        )
    return np.maximum(found, 0.0)


def layer_tensor(
    a: Inputs, d: Gradients, others: tuple[np.ndarray, np.ndarray] | None = None
) -> Float64[np.ndarray, "r s"]:
    """<a_i^T d_pi, a_j^T d_qj> of all pairs of samples and directions, rows (i, p), r = N k; j among `others`."""
    a2, d2 = (a, d) if others is None else others
    (N, k, T, _), M = d.shape, len(a2)
    found, flat, to = np.empty((N * k, M * k)), a.reshape(N * T, -1), a2.reshape(M * T, -1)
    every, each = d.reshape(N * k * T, -1), d2.reshape(M * k * T, -1)
    step = max(1, BLOCK // (k * T * M * k * T))
    for i in range(0, N, step):
        stop = min(N, i + step)
        inputs = (flat[i * T : stop * T] @ to.T).reshape(stop - i, 1, T, M, 1, T)
        part = (every[i * k * T : stop * k * T] @ each.T).reshape(stop - i, k, T, M, k, T)
        found[i * k : stop * k] = (
            (part * inputs).sum(axis=(2, 5), dtype=np.float64).reshape((stop - i) * k, M * k)
        )
    return found

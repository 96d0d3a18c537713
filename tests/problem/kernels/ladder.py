"""One example of every rung on given sizes, and its operator written out as an nN x nN matrix with kron."""

import numpy as np

import ntkflow as nf
from ntkflow.problem import kernels

NAMES = ("block", "class-block", "sample", "kronecker", "matrix-block", "tensor")
BALANCED_ONLY = ("matrix-block",)


def spd(size, rng):
    """A random symmetric matrix with eigenvalues from 0.3 to about 2."""
    A = rng.standard_normal((size, size)) / np.sqrt(size)
    return 0.3 * np.eye(size) + A @ A.T / 2


def make(name, sizes, seed=0):
    """A generic kernel of the rung."""
    rng = np.random.default_rng(seed)
    if name == "block":
        return nf.BlockKernel(1.3, 0.5, 0.1)
    if name == "class-block":
        B = spd(sizes.C, rng)
        return kernels.ClassBlockKernel(np.diag(B) + rng.uniform(0.2, 1.0, sizes.C), B)
    if name == "sample":
        return kernels.SampleKernel(spd(sizes.N, rng))
    if name == "kronecker":
        return kernels.KroneckerKernel(make("class-block", sizes, seed), spd(sizes.n, rng))
    if name == "matrix-block":
        return kernels.MatrixBlockKernel(*(spd(sizes.n, rng) for _ in range(3)))
    return kernels.TensorKernel(spd(sizes.n * sizes.N, rng))


def dense(kernel, sizes):
    """The operator on H.ravel(), built from the constants of the kernel alone."""
    Y = np.eye(sizes.C)[:, sizes.labels]
    In, IN, ones = np.eye(sizes.n), np.eye(sizes.N), np.ones((sizes.N, sizes.N))
    if kernel.rung == "block":
        kd, kc, kn = kernel.kappa_d, kernel.kappa_c, kernel.kappa_n
        return np.kron(In, (kd - kc) * IN + (kc - kn) * Y.T @ Y + kn * ones)
    if kernel.rung == "class-block":
        K = Y.T @ kernel.B @ Y
        K[np.diag_indices(sizes.N)] = kernel.kappa_d[sizes.labels]
        return np.kron(In, K)
    if kernel.rung == "sample":
        return np.kron(In, kernel.K)
    if kernel.rung == "kronecker":
        return np.kron(kernel.A, dense(kernel.K, nf.Sizes(sizes.C, sizes.m, 1)))
    if kernel.rung == "matrix-block":
        return np.kron(kernel.A_d, IN) + np.kron(kernel.A_c, Y.T @ Y) + np.kron(kernel.A_n, ones)
    return kernel.Theta

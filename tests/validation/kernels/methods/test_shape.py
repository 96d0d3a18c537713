"""Departures from three constants of kernels in which each is planted, against the definitions as they stand."""

import numpy as np
import pytest
from ntkflow_validation.kernels.methods.shape import (
    KernelShape,
    anisotropy,
    drift,
    leak,
    spread_of_contrasts,
)

from ntkflow.problem.kernels import BlockKernel
from ntkflow.problem.sizes import Sizes

SIZES = Sizes(C=4, m=3, n=2)
RNG = np.random.default_rng(0)


def any_kernel(N=SIZES.N):
    A = RNG.normal(size=(N, N + 2))
    return A @ A.T


def class_means(K, sizes=SIZES):
    return sizes.Y @ K @ sizes.Y.T / np.outer(sizes.masses, sizes.masses)


def test_a_block_kernel_departs_in_nothing():
    K = BlockKernel(2.0, 0.7, 0.3).matrix(SIZES)
    assert spread_of_contrasts(class_means(K), SIZES.masses) == pytest.approx(0, abs=1e-12)
    assert leak(K, SIZES.labels) == pytest.approx(0, abs=1e-12)


def test_they_are_the_definitions():
    K, m, C = any_kernel(), SIZES.per_class, SIZES.C
    P, Y = np.eye(C) - 1 / C, SIZES.Y
    inside = P @ Y @ K @ Y.T @ P / m
    values = np.linalg.eigvalsh(inside)[1:]
    assert spread_of_contrasts(class_means(K), SIZES.masses) == pytest.approx(values.std() / values.mean())
    outside = P @ Y @ K @ (np.eye(SIZES.N) - Y.T @ Y / m)
    expected = np.linalg.norm(outside) / np.sqrt(m) / np.linalg.norm(inside)
    assert leak(K, SIZES.labels) == pytest.approx(expected)


def test_the_order_of_samples_does_not_matter():
    K, order = any_kernel(), RNG.permutation(SIZES.N)
    assert leak(K[np.ix_(order, order)], SIZES.labels[order]) == pytest.approx(leak(K, SIZES.labels))


def test_classes_that_differ_in_size_have_a_cv_of_their_normalised_indicators():
    sizes = Sizes(C=3, m=(2, 3, 5), n=2)
    K = any_kernel(sizes.N)
    Y = sizes.Y / np.sqrt(sizes.masses)[:, None]
    Q = np.eye(sizes.N) - 1 / sizes.N
    # Eigenvalues of Q K Q on the span of centred indicators; the last is that of the constant vector, 0.
    frame = np.linalg.svd(Y @ Q, full_matrices=False)[2][:2]
    values = np.linalg.eigvalsh(frame @ K @ frame.T)
    assert spread_of_contrasts(class_means(K, sizes), sizes.masses) == pytest.approx(
        values.std() / values.mean()
    )


def test_neurons_that_are_not_alike():
    K, A = any_kernel(4), np.diag([1.0, 2.0, 3.0])
    A[0, 1] = A[1, 0] = 0.5
    theta = np.kron(A, K)
    mean = np.trace(A) / 3 * K
    expected = np.linalg.norm(theta - np.kron(np.eye(3), mean)) / np.linalg.norm(theta)
    assert anisotropy(np.sum(mean**2), np.sum(theta**2), 3) == pytest.approx(expected)
    assert anisotropy(np.sum(K**2), np.sum(np.kron(np.eye(3), K) ** 2), 3) == pytest.approx(0, abs=1e-7)


def test_drift_and_what_is_foretold():
    K = any_kernel()
    assert drift(K, 1.5 * K) == pytest.approx(0.5)
    assert drift(0 * K, K) is None
    told = KernelShape(cv=0.5, leak=1.0, iso=0.1).foretold
    assert told["small start"] == pytest.approx(0.31 * 0.25 + 0.19 + 0.0087)
    assert told["lazy"] == pytest.approx(0.74 * 0.25 + 1.4 + 0.031)
    assert KernelShape(leak=1.0).foretold == {}

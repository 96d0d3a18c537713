import numpy as np
import pytest
from ntkflow_validation.ladder.operators.base import KernelOperator
from ntkflow_validation.ladder.operators.subspace import corrected, residual_krylov, sample_basis
from ntkflow_validation.ladder.trajectories.chebyshev import flow

import ntkflow as nf

SIZES = nf.Sizes(C=3, m=4, n=5)
J = np.random.default_rng(0).normal(size=(60, 70))
TRUTH = KernelOperator(nf.TensorKernel(J @ J.T / 70), SIZES)
REST = KernelOperator(nf.BlockKernel(0.9, 0.2, 0.1), SIZES)
STATE = nf.initial.make("gaussian", SIZES, nf.BlockKernel(1.0, 0.5, 0.1), seed=0)


def found(blocks):
    return residual_krylov(TRUTH.act, STATE, SIZES, blocks)


def matrix(operator):
    return np.stack([operator.act(G).reshape(-1) for G in np.eye(60).reshape(60, 5, 12)], axis=1)


def test_it_is_exact_on_its_directions_and_positive():
    Z, images = found(2)
    operator = corrected(
        np.concatenate([Z, Z[:1] + Z[1:2]]), np.concatenate([images, images[:1] + images[1:2]]), REST
    )
    for z, image in zip(Z, images, strict=True):
        np.testing.assert_allclose(operator.act(z), image, atol=1e-9)
    dense = matrix(operator)
    np.testing.assert_allclose(dense, dense.T, atol=1e-9)
    assert np.linalg.eigvalsh(dense)[0] > -1e-9


def test_without_directions_the_rest_is_left_and_with_all_of_them_nothing_of_it():
    none = corrected(np.zeros((1, 5, 12)), np.zeros((1, 5, 12)), REST)
    np.testing.assert_allclose(matrix(none), matrix(REST), atol=1e-12)
    basis = np.eye(60).reshape(60, 5, 12)
    everything = corrected(basis, np.stack([TRUTH.act(z) for z in basis]), REST)
    np.testing.assert_allclose(matrix(everything), TRUTH.kernel.Theta, atol=1e-9)


def test_more_directions_predict_further():
    times = np.array([0.0, 0.05, 0.15])
    exact = flow(TRUTH, STATE, times)[-1].H

    def error(operator):
        return np.linalg.norm(flow(operator, STATE, times)[-1].H - exact) / np.linalg.norm(exact - STATE.H)

    errors = [error(REST), *(error(corrected(*found(blocks), REST)) for blocks in (1, 2, 4))]
    assert errors[3] < 0.9 * errors[2]
    assert errors[2] < 0.8 * errors[1]
    assert errors[1] < 0.6 * errors[0]


def test_what_is_known_is_not_applied_again():
    Z, images = found(2)

    def only_new(G, calls=[]):  # noqa: B006
        calls.append(G)
        assert len(calls) <= 3
        return TRUTH.act(G)

    again = residual_krylov(only_new, STATE, SIZES, 2, images[:3])
    np.testing.assert_allclose(again[0], Z)
    np.testing.assert_allclose(again[1], images)


def test_directions_come_from_the_residual_alone():
    Z, _ = found(1)
    R = STATE.logits - np.eye(3)[:, SIZES.labels]
    G = STATE.W.T @ R
    span = Z.reshape(3, -1)
    left = G.reshape(-1) - np.linalg.lstsq(span.T, G.reshape(-1), rcond=None)[0] @ span
    assert np.linalg.norm(left) < 1e-10 * np.linalg.norm(G)


def test_the_sample_vectors_hold_the_residual():
    V = sample_basis(STATE.logits - SIZES.Y, SIZES)
    np.testing.assert_allclose(V @ V.T, np.eye(len(V)), atol=1e-12)
    R = STATE.logits - np.eye(3)[:, SIZES.labels]
    np.testing.assert_allclose((R @ V.T) @ V, R, atol=1e-10)
    assert len(V) == 6
    perfect = nf.State(np.eye(5)[:, SIZES.labels], np.eye(5)[:3], np.zeros(3))
    assert len(sample_basis(perfect.logits - SIZES.Y, SIZES)) == 3
    assert np.abs(residual_krylov(TRUTH.act, perfect, SIZES, 2)[0]).max() == pytest.approx(0)

"""The floor of NC1 under decay: stationarity, the limit of a flow, blocks that collapse, and the law of the leak."""

import numpy as np
import pytest

from ntkflow.errors import InputError
from ntkflow.problem.kernels import BlockKernel
from ntkflow.problem.sizes import Sizes
from ntkflow.theory.decay_floor import collapse_floor, stationary_features

SIZES = Sizes(C=3, m=4, n=5)
RNG = np.random.default_rng(0)
W, b = RNG.normal(size=(3, 5)), RNG.normal(size=3)
A = RNG.normal(size=(SIZES.N, SIZES.N))
K = A @ A.T / SIZES.N + 0.5 * SIZES.Y.T @ SIZES.Y
DECAY = 0.3


def velocity(H):
    R = W @ H + b[:, None] - SIZES.Y
    return -W.T @ R @ K - DECAY * H


def test_nothing_moves_there():
    H = stationary_features(W, b, K, SIZES, DECAY)
    assert np.linalg.norm(velocity(H)) < 1e-12 * np.linalg.norm(W.T @ SIZES.Y @ K)


def test_every_start_comes_to_rest_there():
    H = RNG.normal(size=(5, SIZES.N))
    h = 0.9 / (np.linalg.norm(W, 2) ** 2 * np.linalg.norm(K, 2) + DECAY)
    # The slowest rate is the decay itself, of what no weight sees.
    for _ in range(int(40 / (DECAY * h))):
        H = H + h * velocity(H)
    np.testing.assert_allclose(H, stationary_features(W, b, K, SIZES, DECAY), atol=1e-10)


def test_block_kernels_collapse_whatever_the_weights_and_others_do_not():
    blocks = BlockKernel(2.0, 1.2, 0.3).matrix(SIZES)
    assert collapse_floor(W, b, blocks, SIZES, DECAY)["NC1_tirer"] < 1e-20
    assert collapse_floor(W, b, K, SIZES, DECAY)["NC1_tirer"] > 1e-2


def test_under_strong_decay_the_floor_is_the_square_of_the_leak():
    # W^T P, no bias: H -> W^T (Y - 1/C) K / decay.
    P = np.eye(3) - 1 / 3
    simplex = P @ np.eye(3, 5)
    centred = P @ SIZES.Y @ K
    inside = centred @ SIZES.Y.T / SIZES.m @ P
    outside = centred @ (np.eye(SIZES.N) - SIZES.Y.T @ SIZES.Y / SIZES.m)
    leak = np.linalg.norm(outside) / np.sqrt(SIZES.m) / np.linalg.norm(inside)
    found = collapse_floor(simplex, np.zeros(3), K, SIZES, 1e9)["NC1_tirer"]
    assert found == pytest.approx(leak**2, rel=1e-6)


def test_without_decay_there_is_no_rest():
    with pytest.raises(InputError, match="decay"):
        stationary_features(W, b, K, SIZES, 0.0)

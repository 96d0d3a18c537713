"""A Jacobian in parts is that Jacobian, however its samples and directions are cut."""

import numpy as np
import pytest
from ntkflow_validation.kernels import JaxBackend
from ntkflow_validation.kernels.backends import tiles
from ntkflow_validation.kernels.task import Task

from tests.validation.kernels.nets import NETS, inputs, parameters

LABELS = np.array([0, 0, 0, 1, 1, 2, 2])
# Of 7 samples and 3 directions: one tile, some that overlap at both ends, one longer than either.
CUTS = [(7, 3), (3, 2), (1, 1), (8, 4)]


@pytest.fixture(scope="module", params=NETS, ids=lambda net: net.__name__)
def task(request):
    net, x = request.param, inputs(LABELS)
    backend = JaxBackend(lambda p, constants, x: net(p, x), parameters(net)).check(x)
    return Task(backend, x, LABELS)


@pytest.mark.parametrize("cut", CUTS, ids=str)
def test_parts_are_the_jacobian(task, cut, monkeypatch):
    monkeypatch.setattr(tiles, "COLUMNS", 11)
    monkeypatch.setattr(task.backend, "tile", lambda x, k, limit: cut, raising=False)
    V, P = np.random.default_rng(0).normal(size=(3, task.backend.n)), task.backend.P
    rows = task.backend.rows(task.x, V).astype(float)
    size = np.abs(rows).max()
    for a, b in ((0, P), (2, P - 3)):
        np.testing.assert_allclose(task.jacobian(V, a, b), rows[:, :, a:b], atol=1e-6 * size)
    # The columns of a parameter come in some order: what is made of them is a product.
    K, widths = np.zeros((3, 7, 7)), np.zeros(3, int)
    for part in task.parts(V):
        for q, block in part:
            assert block.flags.c_contiguous
            K[q] += block.astype(float) @ block.T
            widths[q] += block.shape[1]
    np.testing.assert_allclose(K, np.einsum("ikp,jkp->kij", rows, rows), atol=1e-6 * size**2 * P)
    assert widths.tolist() == [P] * 3


def test_parts_of_combinations_are_combined_parts(task, monkeypatch):
    monkeypatch.setattr(tiles, "COLUMNS", 11)
    monkeypatch.setattr(task.backend, "tile", lambda x, k, limit: (3, 2), raising=False)
    rng = np.random.default_rng(1)
    V, mix = rng.normal(size=(3, task.backend.n)), rng.normal(size=(5, 3)).astype(np.float32)
    rows = np.einsum("qk,ikp->iqp", mix, task.backend.rows(task.x, V).astype(float))
    for parts in (task.parts(V, mix), [tiles.blocks(task.jacobian(V, 0, task.backend.P), mix)]):
        K = np.zeros((5, 7, 7))
        for part in parts:
            for q, block in part:
                K[q] += block.astype(float) @ block.T
        np.testing.assert_allclose(K, np.einsum("iqp,jqp->qij", rows, rows), atol=1e-5 * np.abs(K).max())

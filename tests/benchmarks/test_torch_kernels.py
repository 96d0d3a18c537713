"""The benchmark of traced kernels compares like with like."""

import numpy as np
import pytest

from benchmarks.torch_kernels import by_torch, by_torch_func

pytest.importorskip("torch")
pytestmark = pytest.mark.filterwarnings("ignore::ntkflow_validation.normalisation.StatisticsWarning")


@pytest.mark.slow
def test_both_give_the_same_kernel(monkeypatch):
    monkeypatch.setattr("benchmarks.torch_kernels.SIZE", 8)
    settings = {"images": 3, "memory": "512MiB", "head": False}
    (theirs, count), (ours, same) = by_torch_func(settings), by_torch(settings)
    assert count == same
    expected = theirs()
    np.testing.assert_allclose(ours(), expected, atol=1e-4 * np.abs(expected).max())

"""Kernels summed on the way back: by several threads as by one, and without channels that no direction reaches."""

import threading

import numpy as np
import pytest
from ntkflow_validation.kernels.backends.layers import Layer

torch = pytest.importorskip("torch")
nn = torch.nn
X = np.random.default_rng(0).normal(size=(6, 2, 5, 5)).astype(np.float32)
COUNTS = np.array([2, 4])


@pytest.fixture
def found(monkeypatch):
    """A body whose features are means of the last layer's channels, all of whose gradients are written out."""
    from ntkflow_validation.kernels.backends.pytorch.backend import TorchBackend

    monkeypatch.setattr(Layer, "wins", property(lambda _: False))
    torch.manual_seed(0)
    body = nn.Sequential(
        nn.Conv2d(2, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 8, 3, padding=1), nn.ReLU()
    )
    return TorchBackend(nn.Sequential(body, nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval(), X)


@pytest.fixture
def three():
    """PyTorch with three threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("three")
@pytest.mark.parametrize("directions", [1, 2, 7, 8])
def test_threads_of_their_own_give_the_same_numbers(found, directions, monkeypatch):
    from ntkflow_validation.kernels.backends.pytorch import contracting

    V = np.random.default_rng(1).normal(size=(8, 8))[:directions]
    one = found.contracted(X, V, COUNTS, 2**20)
    seen, end = set(), contracting._Sums.end

    def ended(sums):
        assert torch.get_num_threads() == (1 if directions > 1 else 3)
        seen.add((threading.get_ident(), id(sums)))
        return end(sums)

    monkeypatch.setattr(contracting._Sums, "end", ended)
    monkeypatch.setattr(contracting, "APART", 0)
    several = found.contracted(X, V, COUNTS, 2**20)
    assert len({thread for thread, _ in seen}) == len(seen) <= min(3, directions)
    assert (threading.get_ident() in {thread for thread, _ in seen}) == (directions == 1)
    assert torch.get_num_threads() == 3
    for a, b in zip(one, several, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7 * np.abs(a).max())


@pytest.mark.usefixtures("three")
def test_a_pass_that_fails_says_so_and_leaves_threads_as_they_were(found, monkeypatch):
    from ntkflow_validation.kernels.backends.pytorch import contracting

    def failing(_):
        raise MemoryError("too much")

    monkeypatch.setattr(contracting, "APART", 0)
    monkeypatch.setattr(contracting._Sums, "end", failing)
    with pytest.raises(MemoryError):
        found.contracted(X, np.eye(8), None, 2**20)
    assert torch.get_num_threads() == 3


@pytest.mark.usefixtures("three")
def test_passes_are_as_many_as_threads_and_fit(monkeypatch):
    from ntkflow_validation.kernels.backends.pytorch import contracting

    monkeypatch.setattr(contracting, "APART", 0)
    for count, size, most in (
        (64, 2**21, 16),
        (10, 2**22, 4),
        (5, 2**30, 9),
        (3, 1, 1),
        (1, 1, 16),
        (64, 1, 2),
    ):
        passes, workers = contracting._shared(torch.ones(count, 4), size, most)
        lengths = [len(chosen) for chosen in passes]
        assert sum(lengths) == count
        assert 1 <= min(lengths) <= max(lengths) <= min(lengths) + 1
        assert workers * max(lengths) <= max(most, workers)
        assert max(lengths) * size <= max(contracting.PASS, size)
        assert workers <= min(3, most, count)
    monkeypatch.undo()
    # Too small to be worth a thread.
    assert contracting._shared(torch.ones(8, 4), 2**10, 16)[1] == 1


def test_channels_that_no_direction_reaches_are_left_out(found, monkeypatch):
    from ntkflow_validation.kernels.backends.pytorch import contracting, layers

    # To look for the layers asks for products as well.
    assert found._uses
    widths, products = [], layers.products

    def counted(a, d, diagonal, rows):
        if not diagonal:
            widths.append(d.shape[3])
        return products(a, d, diagonal, rows)

    monkeypatch.setattr(layers, "products", counted)
    few = found.contracted(X, np.eye(8), COUNTS, 2**20)
    assert widths.count(1) == 8
    assert {*widths} == {1, 6}
    widths.clear()
    monkeypatch.setattr(contracting, "FEW", 0)
    every = found.contracted(X, np.eye(8), COUNTS, 2**20)
    assert set(widths) == {6, 8}
    for a, b in zip(few, every, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6 * np.abs(b).max())


def test_a_channel_that_the_first_sample_does_not_reach_is_not_left_out():
    from ntkflow_validation.kernels.backends.pytorch.contracting import _reached

    by_outputs = torch.zeros(3, 1, 4, 8)
    by_outputs[0, 0, 1, 2] = by_outputs[2, 0, 3, 5] = 1.0
    assert [found.tolist() for found in _reached(by_outputs)] == [[2, 5]]
    by_outputs[1] = 1.0
    assert _reached(by_outputs) is None

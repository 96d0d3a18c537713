"""What counts as stale: beyond chance, and beyond what fresh running averages have."""

import warnings
from importlib.util import find_spec

import jax
import numpy as np
import pytest
from flax import linen, nnx
from ntkflow_validation.kernels import measure
from ntkflow_validation.normalisation import StatisticsWarning, lags, recalibrate
from ntkflow_validation.normalisation.lag import warn_if_stale

needs_torch = pytest.mark.skipif(find_spec("torch") is None, reason="torch is not installed")


class Net(nnx.Module):
    def __init__(self, channels=6, momentum=0.9):
        self.norm = nnx.BatchNorm(channels, momentum=momentum, rngs=nnx.Rngs(0))

    def __call__(self, x):
        return self.norm(x)


def drawn(samples, seed, channels=6):
    return (2 + 3 * np.random.default_rng(seed).normal(size=(samples, channels))).astype(np.float32)


def test_data_of_the_same_kind_are_not_stale_however_few_they_are():
    net = recalibrate(Net(), drawn(4000, 0))
    for samples in (8, 30, 512, 3000):
        found = [lags(net, drawn(samples, seed))[0] for seed in range(1, 9)]
        assert not any(lag.stale for lag in found)
        # The stated standard error is that of chance.
        assert np.mean([lag.mean for lag in found]) == pytest.approx(
            np.mean([lag.mean_error for lag in found]), rel=0.6
        )


def test_fresh_running_averages_of_small_batches_are_not_stale():
    net = Net()
    net.train()
    for seed in range(100):
        net(drawn(32, seed))
    assert not lags(net, drawn(3000, 1000))[0].stale


@pytest.mark.parametrize(("shift", "factor"), [(0.6, 1.0), (0.0, 1.25)])
def test_a_mean_or_a_scale_that_moved_is_stale(shift, factor):
    net = recalibrate(Net(), drawn(4000, 0))
    moved = 2 + shift * 3 + factor * (drawn(512, 1) - 2)
    (found,) = lags(net, moved)
    assert found.stale
    if shift:
        assert found.mean == pytest.approx(shift, rel=0.2)
    else:
        assert found.variance == pytest.approx(factor**2 - 1, rel=0.35)


@pytest.mark.parametrize("samples", [8, 12, 30, 512])
def test_data_that_vary_far_more_do_not_hide_behind_their_own_scatter(samples):
    net = recalibrate(Net(), drawn(4000, 0))
    for seed in range(1, 9):
        (found,) = lags(net, 10 * drawn(samples, seed) - 18)
        assert found.stale
        assert found.variance > 4 * found.variance_error


def test_rare_large_samples_are_no_stale_statistics():
    """As of features that are mostly zero: some draws of few have many more of them than the data."""

    def rare(samples, seed):
        rng = np.random.default_rng(seed)
        return ((rng.random((samples, 6)) < 0.05) * rng.normal(size=(samples, 6))).astype(np.float32)

    net = recalibrate(Net(), rare(20_000, 0))
    found = [lags(net, rare(64, seed))[0].stale for seed in range(1, 41)]
    assert not any(found)


def test_measuring_a_linen_network_warns_of_stale_statistics():
    class Body(linen.Module):
        @linen.compact
        def __call__(self, x):
            return linen.Dense(3)(linen.BatchNorm(use_running_average=True)(x))

    body, X, y = Body(), drawn(24, 0), np.repeat([0, 1], 12)
    variables = body.init(jax.random.key(0), X)
    with pytest.warns(
        StatisticsWarning, match=r"running statistics of 1 of 1 batch normalisations.*nf\.recalibrate"
    ):
        stale = measure(body.apply, variables, X, y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fresh = measure(body.apply, recalibrate(body, X, variables), X, y)
    assert stale.kappa_d.value != fresh.kappa_d.value


@needs_torch
def test_measuring_a_torch_network_warns_of_stale_statistics():
    import torch
    from ntkflow_validation.kernels.backends.pytorch.backend import TorchBackend

    X, y = drawn(24, 0), np.repeat([0, 1], 12)
    body = torch.nn.Sequential(torch.nn.BatchNorm1d(6), torch.nn.Linear(6, 3)).eval()
    with pytest.warns(StatisticsWarning, match="in 0 the mean is off"):
        measure(TorchBackend(body, X), None, X, y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        measure(TorchBackend(recalibrate(body, X), X), None, X, y)


@pytest.mark.parametrize(
    "network", [lambda p, x: x, nnx.Linear(6, 2, rngs=nnx.Rngs(0)), Net(channels=5), None]
)
def test_what_cannot_be_seen_or_does_not_run_is_passed_over(network):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_if_stale(network, {}, drawn(24, 0))


def test_what_varies_within_a_sample_belongs_to_the_variance():
    X = drawn(400, 3).reshape(40, 10, 6)
    (found,) = lags(recalibrate(Net(), X), X)
    assert found.variance < 1e-5
    assert not found.stale

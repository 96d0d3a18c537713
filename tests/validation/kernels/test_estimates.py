"""Estimators: right on average, and wrong by as much as their standard errors say."""

from itertools import combinations

import jax.numpy as jnp
import numpy as np
import pytest
from ntkflow_validation.kernels import measure
from ntkflow_validation.kernels.methods.class_sums import (
    orthonormal_directions,
    random_directions,
    sum_zero_signs,
)
from ntkflow_validation.kernels.methods.head_kernel import HeadKernel
from ntkflow_validation.kernels.methods.two_level import SHARE, controlled, few_samples, gradients
from ntkflow_validation.kernels.statistics import BlockSums

from tests.validation.kernels.nets import inputs, mlp, parameters

# Odd and even classes.
LABELS = np.repeat([0, 1, 2], [5, 6, 8])
ALL = ("d", "c", "n", "mu_single", "mu_class", "mu_global")


def mixed(p, x):
    # Strong correlations between neurons, which random signs over neurons must average away.
    return x @ p["V"] @ p["mix"]


@pytest.fixture(scope="module")
def problem():
    rng = np.random.default_rng(0)
    params = {"V": jnp.asarray(rng.normal(size=(5, 8)), jnp.float32), "mix": jnp.eye(8) + 0.3 * jnp.asarray(
        rng.normal(size=(8, 8)), jnp.float32)}  # fmt: skip
    x = (rng.normal(size=(3, 5))[LABELS] + rng.normal(size=(19, 5))).astype(np.float32)
    head = rng.normal(size=(3, 8)), np.zeros(3)
    return params, x, head, measure(mixed, params, x, LABELS, head=head, method="gram")


def check(found, exact, names=ALL):
    """No bias, and an error whose size is the stated one."""
    values = np.array([[f.constants[name].value for name in names] for f in found])
    stated = np.array([[f.constants[name].standard_error for name in names] for f in found])
    errors = values - [exact.constants[name].value for name in names]
    size = np.sqrt(np.mean(errors**2, axis=0))
    assert np.all(np.abs(errors.mean(axis=0)) < 4 * size / np.sqrt(len(found))), errors.mean(axis=0) / size
    ratio = size / np.sqrt(np.mean(stated**2, axis=0))
    assert np.all((ratio > 0.8) & (ratio < 1.25)), ratio


@pytest.mark.slow
def test_sign_probes(problem):
    params, x, head, exact = problem
    settings = {"head": head, "quantities": ("outputs",), "method": "sign-probes", "probes": 40}
    found = [measure(mixed, params, x, LABELS, seed=s, **settings) for s in range(80)]
    check([f.features for f in found], exact.features)
    check([f.outputs for f in found], exact.outputs)


def wide(p, x):
    # A third of the neurons have most of the kernel.
    return jnp.tanh(x @ p["V"]) @ p["mix"]


@pytest.mark.parametrize("probes", [4, pytest.param(12, marks=pytest.mark.slow)])
def test_probes(probes):
    rng, labels = np.random.default_rng(0), np.repeat([0, 1, 2, 3], [5, 6, 8, 9])
    mix = (0.2 + rng.normal(size=(24, 48))) * np.exp(rng.normal(size=48))
    params = {"V": jnp.asarray(rng.normal(size=(5, 24)), jnp.float32), "mix": jnp.asarray(mix, jnp.float32)}
    x = (rng.normal(size=(4, 5))[labels] + rng.normal(size=(28, 5))).astype(np.float32)
    exact = measure(wide, params, x, labels, method="gram")
    found = [measure(wide, params, x, labels, method="probes", probes=probes, seed=s) for s in range(150)]
    assert found[0].kappa_d.standard_error > 0
    check([f.features for f in found], exact.features)


def test_probes_of_all_directions_are_exact(problem):
    params, x, _, exact = problem
    for probes in (8, 40):
        found = measure(mixed, params, x, LABELS, method="probes", probes=probes)
        for name in ALL:
            constant, expected = found.features.constants[name], exact.features.constants[name]
            assert constant.value == pytest.approx(expected.value, rel=1e-5)
            assert constant.standard_error == 0


def some_sums(count, seed):
    rng = np.random.default_rng(seed)
    shapes = (count, 3), (count, 3), (count, 3, 3)
    return [rng.normal(size=shape) ** 2 for shape in shapes]


@pytest.mark.parametrize("classes", [3, 2])
def test_the_mean_over_all_choices_of_directions_is_the_mean_over_directions(classes):
    # What few samples (of some classes) say has little to do with what all say, and is on another scale.
    n, r, counts = 6, 3, np.array([2.0, 3.0, 4.0])
    every, few = (
        some_sums(n, 0),
        [0.3 * a + 5 * b for a, b in zip(some_sums(n, 0), some_sums(n, 1), strict=True)],
    )
    found = []
    for chosen in combinations(range(n), r):
        order = [*chosen, *(q for q in range(n) if q not in chosen)]
        sums = BlockSums(counts, *(field[list(chosen)] for field in every))
        d, w, means = (field[order] for field in few)
        control = d[:, :classes], w[:, :classes], means[:, :classes, :classes]
        found.append(controlled(sums, BlockSums(np.full(classes, 2.0), *control)))
    for name, field in zip(("diagonal", "within", "means"), every, strict=True):
        mean = np.mean([getattr(sums, name).mean(axis=0) for sums in found], axis=0)
        np.testing.assert_allclose(mean, field.mean(axis=0), rtol=1e-12)


def test_directions_that_few_samples_tell_everything_of_leave_no_error():
    counts, every = np.array([2.0, 3.0, 4.0]), some_sums(40, 2)
    few = BlockSums(np.full(3, 2.0), *(field - 0.5 for field in every))
    found = controlled(BlockSums(counts, *(field[:5] for field in every)), few)
    exact = BlockSums(counts, *every).constants
    np.testing.assert_allclose(found.constants.mean(axis=0), exact.mean(axis=0), rtol=1e-12)
    assert np.all(found.constants.std(axis=0) < 1e-12)


def test_few_samples_cost_what_they_may():
    counts = np.full(10, 12)
    for r in (2, 4, 6, 8, 16, 32):
        few, classes = few_samples(counts, 64, r)
        cost = gradients(counts, 64, r)
        assert cost == r * 120 + 64 * few * len(classes)
        assert cost <= (1 + SHARE) * r * 120 + 1e-6 or few * len(classes) == 4
    assert few_samples(counts, 64, 60) is None
    assert gradients(counts, 64, 60) == 64 * 120


def test_orthogonal_probes(problem):
    params, x, _, exact = problem
    found = [
        measure(mixed, params, x, LABELS, method="orthogonal-probes", probes=6, seed=s) for s in range(200)
    ]
    check([f.features for f in found], exact.features)
    mean = np.mean([f.features.mean for f in found], axis=0)
    error = np.linalg.norm(mean - exact.features.mean)
    one = np.mean([np.linalg.norm(f.features.mean - exact.features.mean) ** 2 for f in found]) ** 0.5
    assert error < 2.5 * one / np.sqrt(200)
    whole = measure(mixed, params, x, LABELS, method="orthogonal-probes", probes=8)
    np.testing.assert_allclose(whole.features.mean, exact.features.mean, rtol=1e-5, atol=1e-4)
    assert whole.kappa_d.standard_error == 0


def test_some_neurons(problem):
    params, x, _, exact = problem
    rng = np.random.default_rng(1)
    found = [
        measure(mixed, params, x, LABELS, neurons=rng.choice(8, 5, replace=False).tolist())
        for _ in range(150)
    ]
    check([f.features for f in found], exact.features)


def test_some_samples():
    labels = np.repeat([0, 1, 2], 50)
    params, x = parameters(mlp), inputs(labels)
    exact = measure(mlp, params, x, labels, method="gram")
    rng = np.random.default_rng(3)
    found = []
    for _ in range(100):
        rows = rng.permutation(len(labels))
        found.append(measure(mlp, params, x[rows], labels[rows], method="gram", per_class=20))
    check([f.features for f in found], exact.features, ALL[:4])


def test_pair_norms(problem):
    params, x, _, _ = problem
    exact = measure(mixed, params, x, LABELS, quantities=("pair-norms",), probes=16).pairs
    assert exact.probes == 0
    found = [
        measure(mixed, params, x, LABELS, neurons=8, quantities=("pair-norms",), probes=6, seed=s).pairs
        for s in range(150)
    ]
    assert found[0].probes == 6
    squares = np.stack([f.squares for f in found])
    errors, stated = squares - exact.squares, np.stack([f.squares_error for f in found])
    size = np.sqrt(np.mean(errors**2, axis=0))
    # 36 different entries: one is allowed a little more than the usual three.
    assert np.all(np.abs(errors.mean(axis=0)) < 4 * size / np.sqrt(len(found)))
    # The jackknife of a quadratic statistic is generous by up to a half, never too small by much.
    ratio = size / np.sqrt(np.mean(stated**2, axis=0))
    assert np.all((ratio > 0.55) & (ratio < 1.2)), ratio
    shares, stated = np.array([[f.share, f.share_error] for f in found]).T
    assert abs(shares.mean() - exact.share) < 4 * shares.std() / np.sqrt(len(found)) + 0.02 * exact.share
    assert 0.55 < np.sqrt(np.mean((shares - exact.share) ** 2) / np.mean(stated**2)) < 1.2


def test_errors_that_cannot_be_told_are_not_invented(problem):
    params, x, _, _ = problem
    for settings in ({"neurons": 1}, {"method": "probes", "probes": 1}, {"per_class": 2}):
        found = measure(mixed, params, x, LABELS, **settings)
        assert found.kappa_d.standard_error is None
    assert measure(mixed, params, x, LABELS, method="class-sums", per_class=3).kappa_d.standard_error is None
    pairs = measure(mixed, params, x, LABELS, quantities=("pair-norms",), probes=2).pairs
    assert pairs.share_error is None
    assert pairs.squares_error is None


@pytest.mark.parametrize("m", [1, 2, 5, 6])
def test_sum_zero_signs(m):
    rng = np.random.default_rng(0)
    signs = np.array([sum_zero_signs(np.array([m, 3]), rng)[:m] for _ in range(4000)])
    np.testing.assert_allclose(signs.sum(axis=1), 0, atol=1e-12)
    if m > 1:
        expected = (np.eye(m) * m - 1) / (m - 1)
        np.testing.assert_allclose(signs.T @ signs / 4000, expected, atol=0.08)


@pytest.mark.parametrize("n", [1, 7, 8, 12])
def test_directions(n):
    rng = np.random.default_rng(0)
    Q = orthonormal_directions(n, n, rng)
    np.testing.assert_allclose(Q @ Q.T, np.eye(n), atol=1e-12)
    # No neuron has much more than its share of any direction.
    assert n * (Q**2).max() < 2.01
    V = random_directions(3, n, rng)
    np.testing.assert_allclose((V**2).sum(axis=1), 1)
    # Every direction comes first, with every sign.
    firsts = np.array([orthonormal_directions(1, n, rng)[0] for _ in range(4000)])
    np.testing.assert_allclose(firsts.T @ firsts / 4000, np.eye(n) / n, atol=0.05)


def test_methods_without_kernels_between_samples_make_none_for_the_head_either(monkeypatch, problem):
    params, x, head, exact = problem
    monkeypatch.setattr(HeadKernel, "full", property(lambda _: pytest.fail("an N x N matrix")))
    wanted = ("outputs", "row-space", "rayleigh", "output-pair-norms")
    found = measure(mixed, params, x, LABELS, head=head, method="class-sums", quantities=wanted)
    assert found.outputs.constants["d"].value == pytest.approx(exact.outputs.constants["d"].value, rel=1e-5)

"""Every rung on a network for which it is exact; the tensor is the judge everywhere else."""

from dataclasses import replace
from unittest.mock import Mock

import numpy as np
import pytest
from ntkflow_validation.config.config import DataConfig, ModelConfig
from ntkflow_validation.kernels import Measurement
from ntkflow_validation.ladder.operators import restricted
from ntkflow_validation.ladder.rungs import NAMES, SPECS, build, chosen

from ntkflow.errors import InputError
from ntkflow.problem.kernels import BlockKernel
from tests.validation.ladder.networks import MIXING, NONLINEAR, measured

# Rungs that hold whatever the kernel is like inside a class of networks.
GIVEN = [spec.name for spec in SPECS if spec.given]
BLOCKS = [n for n in NAMES if n not in ("row-modes-16", "tensor-still", "moving-block", "components", *GIVEN)]
ACTS_ON_SAMPLES = ("sample", "row-sample", "kronecker", "tensor", "components")
KERNELS = ((1.5, 0.9, 0.2), (3.0, 2.0, -0.1))
MIXES_FEATURES = ("kronecker", "matrix-block", "class-matrix", "tensor")


@pytest.fixture(scope="module")
def networks():
    return {
        "linear": measured(),
        "noisy": measured(noise=0.4),
        "mixed": measured(mixed=True),
        "nonlinear": measured(NONLINEAR),
    }


def error(found, name):
    """Relative error of the rung's dH at the start against the derivative along the training's own gradient."""
    rung = build(next(s for s in SPECS if s.name == name), found)
    dH = -rung.operator.pull(found.state.W, found.residual)
    return np.linalg.norm(dH - found.observed_motion) / np.linalg.norm(found.observed_motion)


@pytest.mark.parametrize("name", BLOCKS)
def test_every_rung_is_exact_on_the_two_layer_linear_network(networks, name):
    # The matrices within classes come from probes; float32 gradients do the rest.
    within = 0.2 if name in ("matrix-block", "class-matrix", "row-matrix-block", "row-class-matrix") else 1e-4
    assert error(networks["linear"], name) < within


@pytest.mark.parametrize("name", ACTS_ON_SAMPLES)
def test_rungs_that_keep_every_sample_need_no_blocks(networks, name):
    assert error(networks["noisy"], name) < (0.06 if name == "kronecker" else 1e-4)
    assert error(networks["noisy"], "block") > 0.1


@pytest.mark.parametrize("name", MIXES_FEATURES)
def test_rungs_that_keep_every_feature_need_no_isotropy(networks, name):
    assert error(networks["mixed"], name) < 0.2
    assert error(networks["mixed"], "sample") > 0.3


def test_the_tensor_is_exact_on_any_network_and_the_others_are_not(networks):
    found = networks["nonlinear"]
    assert error(found, "tensor") < 1e-4
    assert error(found, "components") < 1e-4
    assert all(error(found, name) > 1e-2 for name in ("block", "class-block", "sample", "class-matrix"))


def test_the_stored_tensor_and_the_linearised_network_are_one_operator(networks):
    found = networks["nonlinear"]
    stored = build(next(s for s in SPECS if s.name == "tensor"), found).operator
    G = np.random.default_rng(0).normal(size=(5, 12))
    np.testing.assert_allclose(found.frozen.act(G), stored.act(G), rtol=0, atol=1e-4 * stored.gain)
    assert found.frozen.gain >= 0.99 * stored.gain
    np.testing.assert_array_equal(found.frozen.act(np.zeros((5, 12))), 0)


def test_class_kernels_are_means_of_the_tensor(networks):
    found = networks["nonlinear"]
    Theta = build(next(s for s in SPECS if s.name == "tensor"), found).operator.kernel.Theta
    parts = Theta.reshape(5, 3, 4, 5, 3, 4)
    kernels = found._measure("class-kernels", method="sign-probes", probes=400).classes
    size = np.abs(kernels.T).max()
    np.testing.assert_allclose(kernels.T, parts.mean(axis=(2, 5)), atol=1e-5 * size)
    deviations = parts - parts.mean(axis=2, keepdims=True)
    deviations = deviations - deviations.mean(axis=5, keepdims=True)
    D = np.einsum("pciqci->cpq", deviations) / 3
    np.testing.assert_allclose(kernels.D[0], D.mean(axis=0), atol=0.1 * np.abs(D).max())
    assert 0.005 < kernels.D_error < 0.1
    total = (kernels.T**2).sum()
    own = sum((kernels.T[p, :, p] ** 2).sum() for p in range(5))
    assert kernels.off_neuron_share_of_means == pytest.approx(1 - own / total)


def test_class_constants_are_those_of_the_class_kernels_without_measuring_these(networks, monkeypatch):
    found = networks["nonlinear"]
    of_kernels = restricted.scalar_classes(found.classes, np.eye(5))
    assert found.kernel_mean is not None
    G = np.random.default_rng(1).normal(size=(5, 12))
    fresh = replace(found, probes=3)
    monkeypatch.setattr(type(fresh), "_measure", lambda *_, **__: 1 / 0)
    own = build(next(s for s in SPECS if s.name == "class-block"), fresh).operator
    np.testing.assert_allclose(own.act(G), of_kernels.act(G), rtol=0, atol=1e-5 * np.abs(own.act(G)).max())


def test_rayleigh_quotients_are_the_eigenvalues_of_a_block_kernel(networks):
    values = networks["linear"].rayleigh
    mu = (0.6, 0.6 + 4 * 0.7, 0.6 + 4 * 0.7 + 12 * 0.2)
    assert [values[k] for k in ("within", "contrast", "mean")] == pytest.approx(mu, rel=1e-4)


def test_the_product_of_samples_and_features_finds_its_factors(networks):
    found = networks["mixed"]
    kernel = build(next(s for s in SPECS if s.name == "kronecker"), found).operator.kernel
    A = MIXING @ MIXING.T
    np.testing.assert_allclose(kernel.A, A * 5 / np.trace(A), atol=0.15)


@pytest.fixture(scope="module")
def normalised():
    """A small convolutional network, normalised with the statistics of its batches."""
    return measured(
        replace(
            NONLINEAR,
            data=DataConfig(classes=3, per_class=4),
            model=ModelConfig(features=4, width=2, norm="batch", readout="pool"),
        ),
        with_kernel=False,
    )


@pytest.mark.slow
def test_a_normalisation_that_moves_with_the_samples_is_part_of_the_tensor(normalised):
    found = normalised
    assert found.coupled
    assert error(found, "tensor") < 1e-3
    assert error(found, "tensor-still") > 0.05
    # The class kernels are the same operator on class means.
    G = np.repeat(np.random.default_rng(0).normal(size=(4, 3)), 4, axis=1)
    moved = found.frozen.act(G).reshape(4, 3, 4).mean(axis=2)
    operator = build(next(s for s in SPECS if s.name == "class-matrix"), found).operator
    expected = operator.act(G).reshape(4, 3, 4).mean(axis=2)
    np.testing.assert_allclose(moved, expected, atol=1e-3 * np.abs(moved).max())


def test_constants_are_counted(networks):
    found = networks["linear"]
    counted = {spec.name: spec.constants(found) for spec in SPECS}
    assert counted["block"] == 3
    assert counted["class-block"] == 3 + 6
    assert counted["row-matrix-block"] == 3 * 6
    assert counted["class-matrix"] == 15 * 16 // 2 + 3 * 15
    assert counted["tensor"] == 60 * 61 // 2
    assert counted["krylov-4"] == 4 * 15 + 3


def test_names_choose_rungs_in_the_order_of_the_ladder():
    assert [s.name for s in chosen(("tensor", "block"), large=True)] == ["block", "tensor"]
    assert [s.name for s in chosen(("krylov-3",), large=False)] == ["krylov-3"]
    assert "tensor" not in [s.name for s in chosen(None, large=True)]
    assert [s.name for s in chosen(None, large=False)] == list(NAMES)
    with pytest.raises(InputError, match="rungs = nonsense"):
        chosen(("nonsense",), large=False)


def test_a_refusal_says_why(networks):
    rung = build(next(s for s in SPECS if s.name == "tensor-still"), networks["linear"])
    assert rung.operator is None
    assert "no statistics move" in rung.refused


def test_constants_weighted_by_W_are_those_of_the_tensor(networks):
    found = networks["nonlinear"]
    W, sizes = found.state.W, found.sizes
    Theta = found.tensor
    K = np.einsum("pq,piqj->ij", W.T @ W, Theta) / np.sum(W**2)
    G = np.outer(np.ones(5), sizes.Y[0] / sizes.m)
    moved = build(next(s for s in SPECS if s.name == "weighted-block"), found).operator.act(G)
    same = sizes.labels[:, None] == sizes.labels
    own, other = K[:4, :4].mean(), K[~same].mean()
    means = np.array([K[np.ix_(sizes.labels == c, sizes.labels == c)].mean() for c in range(3)]).mean()
    np.testing.assert_allclose(moved[0], np.where(sizes.labels == 0, means, other), rtol=2e-3)
    assert means != pytest.approx(own, rel=1e-3)


def test_weighted_constants_that_move_take_the_measured_ones_of_every_snapshot(networks):
    found = networks["linear"]
    spec = next(s for s in SPECS if s.name == "weighted-block-in-time")
    # Of one snapshot nothing moves, and means over neurons alone do not say what W reads.
    assert "no later kernel" in build(spec, replace(found, schedule=((0.0, found.kernel),))).refused
    twice = replace(found, schedule=((0.0, found.kernel), (1.0, found.kernel)))
    assert "row-space" in build(spec, twice).refused
    assert spec.constants(twice) == 6
    later = [
        Mock(spec=Measurement, block=lambda of, k=k: BlockKernel(*k) if of == "weighted" else 1 / 0)
        for k in KERNELS
    ]
    moving = build(spec, replace(found, schedule=tuple(zip((0.0, 2.0), later, strict=True))))
    G, sizes = found.state.H, found.sizes
    middle = BlockKernel(*np.mean(KERNELS, axis=0)).apply(G, sizes)
    np.testing.assert_allclose(moving.operator.act(G, 1.0), middle, rtol=1e-12)

"""Kernels of any size, and gradients that are not finite."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ntkflow_validation.kernels import FolderStore, gram, measure
from ntkflow_validation.kernels.magnitude import GradientWarning

from ntkflow.errors import InputError
from tests.validation.kernels.nets import inputs, mlp, parameters

LABELS = np.array([2, 0, 1, 0, 2, 2, 0, 1, 0])
WANTED = ("pair-norms", "matrix", "tensor", "rayleigh")


def linear(p, x):
    return x @ p["V"]


def root(p, x):
    # Finite, with an infinite derivative at 0.
    return jnp.sqrt(jnp.abs(x @ p["V"])) + x @ p["U"]


@pytest.mark.parametrize("scale", [1e25, 1e-25])
@pytest.mark.parametrize("method", ["gram", "class-sums", "probes", "sign-probes", "orthogonal-probes"])
def test_kernels_do_not_depend_on_units(method, scale, tmp_path):
    params, x = parameters(mlp), inputs(LABELS)
    head = np.random.default_rng(0).normal(size=(3, 4)), np.zeros(3)
    settings = {"method": method, "probes": 3, "quantities": WANTED if method == "gram" else ("row-space",)}
    small = measure(mlp, params, x, LABELS, head=head, **settings)
    large = measure(lambda p, x: jnp.float32(scale) * mlp(p, x), params, x, LABELS, head=head,
                    store=FolderStore(tmp_path), **settings)  # fmt: skip
    for name, constant in small.features.constants.items():
        assert large.features.constants[name].value == pytest.approx(
            scale**2 * constant.value, rel=1e-4, abs=0
        )
    if method == "gram":
        assert large.features.alignment == pytest.approx(small.features.alignment, rel=1e-5)
        assert large.features.block_residual == pytest.approx(small.features.block_residual, rel=1e-4)
        assert large.pairs.share == pytest.approx(small.pairs.share, rel=1e-4)
        np.testing.assert_allclose(
            large.full.values / scale**2, small.full.values, atol=1e-5 * small.full.values.max()
        )
        np.testing.assert_allclose(
            large.matrix.diagonal / scale**2, small.matrix.diagonal, atol=1e-5 * small.matrix.diagonal.max()
        )


@pytest.mark.parametrize("method", ["gram", "class-sums", "probes", "orthogonal-probes"])
def test_a_gradient_that_is_not_finite_is_named(method, tmp_path):
    rng = np.random.default_rng(0)
    params = {name: jnp.asarray(rng.normal(size=(5, 3)), jnp.float32) for name in "UV"}
    x = rng.normal(size=(9, 5)).astype(np.float32)
    x[4] = 0
    rule = r"gradients = 15 NaN or infinite values at neuron 0 of sample 4, by V"
    for _ in range(2):  # nothing was stored
        with pytest.raises(InputError, match=rule):
            measure(root, params, x, LABELS, method=method, store=FolderStore(tmp_path))
    assert not list(tmp_path.iterdir())


def test_a_gradient_of_a_batch_that_is_not_finite_is_named():
    params = {"V": jnp.ones((5, 3)), "U": jnp.ones((5, 3))}
    x = np.ones((9, 5), np.float32)
    x[4] = 0
    with pytest.raises(InputError, match=r" = 15 NaN or infinite values at neuron 0 of the batch, by V"):
        measure(root, params, x, LABELS, bn="batch")


def test_features_that_are_not_finite_are_named_by_the_number_of_their_sample():
    x = np.ones((9, 5), np.float32)
    x[7] = 2
    with pytest.raises(InputError, match="neuron 0 of sample 7"):
        measure(lambda p, x: (x @ p["V"]) / (x[:, :1] < 2), {"V": jnp.ones((5, 3))}, x, LABELS)


def test_a_kernel_that_is_zero_is_zero_and_said():
    with pytest.warns(GradientWarning, match=r"none of the 48 parameters.*stop_gradient"):
        found = measure(lambda p, x: 0 * linear(p, x) + x[:, :3], {"V": jnp.ones((16, 3))},
                        inputs(LABELS).reshape(9, -1), LABELS)  # fmt: skip
    assert found.kappa_d.value == 0.0
    assert np.isnan(found.features.block_residual)


ALL = ("outputs", "row-space", "rayleigh", "pair-norms", "output-pair-norms", "output-tensor")
OUTPUTS = ("outputs", "row-space", "rayleigh", "output-pair-norms")
W = np.random.default_rng(0).normal(size=(3, 4))


def outputs_of(scales, method="gram", backend=None, x=None):
    """A measurement with the head W, its rows in other units; `scales` times 1e-3 leaves H^T H + 1 out of sight."""
    given = (mlp, parameters(mlp)) if backend is None else (backend, None)
    wanted = ALL if method == "gram" else OUTPUTS
    return measure(*given, inputs(LABELS) if x is None else x, LABELS, method=method, probes=3, quantities=wanted,
                   head=(np.asarray(scales)[:, None] * W, None))  # fmt: skip


@pytest.mark.parametrize("scale", [1e18, 1e30, 1e38, 1e60])
@pytest.mark.parametrize("method", ["gram", "class-sums", "probes", "sign-probes", "orthogonal-probes"])
def test_a_large_head_is_measured_in_its_own_unit(method, scale):
    # At 1e8 the kernel of the head's own parameters is below rounding already.
    small, large = (outputs_of(np.full(3, s), method) for s in (1e8, scale))
    squared = (scale / 1e8) ** 2
    for name, constant in small.outputs.constants.items():
        close = pytest.approx(squared * constant.value, rel=1e-5, abs=0)
        assert large.outputs.constants[name].value == close
    error = small.outputs.constants["d"].standard_error
    assert large.outputs.constants["d"].standard_error == pytest.approx(squared * error, rel=1e-4, abs=0)
    for name, value in small.row_space.constants.items():
        assert large.row_space.constants[name].value == pytest.approx(value.value, rel=1e-5, abs=0)
    assert large.output_pairs.share == pytest.approx(small.output_pairs.share, rel=1e-5)
    for name in ("contrast", "mean"):
        found, expected = large.rayleigh, small.rayleigh
        assert found.features[name] == pytest.approx(expected.features[name], rel=1e-5)
        assert found.outputs[name] == pytest.approx(squared * expected.outputs[name], rel=1e-5, abs=0)
    if small.outputs.mean is not None:
        np.testing.assert_allclose(large.outputs.mean, squared * small.outputs.mean, rtol=1e-4)
        spread = small.outputs.constants["d"].spread_entries
        assert large.outputs.constants["d"].spread_entries == pytest.approx(squared * spread, rel=1e-5, abs=0)
    if small.full_outputs is not None:
        np.testing.assert_allclose(
            large.full_outputs.values, squared * small.full_outputs.values, rtol=1e-3, atol=1e-6 * squared
        )


@pytest.mark.parametrize("scale", [1e-18, 1e-25, 1e-40, 1e-60])
def test_a_small_head_keeps_what_lies_between_outputs(scale):
    one, small = outputs_of(np.ones(3)), outputs_of(np.full(3, scale))
    across = ~np.eye(3, dtype=bool)
    np.testing.assert_allclose(
        small.output_pairs.norms[across], scale**2 * one.output_pairs.norms[across], rtol=1e-5
    )
    between, known = (found.full_outputs.values[0, :, 1] for found in (small, one))
    np.testing.assert_allclose(between, scale**2 * known, rtol=1e-4, atol=1e-6 * scale**2 * abs(known).max())
    assert small.row_space.constants["d"].value == pytest.approx(one.row_space.constants["d"].value, rel=1e-5)
    for name in ("contrast", "mean"):
        # With so small a W the residual is -Y and the head's own part nearly all; the features' quotient stays.
        assert np.isfinite(small.rayleigh.features[name])


def test_the_quotient_along_a_small_head_has_the_unit_taken_out():
    near, far = outputs_of(np.full(3, 1e-9)), outputs_of(np.full(3, 1e-30))
    assert far.rayleigh.features["mean"] == pytest.approx(near.rayleigh.features["mean"], rel=1e-5)
    assert far.rayleigh.outputs["mean"] == pytest.approx(near.rayleigh.outputs["mean"], rel=1e-5)


@pytest.mark.parametrize("method", ["gram", "class-sums"])
def test_outputs_of_different_sizes_are_each_measured_in_their_own_unit(method):
    # The pairs' norms are computed in another way, and the whole tensor in a third.
    scales = np.array([1e30, 1.0, 1e-12])
    plain, mixed = outputs_of(np.ones(3), method), outputs_of(scales, method)
    across = ~np.eye(3, dtype=bool)
    expected = np.outer(scales, scales) * plain.output_pairs.norms
    np.testing.assert_allclose(mixed.output_pairs.norms[across], expected[across], rtol=1e-5)
    np.testing.assert_allclose(mixed.outputs.sums.constants[1], plain.outputs.sums.constants[1], rtol=1e-5)
    largest = outputs_of([1e30, 1e8, 1e8], method).outputs.constants["d"].value
    assert mixed.outputs.constants["d"].value == pytest.approx(largest, rel=1e-5)
    if method == "gram":
        assert mixed.outputs.mean.trace() / 9 == pytest.approx(largest, rel=1e-5)


@pytest.mark.parametrize("scale", [1e37, 1e-36])
def test_gradients_at_the_ends_of_single_precision(scale):
    found = [
        measure(lambda p, x, s=s: jnp.float32(s) * linear(p, x), {"V": jnp.ones((16, 3))},
                inputs(LABELS).reshape(9, -1), LABELS)
        for s in (1.0, scale)
    ]  # fmt: skip
    for name, constant in found[0].features.constants.items():
        assert found[1].features.constants[name].value == pytest.approx(
            scale**2 * constant.value, rel=1e-4, abs=0
        )


def test_gradients_below_single_precision_are_found_by_larger_directions():
    # 1e-45 is no number to a processor that rounds to zero; the directions that are pulled back are larger. The factors are
    # among the parameters, since a compiler makes one of two constants.
    def features(p, x):
        return 1 + p["outer"] * (p["inner"] * linear(p, x))

    params = {"V": jnp.ones((16, 3)), "inner": jnp.float32(1e-25), "outer": jnp.float32(1e-20)}
    x = inputs(LABELS).reshape(9, -1)
    found = measure(features, params, x, LABELS, trainable=lambda path: path == "V")
    known = measure(linear, {"V": params["V"]}, x, LABELS)
    assert found.kappa_d.value == pytest.approx(1e-90 * known.kappa_d.value, rel=1e-4, abs=0)


def test_what_double_precision_does_not_hold_is_named():
    with pytest.raises(InputError, match=r"kernel \(outputs\) = .* must be finite in double precision"):
        measure(mlp, parameters(mlp), inputs(LABELS), LABELS, head=(1e200 * W, None), quantities=("outputs",))
    with pytest.raises(InputError, match=r"squares of output pairs = .* must be finite in double precision"):
        measure(mlp, parameters(mlp), inputs(LABELS), LABELS, head=(1e90 * W, None),
                quantities=("output-pair-norms",))  # fmt: skip
    with pytest.raises(InputError, match="residual W H"):
        measure(lambda p, x: jnp.float32(1e30) * mlp(p, x), parameters(mlp), inputs(LABELS), LABELS,
                head=(1e290 * W, None), quantities=("rayleigh",))  # fmt: skip


@pytest.mark.parametrize("measured", [
    lambda f, p, x: measure(f, p, x, LABELS).kappa_d.value,
    lambda f, p, x: measure(f, p, x, LABELS, method="sign-probes", probes=2).kappa_d.value,
    lambda f, p, x: np.abs(gram(f, p, x[:3], x)).max(),
])  # fmt: skip
def test_features_that_no_parameter_moves_are_warned_of(measured):
    params, x = parameters(mlp), inputs(LABELS)
    with pytest.warns(GradientWarning, match=r"none of the \d+ parameters moves the features.*stop_gradient"):
        assert measured(lambda p, x: jax.lax.stop_gradient(mlp(p, x)), params, x) == 0
    with pytest.warns(GradientWarning, match=r"another network in it"):
        assert measured(lambda p, x: mlp(params, x), params, x) == 0

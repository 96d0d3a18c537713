"""Kernels of any size, and gradients that are not finite."""

import jax.numpy as jnp
import numpy as np
import pytest
from ntkflow_validation.kernels import FolderStore, measure

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
        assert large.features.constants[name].value == pytest.approx(scale**2 * constant.value, rel=1e-4)
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


def test_a_kernel_that_is_zero_is_zero():
    found = measure(lambda p, x: 0 * linear(p, x) + x[:, :3], {"V": jnp.ones((16, 3))},
                    inputs(LABELS).reshape(9, -1), LABELS)  # fmt: skip
    assert found.kappa_d.value == 0.0
    assert np.isnan(found.features.block_residual)


def test_a_head_that_is_too_large_is_refused():
    head = np.full((3, 4), 1e30), np.zeros(3)
    with pytest.raises(InputError, match=r"kernel \(outputs\) = .* must be finite; scale the network"):
        measure(mlp, parameters(mlp), inputs(LABELS), LABELS, head=head, quantities=("outputs",))

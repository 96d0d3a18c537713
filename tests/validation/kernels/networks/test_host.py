"""Inputs of any framework as arrays of single precision at least."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from ntkflow_validation.kernels.networks.host import inputs, is_half, on_host, single

from ntkflow.errors import InputError

X = np.arange(6.0).reshape(3, 2)


@pytest.mark.parametrize(
    ("given", "kind"),
    [(X, "f8"), (X.astype(np.float16), "f4"), (jnp.asarray(X, jnp.bfloat16), "f4"), (X.tolist(), "f8"),
     (X.astype(np.int32), "i4"), (nnx.Param(jnp.asarray(X)), "f4")],
    ids=["float64", "float16", "bfloat16", "list", "whole", "variable"],
)  # fmt: skip
def test_numbers_stay_what_they_are(given, kind):
    found = inputs("X", given)
    assert found.dtype == np.dtype(kind)
    np.testing.assert_array_equal(found, X)


def test_tensors_of_torch_are_taken_from_the_graph():
    torch = pytest.importorskip("torch")
    tensor = torch.tensor(X, dtype=torch.bfloat16, requires_grad=True)
    np.testing.assert_array_equal(inputs("X", tensor), X)
    assert is_half(tensor)
    assert on_host(tensor).dtype == np.float32


def test_half_precision_is_widened_and_nothing_else():
    assert single(X) is X
    assert single("no array") == "no array"
    assert single(jnp.asarray(X, jnp.float16)).dtype == jnp.float32


@pytest.mark.parametrize(
    "given",
    [{"ids": X}, [X, X[:2]], np.array(["a"]), np.float64(1.0), X[:0], None],
    ids=["mapping", "ragged", "text", "number", "empty", "none"],
)
def test_what_is_no_array_of_samples_is_refused(given):
    with pytest.raises(InputError, match=r"^X = "):
        inputs("X", given)

"""Inputs of any framework as arrays of single precision at least."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from ntkflow.errors import InputError
from ntkflow.foreign.arrays import columns, inputs, is_half, on_host, real, single

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


H = np.arange(12.0).reshape(4, 3)


def test_samples_are_rows_or_columns_by_their_number():
    np.testing.assert_array_equal(columns(H, 4, None), H.T)
    np.testing.assert_array_equal(columns(H.T, 4, None), H.T)
    np.testing.assert_array_equal(columns(H.T, 4, False), H.T)


def test_a_square_is_refused_unless_it_is_said():
    square = np.arange(9.0).reshape(3, 3)
    with pytest.raises(InputError, match=r"along both axes.*rows=True"):
        columns(square, 3, None)
    np.testing.assert_array_equal(columns(square, 3, True), square.T)
    np.testing.assert_array_equal(columns(square, 3, False), square)


def test_other_numbers_of_samples_are_refused():
    with pytest.raises(InputError, match=r"\(n, N\) with N = 5"):
        columns(H, 5, None)
    with pytest.raises(InputError, match=r"\(N, n\) with N = 3"):
        columns(H, 3, True)
    with pytest.raises(InputError, match="2 axes"):
        columns(H[0], 3, None)


@pytest.mark.parametrize(
    ("given", "eps"),
    [(X, 2.0**-52), (X.astype(np.float16), 2.0**-10), (jnp.asarray(X, jnp.bfloat16), 2.0**-7), (X.astype(int), 2.0**-52)],
    ids=["float64", "float16", "bfloat16", "whole"],
)  # fmt: skip
def test_numbers_come_with_the_spacing_of_their_type(given, eps):
    found, spacing = real("H", given)
    np.testing.assert_array_equal(found, X)
    assert spacing == eps


def test_numbers_that_are_not_real_are_refused():
    for given in (X + 1j, X > 2, np.ma.masked_array(X, X > 2), X.astype(str), X.astype(np.longdouble), X[:0]):
        with pytest.raises(InputError, match=r"^H = "):
            real("H", given)

"""Features among several outputs."""

import numpy as np
import pytest
from ntkflow_validation.kernels.backends.output import chosen

from ntkflow.errors import InputError

H = np.ones((2, 3))


@pytest.mark.parametrize(
    ("found", "output"),
    [(H, None), ((1, H), 1), ([H, 2], 0), ({"h": H}, "h"), ((0, {"h": H}), lambda f: f[1]["h"])],
    ids=["alone", "tuple", "list", "mapping", "function"],
)
def test_it_is_found(found, output):
    assert chosen(found, output) is H


@pytest.mark.parametrize(
    ("found", "output", "rule"),
    [
        ((H, H), None, "tuple of 2.*output="),
        ({"h": H, "z": H}, None, "with h, z.*output="),
        (None, None, "NoneType"),
        ((H, H), 2, "not among what the network gives, tuple of 2"),
        ({"h": H}, "z", "not among"),
        (H, 0, "single array"),
        ((H, {"a": 1}), 1, "dict with a"),
        (H * 1j, None, "array of complex128: must be real"),
    ],
    ids=["tuple", "mapping", "none", "position", "name", "array", "inner", "complex"],
)
def test_others_are_refused(found, output, rule):
    with pytest.raises(InputError, match=rule):
        chosen(found, output)

"""State files of linear layers: kept whole, samples in any order, damage and contradictions refused."""

import numpy as np
import pytest

import ntkflow as nf
from ntkflow.problem.layers import initial
from ntkflow.runs.layered_states import read_layers

SIZES, KERNEL = nf.Sizes(3, 2, 4), nf.BlockKernel(1.0, 0.4, 0.15)
STATE = initial.make("gaussian", SIZES, (5, 4), KERNEL, 0)


def test_a_state_comes_back_whole(tmp_path):
    state = nf.LayeredState(STATE.H, STATE.V, STATE.W, STATE.b, (np.ones(5), np.zeros(4)))
    nf.save(state, tmp_path / "s.npz", sizes=SIZES, kernel=KERNEL, meta={"from": "here"})
    found = nf.load(tmp_path / "s.npz")
    np.testing.assert_array_equal(found.state.pack(), state.pack())
    assert found.sizes == SIZES
    assert found.meta == {"from": "here"}
    assert float(found.arrays["kappa_c"]) == 0.4
    with pytest.raises(nf.InputError, match="exists"):
        nf.save(state, tmp_path / "s.npz", sizes=SIZES)


def test_the_layers_of_a_network_with_its_inputs_give_their_own_kernel(tmp_path):
    rng = np.random.default_rng(0)
    X, V1 = rng.standard_normal((7, 6)).astype(np.float32), rng.standard_normal((5, 7)).astype(np.float32)
    labels = np.array([2, 0, 1, 2, 0, 1])
    np.savez(tmp_path / "n.npz", X=X, V1=V1, V2=STATE.V[0], W=STATE.W, b=STATE.b, labels=labels)
    found = read_layers(tmp_path / "n.npz")
    order = np.argsort(labels, kind="stable")
    wide = X.astype(float)[:, order]
    np.testing.assert_array_equal(found.order, order)
    np.testing.assert_allclose(found.state.H, V1.astype(float) @ wide, rtol=1e-14)
    np.testing.assert_allclose(found.arrays["K"], wide.T @ wide, rtol=1e-13)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"V2": None, "V3": STATE.V[0]}, "give V2 and all up to the last"),
        ({"W": None}, "lacks the array 'W'"),
        ({"H": None, "V1": np.ones((5, 7)), "X": np.ones((6, 6))}, "X is"),
        ({"labels": np.array([0, 0, 1, 1, 2, 3])}, "0 .. 2"),
        ({"c1": np.ones(5)}, "must be one for each of 2 layers"),
        ({"V2": np.ones((4, 3))}, "V\\[2\\]"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path, change, words):
    content = {"H": STATE.H, "V2": STATE.V[0], "W": STATE.W, "b": STATE.b, "labels": SIZES.labels, **change}
    np.savez(tmp_path / "bad.npz", **{name: v for name, v in content.items() if v is not None})
    with pytest.raises(nf.InputError, match=words):
        read_layers(tmp_path / "bad.npz")

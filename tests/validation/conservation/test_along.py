"""Laws against what they should be, on flows and steps whose answer is known."""

import numpy as np
import pytest
from ntkflow_validation.conservation.along import Tables, families, law_of_Q
from ntkflow_validation.conservation.law import Law
from ntkflow_validation.conservation.slices import Slice
from ntkflow_validation.metrics.variability import Readout
from scipy.integrate import solve_ivp

from ntkflow.problem.sizes import Sizes

RNG = np.random.default_rng(0)
# f = v relu(w x + c): q_k = v_k^2 - w_k^2 - c_k^2.
LAWS = [
    Law(
        {Slice("v", 0, k): 1.0, Slice("w", 1, k): -1.0, Slice("c", 0, k): -1.0},
        f"k{k}",
        "hidden neuron",
        0.0,
        0.0,
        True,
    )
    for k in range(4)
]


def started():
    return {"w": RNG.normal(size=(3, 4)), "c": RNG.normal(size=4), "v": RNG.normal(size=(4, 1))}


def test_values_are_those_of_each_law():
    p = started()
    found = Tables(LAWS, p, ("w", "v")).at(p)
    for k, law in enumerate(LAWS):
        assert found.q[k] == pytest.approx(law.value(p))
        assert found.still[k] == pytest.approx(-(p["c"][k] ** 2))
        assert found.size[k] == pytest.approx(p["v"][k, 0] ** 2 + np.sum(p["w"][:, k] ** 2) + p["c"][k] ** 2)


def test_families_are_those_of_the_same_tensors():
    other = Law({Slice("v", 1, 0): 1.0}, "o", "other", 0.0, 0.0, True)
    assert families([*LAWS, other]) == {"hidden neuron: c, v, w": [0, 1, 2, 3], "other: v": [4]}


@pytest.mark.parametrize("everything", [True, False], ids=["all decay", "weights alone"])
def test_Q_follows_its_law_on_a_flow_of_two_linear_layers(everything):
    sizes = Sizes(C=3, m=4, n=6)
    a, Y, decay = RNG.normal(size=(4, sizes.N)), sizes.Y, 0.3
    shapes = [(3, 6), (6, 4), (6,), (3,)]
    ends = np.cumsum([np.prod(s) for s in shapes])

    def parts(y):
        return [p.reshape(s) for p, s in zip(np.split(y, ends[:-1]), shapes, strict=True)]

    def flow(_, y):
        W, V, c, b = parts(y)
        H = V @ a + c[:, None]
        G = W @ H + b[:, None] - Y
        moves = (
            -G @ H.T - decay * W,
            -W.T @ G @ a.T - decay * V,
            -W.T @ G.sum(axis=1) - decay * everything * c,
            -G.sum(axis=1),
        )
        return np.concatenate([m.ravel() for m in moves])

    y0, times = 0.7 * RNG.normal(size=ends[-1]), np.linspace(0, 1, 400)
    solution = solve_ivp(flow, (0, 1), y0, t_eval=times, rtol=1e-9, atol=1e-11).y.T
    seen = [Readout(*parts(y)[:3]) for y in solution]
    forcing = None if everything else np.stack([np.outer(r.c, r.c) for r in seen])
    law = law_of_Q(seen[0].Q, decay * times, forcing)
    np.testing.assert_allclose(law, np.stack([r.Q for r in seen]), atol=1e-8 if everything else 1e-4)
    # The law without the term of the biases is another one.
    if not everything:
        assert np.abs(law_of_Q(seen[0].Q, decay * times)[-1] - seen[-1].Q).max() > 0.01

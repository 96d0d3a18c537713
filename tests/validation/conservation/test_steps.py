"""The law of steps against steps: exact to rounding in every step, whatever momentum, decay, batch and schedule."""

import numpy as np
import pytest
from ntkflow_validation.conservation.along import Tables, expected
from ntkflow_validation.conservation.law import Law
from ntkflow_validation.conservation.slices import Slice
from ntkflow_validation.conservation.steps import Descent, law_of_steps, left_by_interpolation, moment

from ntkflow.problem.flow_units import built_up

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(9, 3)), RNG.normal(size=9)
# f = v relu(w x + c): q_k = v_k^2 - w_k^2 - c_k^2.
LAWS = [
    Law(
        {Slice("v", 0, k): 1.0, Slice("w", 1, k): -1.0, Slice("c", 0, k): -1.0},
        f"k{k}", "hidden neuron", 0.0, 0.0, True,
    )
    for k in range(4)
]  # fmt: skip
PLAIN, HEAVY, NESTEROV = (0.0, False), (0.8, False), (0.8, True)
MOMENTA = pytest.mark.parametrize(
    ("beta", "nesterov"), [PLAIN, HEAVY, NESTEROV], ids=["plain", "heavy ball", "Nesterov"]
)
DECAYING = pytest.mark.parametrize(
    "decaying", [("w", "c", "v"), ("w", "v"), ()], ids=["all", "weights", "none"]
)


def gradient(p, rows):
    a = X[rows] @ p["w"] + p["c"]
    on = (a > 0).astype(float)
    r = (a * on) @ p["v"][:, 0] - Y[rows]
    back = (r[:, None] * p["v"][:, 0]) * on
    return {"w": X[rows].T @ back, "c": back.sum(axis=0), "v": ((a * on).T @ r)[:, None]}


def descended(how, rates, batch=9, seed=0):
    """Parameters before every step and after the last, what the law needs of each, and values of the laws."""
    rng = np.random.default_rng(seed)
    p = {"w": rng.normal(size=(3, 4)), "c": rng.normal(size=4), "v": rng.normal(size=(4, 1))}
    tables, v = Tables(LAWS, p, how.decaying), {n: np.zeros_like(t) for n, t in p.items()}
    moments, values = [], []
    for eta in rates:
        g = gradient(p, rng.permutation(9)[:batch])
        moments.append(moment(tables.pair, how, p, g, v if how.beta else None))
        values.append(tables.at(p))
        G = {n: g[n] + how.weight_decay * p[n] * (n in how.decaying) for n in p}
        v = {n: how.beta * v[n] + G[n] for n in p}
        p = {n: p[n] - eta * (G[n] + how.beta * v[n] if how.nesterov else v[n]) for n in p}
    return moments, values


@MOMENTA
@DECAYING
@pytest.mark.parametrize("batch", [9, 3], ids=["all samples", "batches"])
def test_the_law_of_steps_is_exact_in_every_step(beta, nesterov, decaying, batch):
    how = Descent(beta, nesterov, 0.8, decaying)
    # A warm-up, then a fall: the rate itself moves.
    rates = 2e-2 * np.concatenate([np.linspace(0.1, 1, 10), np.ones(40), 0.1 * np.ones(10)])
    moments, values = descended(how, rates, batch)
    law, seen = law_of_steps(moments, range(60), rates, how), np.stack([v.q for v in values])
    assert np.abs(seen[-1] - seen[0]).max() > 1e-3
    np.testing.assert_allclose(law, seen, atol=1e-12)


@MOMENTA
@DECAYING
def test_between_snapshots_it_leaves_what_it_says(beta, nesterov, decaying):
    how, rates = Descent(beta, nesterov, 0.8, decaying), np.full(401, 1e-3)
    moments, values = descended(how, rates)
    steps = sorted({0, *(round(s) for s in np.geomspace(1, 400, 80).tolist())})
    kept = [moments[k] for k in steps]
    law, last, first = law_of_steps(kept, steps, rates, how)[-1], values[-1].q, values[0].q
    # The flow's law, on momentum's clock, leaves out what is of the order of the step.
    clock = how.weight_decay * bool(decaying) * 1e-3 * built_up(np.array(steps), beta, nesterov)
    flow = expected([values[k] for k in steps], clock)[-1]
    off, of_flow = np.abs(last - law).max(), np.abs(last - flow).max()
    assert off < 0.05 * of_flow
    assert of_flow < 0.3 * np.abs(last - first).max() or not decaying
    # Its own word on what interpolation left is of the right size.
    assert 0.1 * off < np.abs(left_by_interpolation(kept, steps, rates, how)).max() < 20 * off


def test_momentum_adds_what_its_effective_step_says_of_slow_gradients():
    from ntkflow.problem.flow_units import drift_step

    g = {"w": RNG.normal(size=(3, 4)), "c": RNG.normal(size=4), "v": RNG.normal(size=(4, 1))}
    tables = Tables(LAWS, g, ())
    for beta, nesterov in (HEAVY, NESTEROV):
        v = {n: t / (1 - beta) for n, t in g.items()}
        found = moment(tables.pair, Descent(beta, nesterov), g, g, v)
        # Over eta^2, of a step of flow time eta/(1 - beta).
        expected_added = drift_step(1.0, beta, nesterov) / (1 - beta) * tables.at(g).q
        np.testing.assert_allclose(found.added, expected_added, rtol=1e-12)

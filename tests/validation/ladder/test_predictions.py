import numpy as np
from ntkflow_validation.ladder import predictions
from ntkflow_validation.ladder.cache import Cache
from ntkflow_validation.ladder.operators.base import KernelOperator
from ntkflow_validation.ladder.predictions import as_trained, by_costly_flow, by_flow, kept
from ntkflow_validation.ladder.rungs import SPECS, Rung
from ntkflow_validation.ladder.trajectories.descent import Recipe

import ntkflow as nf
from tests.validation.ladder.networks import NONLINEAR, measured

TIMES = np.array([0.0, 0.02])


def frozen():
    found = measured(NONLINEAR, with_kernel=False)
    return Rung(SPECS[-1], 1, found.frozen, None), found


def test_a_costly_prediction_is_kept_and_one_that_is_too_stiff_is_refused(tmp_path, monkeypatch):
    rung, found = frozen()
    cache = Cache(tmp_path / "kept.npz")
    once = kept(by_flow, rung, found.state, TIMES, key="flow", cache=cache)
    again = kept(
        by_flow, Rung(SPECS[-1], 1, None, "gone"), found.state, TIMES, key="flow", cache=Cache(cache.path)
    )
    for part in ("H", "W", "b"):
        np.testing.assert_array_equal(getattr(again.states[1], part), getattr(once.states[1], part))
    assert np.abs(once.states[1].H - found.state.H).max() > 1e-3
    monkeypatch.setattr(predictions, "MOST_PASSES", 1)
    said = []
    refused = by_costly_flow(rung, found.state, TIMES, "flow", Cache(), announce=said.append)
    assert refused.states is None
    assert "name tensor in --rungs" in refused.refused
    # The time is told; what is written is the same on every machine, and whether or not a prediction was kept.
    assert "passes through the network, about" in said[0]
    assert "about" not in refused.refused
    assert by_costly_flow(rung, found.state, TIMES, "flow", cache).refused == refused.refused
    done = by_costly_flow(rung, found.state, TIMES, "flow", Cache(), True, said.append)
    np.testing.assert_array_equal(done.states[1].H, once.states[1].H)
    assert "passes through the network" in said[1]


def test_what_diverges_is_refused_in_words():
    sizes, kernel = nf.Sizes(C=3, m=4, n=5), nf.BlockKernel(1.5, 0.9, 0.2)
    rung = Rung(SPECS[0], 3, KernelOperator(kernel, sizes), None)
    state = nf.initial.make("gaussian", sizes, kernel, seed=0)
    found = as_trained(rung, state, Recipe((0, 400), np.full(400, 50.0)))
    assert found.states is None
    assert "left the finite numbers" in found.refused
    assert (
        as_trained(Rung(SPECS[0], 3, None, "no order"), state, Recipe((0, 4), np.ones(4))).refused
        == "no order"
    )

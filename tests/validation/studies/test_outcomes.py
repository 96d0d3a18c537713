import math
from dataclasses import replace

import numpy as np
import pytest
from ntkflow_validation.studies import cells, outcomes, tables
from ntkflow_validation.studies.expectations import Expectation, Verdict, expectations, verdicts
from ntkflow_validation.studies.experiments import EXPERIMENTS, NAMES

from tests.validation.studies import documents


@pytest.mark.parametrize("name", NAMES)
def test_every_statement_is_about_a_number_that_is_read(name):
    experiment = EXPERIMENTS[name]
    found = experiment.read([documents.run(cell) for cell in experiment.cells(2)])
    assert [e.name for e in expectations(name)] == list(found)
    assert all(v.met is not None for v in verdicts(name, found))
    assert all(e.low < e.high and math.isfinite(min(abs(e.low), abs(e.high))) for e in expectations(name))
    # Before anything was run nothing is met, and nothing has failed.
    assert {v.met for v in verdicts(name, experiment.read([]))} == {None}


def test_a_statement_fails_with_one_number_outside_or_one_that_does_not_happen():
    stated = Expectation("x", "x is small", -math.inf, 0.5, "")
    assert Verdict(stated, {"a": 0.5, "b": 0.1}).met
    assert not Verdict(stated, {"a": 0.6, "b": 0.1}).met
    never = Verdict(stated, {"a": float("nan"), "b": 0.1})
    assert (never.met, never.within, never.exceptions) == (False, 1, ["a"])
    assert Verdict(stated, {}).met is None


def test_what_forgetting_reads_of_exact_laws():
    """Of 10 e^(-5 lambda t) and an estimate 1.1 times too large."""
    runs = [documents.run(cell, floor=0.0) for cell in cells.forgetting(1, ("mlp",))]
    found = outcomes.forgetting(runs)
    assert list(found["mlp_invisible"].values()) == pytest.approx([1.1] * 4)
    # (10 e^(-5 x) + .01)/10 = .05; snapshots are .05 apart at lambda = 1, and on a straight line of logarithms between them.
    at = math.log(10 / 0.49) / 5
    assert found["mlp_clock"]["mlp-lambda1-seed0"] == pytest.approx(at, rel=1e-3)
    assert found["mlp_time"]["mlp-lambda1-seed0"] == pytest.approx(1 + math.log(1.1) / 5 / at, rel=2e-3)
    assert math.isnan(found["mlp_clock"]["mlp-lambda0.25-seed0"])
    assert set(found["mlp_floor"].values()) == {0.02 / 0.025}
    assert len(found["mlp_undecayed"]) == len(found["mlp_strongest"]) == 1


def test_the_floor_of_NC1_is_a_power_of_lambda():
    runs = [
        documents.run(cell, rate=90.0, visible=0.01 * cell.value**1.3, floor=0.0)
        for cell in cells.forgetting(2, ("mlp",))
    ]
    slopes = outcomes.forgetting(runs)["mlp_floor_slope"]
    assert list(slopes) == ["seed 0", "seed 1"]
    assert list(slopes.values()) == pytest.approx([1.3, 1.3])


def test_channels_are_those_of_the_residual_stream():
    runs = [documents.run(cell) for cell in cells.forgetting(1, ("resnet8",))]
    assert set(outcomes.forgetting(runs)["resnet_laws"].values()) == {0.01 / 0.5}


def test_a_crossing_is_for_good():
    x = np.arange(5.0)
    assert outcomes.crossing(x, np.array([4.0, 0.5, 4.0, 1.0, 0.25]), 0.5) == pytest.approx(3.5)
    assert math.isnan(outcomes.crossing(x, np.array([4.0, 0.5, 0.5, 0.5, 0.6]), 0.55))
    assert math.isnan(outcomes.crossing(x, np.full(5, 0.1), 0.5))


def test_kernels_that_follow_the_filters_close():
    runs = [documents.run(cell) for cell in cells.normalised(2)]
    found = outcomes.normalised(runs)
    assert list(found["product"].values()) == pytest.approx([1.0] * 2 * len(runs))
    assert max(found["closes"].values()) < 1e-6
    assert list(found["undecayed_norm"].values()) == pytest.approx([math.exp(0.5)] * 2)
    assert list(found["norm"].values()) == pytest.approx([1.0] * len(found["norm"]))
    assert len(found["norm"]) == 4  # two decays at the rate of the undecayed run, two seeds
    assert {k: v for k, v in found["clock_spread"].items() if not math.isnan(v)} == {}


def test_what_weights_gain():
    found = outcomes.weighted([documents.run(cell) for cell in cells.weighted(1)])
    assert list(found["early_M"].values()) == pytest.approx([0.2, 0.2])
    assert list(found["early_W"].values()) == pytest.approx([0.4, 0.4])
    assert list(found["later_M"].values()) == pytest.approx([-0.1, -0.1])
    # A skill of 0 is one, and none is none.
    assert list(found["good_M"].values()) == [0.3, 0.0, 0.3, 0.0]
    assert all(math.isnan(v) for v in found["later_W"].values())


def test_scores_stand_beside_their_baselines():
    run = documents.run(cells.weighted(1)[0])
    assert tables.windows([run]) == ""
    nulls = {"frozen-features": {"M": -0.2, "W": 0.4}, "constant-velocity": {"M": -9.0, "W": None}}
    others = replace(run, windows=tuple(replace(w, baselines=nulls) for w in run.windows[:1]))
    text = tables.windows([others, run])
    assert (
        "| runs | window | skill on | seeds | block | weighted-block | frozen-features | constant-velocity |"
        in text
    )
    assert f"| {run.group} | 1 | M | 1 | 0.1 | 0.3 | -0.2 | -9 |" in text
    assert f"| {run.group} | 1 | W | 1 | 0.5 | 0.9 | 0.4 | - |" in text
    assert text in tables.tables([], [others], of_scores=True)
    assert text not in tables.tables([], [others])

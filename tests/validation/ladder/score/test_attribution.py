import numpy as np
import pytest
from ntkflow_validation.ladder.score.attribution import attribute, chain, sentence
from ntkflow_validation.ladder.score.frontier import cheapest, frontier
from ntkflow_validation.ladder.score.scores import Horizon
from ntkflow_validation.runs.compared import Cost, Point

RUNGS = {"block": 0.1, "class-block": 0.2, "neuron-diagonal": 0.15, "class-matrix": 0.6, "tensor": 0.9}
MODIFIED = {("discrete step", "momentum"): 0.63, ("discrete step", "momentum", "minibatch"): 0.64}


def horizon_of(skill, jitter=0.0):
    replicates = skill + jitter * np.array([0.0, 1, -1, 1, -1])
    return Horizon({"M": np.stack([0 * replicates, 1 - replicates], axis=1)}, {"M": np.ones((5, 2))}, {})


def scores(names=RUNGS):
    found = {(name, ()): horizon_of(RUNGS[name], 0.01) for name in names}
    return found | {("class-matrix", kept): horizon_of(skill, 0.01) for kept, skill in MODIFIED.items()}


def test_the_costs_of_the_chain_add_up_to_the_whole_error():
    costs = attribute(scores(), list(MODIFIED))
    chain = [c for c in costs if c.chain]
    assert sum(c.cost for c in chain) == pytest.approx(1 - RUNGS["block"])
    named = {c.assumption: c.cost for c in chain}
    assert named["neurons that do not see each other"] == pytest.approx(0.45)
    assert named["homogeneous blocks"] == pytest.approx(0.3)
    assert named["infinitesimal steps and no inertia"] == pytest.approx(0.03)
    assert named["all samples at once"] == pytest.approx(0.01)
    assert named["a kernel that does not move"] == pytest.approx(0.1 - 0.04)


def test_a_tensor_that_was_trained_leaves_only_the_moving_kernel():
    last = list(MODIFIED)[-1]
    found = scores() | {("tensor", last): horizon_of(0.97, 0.01)}
    chain = [c for c in attribute(found, list(MODIFIED)) if c.chain]
    named = {c.assumption: c.cost for c in chain}
    assert named["homogeneous blocks"] == pytest.approx(0.97 - 0.64)
    assert named["a kernel that does not move"] == pytest.approx(0.03)
    assert sum(named.values()) == pytest.approx(1 - RUNGS["block"])
    assert chain[-1].start == "tensor with discrete step, momentum, minibatch"


def test_missing_rungs_hand_their_assumption_on():
    costs = attribute(scores([n for n in RUNGS if n not in ("neuron-diagonal", "tensor")]), list(MODIFIED))
    named = {c.assumption: c.cost for c in costs if c.chain}
    assert named["isotropic neurons and neurons that do not see each other"] == pytest.approx(0.4)
    assert named["homogeneous blocks and a kernel that does not move"] == pytest.approx(0.4 - 0.04)
    assert sum(named.values()) == pytest.approx(1 - RUNGS["block"])
    assert attribute({("block", ()): horizon_of(0.1)}, []) == []


def test_the_sentence_names_what_is_missing_of_the_chain():
    costs = attribute(scores([n for n in RUNGS if n != "neuron-diagonal"]), list(MODIFIED))
    words = sentence(costs, 0.1, {"neuron-diagonal": "too costly"})
    assert words.endswith(
        "Missing of the chain, each counted with the next rung: neuron-diagonal (too costly)."
    )
    words = sentence([], 0.1, {"class-block": "not run", "tensor": "not run"})
    assert words.startswith("On the centred class means the three-constant kernel has skill 0.10, ")
    assert words.endswith("is not told; missing of the chain: class-block, tensor (not run).")
    assert chain() == tuple(RUNGS)
    assert chain(coupled=True)[:2] == ("block", "moving-block")


def test_a_normalisation_that_moves_is_an_assumption_of_its_own():
    found = scores() | {("moving-block", ()): horizon_of(0.17)}
    named = {c.assumption: c.cost for c in attribute(found, [], coupled=True)}
    assert named["normalisation that does not move"] == pytest.approx(0.07)
    assert named["three constants for all classes"] == pytest.approx(0.03)
    assert attribute(found, [])[0].cost == pytest.approx(0.1)


def test_errors_of_differences_are_those_of_paired_samples():
    costs = attribute(scores(), list(MODIFIED))
    assert next(c for c in costs if c.end == "class-block").error == pytest.approx(0, abs=1e-12)


def test_the_sentence_names_what_costs_most_and_what_cancels():
    words = sentence(attribute(scores(), list(MODIFIED)), RUNGS["block"])
    assert "skill 0.10" in words
    assert words.index("neurons that do not see each other") < words.index("homogeneous blocks")
    assert "errors cancel: isotropic neurons" in words
    assert "issing" not in words
    assert "nothing to attribute" in sentence([], None)


def test_the_frontier_is_what_no_smaller_description_beats():
    points = [
        Point("a", 3, 0.1, None),
        Point("b", 3, 0.3, None),
        Point("c", 60, 0.2, None),
        Point("d", 90, 0.85, None),
    ]
    assert [p.rung for p in frontier(points) if p.best] == ["b", "d"]
    assert cheapest(points) == "d"
    assert cheapest(points[:3]) is None
    assert cheapest([Point("none", 1, None, None), *points]) == "d"


def test_the_sentence_names_what_costs_more_than_a_twentieth_and_what_is_beyond_two_errors():
    costs = [
        Cost("much", "a", "b", 0.30, 0.14),
        Cost("enough", "b", "c", 0.03, 0.016),
        Cost("little", "c", "d", 0.02, None),
        Cost("worse", "d", "e", -0.03, None),
        Cost("hardly", "e", "f", -0.02, None),
        Cost("aside", "f", "g", 0.40, None, chain=False),
    ]
    text = sentence(costs, 0.5)
    assert "50 % of the error" in text
    assert "What costs most: much (+0.3 +- 0.14); enough (+0.03 +- 0.016, not significant)." in text
    assert "errors cancel: worse (-0.03)." in text
    assert not any(word in text for word in ("little", "hardly", "aside"))


def test_the_cheapest_rung_is_the_plain_flow_where_that_does():
    flow, steps = Point("a", 3, 0.85, None), Point("a as trained", 3, 0.9, None, trained=True)
    assert cheapest([steps, flow]) == "a"
    assert cheapest([steps, Point("a", 3, 0.7, None)]) == "a as trained"

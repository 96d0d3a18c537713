"""What summaries say of discrete steps beforehand."""

import pytest

from ntkflow.runs.config import SimulateConfig
from ntkflow.runs.simulate import prepare, run
from ntkflow.runs.summary import STEPS, summarise

GIVEN = {"classes": 3, "per_class": 4, "features": 6, "init": "gaussian", "step_size": 0.002, "steps": 5}


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"momentum": 0.9, "nesterov": True},
        {"batch_per_class": 2},
        {"decay_w": 0.5, "decay_h": 0.2},
        {"decay_w": 0.5},
        {"per_class": (4, 2, 3)},
        {"loss": "cross-entropy"},
    ],
)
def test_steps_have_the_answers_of_the_flow_and_say_whose_they_are(options):
    prepared = prepare(SimulateConfig(**{**GIVEN, **options}))
    of_steps = summarise(run(prepared), prepared)["predicted"]
    plain = {"step_size": None, "steps": None, "momentum": None, "nesterov": None, "batch_per_class": None}
    flow = prepare(SimulateConfig(**{**GIVEN, **options, **plain, "t_end": 0.01}))
    of_flow = summarise(run(flow), flow)["predicted"]
    assert of_steps["conditions"].keys() == {"NC1", "NC2", "NC3", "NC4"}
    assert of_steps["nc1_possible"] in (of_flow["nc1_possible"], None)
    for name, answer in of_flow["conditions"].items():
        found = of_steps["conditions"][name]
        assert found["verdict"] == answer["verdict"]
        caveat = "" if answer["verdict"] == "undetermined" else STEPS
        assert found["sentence"] == caveat + answer["sentence"]
    # What belongs to the flow alone is not printed as theirs.
    assert of_steps["limit"] is None
    assert of_steps["decay"] is None

"""What summaries say of discrete steps beforehand."""

import json
from collections import Counter
from contextlib import nullcontext

import pytest

from ntkflow.errors import InputError
from ntkflow.metrics import quantities
from ntkflow.runs import laws
from ntkflow.runs.border.records import document, read_record
from ntkflow.runs.config import SimulateConfig
from ntkflow.runs.files import write_json
from ntkflow.runs.predicted import STEPS
from ntkflow.runs.simulate import prepare, run
from ntkflow.runs.summary import Summary, summarise
from ntkflow.theory import enforced

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
    of_steps = summarise(run(prepared), prepared).predicted
    plain = {"step_size": None, "steps": None, "momentum": None, "nesterov": None, "batch_per_class": None}
    flow = prepare(SimulateConfig(**{**GIVEN, **options, **plain, "t_end": 0.01}))
    of_flow = summarise(run(flow), flow).predicted
    assert of_steps.conditions.keys() == {"NC1", "NC2", "NC3", "NC4"}
    assert of_steps.nc1_possible in (of_flow.nc1_possible, None)
    for name, answer in of_flow.conditions.items():
        found = of_steps.conditions[name]
        assert found.verdict == answer.verdict
        caveat = "" if answer.verdict == "undetermined" else STEPS
        assert found.sentence == caveat + answer.sentence
    # What belongs to the flow alone is not printed as theirs.
    assert of_steps.limit is None
    assert of_steps.decay is None


@pytest.mark.parametrize("options", [{}, {"per_class": (4, 2, 3)}], ids=["block", "uneven"])
def test_laws_and_the_end_under_decay_are_worked_out_once_from_preparation_to_summary(options, monkeypatch):
    asked = Counter()

    def count(module, name):
        plain = getattr(module, name)
        monkeypatch.setattr(module, name, lambda *args: asked.update([name]) or plain(*args))

    for module, name in ((enforced, "minimum"), (quantities, "_of_problem"), (laws, "_of_E")):
        count(module, name)
    start = {"classes": 3, "per_class": 4, "features": 6, "init": "gaussian", "t_end": 0.1}
    prepared = prepare(SimulateConfig(**{**start, "decay_w": 0.1, "decay_h": 0.1, **options}))
    summarise(run(prepared), prepared)
    assert asked == {**({"minimum": 1} if options else {}), "_of_problem": 1, "_of_E": 1}


@pytest.mark.parametrize(
    "options",
    [
        {"init": "balanced"},
        {"t_end": 0.1, "decay_w": 0.1, "decay_h": 0.2},
        {"t_end": 0.1, "loss": "cross-entropy"},
        {"t_end": 0.1, "per_class": (4, 2, 3)},
        {"t_end": 0.1, "learning_rate": 0.1, "weight_decay": 0.01},
        {"step_size": 0.002, "steps": 5},
    ],
    ids=["closed", "decay", "entropy", "uneven", "optimiser", "steps"],
)
def test_a_summary_comes_back_from_its_file_and_writes_the_same_file(options, tmp_path):
    given = {"classes": 3, "per_class": 4, "features": 5, "init": "gaussian"}
    prepared = prepare(SimulateConfig(**{**given, **options}))
    path = tmp_path / "summary.json"
    write_json(path, document(summarise(run(prepared), prepared)))
    text = path.read_text()
    found = read_record(path, "run", "a summary", Summary, "run it again")
    assert (found.predicted.closed is not None) == (options == {"init": "balanced"})
    assert (found.predicted.decay is not None) == ("decay_w" in options or "weight_decay" in options)
    assert (found.optimiser is not None) == ("weight_decay" in options)
    write_json(path, document(found))
    assert path.read_text() == text
    # A key that went missing is said by its name, and nothing is taken for absent.
    broken = json.loads(text)
    del broken["predicted"]["x_star" if found.predicted.closed else "decay"]
    write_json(path, broken)
    with (
        pytest.raises(InputError, match=r"lacks predicted\.x_star")
        if found.predicted.closed
        else nullcontext()
    ):
        read_record(path, "run", "a summary", Summary, "run it again")

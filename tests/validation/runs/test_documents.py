"""Lines of metrics.jsonl: read as attributes, written as they stood."""

import json

import pytest
from ntkflow_validation.runs.documents import Line

from ntkflow.runs.border.records import document, record

PLAIN = {"step": 3, "time": 0.5, "loss": 2, "NC1": None, "resumed": True}


@pytest.mark.parametrize("more", [{}, {"invariant_norm": 1.5}, {"invariant_refused": "no order"}], ids=str)
def test_a_line_is_written_as_it_stood(more):
    text = json.dumps({**PLAIN, **more})
    assert json.dumps(document(record(Line, json.loads(text)))) == text


def test_numbers_are_found_by_name():
    line = record(Line, {**PLAIN, "time": None, "invariant_refused": "no order"})
    assert (line.step, line.time, line.loss, line.invariant_refused) == (3, None, 2, "no order")
    assert [line.get(name) for name in ("step", "time", "loss", "NC1", "NC2")] == [3, None, 2, None, None]
    # Words are no metric.
    assert line.get("invariant_refused") is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"step": 3.5}, "step is of another type"),
        ({"step": None}, "step is of another type"),
        ({"NC1": "0.1"}, "NC1 is of another type"),
        ({"invariant_refused": 3}, "invariant_refused is of another type"),
    ],
    ids=str,
)
def test_other_values_are_refused(change, words):
    with pytest.raises(ValueError, match=words):
        record(Line, {**PLAIN, **change})


@pytest.mark.parametrize("name", ["step", "time", "loss"])
def test_what_all_lines_have_must_be_there(name):
    with pytest.raises(ValueError, match=f"lacks {name}"):
        record(Line, {key: value for key, value in PLAIN.items() if key != name})

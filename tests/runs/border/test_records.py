"""Records are what their documents say, and a document that is none is refused in words."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ntkflow.errors import InputError
from ntkflow.runs.border.records import EMPTY, INLINE, SPARSE, document, key, read_record, record
from ntkflow.runs.files import dump_json


@dataclass(frozen=True)
class Score:
    value: float | None
    error: float | None = None


@dataclass(frozen=True)
class Start:
    at: int
    speed: float | None


@dataclass(frozen=True)
class Whole:
    name: str
    start: str = field(metadata=key("from"))
    scores: Mapping[str, Score] = field(metadata=INLINE)
    counts: tuple[int, ...]
    pair: tuple[float | None, str]
    sure: bool
    rest: Mapping[str, object]
    note: str | None
    late: Score | None = field(default=None, metadata=SPARSE)
    parts: tuple[Score | None, ...] = ()


words = st.text(max_size=5)
numbers = st.none() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
scores = st.builds(Score, numbers, numbers)
OWN = {"name", "from", "counts", "pair", "sure", "rest", "note", "late", "parts"}
wholes = st.builds(
    Whole,
    words,
    words,
    st.dictionaries(words.filter(lambda name: name not in OWN), scores, max_size=3),
    st.lists(st.integers(), max_size=3).map(tuple),
    st.tuples(numbers, words),
    st.booleans(),
    st.dictionaries(words, st.lists(words), max_size=2),
    st.none() | words,
    st.none() | scores,
    st.lists(st.none() | scores, max_size=3).map(tuple),
)


@given(wholes)
def test_a_record_is_read_back_from_its_document_which_is_written_again_alike(found):
    text = dump_json(document(found))
    again = record(Whole, json.loads(text))
    assert again == found
    assert dump_json(document(again)) == text


GOOD = {
    "name": "n", "from": "a", "M": {"value": 1, "error": None}, "counts": [1], "pair": [None, "x"], "sure": True,
    "rest": {"any": [{}]}, "note": None,
}  # fmt: skip


def test_a_document_has_the_keys_of_its_class_in_their_order():
    found = record(Whole, GOOD)
    assert found.scores == {"M": Score(1, None)}
    assert (found.start, found.late, found.parts) == ("a", None, ())
    # What JSON had as a whole number stays one; nothing is written for what is sparse and absent.
    assert json.dumps(document(found)) == json.dumps({**GOOD, "parts": []})


@dataclass(frozen=True)
class Outer:
    own: int
    start: Start | None = field(default=None, metadata=INLINE)


def test_a_record_within_the_same_document_is_there_where_its_keys_are():
    assert record(Outer, {"own": 1, "other": 2}) == Outer(1)
    assert record(Outer, {"own": 1, "at": 2, "speed": None}) == Outer(1, Start(2, None))
    assert document(Outer(1, Start(2, None))) == {"own": 1, "at": 2, "speed": None}
    assert document(Outer(1)) == {"own": 1}
    with pytest.raises(ValueError, match="lacks at"):
        record(Outer, {"own": 1, "speed": 3.0})


@dataclass(frozen=True)
class Ended:
    first: Start | None = field(metadata=EMPTY)


def test_what_has_no_value_may_be_an_object_without_keys():
    assert document(Ended(None)) == {"first": {}}
    assert record(Ended, {"first": {}}) == Ended(None)
    assert record(Ended, {"first": {"at": 1, "speed": None}}) == Ended(Start(1, None))
    with pytest.raises(ValueError, match="lacks first"):
        record(Ended, {})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"name": 3}, "name is of another type (int)"),
        ({"note": []}, "note is of another type (list)"),
        ({"sure": 1}, "sure is of another type (int)"),
        ({"counts": [1, True]}, "counts[1] is of another type (bool)"),
        ({"counts": {}}, "counts is no list"),
        ({"pair": [1.0]}, "pair has 1 entries, not 2"),
        ({"pair": [True, ""]}, "pair[0] is of another type (bool)"),
        ({"M": 3}, "M is no object"),
        ({"M": {"error": 1}}, "lacks M.value"),
        ({"M": {"value": "1"}}, "M.value is of another type (str)"),
        ({"parts": [None, {}]}, "lacks parts[1].value"),
        ({"late": []}, "late is no object"),
    ],
)
def test_what_is_of_another_shape_is_said_with_its_place(tmp_path, change, words):
    with pytest.raises(ValueError) as caught:
        record(Whole, {**GOOD, **change})
    assert str(caught.value) == words
    path = tmp_path / "document.json"
    path.write_text(json.dumps({**GOOD, **change}))
    with pytest.raises(InputError) as refused:
        read_record(path, "file", "a whole", Whole, "make it again")
    assert str(refused.value) == f"file = {path}: cannot be read as a whole ({words}); make it again"


def test_a_document_that_is_none_is_refused(tmp_path):
    with pytest.raises(ValueError, match="the document is no object"):
        record(Whole, [GOOD])
    with pytest.raises(ValueError, match="lacks name"):
        record(Whole, {})
    with pytest.raises(InputError, match="does not exist"):
        read_record(tmp_path / "absent.json", "file", "a whole", Whole, "make it")

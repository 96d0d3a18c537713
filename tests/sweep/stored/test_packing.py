import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ntkflow.sweep.stored import lines
from ntkflow.sweep.stored.packing import Schema, Schemas

NUMBERS = st.floats(allow_nan=False) | st.sampled_from([0.0, -0.0, 1.0, 0.1])
ROWS = st.lists(st.lists(NUMBERS, min_size=5, max_size=5), min_size=1, max_size=4)


@given(ROWS)
def test_rows_come_back_bit_by_bit(rows):
    names = "abcde"
    rows = [dict(zip(names, row, strict=True)) for row in rows]
    schema = Schema.load(Schema.of(rows[0]).dump())
    found = schema.unpacked([schema.packed(row) for row in rows])
    expected = np.array([[row[name] for name in names] for row in rows])
    np.testing.assert_array_equal(found.view(np.uint64), expected.view(np.uint64))


def test_a_number_that_is_lacking_is_nan_and_another_name_or_text_makes_another_schema():
    schemas = Schemas()
    assert schemas.number({"a": 1.0, "b": 0.3, "why": "end"}) == (0, True)
    assert schemas.number({"b": 2.0, "why": "end"}) == (0, False)
    assert np.isnan(schemas.known[0].unpacked([schemas.known[0].packed({"b": 2.0})])[0, 0])
    assert schemas.number({"c": 2.0, "why": "end"}) == (1, True)
    assert schemas.number({"a": 2.0, "why": "failed"}) == (2, True)


def test_what_is_the_same_under_two_names_is_written_once():
    rng = np.random.default_rng(0)
    rows = [{f"x{k}": v for k, v in enumerate(np.repeat(row, 2))} for row in rng.normal(size=(20, 30))]
    short = [dict(list(row.items())[::2]) for row in rows]
    schema, single = Schema.of(rows[0]), Schema.of(short[0])
    assert schema.like[:4].tolist() == [0, 0, 2, 2]
    assert (
        max(
            len(schema.packed(row)) - len(single.packed(half))
            for row, half in zip(rows[1:], short[1:], strict=True)
        )
        < 60
    )


@pytest.mark.parametrize("bad", [b"", b"{}", b'{"names": ["a"], "texts": {}, "first": ""}', b"[1]"])
def test_something_else_is_no_schema(bad):
    with pytest.raises(ValueError, match=r"Expect|KeyError|numbers|TypeError"):
        Schema.load(bad)


@given(st.lists(st.tuples(st.text("abc019", max_size=5), st.integers(0, 99), st.binary(max_size=40))))
def test_lines_come_back_and_a_last_one_that_is_cut_is_dropped(entries):
    whole = [lines.written(lines.DONE, *entry) for entry in entries]
    found = list(lines.read(b"".join(whole)))
    assert [(line.key, line.number, line.payload) for line in found] == entries
    for cut in range(1, len(whole[-1]) if whole else 0):
        assert list(lines.read(b"".join(whole)[:-cut])) == found[:-1]


@given(st.binary(min_size=1, max_size=30), st.integers(0), st.integers(1, 255))
def test_damage_costs_its_own_line_alone(payload, place, change):
    good = [lines.written(lines.DONE, "k", i, payload) for i in range(3)]
    damaged = bytearray(good[1])
    damaged[place % (len(damaged) - 1)] ^= change
    found = list(lines.read(good[0] + bytes(damaged) + good[2]))
    expected = list(lines.read(good[0] + good[2]))
    assert (found[0], found[-1]) == tuple(expected)
    assert all(line is None for line in found[1:-1])

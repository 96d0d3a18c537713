import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ntkflow.errors import InputError
from ntkflow.runs.config import SCHEMA, SimulateConfig
from ntkflow.sweep import Axis, parse_axis


def test_ranges_are_linear_or_logarithmic_with_both_ends():
    np.testing.assert_allclose(parse_axis("scale=1:2:5").values, [1, 1.25, 1.5, 1.75, 2])
    axis = parse_axis("scale=0.01:100:5:log")
    np.testing.assert_allclose(axis.values, [0.01, 0.1, 1, 10, 100])
    assert axis.log
    assert not parse_axis("scale=1:2:5").log


def test_ranges_of_whole_fields_are_rounded_and_keep_each_number_once():
    assert parse_axis("features=2:5:4").values == (2, 3, 4, 5)
    assert parse_axis("features=2:4:9").values == (2, 3, 4)
    assert all(isinstance(v, int) for v in parse_axis("features=2:64:6:log").values)


def test_lists_have_the_type_of_their_field():
    assert parse_axis("init=gaussian,relu").values == ("gaussian", "relu")
    assert parse_axis("classes=2,3").values == (2, 3)
    values = parse_axis("kappa_d=1,2").values
    assert all(isinstance(v, float) for v in values)


def test_fields_before_one_sign_move_together():
    axis = parse_axis("decay_w,decay_h=0,0.1")
    assert axis.fields == ("decay_w", "decay_h")
    assert axis.name == "decay_w"


def test_every_field_of_the_configuration_can_be_swept():
    assert set(SCHEMA.kinds) == set(vars(SimulateConfig()))


def test_a_setting_may_be_a_list_where_the_field_takes_one():
    assert SCHEMA.read_setting("--set", "per_class", "3,4") == (3, 4)
    assert SCHEMA.read_setting("--set", "per_class", "3") == 3
    with pytest.raises(InputError, match="must be a whole number"):
        SCHEMA.read_setting("--set", "classes", "3,4")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("scale", "is not an axis"),
        ("=1,2", "is not an axis"),
        ("scale=", "is not an axis"),
        ("kapa_d=1,2", "did you mean kappa_d"),
        ("scale=1:2", "is not a range"),
        ("scale=1:2:3:4", "is not a range"),
        ("scale=a:2:3", "must be a finite number"),
        ("scale=1:inf:3", "must be a finite number"),
        ("scale=1:2:0", "the count must be 1"),
        ("scale=1:2:2.5", "the count must be 1"),
        ("scale=0:2:3:log", "needs positive ends"),
        ("classes=2,2.5", "must be a whole number for classes"),
        ("scale=1,,2", "must be a number for scale"),
        ("scale=1,1.0", "stands twice"),
        ("scale,scale=1,2", "must name each field once"),
        ("scale,init=1,2", "must be text for init"),
        # Numbers of the first field, which the second would have got in every cell.
        ("scale,classes=3,4", "must be a whole number for classes"),
    ],
)
def test_bad_axes_are_named(text, message):
    with pytest.raises(InputError, match=message):
        parse_axis(text)


def test_axes_from_python_are_checked_too():
    with pytest.raises(InputError, match="needs at least one"):
        Axis(("scale",), ())
    with pytest.raises(InputError, match="needs positive numbers"):
        Axis(("scale",), (0.0, 1.0), log=True)
    assert Axis(("scale",), (1, 2)).values == (1.0, 2.0)


@given(st.floats(-1e3, 1e3), st.floats(-1e3, 1e3), st.integers(2, 30))
def test_a_range_has_its_count_and_its_ends(start, stop, count):
    if len(set(np.linspace(start, stop, count))) < count:
        return
    values = parse_axis(f"decay_w={start!r}:{stop!r}:{count}").values
    assert len(values) == count
    assert values[0] == start
    assert values[-1] == pytest.approx(stop)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("kappa_c/kappa_c=1,2", "no ratio of two fields"),
        ("kappa_c/kappa_d/kappa_n=1,2", "no ratio of two fields"),
        ("kappa_c/kappa_d,kappa_n=1,2", "on an axis of its own"),
        ("kappa_c/kapa_d=1,2", "did you mean kappa_d"),
        ("features/classes=1,2", "is not a real number"),
        ("kappa_c/classes=1,2", "is not a real number"),
    ],
)
def test_a_ratio_is_one_of_two_numbers(text, words):
    axis = parse_axis("kappa_c/kappa_d=0.1:1:2:log")
    assert (axis.values, axis.sets, axis.log) == ((0.1, 1.0), ("kappa_c",), True)
    with pytest.raises(InputError, match=words):
        parse_axis(text)

"""What the page says of a kernel's shape, of baselines, and of the class residual."""

from dataclasses import replace

from ntkflow_validation.report import scores
from ntkflow_validation.report.words import verdict
from ntkflow_validation.runs.compared import ComparedShape, Ends

from tests.validation.report.synthetic import window


def test_a_window_of_before_says_nothing_of_it():
    old = window()
    assert scores.shape_note(old) == ""
    assert scores.until_table(old, {}) == ""
    assert "class residual" not in " ".join(verdict(old))


def test_a_shape_foretells_a_skill_that_is_one_from_above_where_parts_are_missing():
    shape = ComparedShape(0.2, 0.5, 0.3, None, None, {"lazy": 0.31, "small start": 1.2})
    said = scores.shape_note(replace(window(), shape=shape))
    assert "a skill on M of at most 0.69 in the lazy regime or −0.20 from a small start" in said
    whole = replace(shape, iso=0.1)
    assert "at most" not in scores.shape_note(replace(window(), shape=whole))


def test_a_part_without_a_number_has_a_reason():
    shape = ComparedShape(0.2, 0.5, 0.3, None, 0.1, {}, {"iso": "it takes <both>"})
    assert "No iso: it takes &lt;both&gt;." in scores.shape_note(replace(window(), shape=shape))
    assert "No " not in scores.shape_note(replace(window(), shape=replace(shape, missing=None)))


def test_baselines_stand_above_the_rungs_and_marks_have_a_table():
    known = window()
    own = known.rungs[0]
    until = {"1/2": own.skill.centred, "1/10": own.skill.centred}
    null = replace(own, name="persistence", title="nothing changes", skill_until=until)
    rungs = tuple(replace(r, skill_until=None if r.refused else until) for r in known.rungs)
    shown = replace(
        known,
        baselines=(null,),
        rungs=rungs,
        until={"1/2": 3, "1/10": 8},
        class_residual=Ends(2.0, 0.1),
        accuracy=Ends(0.1, 0.9),
        tests="This window tests little: <so>.",
    )
    page = scores.horizon_table(shown, {})
    assert page.index("nothing changes") < page.index(own.title)
    assert "tested on nothing" in page
    assert "to 1/10" in scores.until_table(shown, {})
    words = " ".join(verdict(shown))
    assert "falls to 0.05 of its start, train accuracy goes from 10% to 90%" in words
    assert "&lt;so&gt;" in words

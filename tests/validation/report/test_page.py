import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from ntkflow_validation.report.page import page, write_page
from ntkflow_validation.report.words import verdict
from ntkflow_validation.runs.compared import NO_SKILL, Ends, Motion, Skill, Skills

from ntkflow.errors import InputError
from tests.validation.report import synthetic

VOID = {"meta", "link", "input", "br"}


class Tags(HTMLParser):
    """Every tag is closed in order; collects identifiers, attributes and text."""

    def __init__(self, text):
        super().__init__()
        self.open, self.ids, self.addresses, self.words, self.tags = [], [], [], [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.tags.append((tag, found))
        if "id" in found:
            self.ids.append(found["id"])
        self.addresses += [found[key] for key in ("href", "src", "xlink:href") if key in found]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


@pytest.fixture(scope="module")
def whole():
    reports = [synthetic.report(), synthetic.report(title="Another run")]
    return Tags(page(reports, synthetic.calibration()))


def test_it_is_well_formed_and_identifiers_are_unique(whole):
    assert len(whole.ids) == len(set(whole.ids))
    assert {a[1:] for a in whole.addresses if a.startswith("#")} <= set(whole.ids)


def test_nothing_is_loaded_from_anywhere(whole):
    assert all(a.startswith(("#", "data:")) for a in whole.addresses)
    assert "script" not in {tag for tag, _ in whole.tags}
    assert "url(" not in page([synthetic.report()], None)


def test_pictures_say_what_they_show_and_tables_have_headers(whole):
    pictures = [found for tag, found in whole.tags if tag == "svg" and found.get("role") == "img"]
    assert len(pictures) > 30
    assert all(found["aria-label"] for found in pictures)
    tables = sum(tag == "table" for tag, _ in whole.tags)
    assert tables == sum(tag == "caption" for tag, _ in whole.tags) > 10
    assert all(found.get("scope") in ("row", "col") for tag, found in whole.tags if tag == "th")


def test_words_from_files_are_escaped(whole):
    words = "".join(whole.words)
    assert "measured constants break κ_c ≥ κ_n <0.1, 0.2>" in words
    assert "# <not a tag>" in words
    assert "is lost to it <b>." in words


def test_the_verdict_names_worst_best_and_cheapest(whole):
    words = "".join(whole.words)
    assert "The three constants rung predicts the centred class means M with skill 0.41" in words
    assert "the best rung, full tensor, with 0.99" in words
    assert "traced N × N kernel, 7\u202f260 constants" in words
    trained = "".join(verdict(replace(synthetic.window(), cheapest="matrix-block as trained")))
    assert "at least 0.8 is matrix blocks with the training's own steps, 1\u202f584 constants" in trained


@pytest.mark.parametrize(
    ("sentence", "last"),
    [("Skill 0.1. What costs most: decay.", "What costs most: decay."), ("Skill 0.1.", "")],
)
def test_of_the_attribution_the_verdict_takes_what_costs_most(sentence, last):
    found = verdict(replace(synthetic.window(), sentence=sentence))
    assert (found[-1] == last) if last else all(len(words) > 1 for words in found)


def test_a_rung_worse_than_no_change_is_called_so():
    window = synthetic.window()
    first = replace(window.rungs[0], skill=Skills({"M": Skill(-0.7, None)}))
    window = replace(window, rungs=(first, *window.rungs[1:]))
    text = page([synthetic.report(comparison=synthetic.comparison(window))], None)
    assert "worse than assuming that nothing changes" in text
    assert "<b>−0.70</b>" in text


def test_the_calibration_of_the_version_is_stated():
    said = page([synthetic.report()], synthetic.calibration(version="9.9"), version="9.9")
    assert "Calibration of version 9.9 passes" in said
    assert "<b>fails</b>" in page([], synthetic.calibration(block_skill=0.9, passed=False))
    assert "version 9.9 was not calibrated" in page([], None, version="9.9")


def test_a_run_that_was_not_compared_still_has_a_page():
    text = page([synthetic.report(comparison=None, kernels=[], metrics=[])], None)
    assert "<h2>small CNN on digits" in text
    Tags(text)


def test_missing_numbers_are_gaps_and_dashes():
    window = synthetic.window()
    rungs = tuple(
        replace(
            rung,
            predicted={**rung.predicted, "loss": (None,) * 15},
            skill=replace(rung.skill, centred={**rung.skill.centred, "M": NO_SKILL, "W": NO_SKILL}),
            instantaneous={**rung.instantaneous, "M": Motion(None, None), "within": None},
            rates={"class": None},
        )
        for rung in window.rungs
    )
    window = replace(
        window,
        loss=Ends(None, None),
        frontier=(),
        cheapest=None,
        attribution=(),
        sentence=None,
        rungs=rungs,
    )
    text = page([synthetic.report(comparison=synthetic.comparison(window))], None)
    Tags(text)
    assert "nan" not in re.sub(r"[a-z]+nan|nan[a-z]+", "", text.lower())
    assert "None" not in text


def test_the_file_is_small_and_replaced_in_one_piece(tmp_path):
    path = tmp_path / "report.html"
    path.write_text("old")
    write_page(path, [synthetic.report(), synthetic.report()], synthetic.calibration())
    assert path.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert path.stat().st_size < 1_500_000
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]


def test_bands_are_called_what_they_are():
    window = synthetic.window()
    kinds = {"block": "probe sets", "sample": "draws of the batches"}
    rungs = tuple(
        r if r.band is None else replace(r, band=replace(r.band, of=kinds[r.name])) for r in window.rungs
    )
    report = synthetic.report(comparison=synthetic.comparison(replace(window, rungs=rungs)))
    said = "Bands: one standard deviation over draws of the batches or one standard error over probe sets."
    assert said in page([report], None)


def test_what_cannot_be_drawn_is_one_error_and_leaves_the_page_that_was_there(tmp_path):
    path = write_page(tmp_path / "report.html", [synthetic.report()], synthetic.calibration())
    before = path.read_bytes()
    far = replace(synthetic.window(), step_times_rate=10**400)
    broken = synthetic.report(comparison=synthetic.comparison(far))
    with pytest.raises(InputError, match="cannot be read as what a page shows"):
        write_page(path, [broken], synthetic.calibration())
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]

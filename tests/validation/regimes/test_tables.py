import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread
from ntkflow_validation.kernels.methods.shape import KernelShape
from ntkflow_validation.regimes.cells import Scale, cells
from ntkflow_validation.regimes.convolutional import PART
from ntkflow_validation.regimes.convolutional import cells as convolutional_cells
from ntkflow_validation.regimes.document import LOG_NC1, Foretold, read, read_all
from ntkflow_validation.regimes.expected import EXPECTED, errors, explained, of_cv
from ntkflow_validation.regimes.figures import draw_all, skill_figure
from ntkflow_validation.regimes.tables import BASELINES, CONVOLUTIONAL, MLPS, spread, tables
from ntkflow_validation.runs.compared import ComparedShape

from tests.validation.regimes import documents

ROOT = Path(__file__).parents[3]
RESULTS = ROOT / "validation" / "results" / "regimes"
STATED = RESULTS / "expectations.md"


@pytest.fixture(scope="module")
def runs():
    return documents.study()


def test_what_is_expected_is_what_was_stated():
    names = {
        "digits": "digits",
        "Fashion-MNIST": "fashion-mnist",
        "digits, class means equalised": "equalised",
    }
    rows = [
        line.strip("| \n").split(" | ") for line in STATED.read_text().splitlines() if line.startswith("| ")
    ]
    stated = {
        (names[row[0]], row[1], row[2]): row[3]
        for row in rows
        if row[0] in names and re.fullmatch(r"\d+", row[1])
    }
    coded = {(e.kind, f"{e.gamma:g}", e.words): e.said for e in EXPECTED if "analytic" not in e.words}
    assert len(stated) == len(coded) == 10
    for (key, text), (own, said) in zip(sorted(stated.items()), sorted(coded.items()), strict=True):
        assert key[:2] == own[:2]
        assert [float(x) for x in re.findall(r"\d*\.\d+", text)] == [
            float(x) for x in re.findall(r"\d*\.\d+", said)
        ]


def test_an_expectation_holds_where_the_mean_is_within_its_margin(runs):
    expected = EXPECTED[0]

    def with_skills(*values):
        widest = [r for r in runs if r.where == ("digits", 16.0, 1024)]
        return [documents.scored(r, block=v) for r, v in zip(widest, values, strict=True)]

    assert expected.holds(with_skills(0.93, 0.93, 0.92)) is True
    assert expected.holds(with_skills(0.94, 0.94, 0.94)) is False
    assert expected.holds(with_skills(0.6, 0.9, 0.9)) is False
    assert expected.holds([r for r in runs if r.width == 64]) is None
    bound = next(e for e in EXPECTED if e.margin is None)
    assert bound.holds(runs) is True


def test_the_law_is_that_of_the_kernels_shape():
    assert of_cv(16.0, np.array([0.5]))[0] == pytest.approx(KernelShape(cv=0.5).foretold["small start"])
    assert of_cv(1.0, np.array([0.5]))[0] == pytest.approx(KernelShape(cv=0.5).foretold["lazy"])
    assert explained(np.array([0.1, 0.2, 0.3]), np.array([0.1, 0.2, 0.3])) == 1
    assert explained(np.array([0.1, 0.2, 0.3]), np.full(3, 0.2)) == pytest.approx(0)
    assert np.isnan(explained(np.array([0.1]), np.array([0.1])))


def test_runs_without_a_shape_have_no_place_in_the_law(runs):
    assert [len(part) for part in errors(runs, 16.0)] == [0, 0, 0]


def test_every_setting_has_a_row_in_every_table(runs):
    text = tables(runs)
    assert text.count("### ") == 8
    rows = [
        line
        for line in text.splitlines()
        if line.startswith("| features of a collapsed network | 1 | 1024 | 3 ")
    ]
    assert len(rows) == 6
    assert text.count("not run") == 0
    assert "not run" in tables(runs[:3])
    assert tables([]).count("### ") == 8


def test_the_committed_tables_and_those_of_the_page_are_made_of_the_documents():
    made = tables(read_all(RESULTS))
    assert (RESULTS / "tables.md").read_text() == made
    part = tables(read_all(RESULTS / PART), CONVOLUTIONAL)
    assert (RESULTS / PART / "tables.md").read_text() == part
    made += part
    rows = [line for line in (ROOT / "docs" / "regimes.md").read_text().splitlines() if line.startswith("|")]
    assert len(rows) > 30
    assert [row for row in rows if row not in made.splitlines()] == []


def test_committed_documents_are_of_this_study():
    known = {cell.name: cell.digest for cell in cells(Scale())}
    found = {path.stem: read(path).digest for path in RESULTS.glob("*-seed*.json")}
    assert len(found) > 20
    assert {name: known[name] for name in found} == found
    of_part = {cell.name: cell.digest for cell in convolutional_cells(3)}
    found = {path.stem: read(path).digest for path in (RESULTS / PART).glob("*-seed*.json")}
    assert {name: of_part[name] for name in found} == found


def test_seeds_of_another_window_are_apart_and_in_no_verdict_and_no_law(runs):
    shape = ComparedShape(0.2, 0.5, 0.3, 0.1, 0.2, {"lazy": 0.3, "small start": 0.2})
    widest = [replace(r, shape=shape) for r in runs if r.where == ("digits", 16.0, 1024)]
    mixed = [documents.scored(r, block=0.9) for r in widest[:2]]
    mixed.append(replace(documents.scored(widest[2], block=0.1), share="1/10"))
    assert EXPECTED[0].seeds(mixed).tolist() == [0.9, 0.9]
    assert [len(part) for part in errors(mixed, 16.0)] == [2, 2, 2]
    rows = [line for line in tables(mixed).splitlines() if line.startswith("| digits | 16 | 1024 | ")]
    assert rows[0].startswith("| digits | 16 | 1024 | 2 | 1/30 | 0.900 ± 0 |")
    assert rows[1].startswith("| digits | 16 | 1024 | 1 | 1/10 | 0.100 |")
    lines = skill_figure(mixed).axes[0].get_lines()
    drawn = next(line for line in lines if line.get_label() == "three constants")
    assert drawn.get_ydata().tolist() == [0.9]
    assert not any(len(line.get_xdata()) and line.get_markerfacecolor() == "w" for line in lines)
    lines = skill_figure(mixed[2:]).axes[0].get_lines()
    assert any(len(line.get_xdata()) and line.get_markerfacecolor() == "w" for line in lines)


def test_a_baseline_that_is_drawn_nowhere_is_not_in_the_legend(runs):
    def legend(velocity):
        null = Foretold({"M": velocity})
        some = [replace(r, baselines={**r.baselines, "constant-velocity": null}) for r in runs[:1]]
        return {text.get_text() for text in skill_figure(some).legends[0].get_texts()}

    assert "constant velocity" not in legend(-9.0)
    assert "constant velocity" in legend(0.2)


@pytest.mark.parametrize("part", [MLPS, CONVOLUTIONAL], ids=["mlps", "convolutional"])
def test_no_two_lines_of_the_legend_look_the_same(runs, part):
    """By colour, dashes and mark; a mark alone tells baselines apart where there is one width."""
    found = runs if part is MLPS else documents.part()
    nulls = {name: Foretold({"M": 0.1 * i}) for i, name in enumerate(BASELINES)}
    figure = skill_figure([replace(r, baselines=nulls) for r in found], part)
    drawn = {line.get_label(): line for axes in figure.axes for line in axes.get_lines()}
    lines = [line for label, line in drawn.items() if not str(label).startswith("_")]
    assert {line.get_label() for line in lines} >= set(BASELINES.values()) | set(part.rungs.values())
    looks = {(line.get_color(), str(line._unscaled_dash_pattern), line.get_marker()) for line in lines}
    marks = {drawn[title].get_marker() for title in BASELINES.values()}
    assert (len(looks), len(marks)) == (len(lines), len(BASELINES))
    assert marks.isdisjoint({"", "None", None})


def test_the_logarithm_of_NC1_stands_beside_its_baselines(runs):
    null = Foretold({LOG_NC1: 0.81})
    some = [replace(r, baselines={"constant-velocity": null, "frozen-features": null}) for r in runs[:1]]
    text = tables(some).split("### NC1, and skill on its logarithm")[1].split("###")[0]
    assert "| ln NC1, constant velocity | ln NC1, no class structure |\n" in text
    assert "| 0.810 | - |\n" in text


def test_convolutional_networks_have_tables_and_figures_of_their_own():
    found = documents.part()
    text = tables(found, CONVOLUTIONAL)
    assert text.count("### ") == 7
    assert "infinite width" not in text
    assert sum(line.startswith("| pooled | 16 | 64 | 3 | 1/30 | ") for line in text.splitlines()) == 5
    assert "| readout | gamma | width | quantity | stated beforehand |" in text
    # These have no shape, and so no iso.
    assert text.count("not run") == 2
    names = {text.get_text() for text in skill_figure(found, CONVOLUTIONAL).legends[0].get_texts()}
    assert {"whole tensor", "class constants of every neuron"} <= names
    assert "analytic kernel" not in names


def test_what_is_expected_of_convolutional_networks_is_what_was_stated():
    rows = [
        line.strip("| ").split(" | ")
        for line in (RESULTS / PART / "expectations.md").read_text().splitlines()
        if line.startswith(("| flat", "| pooled"))
    ]
    stated = [(kind, gamma, words, said.replace("+-", "±")) for kind, gamma, words, said in rows]
    coded = [(e.kind, f"{e.gamma:g}", e.words, e.said.replace("0.", ".")) for e in CONVOLUTIONAL.expected]
    assert stated == coded


def test_numbers_over_seeds():
    assert spread(np.array([-1e-5])) == "0.000"
    assert spread(np.array([0.9, 0.92])) == "0.910 ± 0.014"
    assert spread(np.array([0.9])) == "0.900"
    assert spread(np.array([])) == "-"


@pytest.mark.slow
def test_figures_are_drawn_of_whatever_there_is(runs, tmp_path):
    for i, some in enumerate((runs, runs[:3])):
        drawn = draw_all(some, tmp_path / str(i))
        assert len(drawn) == 3
        assert all(imread(path).ndim == 3 for path in drawn)
    assert draw_all([], tmp_path) == []

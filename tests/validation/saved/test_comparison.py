"""A comparison read back: a row of scores for each prediction, its figure, its file."""

import json
from dataclasses import replace

import numpy as np
import pytest
from ntkflow_validation.figures import comparison as figures
from ntkflow_validation.saved import LadderComparison

import ntkflow as nf


@pytest.fixture
def found(trained):
    return nf.load(trained / "comparison.json")


def test_a_row_for_each_prediction(found):
    assert isinstance(found, LadderComparison)
    frame = found.to_pandas()
    assert frame["rung"].tolist() == ["block", "tensor"]
    first, second = found.rows
    assert (first["residual_global"], first["M_error"], first["H1"], first["H1_error"]) == (
        0.9,
        0.01,
        0.99,
        None,
    )
    assert first["M"] == pytest.approx(0.6)
    assert (second["refused"], second["M"]) == ("no memory", None)
    assert np.isnan(frame["M"][1])
    data = found.to_xarray().set_index(prediction=["window", "rung"])
    scores = data.sel(quantity="M", rung="block", window="early")
    assert (scores["skill"].item(), scores["error"].item()) == (pytest.approx(0.6), 0.01)
    assert np.isnan(data["skill"].sel(rung="tensor")).all()


def test_it_tells_itself_in_a_line_and_in_a_table(found, trained):
    line = "windows early (steps 0 to 8); rungs block, tensor; cheapest that predicts: block)"
    assert repr(found) == f"LadderComparison({line}"
    assert repr(nf.load(trained).comparison) == f"LadderComparison(block, linear, N = 12, n = 5; {line}"
    assert "<td>three" not in found._repr_html_()
    assert "<td>block</td>" in found._repr_html_()


def test_its_figure_is_that_of_the_run(found, trained, monkeypatch):
    monkeypatch.setattr(figures, "comparison_figure", lambda *drawn, **how: (*drawn, how))
    lead, windows, title, how = nf.load(trained).comparison.figure("early", panes=["skill"], size=5.0)
    assert how == {"panes": ["skill"], "size": 5.0}
    assert title == "block, linear, N = 12, n = 5: predicted from step 0 with three constants"
    np.testing.assert_array_equal(lead.predicted["NC1"], lead.observed["NC1"])
    assert (list(windows), lead.pooled["residual_global"]) == ([0], 0.9)
    assert found.figure()[2] == "predicted from step 0 with three constants"
    with pytest.raises(nf.InputError, match="is none of early"):
        found.figure("late")
    with pytest.raises(nf.InputError, match=r"has no prediction \(cross-entropy\)"):
        LadderComparison(replace(found.content, windows=(), refused="cross-entropy")).figure()


def test_it_is_saved_and_comes_back(found, tmp_path):
    place = nf.save(found, tmp_path / "kept" / "scores.json")
    again = nf.load(place)
    assert (again.rows, repr(again)) == (found.rows, repr(found))
    with pytest.raises(nf.InputError, match="exists"):
        found.save(place)
    found.save(place, overwrite=True)
    with pytest.raises(nf.InputError, match="exists"):
        found.save(tmp_path / "kept", overwrite=True)


@pytest.mark.parametrize(
    "text", ["{", '{"windows": 3}', '{"windows": [{"name": "early"}], "deviations": []}']
)
def test_a_damaged_one_is_refused_by_name(text, tmp_path):
    (tmp_path / "comparison.json").write_text(text)
    with pytest.raises(nf.InputError, match=r"comparison\.json"):
        nf.load(tmp_path / "comparison.json")


def test_series_of_another_length_than_the_times_are_refused(trained, tmp_path):
    content = json.loads((trained / "comparison.json").read_text())
    content["windows"][0]["times"].pop()
    (tmp_path / "comparison.json").write_text(json.dumps(content))
    with pytest.raises(nf.InputError, match="has 5 values for 4 times"):
        nf.load(tmp_path / "comparison.json")

from dataclasses import replace

import numpy as np
import pytest
from ntkflow_validation.regimes import document
from ntkflow_validation.regimes.cells import RUNGS, Scale, cells
from ntkflow_validation.regimes.document import LOG_NC1, skill_of_logarithm

from ntkflow.errors import InputError
from tests.validation.regimes import documents

CELL = cells(Scale())[0]


def test_a_document_holds_the_window_to_the_smallest_share_that_is_reached():
    found = documents.run(CELL, "1/10")
    assert (found.share, found.finished) == ("1/10", False)
    assert len(found.steps) == len(found.times) == len(found.NC1) == 10
    assert found.step == found.steps[-1]
    assert found.NC1_end == found.NC1[-1]
    assert tuple(found.rungs) == RUNGS
    assert found.rungs["sample"].stepped is not None
    assert found.rungs["block"].stepped is None
    assert all(len(r.NC1) == 10 for r in found.rungs.values())
    # What is foretold as it was.
    assert found.skill("sample", LOG_NC1) == 1
    assert np.isnan(found.skill("nothing"))


def test_documents_come_back_as_they_were(tmp_path):
    found = documents.run(CELL)
    document.write(tmp_path / f"{CELL.name}.json", found)
    known = document.read(tmp_path / f"{CELL.name}.json")
    # Sequences of settings are lists in files.
    assert replace(known, settings={}) == replace(found, settings={})
    assert document.read_all(tmp_path) == [known]
    (tmp_path / "torn-seed0.json").write_text('{"version": "0')
    with pytest.raises(InputError, match="regime study"):
        document.read_all(tmp_path)


def test_a_run_whose_residual_never_halves_has_no_scores():
    found = document.run_document(CELL, documents.window(until={}), {}, 0.1, None, 1.0)
    assert found.share is None
    assert all("halve" in r.refused for r in found.rungs.values())
    assert np.isnan(found.skill("block"))


def test_skill_on_a_logarithm():
    seen = (1.0, 0.1, 0.01)
    assert skill_of_logarithm(seen, seen) == 1
    assert skill_of_logarithm(seen, (1.0, 1.0, 1.0)) == 0
    assert skill_of_logarithm(seen, (1.0, 0.1, 0.1)) == pytest.approx(1 - 1 / 5)
    assert skill_of_logarithm(seen, (1.0, 0.1)) is None
    assert skill_of_logarithm(seen, (1.0, 0.1, 0.0)) is None
    assert skill_of_logarithm((1.0, 1.0), (1.0, 1.0)) is None

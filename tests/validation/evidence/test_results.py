"""The committed evidence: documents that can be repeated, and a page that says what they say."""

import json
from pathlib import Path

import pytest
from ntkflow_validation.calibration import store
from ntkflow_validation.config.config import FIRST, KernelConfig, RunConfig
from ntkflow_validation.kernels.found import CONSTANTS

from ntkflow.runs.border.records import document
from ntkflow.runs.files import dump_json
from tools.evidence_table import documents, written_into

RESULTS = Path(__file__).parents[3] / "validation" / "results"


@pytest.mark.parametrize("name", sorted(documents(RESULTS)))
def test_a_document_belongs_to_the_configuration_beside_it(name):
    found = documents(RESULTS)[name]
    assert RunConfig.from_dict(found.config) == RunConfig.from_toml(RESULTS / f"{name}.toml")
    assert found.command == f"ntkflow validate train --config {name}.toml --out {name}"
    assert set(FIRST["kernels"]) <= set(found.config["kernels"]) <= set(vars(KernelConfig()))
    assert found.training.result == "complete"
    assert found.training.device
    assert found.trajectory["step"][-1] == found.last.step
    # What is read is all that there is, in its order.
    assert dump_json(document(found)) + "\n" == (RESULTS / f"{name}.json").read_text()


def test_the_committed_calibration_is_read():
    path = RESULTS / "reports" / "calibration.json"
    assert json.loads(dump_json(document(store.read(path)))) == json.loads(path.read_text())


def test_the_page_has_the_numbers_of_the_documents():
    page = (RESULTS / "README.md").read_text(encoding="utf-8")
    assert "| digits-collapsed |" in page
    assert written_into(page, RESULTS) == page


@pytest.mark.parametrize("seed", ["", "-seed1", "-seed2"])
def test_decay_decided_collapse_on_digits(seed):
    """To a twentieth with every seed; that seed 0 once had a hundredth of it did not come again when it was made anew."""
    runs = documents(RESULTS)
    with_decay, without = runs[f"digits-collapsed{seed}"], runs[f"digits-decay-0{seed}"]
    recipe, other = with_decay.config["training"], without.config["training"]
    assert {key for key, value in recipe.items() if other[key] != value} == {"weight_decay"}
    assert with_decay.last.values["NC1_tirer"] < 0.05 * without.last.values["NC1_tirer"]
    assert with_decay.invariant.relative < 0.1 < 0.5 < without.invariant.relative


def test_rows_of_kernels_are_those_of_a_measurement():
    for found in documents(RESULTS).values():
        assert {frozenset(row.errors) for row in found.kernels} == {frozenset(CONSTANTS)}

"""The committed evidence: documents that can be repeated, and a page that says what they say."""

import json
from pathlib import Path

import pytest
from ntkflow_validation.config.config import KernelConfig, RunConfig
from ntkflow_validation.evidence.evidence_table import documents, written_into
from ntkflow_validation.kernels.found import CONSTANTS

RESULTS = Path(__file__).parents[3] / "validation" / "results"


@pytest.mark.parametrize("name", sorted(documents(RESULTS)))
def test_a_document_belongs_to_the_configuration_beside_it(name):
    document = json.loads((RESULTS / f"{name}.json").read_text())
    assert RunConfig.from_dict(document["config"]) == RunConfig.from_toml(RESULTS / f"{name}.toml")
    assert document["command"] == f"ntkflow validate train --config {name}.toml --out {name}"
    assert set(document["config"]["kernels"]) == set(vars(KernelConfig()))
    assert {"versions", "host", "seed", "training"} <= set(document)
    assert document["training"]["result"] == "complete"
    assert document["training"]["device"]
    assert document["trajectory"]["step"][-1] == document["last"]["step"]


def test_the_page_has_the_numbers_of_the_documents():
    page = (RESULTS / "README.md").read_text(encoding="utf-8")
    assert "| digits-collapsed |" in page
    assert written_into(page, RESULTS) == page


def test_decay_decided_collapse_on_digits():
    runs = documents(RESULTS)
    with_decay, without = runs["digits-collapsed"], runs["digits-decay-0"]
    differing = {
        key
        for key, value in with_decay["config"]["training"].items()
        if without["config"]["training"][key] != value
    }
    assert differing == {"weight_decay"}
    assert with_decay["last"]["NC1_tirer"] < 0.01 * without["last"]["NC1_tirer"]
    assert with_decay["invariant"]["relative"] < 0.1 < 0.5 < without["invariant"]["relative"]


def test_rows_of_kernels_are_those_of_a_measurement():
    row = {*CONSTANTS, "step", "errors", "alignment", "alignment_k", "block_residual", "broken_order"}
    for document in documents(RESULTS).values():
        assert {frozenset(found) for found in document["kernels"]} == {frozenset(row)}
        assert {frozenset(found["errors"]) for found in document["kernels"]} == {frozenset(CONSTANTS)}

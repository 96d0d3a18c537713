import dataclasses

import pytest

from ntkflow.prove import Verdict, claims
from ntkflow.prove.coverage import DEFINITION, coverage, coverage_table

CORRECTED = {28, 40, 46, 47, 48, 49, 54, 55, 57, 66, 68, 70, 72, 77, 78, 79}
REMARKED = {30, 39, 64, 80}


@pytest.fixture
def entries(proved):
    return proved


def test_nothing_between_1_and_80_is_passed_over():
    assert list(coverage()) == list(range(1, 81))
    known = {claim.key for claim in claims()} | {DEFINITION}
    assert {key for keys in coverage().values() for key in keys} <= known


def test_what_is_corrected_is_the_errata_and_nothing_else(entries):
    rows = coverage_table(entries)
    outcomes = {number: row[1] for row in rows for number in _numbers(row[0])}
    assert list(outcomes) == list(range(1, 81))
    assert {number for number, outcome in outcomes.items() if outcome == "corrected"} == CORRECTED
    assert {number for number, outcome in outcomes.items() if "remark" in outcome} == REMARKED
    assert "not proved" not in outcomes.values()


def test_a_failed_proof_shows(entries):
    broken = [dataclasses.replace(e, verdict=Verdict.NOT_PROVED) if e.key == "eq-26" else e for e in entries]
    assert [row[0] for row in coverage_table(broken) if row[1] == "not proved"] == ["(26)", "(43)"]


def _numbers(span):
    first, _, last = span.replace("(", "").replace(")", "").partition("-")
    return range(int(first), int(last or first) + 1)

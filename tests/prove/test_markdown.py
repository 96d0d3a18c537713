from pathlib import Path

import pytest

from ntkflow.prove import claims, prove
from ntkflow.prove.markdown import ERRATA_COMMAND, errata_page, full_page

ERRATA = Path(__file__).parents[2] / "docs" / "errata.md"


@pytest.fixture(scope="module")
def page(proved):
    return errata_page(prove(errata=True), proved)


def test_the_committed_page_is_what_the_command_makes(page):
    assert ERRATA.read_text(encoding="utf-8") == page


def test_the_page_says_which_command_made_it(page):
    assert ERRATA_COMMAND in page.splitlines()[0]


def test_every_erratum_has_a_row_and_a_section(page):
    for entry in (claim for claim in claims() if claim.erratum):
        assert f"| {entry.key} |" in page
        assert f"## {entry.key}\n" in page


def test_no_text_is_taken_for_html_or_a_table_cell(page):
    for line in page.splitlines():
        if line.startswith("| "):
            assert line.replace(r"\|", "").count("|") == 5
            assert "<" not in line


def test_the_full_page_holds_all_entries():
    entries = prove("sec-7.2")
    assert all(f"## {entry.key}\n" in full_page(entries) for entry in entries)

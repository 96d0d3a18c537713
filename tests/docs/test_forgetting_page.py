"""The tables of docs/forgetting.md are those that the command makes of the documents that are kept."""

from pathlib import Path

import pytest
from ntkflow_validation.studies.experiments import EXPERIMENTS, conduct, wanted
from ntkflow_validation.studies.tables import tables

ROOT = Path(__file__).parents[2]
KEPT = ROOT / "validation" / "results" / "studies"
FILES = sorted(path.stem for path in KEPT.glob("*.md"))


@pytest.mark.parametrize("file", FILES)
def test_tables_are_those_of_the_documents(file):
    name, _, part = file.partition("-")
    runs, verdicts = conduct(name, KEPT, wanted(name, 5, part or None), draw_only=True)
    told = [v for v in verdicts if not part or v.values]
    text = tables(told, runs, EXPERIMENTS[name].of_scores)
    assert (KEPT / f"{file}.md").read_text() == text
    page = (ROOT / "docs" / "forgetting.md").read_text()
    assert all(table in page for table in text.strip().split("\n\n"))

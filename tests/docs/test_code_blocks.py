"""Every Python block of README and docs runs as it stands, in order, in an empty directory."""

import re
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
LINK = re.compile(r"\]\((?!https?:)([^)#]+)(?:#[^)]*)?\)")


def restored_tables(monkeypatch):
    """Pages that show how to replace a network or a data set replace it for themselves."""
    from validation.datasets import READERS
    from validation.models.table import BODIES

    for table in (READERS, BODIES):
        for name, entry in table.items():
            monkeypatch.setitem(table, name, entry)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_python_blocks_run(page, tmp_path, monkeypatch):
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
    monkeypatch.chdir(tmp_path)
    restored_tables(monkeypatch)
    names: dict = {}
    for block in blocks:
        if "import torch" in block and find_spec("torch") is None:
            continue  # an extra; what the page says about it is tested where it is installed
        exec(compile(block, str(page), "exec"), names)
    assert len(blocks) == page.read_text().count("```python")


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_lead_somewhere(page):
    missing = [link for link in LINK.findall(page.read_text()) if not (page.parent / link).exists()]
    assert not missing

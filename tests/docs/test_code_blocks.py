"""The code of README and docs runs as it stands, page by page, in order, in an empty directory.

Every Python block runs, and every shell block marked `<!-- run -->`; a shell block that does not run says why, as
`<!-- not run: needs a GPU -->`. Blocks of `text` are formulas.
"""

import re
from importlib.util import find_spec

import pytest

from tests.commands import exit_code
from tests.docs.pages import LINK, PAGES, blocks, words_of

NAMES = [f"{page.parent.name}-{page.name}" for page in PAGES]
# Pages that train networks or run sweeps, in many seconds each.
LONG = ("getting-started.md", "sweeps.md", "measuring.md", "your-network.md")


def restored_tables(monkeypatch):
    """Pages that show how to replace a network or a data set replace it for themselves."""
    from ntkflow_validation.datasets import READERS
    from ntkflow_validation.models.table import BODIES

    for table in (READERS, BODIES):
        for name, entry in table.items():
            monkeypatch.setitem(table, name, entry)


def runs(block):
    if block.language == "python":
        # An extra; what the page says about it is tested where it is installed.
        return not ("import torch" in block.code and find_spec("torch") is None)
    return block.language == "sh" and block.mark == "run"


@pytest.mark.parametrize(
    "page", [pytest.param(p, marks=[pytest.mark.slow] * (p.name in LONG)) for p in PAGES], ids=NAMES
)
def test_blocks_run(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    restored_tables(monkeypatch)
    names: dict = {}
    for block in filter(runs, blocks(page)):
        if block.language == "python":
            exec(compile(block.code, str(page), "exec"), names)
        else:
            for words in words_of(block.code):
                assert words[0] == "ntkflow"
                assert exit_code(*words[1:]) == 0, " ".join(words)
    capsys.readouterr()


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_no_block_is_left_out_without_a_reason(page):
    found = list(blocks(page))
    assert len(found) == len(re.findall(r"^```", page.read_text(), re.MULTILINE)) / 2
    assert {block.language for block in found} <= {"python", "sh", "text"}
    silent = [block.code for block in found if block.language == "sh" and not block.mark]
    assert not silent, "mark the block `<!-- run -->` or `<!-- not run: REASON -->`"


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_links_lead_somewhere(page):
    missing = [link for link in LINK.findall(page.read_text()) if not (page.parent / link).exists()]
    assert not missing

"""The commands of README, docs and examples exist, with their options, and the API page has every name."""

import importlib.util

from tests.commands import exit_code
from tests.docs.pages import PAGES, ROOT, blocks, words_of

EVERY = [
    words
    for page in PAGES
    for block in blocks(page)
    if block.language == "sh"
    for words in words_of(block.code)
]
OURS = [words for words in EVERY if words[0] == "ntkflow"]


def test_every_command_exists_with_its_options(capsys):
    assert len(OURS) > 20
    # Options are read before --help is acted upon, so that unknown ones are refused.
    unknown = {" ".join(words) for words in OURS if exit_code(*words[1:], "--help")}
    assert not unknown
    assert exit_code("simulate", "--no-such-option", "--help") == 2
    capsys.readouterr()


def test_every_script_exists():
    scripts = {words[1] for words in EVERY if words[0] == "python" and words[1].endswith(".py")}
    assert scripts
    assert not [name for name in scripts if not (ROOT / name).is_file()]


def test_the_api_page_is_what_the_docstrings_say():
    """`python docs/make_api.py` writes it again."""
    spec = importlib.util.spec_from_file_location("make_api", ROOT / "docs" / "make_api.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert (ROOT / "docs" / "api.md").read_text() == module.page()

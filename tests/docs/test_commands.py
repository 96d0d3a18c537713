"""The commands of README, docs and examples exist, with their options; those marked `<!-- run -->` are run."""

import re
import shlex
from pathlib import Path

import pytest

from ntkflow.cli.main import main

ROOT = Path(__file__).parent.parent.parent
PAGES = [ROOT / "README.md", ROOT / "examples" / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"(<!-- run -->\n)?```(?:sh|bash)\n(.*?)```", re.DOTALL)


def commands(page, marked=False):
    """Words of every command in the shell blocks of a page, in order."""
    for mark, block in BLOCK.findall(page.read_text()):
        if mark or not marked:
            for line in block.replace("\\\n", " ").splitlines():
                for command in line.split("&&"):
                    words = shlex.split(command, comments=True)
                    while words and re.fullmatch(r"\w+=\S*", words[0]):
                        words = words[1:]
                    if words:
                        yield words


def outcome(words):
    try:
        main(words)
    except SystemExit as end:
        return end.code or 0
    return 0


EVERY = [(page.name, words) for page in PAGES for words in commands(page)]


def test_there_are_commands_to_check():
    assert len([words for _, words in EVERY if words[0] == "ntkflow"]) > 20


def test_every_command_exists_with_its_options(capsys):
    # Options are read before --help is acted upon, so that unknown ones are refused.
    unknown = {
        " ".join(words) for _, words in EVERY if words[0] == "ntkflow" and outcome([*words[1:], "--help"])
    }
    assert not unknown
    assert outcome(["simulate", "--no-such-option", "--help"]) == 2
    capsys.readouterr()


def test_every_script_exists():
    scripts = {words[1] for _, words in EVERY if words[0] == "python" and words[1].endswith(".py")}
    assert scripts
    assert not [name for name in scripts if not (ROOT / name).is_file()]


@pytest.mark.parametrize(
    "page", [page for page in PAGES if any(commands(page, marked=True))], ids=lambda p: p.name
)
def test_marked_commands_run(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for words in commands(page, marked=True):
        assert outcome(words[1:]) == 0, " ".join(words)
    capsys.readouterr()


def test_every_public_name_is_in_the_api_page():
    """`python docs/make_api.py` writes it again."""
    import importlib.util

    spec = importlib.util.spec_from_file_location("make_api", ROOT / "docs" / "make_api.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    written = (ROOT / "docs" / "api.md").read_text()
    names = re.findall(r"^\| `([^`]+)` \|", module.page(), re.MULTILINE)
    assert len(names) > 200
    assert not [name for name in names if f"| `{name}` |" not in written]

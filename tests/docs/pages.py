"""README, docs and the examples' page, cut into their blocks of code."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent.parent
PAGES = [ROOT / "README.md", ROOT / "examples" / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"(?:<!-- (run|not run: [^\n]+) -->\n)?^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\((?!https?:)([^)#]+)(?:#[^)]*)?\)")


class Block(NamedTuple):
    """One block: what stands in the comment before it, its language, its text."""

    mark: str
    language: str
    code: str


def blocks(page: Path) -> Iterator[Block]:
    for mark, language, code in BLOCK.findall(page.read_text()):
        yield Block(mark, language, code)


def words_of(code: str) -> Iterator[list[str]]:
    """Words of every command of a shell block, in order, without variables that are set before it."""
    for line in code.replace("\\\n", " ").splitlines():
        for command in line.split("&&"):
            words = shlex.split(command, comments=True)
            while words and re.fullmatch(r"\w+=\S*", words[0]):
                words = words[1:]
            if words:
                yield words

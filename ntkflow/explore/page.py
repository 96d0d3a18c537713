"""The page as one file: styles and scripts put into it, nothing from a network."""

import re
from importlib.resources import files
from pathlib import Path

from ntkflow import __version__
from ntkflow.errors import InputError
from ntkflow.runs.atomic import atomic

# In the order in which one needs the other.
SCRIPTS = ("flow.js", "foretold.js", "presets.js", "view.js")
# What tells a page of ours from somebody's work.
MARK = '<meta name="generator" content="ntkflow explore '


def text(name: str) -> str:
    """A file of the page."""
    return files("ntkflow.explore").joinpath(name).read_text(encoding="utf-8")


def page() -> str:
    """The whole page as HTML."""
    parts = {
        "version": __version__,
        "style": text("page.css"),
        "scripts": "".join(text(name) for name in SCRIPTS),
    }
    # In one pass: what has been put in may hold braces of its own.
    return re.sub(r"\{(version|style|scripts)\}", lambda found: parts[found[1]], text("page.html"))


def write_page(path: Path) -> Path:
    """Write the page under a temporary name, then rename it; folders above it are made, an older page is replaced.

    Raises:
        InputError: something else lies there, or it cannot be written.
    """
    try:
        if path.is_symlink() or path.exists():
            _refuse_foreign(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic(path, "w") as handle:
            handle.write(page())
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError("out", path, f"cannot be written ({reason})", "choose another file") from error
    return path


def _refuse_foreign(path: Path) -> None:
    if path.is_file() and not path.is_symlink():
        with path.open(encoding="utf-8", errors="replace") as handle:
            if MARK in handle.read(2000):
                return
    raise InputError(
        "out", path, "exists already and is no such page, so it is not overwritten", "choose another file"
    )

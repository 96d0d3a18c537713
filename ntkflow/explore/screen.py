"""Whether there is a screen to open a page on, and opening it."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path


def has_screen(environment: Mapping[str, str] = os.environ, platform: str = sys.platform) -> bool:
    """Whether somebody sits before this machine: not in continuous integration, over ssh, or without a display."""
    if any(environment.get(name) for name in ("CI", "SSH_CONNECTION", "SSH_CLIENT", "SSH_TTY")):
        return False
    if platform in ("darwin", "win32"):
        return True
    return bool(environment.get("DISPLAY") or environment.get("WAYLAND_DISPLAY"))


def open_page(path: Path) -> bool:
    """Open a page in the browser of whoever sits there; False where there is none."""
    import webbrowser

    try:
        return webbrowser.open(path.resolve().as_uri())
    except (webbrowser.Error, OSError):
        return False

"""The page's own scripts: in node where it is installed, otherwise in the page in a headless browser."""

import json
import shutil
import subprocess
import tempfile
from pathlib import Path

from ntkflow.explore.page import SCRIPTS, text, write_page
from tests import browser

LOGIC = SCRIPTS[:3]


def installed() -> bool:
    return shutil.which("node") is not None or browser.installed() is not None


def evaluate(expression: str, **values: object) -> object:
    """A JavaScript expression of the flow, the foretelling and the presets, with values by name."""
    given = "".join(f"const {name} = {json.dumps(value)};\n" for name, value in values.items())
    body = f"(() => {{ {given} return JSON.stringify({expression}); }})()"
    if shutil.which("node") is None:
        with tempfile.TemporaryDirectory() as folder, browser.Browser() as opened:
            opened.open(write_page(Path(folder) / "explore.html"), 1200)
            return json.loads(opened.value(body))
    program = "".join(text(name) for name in LOGIC) + f"console.log({body});"
    done = subprocess.run(["node", "-"], input=program, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)

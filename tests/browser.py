"""A real headless browser for tests: Chromium, spoken to over the pipe of its DevTools protocol."""

import base64
import contextlib
import itertools
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--headless=new",
    "--remote-debugging-pipe",
    "--no-sandbox",  # continuous integration runs as root
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--no-default-browser-check",
    "--hide-scrollbars",
)
SECONDS = 60.0
# The protocol's pipe is at 3 (commands) and 4 (answers). A process of its own puts it there: between fork and exec
# nothing may run in a process that has threads of JAX.
WIRE = """
import os, sys
spare = [os.dup(int(number)) for number in sys.argv[1:3]]
for number, place in zip(spare, (3, 4)):
    os.dup2(number, place)
    os.set_inheritable(place, True)  # a number that was at its place already
os.execv(sys.argv[3], sys.argv[3:])
"""


def installed():
    """Path of the browser, or None."""
    return next((path for path in map(shutil.which, NAMES) if path), None)


class Browser:
    """One tab; `with Browser() as browser: browser.open(path, width)`."""

    def __enter__(self):
        self.profile = tempfile.TemporaryDirectory()
        (read, to_browser), (from_browser, write) = os.pipe(), os.pipe()
        command = [installed(), *FLAGS, f"--user-data-dir={self.profile.name}", "about:blank"]
        self.process = subprocess.Popen(
            [sys.executable, "-ISc", WIRE, str(read), str(write), *command],
            pass_fds=(read, write),
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(read)
        os.close(write)
        self.sink, self.source, self.buffer = to_browser, from_browser, b""
        self.events, self.numbers, self.session = [], itertools.count(1), None
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")
        return self

    def __exit__(self, *_):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        os.close(self.sink)
        os.close(self.source)
        with contextlib.suppress(OSError):
            self.profile.cleanup()

    def open(self, path, width, height=900, at=""):
        """Load a file, at a place in it, at a width of the window in CSS pixels; what happened before is forgotten."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        self.events = []
        self.call("Page.navigate", url=Path(path).resolve().as_uri() + (f"#{at}" if at else ""))
        self.wait_for("Page.loadEventFired")

    def wait_for(self, method):
        """Read until an event has come."""
        while not any(event["method"] == method for event in self.events):
            self._read()

    def call(self, method, **params):
        """The answer to one command."""
        number = next(self.numbers)
        message = {"id": number, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.sink, json.dumps(message).encode() + b"\0")
        while True:
            found = self._read()
            if found.get("id") == number:
                assert "error" not in found, found
                return found["result"]

    def value(self, expression):
        """A JavaScript expression's value."""
        found = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    @property
    def requests(self):
        """Addresses asked for since `open`."""
        return [
            e["params"]["request"]["url"] for e in self.events if e["method"] == "Network.requestWillBeSent"
        ]

    @property
    def complaints(self):
        """Everything on the console, and every exception, since `open`."""
        kinds = ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded")
        return [e["params"] for e in self.events if e["method"] in kinds]

    def screenshot(self, path):
        """The whole page as a PNG."""
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
        found = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip)
        Path(path).write_bytes(base64.b64decode(found["data"]))

    def _read(self):
        deadline = time.monotonic() + SECONDS
        while b"\0" not in self.buffer:
            ready, _, _ = select.select([self.source], [], [], max(0.0, deadline - time.monotonic()))
            piece = os.read(self.source, 1 << 20) if ready else b""
            if not piece:
                raise RuntimeError("the browser does not answer")
            self.buffer += piece
        line, self.buffer = self.buffer.split(b"\0", 1)
        found = json.loads(line)
        if "method" in found:
            self.events.append(found)
        return found

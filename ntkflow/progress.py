"""How far a long computation has come: what it calls, and a bar of plain text that shows it.

The bar needs no library and no terminal: it rewrites its own line, which terminals and notebooks can. Elsewhere, as in a
log file, a stage gets one line when it ends.
"""

import shutil
import sys
import time
from collections.abc import Callable
from typing import Protocol, runtime_checkable

# Seconds between two drawings, and characters of the bar and of the name before it.
REFRESH, WIDTH, NAME = 0.1, 12, 18


@runtime_checkable
class Progress(Protocol):
    """Called as a computation goes on; what it returns is not looked at."""

    def __call__(self, what: str, done: float, total: float, /) -> object:
        """Take notice.

        Args:
            what: the stage; what stands in brackets after its name may change as it goes on.
            done: how much of it is done: steps, cells, or flow time.
            total: how much there is; a stage may end before.
        """
        ...


def silent(what: str, done: float, total: float, /) -> None:
    """No progress."""
    del what, done, total


@runtime_checkable
class Stream(Protocol):
    """What a bar writes to: a file, a terminal, the output of a notebook's cell."""

    def write(self, text: str, /) -> object:
        """Write text."""
        ...

    def flush(self) -> None:
        """Show what was written."""
        ...

    def isatty(self) -> bool:
        """Whether it is a terminal."""
        ...


class Bar:
    """Progress as text, a line for each stage; closed by `with`, or by `close`.

    Args:
        keep: leave the lines of finished stages; otherwise nothing is left.
        stream: where to; standard error when None.
        share: from the fraction done to the share of the bar that is filled.

    >>> with Bar(stream=sys.stdout) as bar:
    ...     bar("stepping", 2, 2)
    stepping           [############] 100%  2 of 2
    """

    def __init__(
        self,
        keep: bool = True,
        stream: Stream | None = None,
        share: Callable[[float], float] = lambda fraction: fraction,
    ) -> None:
        self._keep, self._share = keep, share
        self._stream: Stream = sys.stderr if stream is None else stream
        # A notebook's stream does not pass for a terminal, but rewrites its line as one.
        self._live = self._stream.isatty() or type(self._stream).__module__.startswith("ipykernel")
        self._notes: dict[str, str] = {}
        self._line, self._stage = "", ""
        self._since = self._drawn = time.monotonic()

    def __repr__(self) -> str:
        return f"Bar({self._stage or 'not begun'})"

    def __call__(self, what: str, done: float, total: float, /) -> None:
        """Show `done` of `total` beside the name of a stage."""
        now, stage = time.monotonic(), what.partition(" (")[0]
        if stage != self._stage:
            self._end_line()
            self._stage, self._since = stage, now
        elif now - self._drawn < REFRESH and done < total:
            return
        self._drawn = now
        share = min(1.0, max(0.0, self._share(done / total if total else 1.0)))
        filled = "#" * round(share * WIDTH)
        note = self._notes.get(stage, f"{done:.4g} of {total:.4g}")
        self._draw(f"{what:<{NAME}} [{filled:.<{WIDTH}}] {share:4.0%}  {self._left(now, share)}{note}")

    def note(self, stage: str, text: str) -> None:
        """Show `text` beside the bar of a stage instead of the amounts."""
        self._notes[stage] = text

    def say(self, line: str) -> None:
        """A line above that of the bar."""
        now = self._line
        self._draw("")
        self._stream.write(f"{line}\n")
        self._draw(now)

    def close(self) -> None:
        """Let go of the line; one that is not kept vanishes."""
        self._end_line()
        self._stage = ""

    def __enter__(self) -> "Bar":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _left(self, now: float, share: float) -> str:
        """The time that is left as minutes and seconds, once there is something to judge by."""
        passed = now - self._since
        if passed < 2 or not 0 < share < 1:
            return ""
        minutes, seconds = divmod(round(passed * (1 - share) / share), 60)
        return f"{minutes}:{seconds:02d} left  "

    def _end_line(self) -> None:
        if self._line and self._keep:
            self._stream.write("\n" if self._live else f"{self._line}\n")
            self._line = ""
        else:
            self._draw("")

    def _draw(self, line: str) -> None:
        """Put a line in the place of the one that stands there."""
        line = line[: shutil.get_terminal_size().columns - 1]
        if self._live and line != self._line:
            # Blanks wipe out what was longer: a notebook need not know a terminal's codes.
            self._stream.write(f"\r{line:<{len(self._line)}}" + ("" if line else "\r"))
            self._stream.flush()
        self._line = line

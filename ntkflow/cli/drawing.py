"""Figures drawn in a second process, so that importing matplotlib overlaps with the integration.

Run as `python -m ntkflow.cli.drawing`: reads run directories, one a line, and draws each.
"""

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from ntkflow.errors import InputError

FORMATS = ("png", "pdf", "svg")


def draw_run(directory: Path, formats: tuple[str, ...] = ("png",)) -> list[Path]:
    """Draw the figure of a run directory into its folder `figures`; returns the files."""
    from ntkflow import figures, store

    for suffix in formats:
        if suffix not in FORMATS:
            raise InputError("format", suffix, f"must be one of {', '.join(FORMATS)}", "choose one of these")
    arrays, header = store.read_arrays(directory / "trajectory.npz", "run")
    series = {name: arrays[name] for name in header["series"]}
    figure = figures.run_figure(arrays["t"], series, header["title"], bool(header.get("E_constant", True)))
    folder = directory / "figures"
    written = []
    try:
        folder.mkdir(exist_ok=True)
        for suffix in formats:
            with store.atomic(folder / f"run.{suffix}") as handle:
                figures.save(figure, handle, suffix)
            written.append(folder / f"run.{suffix}")
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(
            "run", directory, f"its figure could not be written ({reason})", "free some space"
        ) from None
    return written


class Drawer:
    """A drawing process, started early and used once; a context manager that never leaves it behind."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "ntkflow.cli.drawing"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            process_group=0,  # Ctrl-C is for the command alone, which ends this process itself
        )

    def __enter__(self) -> "Drawer":
        return self

    def start(self, directory: Path) -> None:
        """Begin to draw the run in `directory`."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{directory.resolve()}\n")
        self._process.stdin.close()

    def wait(self) -> str | None:
        """Wait until the figure is on disk; returns what went wrong, or None."""
        assert self._process.stdout is not None
        answer = self._process.stdout.read().strip()
        if self._process.wait() != 0:
            return "the drawing process ended early"
        return answer or None

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None and not pipe.closed:
                pipe.close()


_early: list[Drawer] = []


@contextmanager
def started_early(words: Sequence[str]) -> Iterator[None]:
    """Start the drawing process before anything slow is imported, if the arguments will need one."""
    needs = bool(words) and words[0] == "simulate" and not {"--no-figures", "--help", "-h"} & set(words)
    if not needs:
        yield
        return
    with Drawer() as drawer:
        _early.append(drawer)
        try:
            yield
        finally:
            _early.clear()


def drawer() -> Drawer:
    """The process started early, or a new one."""
    return _early.pop() if _early else Drawer()


def _serve() -> None:
    """Draw what standard input names; answer with one line for each failure."""
    import ntkflow.figures  # noqa: F401 -- the slow import, done while the parent integrates

    for line in sys.stdin:
        try:
            draw_run(Path(line.rstrip("\n")))
        except Exception as error:
            print(" ".join(str(error).split()) or type(error).__name__)


if __name__ == "__main__":
    _serve()

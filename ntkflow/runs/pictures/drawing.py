"""Figures drawn in a second process, so that importing matplotlib overlaps with the integration.

That process runs `serve`. Whatever becomes of it, the run is safe on disk before it is asked for anything.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from ntkflow.errors import InputError
from ntkflow.runs.processes import host
from ntkflow.runs.processes.children import python_command

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS = ("png", "pdf", "svg")


def draw_run(directory: Path, formats: tuple[str, ...] = ("png",)) -> list[Path]:
    """Draw the figure of a run directory into its folder `figures`; returns the files."""

    def figure() -> "Figure":
        from ntkflow.runs import rundir
        from ntkflow.runs.pictures.figures import run_figure

        t, series, header = rundir.read_series(directory / rundir.TRAJECTORY)
        return run_figure(t, series, header["title"], bool(header.get("E_constant", True)))

    return drawn(directory, "run", formats, figure)


def drawn(directory: Path, stem: str, formats: tuple[str, ...], make: Callable[[], "Figure"]) -> list[Path]:
    """A figure as figures/STEM.FORMAT of a directory, in each format; returns the files.

    Raises:
        InputError: an unknown format, before anything is drawn; or it could not be written.
    """
    from ntkflow import checks
    from ntkflow.runs import atomic, files
    from ntkflow.runs.pictures import figures

    for suffix in formats:
        checks.choice("format", suffix, FORMATS)
    figure, folder, written = make(), directory / "figures", []
    try:
        folder.mkdir(exist_ok=True)
        atomic.clean(folder)
        for suffix in formats:
            with files.atomic(folder / f"{stem}.{suffix}") as handle:
                figures.save(figure, handle, suffix)
            written.append(folder / f"{stem}.{suffix}")
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(
            "run", directory, f"its figure could not be written ({reason})", "free some space"
        ) from None
    return written


class Drawer:
    """A drawing process, started early and used once; a context manager that never leaves it behind."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._problem: str | None = None
        try:
            self._process = subprocess.Popen(
                python_command("from ntkflow.runs.pictures.drawing import serve; serve()"),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,  # it answers with one line; a traceback is nobody's help
                **host.own_group(),  # Ctrl-C is for the command alone, which ends this process itself
            )
        except OSError as error:
            self._problem = f"no process could be started ({error.strerror or error})"

    def __enter__(self) -> "Drawer":
        return self

    def draw(self, directory: Path) -> str | None:
        """Draw the run in `directory` and wait until it is on disk; returns what went wrong, or None."""
        if self._process is None:
            return self._problem
        try:
            # As bytes: the terminal's encoding may have no letters for the name.
            answer, _ = self._process.communicate(os.fsencode(directory.resolve()))
        except OSError as error:
            return str(error.strerror or error)
        said = " ".join(answer.decode(errors="replace").split())
        if self._process.returncode != 0:
            return said or f"the drawing process ended early, with code {self._process.returncode}"
        return said or None

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None and not pipe.closed:
                with suppress(OSError):
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


def serve() -> None:
    """Draw the run that standard input names; answer with one line where that fails."""
    try:
        import ntkflow.runs.pictures.figures  # noqa: F401 -- the slow import, done while the parent integrates

        name = sys.stdin.buffer.read()
        if name:
            draw_run(Path(os.fsdecode(name)))
    except Exception as error:
        line = " ".join(str(error).split()) or type(error).__name__
        sys.stdout.buffer.write(line.encode(errors="replace"))

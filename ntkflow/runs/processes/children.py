"""Starting Python again: nothing is imported from the folder the user stands in, and Ctrl-C leaves no traceback.

`python -m` and `python -c` put the current folder before everything else, so that a `random.py` there would be run in
place of the library's own.
"""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from multiprocessing.context import SpawnContext, SpawnProcess
from threading import Lock, current_thread, main_thread
from types import FrameType
from typing import Any

_SAFE = "PYTHONSAFEPATH"
_environment = Lock()


def python_command(code: str) -> list[str]:
    """A command line that runs `code` with the folders to import from that this process has."""
    # The empty entry is the current folder at the time of each import.
    path = [entry for entry in sys.path if entry]
    return [sys.executable, "-P", "-c", f"import sys; sys.path[:] = {path!r}\n{code}"]


@contextmanager
def _started_safely() -> Iterator[None]:
    """A child started here has a safe path, and Ctrl-C waits until it can be answered (`answer_interrupts`)."""
    masks = hasattr(signal, "pthread_sigmask")
    with _environment:
        before = os.environ.get(_SAFE)
        os.environ[_SAFE] = "1"
        old = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT}) if masks else None
        try:
            with _interrupts_held():
                yield
        finally:
            if before is None:
                os.environ.pop(_SAFE, None)
            else:
                os.environ[_SAFE] = before
            if old is not None:
                signal.pthread_sigmask(signal.SIG_SETMASK, old)


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Ctrl-C is answered afterwards: another thread may take the signal, and Python then answers it in the main one at once.

    A child that has started and gets nothing to read would say so with a traceback.
    """
    usual = signal.getsignal(signal.SIGINT)
    if current_thread() is not main_thread() or not callable(usual):
        yield
        return
    held: list[tuple[int, FrameType | None]] = []
    signal.signal(signal.SIGINT, lambda number, frame: held.append((number, frame)))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, usual)
        if held:
            usual(*held[0])


def answer_interrupts() -> None:
    """Ctrl-C ends this child at once and silently, also where it came while the child was starting."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


class _Process(SpawnProcess):
    @staticmethod
    def _Popen(process_obj: Any) -> Any:
        child = None
        try:
            with _started_safely():
                child = SpawnProcess._Popen(process_obj)
        except BaseException:
            # Ctrl-C that was held: no pool knows of this child yet, and what it is to read goes away with this process.
            if child is not None:
                child.terminate()
                child.wait()
            raise
        return child


class _Context(SpawnContext):
    Process = _Process


def spawn_context() -> SpawnContext:
    """`multiprocessing.get_context("spawn")` whose processes start safely; each calls `answer_interrupts`."""
    if os.name != "nt":
        # It is a Python of its own, started with the first queue.
        with _started_safely():
            resource_tracker.ensure_running()
    return _Context()

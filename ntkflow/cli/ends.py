"""How a command ends when it does not end by itself: Ctrl-C, output that goes nowhere."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial, wraps
from typing import Any, NoReturn, ParamSpec, TypeVar

from ntkflow.errors import INTERRUPTED, StoppedError

GOES_ON = "interrupted; the same command again goes on from here"
NOTHING_KEPT = "interrupted; nothing half-written was kept"
AT_ONCE = "interrupted, and ended where it stood; the same command again tidies up or goes on"
# Seconds that a command has to end by itself after Ctrl-C. A compiler or a solver may not hear of it for minutes.
GRACE = 3.0

P = ParamSpec("P")
R = TypeVar("R")


def resumable(command: Callable[P, R]) -> Callable[P, R]:
    """A command that goes on where Ctrl-C ended it, and says so wherever that strikes."""

    @wraps(command)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return command(*args, **kwargs)
        except KeyboardInterrupt:
            raise StoppedError(GOES_ON) from None

    return call


def open_streams() -> None:
    """Give closed standard streams a place that takes everything, and every name letters that can be printed.

    Otherwise the next file that is opened would get the number of the closed stream, and what is printed.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            # The lowest free number is given, and those before it are taken.
            os.open(os.devnull, os.O_RDWR)
            os.set_inheritable(number, True)
        stream: object = getattr(sys, name)
        if stream is None:
            setattr(sys, name, os.fdopen(number, mode, encoding="utf-8", closefd=False))
        elif mode == "w" and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def silence() -> None:
    """Keep the interpreter from flushing into a closed pipe or onto a full device when it ends."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            with suppress(OSError, ValueError, AttributeError):
                null = os.open(os.devnull, os.O_WRONLY)
                os.dup2(null, stream.fileno())
                os.close(null)
                # What could not be written is still in the stream, and is lost here.
                stream.flush()


def complain(message: object) -> None:
    """One line on standard error, if that takes it."""
    with suppress(OSError, ValueError):
        print(f"ntkflow: error: {' '.join(str(message).split())}", file=sys.stderr, flush=True)


@contextmanager
def leaving_in_time() -> Iterator[threading.Event]:
    """After Ctrl-C the process ends within `GRACE` seconds, whatever it is doing.

    Python answers a signal between two of its own instructions: not while compiled code runs, and an answer that falls
    into a finaliser is lost. A thread is told of the signal by the system itself and ends the process; files are
    whole at any time, and what is left behind is removed at the next start.

    Yields:
        What is set once Ctrl-C was pressed.
    """
    told, ended = threading.Event(), threading.Event()
    main_thread = threading.current_thread() is threading.main_thread()
    if (
        os.name == "nt"
        or not main_thread
        or signal.getsignal(signal.SIGINT) is not signal.default_int_handler
    ):
        yield told
        return
    read, write = os.pipe()
    os.set_blocking(write, False)
    watcher = threading.Thread(target=_leave, args=(read, told, ended), daemon=True)
    watcher.start()
    before, hook = signal.set_wakeup_fd(write, warn_on_full_buffer=False), sys.unraisablehook
    sys.unraisablehook = partial(_answer_again, hook)
    try:
        yield told
    finally:
        ended.set()
        sys.unraisablehook = hook
        signal.set_wakeup_fd(before)
        os.close(write)
        watcher.join(1.0)
        os.close(read)


def _leave(read: int, told: threading.Event, ended: threading.Event) -> None:
    while number := os.read(read, 1):
        if number[0] == signal.SIGINT:
            told.set()
            break
    if told.is_set() and not ended.wait(GRACE):
        complain(AT_ONCE)
        os._exit(INTERRUPTED)


def _answer_again(hook: Callable[[Any], Any], lost: Any) -> None:
    """Ctrl-C that struck in a finaliser, which cannot pass it on, strikes again a moment later."""
    if lost.exc_type is not None and issubclass(lost.exc_type, KeyboardInterrupt):
        main_thread = threading.main_thread().ident
        again = threading.Timer(0.02, signal.pthread_kill, (main_thread, signal.SIGINT))
        again.daemon = True
        again.start()
    else:
        hook(lost)


def leave(code: int, interrupted: bool) -> NoReturn:
    """End the process with what was printed on its way; after Ctrl-C without waiting for threads of compiled code.

    These may still be at work, for seconds, or crash when what they use is taken down under them.
    """
    silence()
    if interrupted and code == INTERRUPTED and "jax" in sys.modules:
        os._exit(code)
    raise SystemExit(code)

"""Files and directories that appear whole or not at all.

Everything is first written under a temporary name in the same folder and then renamed. A place is reserved with
an exclusive mkdir before long work begins, so that two processes never take the same one. What a killed process
left behind is recognised by its process id and cleaned up by the next one that writes there.
"""

import os
import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from ntkflow.errors import InputError

# Files that only a run of this package holds together; --overwrite replaces nothing else.
MARK = "config.toml"


def _temporary(path: Path, suffix: str = "partial") -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}-{uuid.uuid4().hex[:8]}.{suffix}")


@contextmanager
def atomic(path: Path, mode: str = "wb") -> Iterator[IO[Any]]:
    """Open a temporary file beside `path`; rename it to `path` when the block ends without an error."""
    temporary = _temporary(path)
    try:
        with temporary.open(mode) as handle:
            yield handle
            handle.flush()
            os.fsync(handle.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def staged_directory(
    path: Path, overwrite: bool = False, owned: frozenset[str] | None = None
) -> Iterator[Path]:
    """A temporary directory beside `path` that becomes `path` when the block ends without an error.

    The place is reserved on entry; whatever goes wrong, it is free again or holds what it held before.

    Args:
        path: the directory to make.
        overwrite: replace an existing run.
        owned: names that a run of this kind may hold; a directory with anything else in it is not replaced.

    Raises:
        InputError: `path` exists and may not be replaced, or cannot be written.
    """
    path = _absolute(path)
    _clean_up(path)
    reserved = _reserve(path, overwrite, owned)
    temporary = _temporary(path)
    try:
        temporary.mkdir()
        yield temporary
        _swap(temporary, path, reserved)
        reserved = False
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(
            "out", path, f"could not be written ({reason})", "free some space or choose another directory"
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        if reserved:
            with suppress(OSError):
                path.rmdir()


@contextmanager
def numbered_directory(parent: Path, stem: str) -> Iterator[tuple[Path, Path]]:
    """`staged_directory` at the first free of stem-001, stem-002 ...; yields (final path, staged path)."""
    number = 1
    while True:
        path = parent / f"{stem}-{number:03d}"
        if not path.exists():
            try:
                staging = staged_directory(path)
                staged = staging.__enter__()
                break
            except InputError:
                if not path.exists():
                    raise
        number += 1
    with _entered(staging):
        yield path, staged


@contextmanager
def _entered(context: Any) -> Iterator[None]:
    """The rest of a context manager whose `__enter__` has been called."""
    try:
        yield
    except BaseException as error:
        if not context.__exit__(type(error), error, error.__traceback__):
            raise
    else:
        context.__exit__(None, None, None)


def refuse_existing(path: Path, overwrite: bool, owned: frozenset[str] | None = None) -> None:
    """Raise InputError when `path` exists and may not be replaced.

    With `overwrite` an empty directory or a run is replaced, never anything that may be somebody's work.
    """
    if path.is_symlink():
        raise InputError("out", path, "is a symbolic link", "give the directory itself")
    if not path.exists():
        return
    if not overwrite:
        raise InputError("out", path, "exists already", "choose another directory or pass --overwrite")
    names = {entry.name for entry in path.iterdir()} if path.is_dir() else {""}
    if names and MARK not in names:
        raise InputError(
            "out", path, "is not a run directory, so it is not overwritten", "choose another directory"
        )
    foreign = sorted(names - owned) if owned is not None else []
    if foreign:
        raise InputError(
            "out",
            path,
            f"holds {foreign[0]!r}, which no such run writes, so it is not overwritten",
            "choose another",
        )


def _absolute(path: Path) -> Path:
    """With a name of its own, so that '.' works; symbolic links in parents are followed."""
    if path.is_symlink():
        return path
    return path.resolve()


def _reserve(path: Path, overwrite: bool, owned: frozenset[str] | None) -> bool:
    """Make the place, or check that it may be replaced; True when it was made here."""
    refuse_existing(path, overwrite, owned)
    if path.exists():
        return False
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            "out", path, f"cannot be written ({error.strerror})", "choose another directory"
        ) from None
    try:
        path.mkdir()
    except FileExistsError:
        remedy = "choose another directory or pass --overwrite"
        raise InputError("out", path, "exists already", remedy) from None
    except OSError as error:
        raise InputError(
            "out", path, f"cannot be written ({error.strerror})", "choose another directory"
        ) from None
    return True


def _swap(temporary: Path, path: Path, reserved: bool) -> None:
    if reserved:
        temporary.rename(path)  # over our own empty directory, in one step
        return
    old = _temporary(path, "replaced")
    path.rename(old)
    try:
        temporary.rename(path)
    except OSError:
        old.rename(path)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _clean_up(path: Path) -> None:
    """Remove what killed processes left beside `path`; put back a run that one of them was replacing."""
    if not path.parent.is_dir():
        return
    pattern = re.compile(rf"\.{re.escape(path.name)}\.(\d+)-[0-9a-f]{{8}}\.(partial|replaced)")
    for entry in path.parent.iterdir():
        match = pattern.fullmatch(entry.name)
        if match is None or _alive(int(match[1])):
            continue
        if match[2] == "replaced" and not path.exists():
            entry.rename(path)
        elif entry.is_dir():
            shutil.rmtree(entry, ignore_errors=True)
            with suppress(OSError):
                path.rmdir()  # the empty place that the killed process had reserved
        else:
            entry.unlink(missing_ok=True)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True

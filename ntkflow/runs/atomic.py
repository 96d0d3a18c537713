"""Files and directories that appear whole or not at all.

Everything is first written under a temporary name in the same folder and then renamed. A place is reserved by the
lock `.NAME.lock` beside it before long work begins, so that two processes never take the same one. What a killed
process left behind is known by its name and by nobody holding its lock, and is removed by the next one that writes
there.
"""

import os
import re
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from hashlib import sha256
from itertools import count
from pathlib import Path
from typing import IO, Any

from ntkflow.errors import InputError
from ntkflow.runs.processes import host, locks

# Files that only a run of this package holds together; --overwrite replaces nothing else.
MARK = "config.toml"
# Names of what is being written, and of what was being replaced: .NAME.KERNEL-TOKEN.partial
_REMAINS = re.compile(r"\.(.+)\.([0-9a-f]{8})-[0-9a-f]{8}\.(partial|replaced)")
# A file is written in seconds: after so many it is the remains of a kill, whatever machine that was on.
STALE = 86400.0


class InUseError(InputError):
    """Another process writes there.

    Attributes:
        certain: False where that process may have been killed on another machine, which cannot be seen from here.
    """

    certain = True

    @classmethod
    def of(cls, error: locks.HeldError, path: Path, lock: Path) -> "InUseError":
        """What to say of a place whose lock is held."""
        remedy = "wait for it or choose another directory"
        if error.holder == str(host.this_process()):
            remedy = "that is this one: close() the recorder which has it, or choose another directory"
        if not error.certain:
            remedy = f"if that was killed, remove {lock}; otherwise {remedy}"
        found = cls("out", path, f"is in use by {error.holder}", remedy)
        found.certain = error.certain
        return found


def _temporary(path: Path, suffix: str = "partial") -> Path:
    return path.with_name(f".{path.name}.{_kernel()}-{uuid.uuid4().hex[:8]}.{suffix}")


def _kernel() -> str:
    """Eight letters for the kernel this process runs under: only there does a lock that is free tell of a kill."""
    here = host.this_process()
    return sha256((here.boot or here.host).encode()).hexdigest()[:8]


@contextmanager
def atomic(path: Path, mode: str = "wb") -> Iterator[IO[Any]]:
    """Open a temporary file beside `path`; rename it to `path` when the block ends without an error.

    Text is written as UTF-8, whatever the terminal's encoding.
    """
    temporary, opened = _opened(path, mode)
    try:
        with opened as handle:
            yield handle
            handle.flush()
            os.fsync(handle.fileno())
            if host.OPEN_FILES_MOVE:
                temporary.replace(path)
        if not host.OPEN_FILES_MOVE:  # pragma: no cover -- Windows
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _opened(path: Path, mode: str) -> tuple[Path, IO[Any]]:
    """A temporary file for `path`, locked until it is closed, so that `clean` elsewhere does not take it for remains."""
    while True:
        temporary = _temporary(path)
        handle = temporary.open(mode, encoding=None if "b" in mode else "utf-8")
        # Between the two lines above and below a cleaner may have seen it, and got the lock first.
        if _locked(handle) is not False and os.fstat(handle.fileno()).st_nlink > 0:
            return temporary, handle
        handle.close()


def _locked(handle: IO[Any]) -> bool | None:
    try:
        return host.lock(handle.fileno())
    except OSError:
        return None


def is_remains(path: Path) -> bool:
    """Whether something is only there while this package writes, or since that was killed."""
    if _REMAINS.fullmatch(path.name) is not None:
        return True
    if not (path.name.startswith(".") and path.name.endswith(".lock")) or path.is_symlink():
        return False
    with suppress(OSError, ValueError):
        return host.Process.read(path.read_text(encoding="utf-8")) is not None
    return False


def clean(folder: Path, deep: bool = False) -> None:
    """Remove the files in a folder that killed processes were writing; those of live ones stay.

    Args:
        folder: where; nothing happens when it is none or cannot be read.
        deep: also in the folders below.
    """
    with suppress(OSError):
        for entry in list(folder.iterdir()):
            if entry.is_symlink():
                continue
            if deep and entry.is_dir() and not is_remains(entry):
                clean(entry, deep)
            elif entry.is_file():
                _remove_if_abandoned(entry)


def _remove_if_abandoned(file: Path) -> None:
    """Remove a temporary file that nobody writes any more."""
    match = _REMAINS.fullmatch(file.name)
    if match is None:
        return
    with suppress(OSError), file.open("rb+") as handle:
        free = _locked(handle)
        if free is None or match[2] != _kernel():
            free = free is not False and time.time() - file.stat().st_mtime > STALE
        if free:
            # While it is locked, so that who is about to write it sees that it is gone.
            file.unlink(missing_ok=True)


@contextmanager
def staged_directory(
    path: Path, overwrite: bool = False, owned: frozenset[str] | None = None, patience: float = 0.0
) -> Iterator[Path]:
    """A temporary directory beside `path` that becomes `path` when the block ends without an error.

    The place is reserved on entry; whatever goes wrong, it is free again or holds what it held before.

    Args:
        path: the directory to make; an empty one may be there.
        overwrite: replace an existing run.
        owned: names that a run of this kind may hold; a directory with anything else in it is not replaced.
        patience: seconds to wait for another process that writes there.

    Raises:
        InputError: `path` exists and may not be replaced, or cannot be written.
        InUseError: another process writes it.
    """
    path = _absolute(path)
    refuse_existing(path, overwrite, owned)
    with reserved(path, patience):
        refuse_existing(path, overwrite, owned)
        with staged(path, overwrite, owned) as temporary:
            yield temporary


@contextmanager
def reserved(path: Path, patience: float = 0.0) -> Iterator[None]:
    """Keep others from making the directory `path`, and remove what killed ones left of it beside it.

    Raises:
        InputError: nothing can be written beside it.
        InUseError: another process has it.
    """
    path = _absolute(path)
    lock = path.with_name(f".{path.name}.lock")
    with ExitStack() as stack:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            stack.enter_context(locks.held(lock, patience, remove=True))
        except locks.HeldError as error:
            raise InUseError.of(error, path, lock) from None
        except OSError as error:
            reason = error.strerror or str(error)
            raise InputError(
                "out", path, f"cannot be written ({reason})", "choose another directory"
            ) from None
        _remove_remains(path)
        yield


@contextmanager
def staged(path: Path, overwrite: bool = False, owned: frozenset[str] | None = None) -> Iterator[Path]:
    """As `staged_directory`, for who has reserved the place and seen that it may be taken.

    Raises:
        InputError: something could not be written.
    """
    path = _absolute(path)
    temporary = _temporary(path)
    try:
        temporary.mkdir()
        yield temporary
        _swap(temporary, path, overwrite, owned)
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(
            "out", path, f"could not be written ({reason})", "free some space or choose another directory"
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def numbered_directory(parent: Path, stem: str) -> Iterator[tuple[Path, Path]]:
    """`staged_directory` at the first free of stem-001, stem-002 ...; yields (final path, staged path)."""
    _remove_numbered(parent, stem)
    with ExitStack() as stack:
        for number in count(1):
            path = parent / f"{stem}-{number:03d}"
            if path.exists():
                continue
            try:
                staged = stack.enter_context(staged_directory(path))
            except InUseError:
                continue
            except InputError:
                if not path.exists():
                    raise
            else:
                yield path, staged
                return


def _remove_numbered(parent: Path, stem: str) -> None:
    """Remove what killed runs left of any of stem-001, stem-002 ..., whose places are free again."""
    form = re.compile(rf"\.({re.escape(stem)}-\d{{3,}})\.lock")
    found = [form.fullmatch(entry.name) for entry in parent.iterdir()] if parent.is_dir() else []
    for match in (match for match in found if match is not None):
        with suppress(InputError), reserved(parent / match[1]):
            pass


def refuse_existing(path: Path, overwrite: bool, owned: frozenset[str] | None = None) -> None:
    """Raise InputError when `path` exists and may not be replaced.

    An empty directory is as good as none. With `overwrite` a run is replaced, never anything that may be somebody's
    work; remains of killed writes in it are nobody's.
    """
    if path.is_symlink():
        raise InputError("out", path, "is a symbolic link", "give the directory itself")
    if not path.exists():
        return
    names = {entry.name for entry in path.iterdir() if not is_remains(entry)} if path.is_dir() else {""}
    if not names:
        return
    if not overwrite:
        raise InputError(
            "out",
            path,
            "exists already",
            "choose another directory or pass --overwrite, overwrite=True in Python",
        )
    if MARK not in names:
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


def _swap(temporary: Path, path: Path, overwrite: bool, owned: frozenset[str] | None) -> None:
    """Give the directory its name, in place of the run that has it or of an empty directory."""
    try:
        refuse_existing(path, overwrite, owned)
    except InputError as error:
        # Somebody who knows of no locks put something there meanwhile; what was computed is kept beside it.
        kept = temporary.with_name(temporary.name.strip(".").removesuffix(".partial"))
        temporary.rename(kept)
        raise InputError("out", path, "was taken meanwhile", f"the run is in {kept}") from error
    old = None
    if path.exists():
        try:
            path.rmdir()
        except OSError:
            old = _temporary(path, "replaced")
            path.rename(old)
    try:
        temporary.rename(path)
    except OSError:
        if old is not None:
            old.rename(path)
        raise
    if old is not None:
        shutil.rmtree(old, ignore_errors=True)


def _remove_remains(path: Path) -> None:
    """Remove what killed processes left beside `path`, which is reserved; put back a run that one was replacing."""
    for entry in list(path.parent.iterdir()):
        match = _REMAINS.fullmatch(entry.name)
        if match is None or match[1] != path.name or entry.is_symlink() or not entry.is_dir():
            continue
        if match[3] == "replaced" and not path.exists():
            entry.rename(path)
        else:
            shutil.rmtree(entry, ignore_errors=True)

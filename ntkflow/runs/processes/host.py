"""What differs between operating systems, behind one door: file locks, memory, process groups, who a process is.

Linux is what the tests run on. macOS has the same calls; where a fact cannot be had there or on Windows, the
functions here say so (None) or fall back to less, and nothing else in the packages asks the system itself.
"""

import errno
import os
import re
import socket
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

try:
    import fcntl
except ImportError:  # pragma: no cover -- Windows
    fcntl = None  # type: ignore[assignment]

# A file that is open can be renamed and removed everywhere but on Windows.
OPEN_FILES_MOVE = os.name != "nt"
# What a file system that has no locks answers.
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL, errno.EBADF}
# File systems whose locks end at the machine although other machines see the files. NFS, Lustre, GPFS, CephFS and
# SMB pass them on, unless they are mounted with one of the options below.
_LOCAL_LOCKS = re.compile(r"beegfs|9p|virtiofs|vboxsf|prl_fs|fuse(?!blk)(\..*)?")
_LOCAL_OPTIONS = {"nolock", "localflock", "noflock", "nobrl", "local_lock=all", "local_lock=flock"}


def lock(handle: int) -> bool | None:
    """Take the exclusive lock of an open file, without waiting; it ends with the process, however that ends.

    Returns:
        Whether it was got; None where the file system has no locks.
    """
    try:
        if fcntl is not None:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        else:  # pragma: no cover -- Windows
            _lock_byte(handle)
    except OSError as error:
        # Windows and some file systems say EACCES, with a file that is open for writing, for "another has it".
        if error.errno in (errno.EAGAIN, errno.EACCES, errno.EDEADLK):
            return False
        if error.errno in _NO_LOCKS:
            return None
        raise
    return True


def _lock_byte(handle: int) -> None:  # pragma: no cover -- Windows
    """There a locked byte cannot be read by others, so one is locked that no file reaches."""
    import msvcrt

    system: Any = msvcrt
    before = os.lseek(handle, 0, os.SEEK_CUR)
    os.lseek(handle, 1 << 30, os.SEEK_SET)
    try:
        system.locking(handle, system.LK_NBLCK, 1)
    finally:
        os.lseek(handle, before, os.SEEK_SET)


def locks_are_seen_everywhere(path: Path) -> bool:
    """Whether a lock that was got on a file there means that no process on any machine holds it."""
    kind, options = _mount_of(path)
    return _LOCAL_LOCKS.fullmatch(kind) is None and not options & _LOCAL_OPTIONS


def _mount_of(path: Path) -> tuple[str, set[str]]:
    """Kind and options of the file system a path is on; where the system does not list them, as of a local disk."""
    best, found = -1, ("", set[str]())
    place = path.resolve()
    with suppress(OSError), Path("/proc/self/mountinfo").open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            # Optional fields stand before the dash, in any number; blanks in names are octal.
            left, _, right = line.partition(" - ")
            point = Path(re.sub(r"\\(\d{3})", lambda code: chr(int(code[1], 8)), left.split()[4]))
            words = right.split()
            if len(point.parts) > best and place.is_relative_to(point):
                best = len(point.parts)
                found = words[0], {*left.split()[5].split(","), *words[-1].split(",")}
    return found


def physical_memory() -> int | None:
    """Bytes of memory that the machine has; None where the system does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # pragma: no cover -- Windows
        return None


def own_group() -> dict[str, Any]:
    """Arguments for `subprocess.Popen` of a process that Ctrl-C in the terminal does not reach."""
    if os.name == "nt":  # pragma: no cover -- Windows
        return {"creationflags": getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)}
    return {"process_group": 0}


@dataclass(frozen=True)
class Process:
    """Who a process is, beyond its number, which is 1 in every container and used again after a while.

    Attributes:
        pid: its number.
        host: name of its machine.
        boot: of this start of the machine's kernel, the same in all its containers; empty where unknown.
        space: of the numbering `pid` belongs to; empty where there is but one.
        started: when it began, in the kernel's own count; empty where unknown.
    """

    pid: int
    host: str
    boot: str = ""
    space: str = ""
    started: str = ""

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"

    def record(self) -> str:
        """One line that `read` reads."""
        return f"{self} (boot {self.boot or '-'}, space {self.space or '-'}, started {self.started or '-'})\n"

    @classmethod
    def read(cls, text: str) -> "Process | None":
        """What `record` wrote, None for any other text."""
        found = _RECORD.fullmatch(text.strip())
        if found is None:
            return None
        pid, host, *rest = found.groups()
        return cls(int(pid), host, *("" if part in (None, "-") else part for part in rest))

    @property
    def same_machine(self) -> bool:
        """Whether it ran under the kernel that runs this process; a restarted machine is another."""
        here = this_process()
        return self.boot == here.boot if self.boot and here.boot else self.host == here.host

    def runs(self) -> bool | None:
        """Whether it still runs; None where that cannot be told from here."""
        here = this_process()
        if not self.same_machine:
            # The same name under another kernel: the machine was started again since.
            return False if self.host == here.host else None
        if self.space != here.space:
            return None
        return _exists(self.pid) and self.started == started(self.pid)


_RECORD = re.compile(r"process (\d{1,19}) on (\S+)(?: \(boot (\S+), space (\S+), started (\S+)\))?", re.ASCII)


def this_process() -> Process:
    """This process; made anew in a child."""
    return _known(os.getpid())


@cache
def _known(pid: int) -> Process:
    boot = _line(Path("/proc/sys/kernel/random/boot_id"))
    space = ""
    with suppress(OSError):
        space = str(os.stat("/proc/self/ns/pid").st_ino)  # noqa: PTH116 -- follows the link to what it names
    host = re.sub(r"\s", "-", socket.gethostname()) or "unnamed"
    return Process(pid, host, boot, space, started(pid))


def started(pid: int) -> str:
    """When a process began, in the kernel's ticks since its start; empty where unknown."""
    # The name of the command, in parentheses, may itself hold spaces and parentheses.
    fields = _line(Path(f"/proc/{pid}/stat")).rpartition(")")[2].split()
    return fields[19] if len(fields) > 19 else ""


def _exists(pid: int) -> bool:
    if os.name == "nt":  # pragma: no cover -- os.kill would end it there
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _line(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""

"""Files of a tar archive, in memory: no more is unpacked than the ones that are asked for need.

`tarfile` reads extended headers and lists of holes whole, however long they say they are, and lists all members before
it finds one. What is wanted here has short names and no holes, so one header after the other is enough.
"""

import bz2
import gzip
import lzma
import tarfile
from collections.abc import Iterable
from io import BufferedIOBase
from pathlib import Path

from ntkflow.errors import InputError
from ntkflow.runs.border.reading import reading

# Headers that stand before another one and have bytes of their own.
_EXTENDED = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, *tarfile.GNU_TYPES)
_CHUNK = 1 << 20


def members(path: Path | str, wanted: Iterable[str], longest: int, remedy: str) -> dict[str, bytes]:
    """The wanted files of an archive, packed by gzip, bzip2, xz or not at all.

    Args:
        path: the archive.
        wanted: names of members.
        longest: bytes that a member may have, and all that is passed over to find the next one.
        remedy: what to do about another archive.

    Raises:
        InputError: it cannot be read, lacks one of them, or has it as something else than a file or as a longer one.
    """
    left, found = set(wanted), {}
    with reading("data", path, "a tar archive", remedy), _unpacked(Path(path)) as stream:
        passed = 0
        while left:
            member = _header(stream)
            if member is None:
                raise KeyError(min(left))
            if member.name not in left:
                # Said before the bytes are unpacked, which may be without end.
                passed += tarfile.BLOCKSIZE + _room(member)
                if passed > longest:
                    raise ValueError(f"more than {longest} bytes of it are none of those wanted")
                _pass_over(stream, _room(member))
                continue
            # Links and folders have no bytes of their own.
            if not member.isreg():
                raise InputError("data", path, f"has {member.name!r}, which is no file", remedy)
            if member.size > longest:
                rule = f"has {member.size} bytes, a batch has at most {longest}"
                raise InputError("data", member.name, rule, remedy)
            content = stream.read(_room(member))
            if len(content) < member.size:
                raise EOFError(f"{member.name!r} is cut short")
            found[member.name] = content[: member.size]
            left.discard(member.name)
    return found


def _unpacked(path: Path) -> BufferedIOBase:
    with path.open("rb") as file:
        head = file.read(6)
    if head.startswith(b"\x1f\x8b"):
        return gzip.open(path)
    if head.startswith(b"BZh"):
        return bz2.open(path)
    return lzma.open(path) if head == b"\xfd7zXZ\x00" else path.open("rb")


def _header(stream: BufferedIOBase) -> tarfile.TarInfo | None:
    """The next header; None at the block of zeros, or of nothing, that ends an archive."""
    block = stream.read(tarfile.BLOCKSIZE)
    return tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape") if block.strip(b"\0") else None


def _room(member: tarfile.TarInfo) -> int:
    """Bytes until the next header; links, folders and devices have none, whatever they say."""
    if not member.isreg() and member.type not in _EXTENDED:
        return 0
    return -(-member.size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE


def _pass_over(stream: BufferedIOBase, count: int) -> None:
    while count > 0:
        got = len(stream.read(min(count, _CHUNK)))
        if not got:
            raise EOFError("it is cut short")
        count -= got

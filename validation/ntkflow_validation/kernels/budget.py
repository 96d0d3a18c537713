"""How much memory a measurement may use, and how its loops are cut so that it does."""

import ctypes
import re
import sys
from dataclasses import dataclass

from ntkflow.errors import InputError

UNITS = {"": 1, "B": 1, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "KB": 10**3, "MB": 10**6, "GB": 10**9}
# Products over this many parameters are summed in float32, the rest in float64.
COLUMNS = 4096


@dataclass(frozen=True)
class Budget:
    """Bytes a measurement may add to what the process already holds.

    Args:
        bytes: the limit on everything together: Jacobian chunks, network workspace, sums, results.

    >>> Budget.parse("1.5 GiB").bytes
    1610612736
    """

    bytes: int

    @classmethod
    def parse(cls, value: "str | int | Budget") -> "Budget":
        """From a number of bytes or a text such as "1.5GiB".

        Raises:
            InputError: it is neither, or below one megabyte.
        """
        if isinstance(value, Budget):
            return value
        match = re.fullmatch(r"\s*([0-9.]+)\s*([A-Za-z]*)\s*", str(value))
        unit = UNITS.get(match[2].upper()) if match else None
        try:
            size = int(float(match[1]) * unit) if match and unit else 0
        except ValueError:
            size = 0
        if size < 2**20:
            raise InputError("memory", value, "must be a size of at least 1 MiB", "give such as 2GiB")
        return cls(size)

    @property
    def workspace(self) -> int:
        """Share of one call into the network: a quarter."""
        return self.bytes // 4

    @property
    def jacobian(self) -> int:
        """Share of the Jacobian chunk that is held while it is contracted: three eighths.

        With two calls into the network at once, and what a compiler leaves behind, it is near the whole.
        """
        return 3 * self.bytes // 8

    def require(self, needed: int, share: int, what: str, remedy: str) -> None:
        """Raise InputError when `needed` bytes do not fit into `share`."""
        if needed > share:
            least = int(needed * (self.bytes / share))
            raise InputError("memory", size(self.bytes), f"{what} needs about {size(least)}", remedy)

    def columns(self, rows: int, P: int) -> list[tuple[int, int]]:
        """Ranges of parameters so that `rows` float32 rows of one range fit into the Jacobian's share."""
        width = min(P, max(1, self.jacobian // (4 * rows)))
        if width < P and width < COLUMNS:
            self.require(4 * rows * COLUMNS, self.jacobian, f"a Jacobian of {rows} rows", "raise it")
        return [(a, min(P, a + width)) for a in range(0, P, width)]


def size(count: int | float) -> str:
    """A number of bytes in words."""
    for unit, name in ((2**30, "GiB"), (2**20, "MiB")):
        if count >= unit:
            return f"{count / unit:.3g} {name}"
    return f"{count / 2**10:.3g} KiB"


def release() -> None:
    """Give the memory that is free inside this process back to the system, where the C library can."""
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)

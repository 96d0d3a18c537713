"""What a request will cost, said before anything is allocated: memory against that of the machine, runs by number."""

from ntkflow.errors import InputError
from ntkflow.runs.processes.host import physical_memory

# Where the memory of the machine is not known.
PLENTY = 16 << 30
# Runs in one command that nobody asks for by a slip of the keyboard; more are meant where that is said.
MANY = 100_000
# Bytes of results in memory: the series of a member at 61 times, what a training left, the address and the row of a cell.
MEMBER, CELL, ROW = 20 << 10, 50 << 10, 1 << 10


def most_bytes() -> int:
    """What one request may hold in memory: half of what is there."""
    return (physical_memory() or PLENTY) // 2


def size_of(count: float) -> str:
    """Bytes in GiB, for people."""
    return f"{count / 2**30:.3g} GiB"


def refuse_large(
    argument: str, value: object, needed: float, what: str = "says it unpacks to", remedy: str = ""
) -> None:
    """Refuse what takes more than `most_bytes`.

    Args:
        argument: what asks for it.
        value: its value.
        needed: bytes.
        what: the words before the size.
        remedy: what to do.

    Raises:
        InputError: it does not fit.
    """
    most = most_bytes()
    if needed > most:
        rule = f"{what} {size_of(needed)}, more than half of the memory here ({size_of(most)})"
        raise InputError(argument, value, rule, remedy or "it is damaged, or for a larger machine")


def refuse_sizes(C: int, N: int, n: int) -> None:
    """Refuse a state that cannot be worked with in the memory of the machine.

    Features, their copies, outputs, an n x n invariant and the limit are counted.

    Args:
        C: classes.
        N: samples.
        n: features.

    Raises:
        InputError: they need more than there is.
    """
    needed = 8 * (4 * n * N + 4 * n * (C + n) + 2 * C * (N + C))
    present = physical_memory()
    if present is not None and needed > present:
        rule = f"need about {size_of(needed)} of memory"
        raise InputError("sizes", f"C = {C}, N = {N}, n = {n}", rule, "lower them")


def refuse_many(argument: str, count: int, what: str, each: int, meant: bool = True) -> None:
    """Refuse more runs than whose results fit into memory, and more than `MANY` that are not said to be meant.

    Args:
        argument: what asks for them.
        count: how many.
        what: of what, in the plural.
        each: bytes of one's results.
        meant: whether so many are.

    Raises:
        InputError: there are too many.
    """
    refuse_large(argument, count, count * each, f"the results of so many {what} take about", "give fewer")
    if count > MANY and not meant:
        rule = f"more than {MANY} {what}, with about {size_of(count * each)} of results"
        raise InputError(argument, count, rule, "give fewer, or --yes where so many are meant")

"""What is going on while cells are run: which are claimed, which are under way, which have ended, in whatever process."""

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, wait
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple, Protocol, runtime_checkable

from ntkflow._types import Json
from ntkflow.errors import InputError
from ntkflow.runs.processes import locks
from ntkflow.sweep.stored.cache import Cache, failure_of
from ntkflow.sweep.stored.shards import Stored

# What is kept from other processes at a time; each claim is an open file.
MOST_CLAIMS = 256
# Cells of a large grid that are claimed together: a claim costs as much as a light cell. Small grids are shared cell by cell.
UNIT, UNITS = 64, 256
# Seconds between two looks at cells that other processes have, and at what the workers have written of theirs.
PAUSE, LOOK = 0.2, 0.5

# What a worker gives for a cell, or for some at once.
Found = Json | Stored | Sequence[Json | Stored]
Work = Callable[..., Found]


@runtime_checkable
class Task(Protocol):
    """One cell as the runner sees it."""

    @property
    def key(self) -> str:
        """Its address."""

    @property
    def config(self) -> object:
        """What the worker gets, plain enough to travel; None when the cell cannot be run."""

    @property
    def problem(self) -> InputError | None:
        """Why it cannot be run."""


@dataclass(frozen=True)
class Together:
    """How cells are run some at a time.

    Attributes:
        fits: whether a cell gains by it, from its config; asked of the first of some, and the next are taken to be alike.
        work: from configs to their contents, each as a `work` of one would give it.
        most: so many at a time.
    """

    fits: Callable[[Any], bool]
    work: Work
    most: int


@dataclass(eq=False)
class _Unit:
    """Cells that are claimed together.

    Attributes:
        name: of the claim: the address of the first of them.
        cells: those that have not ended.
        claim: keeps them from other processes until it is closed.
    """

    name: str
    cells: dict[str, Task]
    claim: ExitStack = field(default_factory=ExitStack)


class _Claimed(NamedTuple):
    """A cell under way, and the unit that it is claimed with."""

    cell: Task
    unit: _Unit


class Filling:
    """Runs what a cache lacks.

    Args:
        cache: where cells go.
        executor: where they run.
        work: what fills one, see `runner.fill`.
        most: calls in the executor at a time.
        together: what fills some at once; None: each by itself.
    """

    def __init__(
        self,
        cache: Cache,
        executor: Executor,
        work: Work,
        most: int,
        together: Together | None = None,
    ) -> None:
        self.cache, self.executor, self.work, self.most = cache, executor, work, most
        self.together = together
        self.waiting: dict[Future[Found], list[_Claimed]] = {}
        self._gathered: list[_Claimed] = []
        self._later: list[_Unit] = []
        self._claimed: set[_Unit] = set()
        # Cells in the executor that their workers have been seen to have written.
        self._told: set[str] = set()
        self._sink = cache.sink()
        cache.refresh()
        # What failed before is tried again; what fails meanwhile, in whatever process, is not.
        self._failed = cache.failures()

    def outcomes(self, grid: Sequence[Task]) -> Iterator[bool]:
        """Whether each cell succeeded, as they finish; at most `most` calls are in the executor at a time."""
        cells = iter(grid)
        # By the grid alone, so that all processes that share it have the same units.
        size = 1 if self.together is None else max(1, min(UNIT, len(grid) // UNITS))
        try:
            while some := {cell.key: cell for cell in itertools.islice(cells, size)}:
                yield from self._begin(_Unit(next(iter(some)), some))
            yield from self._submit()
            while self.waiting or self._later:
                # Another process may end without its cells.
                yield from self._collect(PAUSE if self._later else None)
                yield from self._look_again()
        finally:
            for future in self.waiting:
                future.cancel()
            for unit in self._claimed:
                unit.claim.close()

    def _outcome(self, key: str) -> bool | None:
        """Whether a cell has succeeded; None where it has not ended."""
        if self.cache.finished(key):
            return True
        return False if self.cache.failed_at(key) not in (None, self._failed.get(key)) else None

    def _settled(self, unit: _Unit) -> Iterator[bool]:
        """The outcomes of cells of a unit that have ended; the others stay in it."""
        for key in list(unit.cells):
            found = self._outcome(key)
            if found is not None:
                self._ended(key, unit)
                yield found

    def _ended(self, key: str, unit: _Unit) -> None:
        del unit.cells[key]
        if not unit.cells:
            unit.claim.close()
            self._claimed.discard(unit)

    def _begin(self, unit: _Unit) -> Iterator[bool]:
        """The outcomes of cells that need no work; the others are put into the executor, or off."""
        yield from self._settled(unit)
        if not unit.cells:
            return
        try:
            if len(self._claimed) < MOST_CLAIMS:
                unit.claim.enter_context(self.cache.claimed(unit.name))
        except locks.HeldError:
            self._later.append(unit)
            return
        self._claimed.add(unit)
        # Another process may have ended some of them before this one got the claim.
        self.cache.refresh()
        yield from self._settled(unit)
        for cell in list(unit.cells.values()):
            if cell.config is None:
                assert cell.problem is not None
                self.cache.write(cell.key, failure_of(cell.problem))
                self._ended(cell.key, unit)
                yield False
                continue
            self._gathered.append(_Claimed(cell, unit))
            alone = self.together is None or (
                len(self._gathered) == 1 and not self.together.fits(cell.config)
            )
            if alone or (self.together is not None and len(self._gathered) >= self.together.most):
                yield from self._submit()

    def _submit(self) -> Iterator[bool]:
        """Hand what has been gathered to the executor, as soon as there is room; the outcomes of what ends meanwhile."""
        some, self._gathered = self._gathered, []
        if not some:
            return
        configs = [claimed.cell.config for claimed in some]
        single = len(some) == 1 or self.together is None
        work = self.work if single or self.together is None else self.together.work
        if self._sink is not None:
            work = partial(work, keys=[claimed.cell.key for claimed in some], sink=self._sink)
        self.waiting[self.executor.submit(work, configs[0] if single else configs)] = some
        while len(self.waiting) >= self.most:
            yield from self._collect()

    def _collect(self, patience: float | None = None) -> Iterator[bool]:
        """The outcomes of cells that have ended, after waiting for one, or for so many seconds."""
        if not self.waiting:
            time.sleep(patience or 0.0)
            return
        if self._sink is not None:
            patience = LOOK if patience is None else min(patience, LOOK)
        finished, _ = wait(self.waiting, patience, FIRST_COMPLETED)
        ended: list[tuple[_Claimed, bool]] = []
        for future in finished:
            some = self.waiting.pop(future)
            for claimed, content in zip(some, _contents(future, len(some)), strict=True):
                if isinstance(content, Stored):
                    ended.append((claimed, content.succeeded))
                else:
                    self.cache.write(claimed.cell.key, content)
                    ended.append((claimed, "error" not in content))
        if ended:
            self.cache.flush()
        elif self._sink is not None:
            self.cache.refresh()
            yield from self._written()
        for claimed, succeeded in ended:
            # Not before it can be seen: whoever gets the claim then must find it.
            self._ended(claimed.cell.key, claimed.unit)
            if claimed.cell.key in self._told:
                self._told.remove(claimed.cell.key)
            else:
                yield succeeded

    def _written(self) -> Iterator[bool]:
        """The outcomes of cells that workers have written, whose calls have not ended."""
        for cell, _ in itertools.chain.from_iterable(self.waiting.values()):
            found = None if cell.key in self._told else self._outcome(cell.key)
            if found is not None:
                self._told.add(cell.key)
                yield found

    def _look_again(self) -> Iterator[bool]:
        """Cells of other processes that these have finished, failed, or left behind."""
        put_off, self._later = self._later, []
        if put_off:
            self.cache.refresh()
        for i, unit in enumerate(put_off):
            if len(self.waiting) >= self.most:
                self._later += put_off[i:]
                return
            yield from self._begin(unit)
        yield from self._submit()


def _contents(future: Future[Found], count: int) -> list[Json | Stored]:
    """What some cells returned, or what kept them from returning, such as workers that die of it again and again."""
    error = future.exception()
    if error is None:
        found = future.result()
        return [found] if isinstance(found, dict | Stored) else list(found)
    if isinstance(error, BrokenExecutor) or not isinstance(error, Exception):
        raise error
    return list(itertools.repeat(failure_of(error), count))

"""Jobs of one shape integrated by the compiled tick: what lies in the slots, and what the host does between two rows of ticks."""

import time
from collections.abc import Iterable, Iterator
from typing import Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np

from ntkflow._types import Floats, Integers
from ntkflow.integrate.engines.compiled import slots as lying
from ntkflow.integrate.engines.compiled import tick
from ntkflow.integrate.engines.compiled.algebra import Kernels, System
from ntkflow.integrate.engines.lockstep.history import DIFFERENCES
from ntkflow.integrate.engines.lockstep.job import Job
from ntkflow.integrate.engines.lockstep.slots import Norms, Shape, Systems
from ntkflow.integrate.engines.precision import x64
from ntkflow.integrate.engines.structured.bdf import Polynomial

# On a processor more do not pay; an accelerator is idle with fewer.
SLOTS, ACCELERATED = 128, 2**14
# Of systems of so few numbers more of them fit the caches.
TINY, MORE_SLOTS = 32, 4
# A slot's memory is taken twice while it is changed, and others want some of the device's.
COPIES, MEMORY_SHARE, UNKNOWN_MEMORY = 3, 0.5, 2**32
# Numbers of slots and of times to save that programs are compiled for: powers of two from here, multiples of this.
LEAST_SLOTS, TIMES = 8, 32
# Between two rows of ticks a program can be interrupted.
TICKS = 256
# So many of the slots are filled anew at a time.
REFILL = 8
# Steps that the host is told of at a time.
RECORDED = 16


@runtime_checkable
class Watcher(Protocol):
    """What may end an integration before its time.

    Attributes:
        seldom: steps between two looks at W.
        at_least: steps after which it wants to be asked in any case.
    """

    seldom: int
    at_least: int

    @property
    def saddle(self) -> Floats:
        """Sum of the squares of W below which it wants to be asked, of every slot; negative: never."""

    @property
    def most(self) -> Integers:
        """Steps after which it does."""

    def begin(self, slot: int, job: Job) -> None:
        """A job enters a slot."""

    def passed(self, slot: int, begin: float, inside: Polynomial) -> None:
        """A job that asked for it has taken a step, from `begin` to the end of an interpolant."""

    def stops(self, slot: int, t: float, z: Floats, steps: int) -> bool:
        """Whether it is to end."""


def slots_for(shape: Shape, jobs: int, times: int, told: bool = False) -> int:
    """How many slots a program should have: a power of two, enough for all jobs or as many as pay and fit into memory."""
    device = jax.devices()[0]
    most = SLOTS * (MORE_SLOTS if shape.size <= TINY else 1)
    if device.platform != "cpu":
        n, C, q, F = shape.n, shape.C, shape.q, shape.size
        rows = 16 + times + (RECORDED * DIFFERENCES if told else 0)
        one = 8 * (rows * F + C * (n + 1) ** 2 + (n + 1) * q + 4 * C * q + n * n)
        room: float = (device.memory_stats() or {}).get("bytes_limit", UNKNOWN_MEMORY) * MEMORY_SHARE
        most = min(ACCELERATED, 1 << int(np.log2(max(LEAST_SLOTS, room / (COPIES * one)))))
    return max(LEAST_SLOTS, min(most, 1 << int(np.ceil(np.log2(max(1, jobs))))))


class CompiledLockstep:
    """Integrates jobs of one shape, as `lockstep.Lockstep` does; the times to save are exact.

    Main arguments:
        shape: of their systems.
        slots: how many are under way at a time; programs of other numbers round otherwise.
        times: at most so many are saved.
        watcher: what may end one before its time.
        told: whether it is told of the steps of the jobs that ask for it.

    Attributes:
        ticks: Newton iterations of all slots.
    """

    def __init__(
        self, shape: Shape, slots: int, times: int, watcher: Watcher | None = None, told: bool = False
    ) -> None:
        self.shape, self.slots, self.watcher = shape, slots, watcher
        self.systems, self.norms = Systems(shape, slots), Norms(shape, slots)
        self.times = np.full((slots, -(-max(1, times) // TIMES) * TIMES), np.inf)
        self.t_end, self.z = np.ones(slots), np.zeros((slots, shape.size))
        self.status = np.zeros(slots, int)
        self.jobs: list[Job | None] = [None] * slots
        self.ticks = 0
        with x64():
            self._state = lying.empty(shape, slots, self.times.shape[1], RECORDED if told else 0)
        self._fixed: lying.Fixed | None = None

    def run(self, jobs: Iterable[Job]) -> Iterator[Job]:
        """Give every job back when it is done with, in the order in which that happens."""
        waiting = iter(jobs)
        self._fill(waiting)
        while any(job is not None for job in self.jobs):
            # Nothing is handed out inside of `x64`: whoever takes it has a precision of his own.
            yield from self._advance()
            self._fill(waiting)

    def _fill(self, waiting: Iterator[Job]) -> None:
        """Put the next jobs into free slots."""
        new = np.zeros(self.slots, bool)
        for slot in (slot for slot, job in enumerate(self.jobs) if job is None):
            if (job := next(waiting, None)) is None:
                break
            self._enter(slot, job)
            new[slot] = True
        if not np.any(new):
            return
        with x64():
            self._fixed = self._constants()
            arrays = map(jnp.asarray, (self.z, new, self.status))
            self._state = tick.begin(self.shape, self._state, self._fixed, *arrays)

    def _enter(self, slot: int, job: Job) -> None:
        job.status, self.jobs[slot] = "running", job
        self.systems.put(slot, job.coordinates)
        self.norms.put(slot, job.coordinates, job.rtol, job.atol)
        self.t_end[slot], self.z[slot] = job.t_end, job.z
        self.times[slot] = np.inf
        self.times[slot, : len(job.grid)] = job.grid
        if self.watcher is not None:
            self.watcher.begin(slot, job)

    def _constants(self) -> lying.Fixed:
        s, watcher, never = self.systems, self.watcher, np.iinfo(np.int64).max
        moving = self.shape.moving
        kernels = Kernels(s.start, s.span, s.base, s.change, s.first, s.slope) if moving else None
        system = System(s.d, s.T, s.decay, s.conserves, kernels)
        looks = (
            (np.full(self.slots, -1.0), np.full(self.slots, never), 1, never)
            if watcher is None
            else (watcher.saddle, watcher.most, watcher.seldom, watcher.at_least)
        )
        fixed = lying.Fixed(system, self.norms.rtol, self.norms.atol, self.t_end, self.times, *looks)
        # A copy: what lies in the slots changes here while the device may still read it.
        copied: lying.Fixed = jax.tree.map(lambda a: jnp.array(a), fixed)
        return copied

    def _advance(self) -> list[Job]:
        """Some ticks; the jobs that are done with."""
        began, busy = time.perf_counter(), sum(job is not None for job in self.jobs)
        enough = max(1, min(busy, self.slots // REFILL))
        assert self._fixed is not None
        with x64():
            self._state, ticks = tick.advance(
                self.shape, self._state, self._fixed, jnp.asarray(enough), jnp.asarray(TICKS)
            )
            s, self.ticks = self._state, self.ticks + int(ticks)
            self.status = np.array(s.status)
            halted = np.flatnonzero(self.status > lying.RUNNING)
            done = self._harvest(halted) if len(halted) else []
            self._state = self._state._replace(status=jnp.asarray(self.status))
        share = (time.perf_counter() - began) / max(1, busy)
        for job in (job for job in [*self.jobs, *done] if job is not None):
            job.seconds += share
        return done

    def _harvest(self, halted: Integers) -> list[Job]:
        """Of the slots that have come to a halt those that end; the others go on."""
        s = self._state
        counts = {
            name: np.asarray(getattr(s, name))
            for name in ("t", "h", "steps", "rejected", "evaluations", "made", "saved")
        }
        done, ended = [], []
        told = self._told(halted)
        for place, (k, z) in enumerate(zip(halted.tolist(), self._rows(s.D, halted)[:, 0], strict=True)):
            job, now = self.jobs[k], {name: values[k].item() for name, values in counts.items()}
            assert job is not None
            if told is not None and job.told:
                self._tell(k, job, *(part[place] for part in told))
            finished, failed = (self.status[k] == word for word in (lying.FINISHED, lying.FAILED))
            stops = (
                not failed and self.watcher is not None and self.watcher.stops(k, now["t"], z, now["steps"])
            )
            if not (finished or failed or stops):
                self.status[k] = lying.RUNNING
                continue
            job.t, job.h, job.z = now["t"], now["h"], z.copy()
            job.steps, job.rejected = now["steps"], now["rejected"]
            job.evaluations, job.matrices = now["evaluations"], now["made"]
            job.status = "failed" if failed else "finished" if finished else "stopped"
            self.status[k], self.jobs[k] = lying.EMPTY, None
            done.append(job)
            ended.append(k)
        if ended:
            for job, rows, k in zip(done, self._rows(s.out, np.array(ended)), ended, strict=True):
                for row in rows[: counts["saved"][k]]:
                    job.save(job.due, row)
        return done

    def _told(self, halted: Integers) -> list[Floats] | None:
        """What the slots have recorded, which they forget."""
        record = self._state.record
        if record is None:
            return None
        counts, D = np.array(record.length), self._rows(record.D, halted)
        parts = [D, *(np.asarray(part)[halted] for part in record[1:])]
        counts[halted] = 0
        self._state = self._state._replace(record=record._replace(length=jnp.asarray(counts)))
        return parts

    def _tell(
        self, slot: int, job: Job, D: Floats, begin: Floats, t: Floats, h: Floats, order: Integers, covers: Integers, count: int
    ) -> None:  # fmt: skip
        """Hand the interpolants of steps to the watcher."""
        assert self.watcher is not None
        for k in range(count):
            inside = Polynomial(
                job.coordinates, D[k, : order[k] + 1], float(t[k]), float(h[k]), int(covers[k])
            )
            self.watcher.passed(slot, float(begin[k]), inside)

    def _rows(self, array: jax.Array, i: Integers) -> Floats:
        """The rows of some slots, in portions of one size: a program takes them from the device."""
        portion = max(1, self.slots // REFILL)
        padded = np.concatenate([i, np.zeros(-len(i) % portion, int)])
        parts = [np.asarray(_taken(array, jnp.asarray(some))) for some in padded.reshape(-1, portion)]
        return np.concatenate(parts)[: len(i)]


@jax.jit
def _taken(array: jax.Array, i: jax.Array) -> jax.Array:
    return array[i]

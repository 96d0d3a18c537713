"""The tick: one Newton iteration of every slot, and what follows for those whose step it decides.

Each slot has its own time, step, order and matrix, and goes through the same trials as `StructuredBDF` would; a slot
that has come to its end takes the next job.
"""

import sys
import time
from collections.abc import Iterable, Iterator

import numpy as np

from ntkflow._types import Floats, Integers, Truths
from ntkflow.integrate.engines.lockstep import history, order, projection
from ntkflow.integrate.engines.lockstep.counts import Lookout
from ntkflow.integrate.engines.lockstep.history import (
    CORRECTION,
    DIFFERENCES,
    KNOWN,
    PREDICTED,
    ROWS,
    SOURCES,
)
from ntkflow.integrate.engines.lockstep.job import Job
from ntkflow.integrate.engines.lockstep.newton import NewtonSystems
from ntkflow.integrate.engines.lockstep.saving import Saving
from ntkflow.integrate.engines.lockstep.slots import Norms, Shape, Systems
from ntkflow.integrate.engines.structured import bdf, corrector, formulas

# More of them do not pay any longer, and what they hold no longer fits the caches.
SLOTS = 128
# A trial step may overflow; it is refused. Around the work alone: who takes what `run` yields has a state of his own.
_QUIET = np.errstate(over="ignore", invalid="ignore", divide="ignore")
_NONE, _SAME = np.zeros(0, int), np.eye(ROWS, SOURCES)


class Lockstep(Saving):
    """Integrates jobs of one shape.

    Args:
        shape: of their systems.
        slots: how many are under way at a time.
        lookout: what may end one before its time.
        project: restore E every few steps where it is conserved.

    Attributes:
        ticks: Newton iterations of all slots.
    """

    # What the slots hold; `on_leaf` has others.
    SYSTEMS: type[Systems] = Systems
    NEWTON: type[NewtonSystems] = NewtonSystems
    LEAVES: type[projection.Leaves] = projection.Leaves

    def __init__(
        self, shape: Shape, slots: int = SLOTS, lookout: Lookout | None = None, project: bool = True
    ) -> None:
        super().__init__(slots)
        self.shape, self.lookout, self.project = shape, lookout, project
        self.systems, self.norms = self.SYSTEMS(shape, slots), Norms(shape, slots)
        self.newton, self.leaves = self.NEWTON(self.systems), self.LEAVES(shape, slots)
        self.X = np.zeros((slots, ROWS, shape.size))
        self._spare: Floats = np.zeros_like(self.X)
        self.ticks = 0

    @property
    def slots(self) -> int:
        """Slots that are left."""
        return self.now.slots

    def run(self, jobs: Iterable[Job]) -> Iterator[Job]:
        """Give every job back when it is done with, in the order in which that happens."""
        waiting = iter(jobs)
        yield from self._fill(np.arange(self.slots), waiting)
        while self.jobs:
            began = time.perf_counter()
            done = self._tick()
            self.now.seconds += (time.perf_counter() - began) / self.slots
            yield from self._fill(done, waiting)

    def _fill(self, free: Integers, waiting: Iterator[Job]) -> Iterator[Job]:
        """Put the next jobs into free slots, and cut out those for which there is none."""
        while len(free):
            taken = []
            for slot in free.tolist():
                if slot < len(self.jobs) and (done := self.jobs[slot]).status == "running":
                    self._leave(slot, done)
                    yield done
                if (job := next(waiting, None)) is not None:
                    self._enter(slot, job)
                    taken.append(slot)
            if len(taken) < len(free):
                staying = np.setdiff1d(np.arange(self.slots), np.setdiff1d(free, taken))
                self._keep(staying)
                taken = np.searchsorted(staying, taken).tolist()
            began = np.array(taken, int)
            if not len(began):
                return
            self._begin(began)
            free = began[self.now.failed[began]]

    def _enter(self, slot: int, job: Job) -> None:
        job.status = "running"
        if slot == len(self.jobs):
            self.jobs.append(job)
        self.jobs[slot] = job
        self.systems.put(slot, job.coordinates)
        self.norms.put(slot, job.coordinates, job.rtol, job.atol)
        self.now.begin(slot, job)
        self.X[slot] = 0.0
        self.X[slot, 0] = job.z[: self.shape.size]
        if self.lookout is not None:
            self.lookout.begin(slot, job)

    def _leave(self, slot: int, job: Job) -> None:
        self.now.record(slot, job)
        job.z = self.whole(slot, job.t, self.X[slot, 0])
        ended = self.now.t[slot] >= self.now.t_end[slot]
        job.status = "failed" if self.now.failed[slot] else "finished" if ended else "stopped"

    def _keep(self, staying: Integers) -> None:
        for part in (self.systems, self.norms, self.now, self.newton, self.leaves):
            part.keep(staying)
        if self.lookout is not None:
            self.lookout.keep(staying)
        self.X = self.X[staying]
        self._spare = np.empty_like(self.X)
        self.jobs = [self.jobs[slot] for slot in staying.tolist() if slot < len(self.jobs)]

    @_QUIET
    def _begin(self, i: Integers) -> None:
        """First steps, at order one."""
        now, z = self.now, self.X[i, 0]
        self.norms.update(i, z)
        self.leaves.take(i, z, self.systems)
        slope = self.systems.field(i, now.t[i], z, np.empty_like(z))
        span, speed = now.t_end[i], self.norms.of(slope, i)
        # A step whose first-order error, h^2 |y''| / 2, is a fraction of the tolerance.
        size = np.maximum(self.norms.of(z, i), 1.0)
        probe = 1e-6 * size / speed
        there = self.systems.field(i, now.t[i], z + probe[:, None] * slope, np.empty_like(z))
        bend = self.norms.of(there - slope, i) / probe
        h = np.minimum(np.where(bend > 0, 0.7 / np.sqrt(bend), span), np.minimum(span, 1e-2 * size / speed))
        h = np.where(speed == 0, span, h)
        now.evaluations[i] += 2
        now.h[i], now.shortest[i] = h, 1e-12 * h
        now.failed[i] = ~(np.isfinite(speed) & np.all(np.isfinite(slope), axis=1) & (h > 0))
        self.X[i, 1] = h[:, None] * slope
        i = i[~now.failed[i]]
        stay = np.broadcast_to(history.STAY, (len(i), *history.STAY.shape))
        self.X[i] = self._attempt(i, stay, np.ones(len(i))) @ self.X[i, :SOURCES]
        self._freshen(i[~now.failed[i]])

    def _attempt(self, i: Integers, top: Floats, ratio: Floats) -> Floats:
        """The matrices by which histories are made ready for a step of ratio h.

        Args:
            i: slots.
            top: what becomes of their differences before the step is changed.
            ratio: by which it is changed; a step that would end beside t_end ends there.
        """
        now = self.now
        left = now.t_end[i] - now.t[i]
        # What would leave less than a thousandth of a step takes all: a last step of rounding size costs a new grid.
        now.landing[i] = landing = now.h[i] * ratio * 1.001 >= left
        ratio = np.where(landing, left / now.h[i], ratio)
        k = now.order[i]
        changed = np.flatnonzero(ratio != 1)
        if len(changed):
            top = top.copy()
            top[changed] = history.rescaling(k[changed], ratio[changed]) @ top[changed]
            now.h[i[changed]] *= ratio[changed]
            now.equal[i[changed]] = 0
        h = now.h[i]
        spacing = bdf.ROUNDING_STEPS * sys.float_info.epsilon * np.abs(now.t[i])
        now.failed[i] = ~(h > np.maximum(now.shortest[i], spacing))
        matrices = np.zeros((len(i), ROWS, SOURCES))
        matrices[:, :DIFFERENCES] = top
        ahead = history.PREDICT[k] @ top
        ahead[:, 1] /= h[:, None]
        matrices[:, PREDICTED : KNOWN + 1] = ahead
        now.sigma[i] = formulas.LEADING[k] / h
        now.age[i] += 1
        now.iteration[i], now.before[i] = 0, np.inf
        return matrices

    def _freshen(self, i: Integers) -> None:
        """New matrices where the old ones are too old or of another step."""
        now = self.now
        moved = np.abs(now.sigma[i] / np.where(now.usable[i], self.newton.sigma[i], 1.0) - 1)
        old = (now.age[i] <= now.patience[i]) & (moved <= corrector.SIGMA_CHANGE) & now.usable[i]
        now.fresh[i] = ~old
        if not np.all(old):
            self._build(i[~old])

    def _build(self, i: Integers) -> None:
        now = self.now
        now.patience[i] = np.minimum(
            corrector.OLDEST, corrector.PATIENCE_FACTOR * now.patience[i] + corrector.PATIENCE_TERM
        )
        z = self.X[i, PREDICTED]
        now.usable[i] = good = self.newton.build(i, now.t[i] + now.h[i], z, now.sigma[i])
        now.matrices[i] += good.astype(int)
        now.age[i] = 0
        now.rate[i] **= corrector.RATE_KEPT

    @_QUIET
    def _tick(self) -> Integers:
        """One Newton iteration of all slots; the slots that are done with."""
        now, X = self.now, self.X
        self.ticks += 1
        converged, diverged = self._iterate()
        # All at once where it can be: with few slots it is the calls that cost.
        accepted, refused = converged.nonzero()[0], _NONE
        if diverged.any():
            refused, again = (diverged & now.fresh).nonzero()[0], (diverged & ~now.fresh).nonzero()[0]
            if len(again):
                self._try_again(again)
        error = formulas.ERROR[now.order[accepted]] * self._corrections(accepted)
        too_large = np.full(len(refused), np.nan)
        fits = error <= 1
        if not fits.all():
            refused = np.concatenate([refused, accepted[~fits]])
            too_large = np.concatenate([too_large, error[~fits]])
            accepted, error = accepted[fits], error[fits]
        if not len(refused) and not len(accepted):
            return refused
        change = np.empty((self.slots, ROWS, SOURCES))
        change[:] = _SAME
        if len(refused):
            change[refused] = self._refuse(refused, too_large)
        if len(accepted):
            change[accepted] = self._accept(accepted, error)
        begun = np.concatenate([refused, accepted]) if len(refused) else accepted
        np.matmul(change, X[:, :SOURCES], out=self._spare)
        if len(begun) < self.slots:
            going = np.ones(self.slots, bool)
            going[begun] = False
            self._spare[going, PREDICTED:] = X[going, PREDICTED:]
        self.X, self._spare = self._spare, X
        self._save_owed()
        ended = self._look(accepted) if len(accepted) else accepted
        if len(ended) or len(refused):
            begun = np.setdiff1d(begun, ended)
        failed = now.failed[begun]
        if not failed.any():
            self._freshen(begun)
            return ended
        self._freshen(begun[~failed])
        return np.concatenate([ended, begun[failed]])

    def _corrections(self, i: Integers) -> Floats:
        """Norms of the corrections of slots: after one iteration they are its change."""
        size, several = self.now.before[i], (self.now.iteration[i] > 1).nonzero()[0]
        if len(several):
            j = i[several]
            size[several] = self.norms.of(self.X[j, CORRECTION], j)
        return size

    def _iterate(self) -> tuple[Truths, Truths]:
        """Which slots' iterations have converged, and which never will."""
        now, X, newton = self.now, self.X, self.newton
        z = X[:, PREDICTED]
        rest = self.systems.field(slice(None), now.t + now.h, z, np.empty_like(z))
        rest -= X[:, KNOWN]
        now.evaluations += 1
        change = newton.solve(rest)
        # A matrix of another sigma overshoots stiff components and undershoots the others; this splits it.
        change *= (2 * newton.sigma / (newton.sigma + now.sigma))[:, None]
        X[:, CORRECTION] += change
        size = self.norms.of(change)
        later = now.iteration > 0
        now.rate = np.where(later, np.maximum(0.3 * now.rate, size / now.before), now.rate)
        now.iteration += 1
        shrinking = np.isfinite(size) & (size <= now.before) & now.usable
        converged = shrinking & (size * np.minimum(1.0, now.rate) <= corrector.NEWTON_SHARE)
        now.before = size
        diverged = ~shrinking | (~converged & (now.iteration >= corrector.MOST_ITERATIONS))
        # Most need no other iteration: only where there is one the value and sigma times the correction are kept up to date.
        going = (~(converged | diverged)).nonzero()[0]
        if len(going):
            moved = change[going]
            X[going, PREDICTED] += moved
            X[going, KNOWN] += now.sigma[going, None] * moved
        return converged, diverged

    def _try_again(self, i: Integers) -> None:
        """The same step with a new matrix, which may see no more steps than the old one did."""
        now = self.now
        now.patience[i] = now.age[i] - 1.0
        now.fresh[i], now.rate[i] = True, 1.0
        now.iteration[i], now.before[i] = 0, np.inf
        ahead = history.PREDICT[now.order[i]] @ self.X[i, :DIFFERENCES]
        ahead[:, 1] /= now.h[i, None]
        self.X[i, PREDICTED : KNOWN + 1], self.X[i, CORRECTION] = ahead, 0.0
        self._build(i)

    def _refuse(self, i: Integers, error: Floats) -> Floats:
        """Shorter steps; the error is NaN where Newton's iteration diverged."""
        now = self.now
        # What is not taken may not be a number.
        self.X[i, CORRECTION] = 0.0
        now.rejected[i] += 1
        now.refused[i] += 1
        now.order[i] = np.where(now.refused[i] >= bdf.REJECTIONS_TO_RESTART, 1, now.order[i])
        growth = np.where(
            np.isnan(error), bdf.AFTER_DIVERGENCE, bdf.SAFETY * error ** (-1 / (now.order[i] + 1))
        )
        stay = np.broadcast_to(history.STAY, (len(i), *history.STAY.shape))
        return self._attempt(i, stay, np.maximum(growth, bdf.SMALLEST_GROWTH))

    def _accept(self, i: Integers, error: Floats) -> Floats:
        now, before = self.now, self.now.t[i]
        now.t[i] = np.where(now.landing[i], now.t_end[i], now.t[i] + now.h[i])
        now.steps[i] += 1
        now.equal[i] += 1
        now.refused[i] = 0
        top = history.ACCEPT[now.order[i]]
        due, shares = self._save_exactly(i, top)
        if np.any(now.told[i]):
            self._tell(i, top, before)
        k, ratio = order.choose(i, now.order[i], error, now.equal[i], self.X, self.norms.weights)
        now.order[i] = k
        going = now.t[i] < now.t_end[i]
        if going.all():
            change = self._attempt(i, top, ratio)
        else:
            change = np.empty((len(i), ROWS, SOURCES))
            change[:] = _SAME
            change[:, :DIFFERENCES] = top
            change[going] = self._attempt(i[going], top[going], ratio[going])
        # The row of the correction is free until the next iteration.
        change[due, CORRECTION] = shares
        return change

    def _look(self, i: Integers) -> Integers:
        """What follows from the new states of slots i; those of them that have come to an end."""
        now, X = self.now, self.X
        turn = i[(now.steps[i] % bdf.STEPS_BETWEEN_PROJECTIONS == 0) & self.systems.conserves[i]]
        if self.project and len(turn):
            # Only D_0 moves: the whole history is translated, and its differences stay smooth.
            moved = self.leaves.restoring(turn, X[turn, 0], self.systems)
            X[turn, 0] += moved
            X[turn, PREDICTED] += moved
        z = X[i, 0]
        squares = self.norms.update(i, z)
        passed = (now.due[i] <= now.t[i]).nonzero()[0]
        if len(passed):
            self._save(i[passed], now.t[i[passed]], z[passed])
        over = i[now.t[i] >= now.t_end[i]]
        if self.lookout is None:
            return over
        stopped = self.lookout.ended(i, now.t[i], squares, z, now.steps[i])
        return np.union1d(over, stopped) if len(over) else stopped

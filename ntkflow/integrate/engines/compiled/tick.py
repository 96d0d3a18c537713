"""The tick of `lockstep.engine` as a function of jax: one Newton iteration of every slot, and what follows from it.

What numpy does to some of the slots is done here to all of them, and kept where it is meant. New matrices and projections,
which cost more than the rest, are made for a few slots at a time; the others wait, which changes none of their digits.
"""

import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from ntkflow._types import Array
from ntkflow.integrate.engines.compiled import algebra, formulas
from ntkflow.integrate.engines.compiled.algebra import Matrices
from ntkflow.integrate.engines.compiled.slots import (
    ASKED,
    FAILED,
    FINISHED,
    RUNNING,
    Fixed,
    Record,
    Slots,
    empty,
    where,
)
from ntkflow.integrate.engines.lockstep import history
from ntkflow.integrate.engines.lockstep.history import DIFFERENCES
from ntkflow.integrate.engines.lockstep.slots import Shape
from ntkflow.integrate.engines.structured import bdf, corrector
from ntkflow.integrate.engines.structured.formulas import ERROR, LEADING

# So many slots may be given new matrices, or be projected, in one tick: a step takes about one and a half, and one step in
# three asks for a matrix.
SHARE, FEWEST = 8, 4
# Where few wait they wait for others, but no longer than this.
PATIENCE = 4


@partial(jax.jit, static_argnums=0, donate_argnums=1)
def begin(shape: Shape, s: Slots, fixed: Fixed, z: Array, new: Array, status: Array) -> Slots:
    """Jobs enter the slots that are `new`; the others have the status given."""
    fresh = _first(shape, empty(shape, len(new), s.out.shape[1]), fixed, z)
    s = s._replace(status=status)
    names = [name for name in s._fields if name not in ("M", "out", "record")]
    kept = {name: where(new, getattr(fresh, name), getattr(s, name)) for name in names}
    # Of a matrix only this tells that there is none; what was saved, and recorded, is known by its number.
    M = s.M._replace(sigma=jnp.where(new, 0.0, s.M.sigma))
    return Slots(**kept, M=M, out=s.out, record=s.record)


def _first(shape: Shape, s: Slots, fixed: Fixed, z: Array) -> Slots:
    """First steps of all slots, at order one, as `Lockstep` begins them."""
    w, _ = formulas.weights(shape, fixed.rtol, fixed.atol, z)
    slope = algebra.field(shape, fixed.system, s.t, z)
    span, speed = fixed.t_end, formulas.norm(slope, w)
    size = jnp.maximum(formulas.norm(z, w), 1.0)
    probe = 1e-6 * size / speed
    there = algebra.field(shape, fixed.system, s.t, z + probe[:, None] * slope)
    bend = formulas.norm(there - slope, w) / probe
    h = jnp.minimum(jnp.where(bend > 0, 0.7 / jnp.sqrt(bend), span), jnp.minimum(span, 1e-2 * size / speed))
    h = jnp.where(speed == 0, span, h)
    good = jnp.isfinite(speed) & jnp.all(jnp.isfinite(slope), axis=1) & (h > 0)
    weights, features = algebra.terms(shape, fixed.system, z)
    one, all_of_them = jnp.ones_like(s.order), jnp.ones(len(z), bool)
    s = s._replace(
        D=s.D.at[:, 0].set(z).at[:, 1].set(h[:, None] * slope), weights=w, h=h, shortest=1e-12 * h, order=one,
        patience=jnp.full_like(h, corrector.OLDEST), rate=jnp.ones_like(h), evaluations=2 * one,
        status=jnp.where(good, RUNNING, FAILED), target=weights - features,
    )  # fmt: skip
    top = jnp.broadcast_to(history.STAY, (len(z), *history.STAY.shape))
    return _attempt(s, fixed, all_of_them, all_of_them, top, jnp.ones_like(h))


@partial(jax.jit, static_argnums=0, donate_argnums=1)
def advance(shape: Shape, s: Slots, fixed: Fixed, enough: Array, ticks: Array) -> tuple[Slots, Array]:
    """So many ticks, or fewer if `enough` of the slots have come to a halt; and how many it were."""

    def going(carry: tuple[Slots, Array]) -> Array:
        status, tick = carry[0].status, carry[1]
        return jnp.any(status == RUNNING) & (jnp.sum(status > RUNNING) < enough) & (tick < ticks)

    return lax.while_loop(
        going, lambda c: (_tick(shape, c[0], fixed, c[1]), c[1] + 1), (s, jnp.zeros((), int))
    )


def _tick(shape: Shape, s: Slots, fixed: Fixed, tick: Array) -> Slots:
    s = _projected(shape, _built(shape, s, fixed, tick), fixed, tick)
    active = (s.status == RUNNING) & ~s.need & ~s.due
    s, converged, diverged = _iterate(shape, s, fixed, active)
    error = jnp.asarray(ERROR)[s.order] * formulas.norm(s.d, s.weights)
    accepted = converged & (error <= 1)
    again = diverged & ~s.fresh
    refused = (diverged & s.fresh) | (converged & ~accepted)
    s = s._replace(patience=jnp.where(again, s.age - 1.0, s.patience))
    s, top, ratio = _judge(s, fixed, accepted, refused, jnp.where(diverged, jnp.nan, error))
    over = accepted & (s.t >= fixed.t_end)
    s = _attempt(s, fixed, (accepted & ~over) | refused, accepted | refused | again, top, ratio)
    s = s._replace(fresh=s.fresh | again, need=s.need | again, rate=jnp.where(again, 1.0, s.rate))
    w, squares = formulas.weights(shape, fixed.rtol, fixed.atol, s.D[:, 0])
    ask = accepted & _asking(s, fixed, squares[:, 2])
    if s.record is not None:
        ask |= s.record.length == s.record.t.shape[1]
    status = jnp.where(over, FINISHED, jnp.where(ask & (s.status == RUNNING), ASKED, s.status))
    return s._replace(weights=where(accepted & ~s.due, w, s.weights), status=status)


def _served(work: Callable[[Array], Any], s: Slots, asked: Array, tick: Array) -> tuple[Array, Any]:
    """Do something for at most a few of the slots that ask for it: which, and what came of it.

    Only that goes through the condition: all that does is copied.
    """
    few = min(len(s.t), max(FEWEST, len(s.t) // SHARE))
    asked = asked & (s.status == RUNNING)
    many = jnp.sum(asked)
    now = (many > 0) & ((2 * many >= few) | (tick % PATIENCE == 0))
    i = jnp.nonzero(asked & now, size=few, fill_value=len(asked))[0]
    found = jax.eval_shape(work, i)
    nothing = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), found)
    return i, lax.cond(now, work, lambda _: nothing, i)


def _rows(tree: Any, i: Array) -> Any:
    """Those of slots i, of arrays or of tuples of them; of no slot the last ones."""
    return jax.tree.map(lambda a: a.at[i].get(mode="clip"), tree)


def _hit(s: Slots, i: Array) -> Array:
    """Which slots are among i."""
    return jnp.zeros(len(s.t), bool).at[i].set(True, mode="drop")


def _built(shape: Shape, s: Slots, fixed: Fixed, tick: Array) -> Slots:
    """New matrices for some of the slots that need one."""

    def work(i: Array) -> Matrices:
        system, t, z, sigma = _rows((fixed.system, s.t + s.h, s.z, s.sigma), i)
        made = algebra.matrices(shape, system, t, z, sigma)
        good = jnp.all(jnp.isfinite(made.inverses), axis=(1, 2, 3)) & jnp.all(jnp.isfinite(z), axis=1)
        # What can't be used has no sigma.
        return made._replace(sigma=jnp.where(good, sigma, 0.0))

    i, made = _served(work, s, s.need, tick)
    M = jax.tree.map(lambda old, new: old.at[i].set(new, mode="drop"), s.M, made)
    hit = _hit(s, i)
    kept = s.rate**corrector.RATE_KEPT
    longer = jnp.minimum(corrector.OLDEST, corrector.PATIENCE_FACTOR * s.patience + corrector.PATIENCE_TERM)
    return s._replace(
        M=M, made=s.made + (hit & (M.sigma > 0)), need=s.need & ~hit, age=jnp.where(hit, 0.0, s.age),
        rate=jnp.where(hit, kept, s.rate), patience=jnp.where(hit, longer, s.patience),
    )  # fmt: skip


def _projected(shape: Shape, s: Slots, fixed: Fixed, tick: Array) -> Slots:
    """Some of the slots that are due back on their leaves: only D_0 moves, the whole history is translated."""

    def work(i: Array) -> tuple[Array, Array]:
        rows = _rows((fixed.system, s.target, s.D[:, 0], fixed.rtol, fixed.atol), i)
        system, target, z, rtol, atol = rows
        moved = algebra.restoring(shape, system, target, z)
        return moved, formulas.weights(shape, rtol, atol, z + moved)[0]

    # The matrix first, as in the lockstep engine: it would be another one at a state that has been moved.
    i, (moved, w) = _served(work, s, s.due & ~s.need, tick)
    return s._replace(
        D=s.D.at[i, 0].add(moved, mode="drop"), z=s.z.at[i].add(moved, mode="drop"),
        weights=s.weights.at[i].set(w, mode="drop"), due=s.due & ~_hit(s, i),
    )  # fmt: skip


def _iterate(shape: Shape, s: Slots, fixed: Fixed, active: Array) -> tuple[Slots, Array, Array]:
    """One iteration; which have converged, and which never will."""
    rest = algebra.field(shape, fixed.system, s.t + s.h, s.z) - s.known - s.sigma[:, None] * s.d
    usable = s.M.sigma > 0
    # A matrix of another sigma overshoots stiff components and undershoots the others; this splits it.
    share = 2 * s.M.sigma / (s.M.sigma + s.sigma)
    change = where(active, algebra.solve(shape, s.M, rest) * share[:, None], jnp.zeros_like(rest))
    size = formulas.norm(change, s.weights)
    later = active & (s.iteration > 0)
    rate = jnp.where(later, jnp.maximum(0.3 * s.rate, size / s.before), s.rate)
    iteration = s.iteration + active
    shrinking = jnp.isfinite(size) & (size <= s.before) & usable
    converged = active & shrinking & (size * jnp.minimum(1.0, rate) <= corrector.NEWTON_SHARE)
    diverged = active & (~shrinking | (~converged & (iteration >= corrector.MOST_ITERATIONS)))
    s = s._replace(
        z=s.z + change, d=s.d + change, rate=rate, iteration=iteration, before=jnp.where(active, size, s.before),
        evaluations=s.evaluations + active,
    )  # fmt: skip
    return s, converged, diverged


def _judge(
    s: Slots, fixed: Fixed, accepted: Array, refused: Array, error: Array
) -> tuple[Slots, Array, Array]:
    """What becomes of histories and steps; the error is NaN where Newton's iteration diverged."""
    before, t = s.t, jnp.where(accepted, jnp.where(s.landing, fixed.t_end, s.t + s.h), s.t)
    in_a_row = jnp.where(accepted, 0, s.refused + refused)
    # After many refusals the history is no longer believed.
    order = jnp.where(refused & (in_a_row >= bdf.REJECTIONS_TO_RESTART), 1, s.order)
    s = s._replace(t=t, steps=s.steps + accepted, equal=s.equal + accepted, rejected=s.rejected + refused)
    top = where(accepted, jnp.asarray(history.ACCEPT)[order], jnp.asarray(history.STAY)[None])
    s = _save(_recorded(s, accepted, top, before), fixed, accepted, top)
    shrunk = jnp.where(jnp.isnan(error), bdf.AFTER_DIVERGENCE, bdf.SAFETY * error ** (-1 / (order + 1.0)))
    next_order, grown = formulas.choose(order, error, s.equal, s.D, s.d, s.weights)
    ratio = jnp.where(accepted, grown, jnp.maximum(shrunk, bdf.SMALLEST_GROWTH))
    turn = accepted & fixed.system.conserves & (s.steps % bdf.STEPS_BETWEEN_PROJECTIONS == 0)
    s = s._replace(
        order=jnp.where(accepted, next_order, order), refused=in_a_row, due=s.due | (turn & (t < fixed.t_end))
    )
    return s, top, jnp.where(refused | accepted, ratio, 1.0)


def _recorded(s: Slots, accepted: Array, top: Array, before: Array) -> Slots:
    """The steps just accepted among those that the host will be told of."""
    record = s.record
    if record is None:
        return s
    rows, room = jnp.arange(len(s.t)), record.t.shape[1]
    place = rows, jnp.where(accepted, record.length, room)
    D = top[..., :DIFFERENCES] @ s.D + top[..., DIFFERENCES:] * s.d[:, None]
    # As `StructuredBDF.dense` gives it.
    covers = jnp.minimum(s.equal, s.order + 1)
    new = {"D": D, "begin": before, "t": s.t, "h": s.h, "order": s.order, "covers": covers}
    found = {name: getattr(record, name).at[place].set(value, mode="drop") for name, value in new.items()}
    return s._replace(record=Record(**found, length=record.length + accepted))


def _save(s: Slots, fixed: Fixed, accepted: Array, top: Array) -> Slots:
    """States at times inside the steps, one a turn; the order is that of the steps."""
    rows, last = jnp.arange(len(s.t)), fixed.times.shape[1] - 1

    def due(saved: Array) -> tuple[Array, Array]:
        time = fixed.times[rows, jnp.minimum(saved, last)]
        return time, accepted & (saved <= last) & (time <= s.t)

    def save(carry: tuple[Array, Array]) -> tuple[Array, Array]:
        saved, out = carry
        time, meant = due(saved)
        shares = formulas.interpolating(s.order, jnp.where(meant, (time - s.t) / s.h, 0.0))
        shares = (shares[:, None] @ top)[:, 0]
        # Row by row: the correction is no part of the history yet.
        value = (shares[:, None, :DIFFERENCES] @ s.D)[:, 0] + shares[:, DIFFERENCES:] * s.d
        return saved + meant, out.at[rows, jnp.where(meant, saved, last + 1)].set(value, mode="drop")

    saved, out = lax.while_loop(lambda carry: jnp.any(due(carry[0])[1]), save, (s.saved, s.out))
    return s._replace(saved=saved, out=out)


def _attempt(s: Slots, fixed: Fixed, begun: Array, decided: Array, top: Array, ratio: Array) -> Slots:
    """Histories made ready for the next step, and that step's prediction; as `Lockstep` does it.

    Args:
        s: the slots.
        fixed: their constants.
        begun: where a step begins.
        decided: where the last one has been accepted or refused, or begins anew.
        top: what becomes of differences and correction before the step is changed.
        ratio: by which it is changed; a step that would end beside t_end ends there.
    """
    left = fixed.t_end - s.t
    # What would leave less than a thousandth of a step takes all: a last step of rounding size costs a new grid.
    landing = s.h * ratio * 1.001 >= left
    ratio = jnp.where(begun, jnp.where(landing, left / s.h, ratio), 1.0)
    changed = begun & (ratio != 1)
    used = where(changed, formulas.rescaling(s.order, ratio), jnp.eye(DIFFERENCES)[None]) @ top
    h = jnp.where(changed, s.h * ratio, s.h)
    ahead = jnp.asarray(history.PREDICT)[s.order] @ used
    rows = jnp.concatenate([used, ahead / jnp.stack([jnp.ones_like(h), h], axis=1)[:, :, None]], axis=1)
    # A correction that is not taken may not be a number.
    d = where(jnp.any(top[:, :, DIFFERENCES] != 0, axis=1), s.d, jnp.zeros_like(s.d))
    X = rows[..., :DIFFERENCES] @ s.D + rows[..., DIFFERENCES:] * d[:, None]
    spacing = bdf.ROUNDING_STEPS * sys.float_info.epsilon * jnp.abs(s.t)
    failed = begun & ~(h > jnp.maximum(s.shortest, spacing))
    sigma, age = jnp.where(begun, jnp.asarray(LEADING)[s.order] / h, s.sigma), s.age + begun
    usable, moved = s.M.sigma > 0, jnp.abs(sigma / s.M.sigma - 1)
    old = (age <= s.patience) & (moved <= corrector.SIGMA_CHANGE) & usable
    return s._replace(
        D=where(decided, X[:, :DIFFERENCES], s.D), z=where(decided, X[:, DIFFERENCES], s.z),
        known=where(decided, X[:, DIFFERENCES + 1], s.known), d=where(decided, jnp.zeros_like(s.d), s.d),
        h=h, equal=jnp.where(changed, 0, s.equal), sigma=sigma, age=age, landing=jnp.where(begun, landing, s.landing),
        iteration=jnp.where(decided, 0, s.iteration), before=jnp.where(decided, jnp.inf, s.before),
        fresh=jnp.where(begun, ~old, s.fresh), need=jnp.where(begun, ~old, s.need),
        status=jnp.where(failed & (s.status == RUNNING), FAILED, s.status),
    )  # fmt: skip


def _asking(s: Slots, fixed: Fixed, of_W: Array) -> Array:
    """Which slots the host is to look at, were a step accepted; `of_W` is the sum of the squares of W."""
    near = (of_W <= fixed.saddle) & (s.steps % fixed.seldom == 0)
    return near | (s.steps >= fixed.most) | (s.steps % fixed.at_least == 0)

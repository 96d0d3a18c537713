"""What lies in the slots of the compiled tick: arrays with the slots in front."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from ntkflow._types import Array
from ntkflow.integrate.engines.compiled.algebra import Matrices, System
from ntkflow.integrate.engines.lockstep.history import DIFFERENCES
from ntkflow.integrate.engines.lockstep.slots import Shape

# Whether a slot is free, under way, done with, or the host is to say whether it goes on.
EMPTY, RUNNING, FINISHED, FAILED, ASKED = range(5)


class Fixed(NamedTuple):
    """What a job brings to its slot, and does not change.

    Attributes:
        system: its constants.
        rtol, atol: tolerances, (S,) and (S, 4).
        t_end: where to end.
        times: times to save at, infinite after the last, (S, T).
        saddle: sum of the squares of W below which the host is asked; negative: never.
        most: steps after which it is.
        seldom, at_least: steps between two looks at W, and between two looks of the host in any case; scalars.
    """

    system: System
    rtol: Array
    atol: Array
    t_end: Array
    times: Array
    saddle: Array
    most: Array
    seldom: Array
    at_least: Array


class Record(NamedTuple):
    """Accepted steps that the host has not been told of, R of them at most.

    Attributes:
        D: differences at their ends, (S, R, 6, F).
        begin, t, h: where they began, where they end, what they were.
        order: their orders.
        covers: over how many steps the interpolant holds.
        length: how many there are, (S,).
    """

    D: Array
    begin: Array
    t: Array
    h: Array
    order: Array
    covers: Array
    length: Array


class Slots(NamedTuple):
    """Where the integration of every slot stands; see `lockstep.counts.Counts`.

    Attributes:
        D: backward differences, (S, 8, F).
        z, known, d: the prediction with its correction, the known part of the formula, the correction; (S, F).
        weights: of the norm.
        need: whether a new matrix is waited for.
        due: whether a projection is.
        saved: how many of the times have been saved.
        status: EMPTY, RUNNING, FINISHED, FAILED, or ASKED: the host is to say whether it goes on.
        out: states at the times, (S, T, F).
        target: matrix m E of the initial state.
        M: matrices of Newton's iteration; sigma is zero where there is none.
        record: steps that the host is to be told of, or None.
    """

    D: Array
    z: Array
    known: Array
    d: Array
    weights: Array
    t: Array
    h: Array
    sigma: Array
    shortest: Array
    rate: Array
    before: Array
    age: Array
    patience: Array
    order: Array
    equal: Array
    iteration: Array
    refused: Array
    steps: Array
    rejected: Array
    evaluations: Array
    made: Array
    saved: Array
    fresh: Array
    need: Array
    due: Array
    landing: Array
    status: Array
    out: Array
    target: Array
    M: Matrices
    record: Record | None


@partial(jax.jit, static_argnums=(0, 1, 2, 3))
def empty(shape: Shape, slots: int, times: int, recorded: int = 0) -> Slots:
    """Slots in which nothing lies, with room for so many times and steps."""
    n, C, q, F = shape.n, shape.C, shape.q, shape.size

    def of(*more: int, kind: type = float) -> Array:
        return jnp.zeros((slots, *more), kind)

    M = Matrices(
        V=of(C, C), Wt=of(C, n), Pt=of(C, q), reciprocal=of(C, q), B=of(n + 1, q), d=of(q),
        inverses=of(C, n + 1, n + 1), sigma=of(), sigma_G=of(),
    )  # fmt: skip
    flat = {name: of(F) for name in ("z", "known", "d", "weights")}
    names = ("t", "h", "sigma", "shortest", "rate", "before", "age", "patience")
    counts = (
        "order",
        "equal",
        "iteration",
        "refused",
        "steps",
        "rejected",
        "evaluations",
        "made",
        "saved",
        "status",
    )
    numbers = {name: of() for name in names} | {name: of(kind=int) for name in counts}
    truths = {name: of(kind=bool) for name in ("fresh", "need", "due", "landing")}
    record = None
    if recorded:
        record = Record(
            D=of(recorded, DIFFERENCES, F), begin=of(recorded), t=of(recorded), h=of(recorded), length=of(kind=int),
            order=of(recorded, kind=int), covers=of(recorded, kind=int),
        )  # fmt: skip
    return Slots(
        D=of(DIFFERENCES, F), out=of(times, F), target=of(n, n), M=M, record=record, **flat, **numbers, **truths
    )  # fmt: skip


def where(mask: Array, new: Array, old: Array) -> Array:
    """Rows of `new` where the mask says so."""
    return jnp.where(mask.reshape(-1, *(1,) * (old.ndim - 1)), new, old)

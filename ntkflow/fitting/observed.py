"""An observed trajectory, and the same in the thin coordinates in which it is fitted."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from ntkflow import checks, views
from ntkflow._types import Floats, Labels, Times
from ntkflow.derivatives.sensitivity import Thinned, weigh
from ntkflow.errors import InputError
from ntkflow.fitting.family import Family
from ntkflow.problem.sizes import Sizes
from ntkflow.problem.state import State
from ntkflow.problem.thin import decompose


@dataclass(frozen=True, eq=False)
class Observed:
    """States of one training run at increasing times, samples sorted by class.

    Attributes:
        times: (T,), in units of the sum loss (4); the first is where the run is taken up.
        states: H, W, b at each time.
        sizes: C, m, n.

    Raises:
        InputError: fewer than two states, times that do not increase, or states of another shape.
    """

    times: Times
    states: tuple[State, ...]
    sizes: Sizes

    __repr__ = views.short

    def __post_init__(self) -> None:
        times = checks.numbers("times", self.times, 1, "give finite times")
        object.__setattr__(self, "times", times)
        object.__setattr__(self, "states", tuple(self.states))
        if times.ndim != 1 or len(times) < 2 or len(times) != len(self.states):
            raise InputError(
                "times",
                f"{times.size} times for {len(self.states)} states",
                "must be one per state, at least two",
                "give more states",
            )
        if np.any(np.diff(times) <= 0):
            raise InputError("times", times[:4], "must be finite and increase", "sort them and drop repeats")
        for state in self.states:
            state.check(self.sizes)

    @classmethod
    def from_arrays(
        cls, times: Times | Sequence[float], H: Floats, W: Floats, b: Floats, labels: Labels
    ) -> "Observed":
        """From stacks H (T, n, N), W (T, C, n), b (T, C) and labels (N,) in any order.

        Raises:
            InputError: shapes that do not fit, labels out of range, values that are not finite.
        """
        H, W, b = (checks.numbers(name, part) for name, part in (("H", H), ("W", W), ("b", b)))
        grid = checks.numbers("times", times)
        for name, part, ndim in (("H", H, 3), ("W", W, 3), ("b", b, 2)):
            if part.ndim != ndim or len(part) != grid.size:
                raise InputError(
                    name, f"array of shape {part.shape}", f"must have {grid.size} times in front", "stack it"
                )
        made = [State.from_samples(*parts, labels) for parts in zip(H, W, b, strict=True)]
        if not made:
            raise InputError("times", "no times", "must be at least two", "give more states")
        return cls(grid, tuple(state for state, _, _ in made), made[0][1])

    def window(self, start: float | None, end: float | None) -> "Observed":
        """The part between two times, both included."""
        low, high = -np.inf if start is None else start, np.inf if end is None else end
        keep = np.flatnonzero((self.times >= low) & (self.times <= high))
        return Observed(self.times[keep], tuple(self.states[i] for i in keep), self.sizes)


@dataclass(frozen=True, eq=False)
class Data:
    """An observed trajectory in the thin frame of its first state.

    Attributes:
        sizes: C, m, n.
        times: from zero, (T,).
        thin: system (whose biases are trained or held, with the kernel of the family's sum of units), frame and first state.
        packed: packed thin states, (T, D).
        outside: squared norm of the moves of H and W that the frame cannot hold; no kernel explains them.
        moves: squared norm of all moves from the first state.
    """

    sizes: Sizes
    times: Times
    thin: Thinned
    packed: Float64[Floats, "T D"]
    outside: float
    moves: float

    @classmethod
    def build(cls, observed: Observed, family: Family, train_bias: bool = True) -> "Data":
        """Project every state on the frame of the first one, which the flow never leaves."""
        sizes, first = observed.sizes, observed.states[0]
        # Classes that may differ in mu_single must not share a within-class factor: a group each.
        groups = np.arange(sizes.C, dtype=np.float64) if family.by_class else None
        initial, frame = decompose(first, sizes, groups)
        thin = Thinned(family.system(np.ones(len(family)), sizes, frame, train_bias), frame, initial)
        packed, outside, moves = [], 0.0, 0.0
        for state in observed.states:
            # The flow never leaves the first state's frame (theory 4.1, 4.3); real trainings do, and that part is kept apart.
            there = thin.project(state.H, state.W, state.b)
            packed.append(there.pack())
            kept = frame.compose(there)
            outside += float(np.sum((state.H - kept.H) ** 2) + np.sum((state.W - kept.W) ** 2))
            moves += sum(float(np.sum((getattr(state, x) - getattr(first, x)) ** 2)) for x in "HWb")
        return cls(sizes, observed.times - observed.times[0], thin, np.stack(packed), outside, moves)

    @property
    def train_bias(self) -> bool:
        """Whether the biases move; held ones are known exactly, and no noise is seen in them."""
        return self.thin.system.train_bias

    @property
    def silent(self) -> int:
        """Entries of a packed state that are the same at all times."""
        return 0 if self.train_bias else self.sizes.C

    def weighed(self, rows: Floats) -> Floats:
        """Packed vectors (..., D) with H1 times the roots of the masses: distances are those of (H, W, b)."""
        s, n = np.sqrt(self.sizes.masses), self.thin.frame.n_eff
        flat = rows.reshape(-1, rows.shape[-1])
        return np.stack([weigh(s, n, row) for row in flat]).reshape(rows.shape)

    def unweighed(self, rows: Floats) -> Floats:
        """The inverse of `weighed`."""
        s, n = 1 / np.sqrt(self.sizes.masses), self.thin.frame.n_eff
        return np.stack([weigh(s, n, row) for row in rows])

"""A kernel that changes in time: linear between kernels of one rung, as measured on a training run."""

import math
from dataclasses import dataclass, fields
from itertools import pairwise
from typing import ClassVar, TypeVar

import numpy as np

from ntkflow import checks, views
from ntkflow._types import FeatureMatrix, Features, Json
from ntkflow.errors import InputError
from ntkflow.problem.kernels.base import Gradient, Kernel, ThinCoefficients
from ntkflow.problem.kernels.timeline import bracket
from ntkflow.problem.sizes import Sizes

K = TypeVar("K", bound=Kernel)


@dataclass(frozen=True, eq=False)
class ScheduledKernel(Kernel):
    """kappa(t), K(t), ...: piecewise linear in t, constant before the first and after the last knot.

    A mixture of positive definite kernels is positive definite, so checking the knots is enough.
    `apply` and `solve` without a time are those of the first knot; use `at(t)`.

    Args:
        times: knots, strictly increasing.
        kernels: kernel at each knot, all of one rung.

    Raises:
        InputError: the numbers of knots and kernels differ, times do not increase, or rungs are mixed.

    >>> from ntkflow.problem.kernels import BlockKernel
    >>> ScheduledKernel((0.0, 2.0), (BlockKernel(1, 0.5, 0), BlockKernel(3, 0.5, 0))).at(0.5)
    BlockKernel(kappa_d=1.5, kappa_c=0.5, kappa_n=0.0)
    """

    times: tuple[float, ...]
    kernels: tuple[Kernel, ...]

    rung: ClassVar[str] = "scheduled"

    def __post_init__(self) -> None:
        times = tuple(checks.times("times", self.times, 0, -np.inf).tolist())
        kernels = tuple(self.kernels)
        object.__setattr__(self, "times", times)
        object.__setattr__(self, "kernels", kernels)
        if not kernels or len(times) != len(kernels):
            raise InputError(
                "times",
                f"{len(times)} knots",
                f"must be one per kernel ({len(kernels)})",
                "give a time for each",
            )
        rungs = [kernel.rung for kernel in kernels]
        if len(set(rungs)) > 1 or any(kernel.moves for kernel in kernels):
            raise InputError(
                "kernels",
                sorted(set(rungs)),
                "must be constant kernels of one rung",
                "write the simpler ones as the richest, as ClassBlockKernel.from_block does",
            )

    def check(self, sizes: Sizes) -> None:
        """Check every knot."""
        for kernel in self.kernels:
            kernel.check(sizes)

    def __repr__(self) -> str:
        return views.called(
            self, rung=self.kernels[0].rung, knots=len(self.times), start=self.times[0], end=self.times[-1]
        )

    def as_dict(self) -> Json:
        """The rung, the knots and the kernel at each."""
        return {
            "rung": self.rung,
            "times": list(self.times),
            "kernels": [kernel.as_dict() for kernel in self.kernels],
        }

    def at(self, t: float) -> Kernel:
        """The constant kernel in force at time t."""
        left, right, share = bracket(self.times, t)
        return self.kernels[left] if share == 0 else mix(self.kernels[left], self.kernels[right], share)

    @property
    def moves(self) -> bool:
        """It does."""
        return True

    @property
    def knots(self) -> tuple[float, ...]:
        """`times`."""
        return self.times

    @property
    def at_knots(self) -> tuple[Kernel, ...]:
        """The kernel at each knot."""
        return self.kernels

    @property
    def rests(self) -> list[tuple[float, float, Kernel]]:
        """Stretches (begin, end, kernel) on which the kernel stands still, in time from 0 on."""
        # Equal to the last digit: a kernel that moves at all has a law of its own, and E is no constant.
        same = [_same(a, b) for a, b in pairwise(self.kernels)]
        found = [(0.0, self.times[0], self.kernels[0])] if self.times[0] > 0 else []
        for (begin, end), kernel, still in zip(pairwise(self.times), self.kernels[1:], same, strict=True):
            if still and end > 0:
                found.append((max(begin, 0.0), end, kernel))
        return [*found, (max(self.times[-1], 0.0), math.inf, self.kernels[-1])]

    def between(self, begin: float, end: float) -> Kernel:
        """The kernel from `begin` to `end`, between which no knot lies, in a clock that starts at `begin`.

        In a clock of its own an interval of any width keeps all digits of its time. Constant before the first
        and after the last knot.
        """
        if end <= self.times[0] or begin >= self.times[-1]:
            return self.at(begin)
        return ScheduledKernel((0.0, end - begin), (self.at(begin), self.at(end)))

    def slope(self, t: float, G: Gradient, sizes: Sizes, before: bool = False) -> Gradient:
        """The operator's time derivative at t, from the right or with `before` from the left, applied to G.

        Zero outside the knots.
        """
        left, right, share = bracket(self.times, t, before)
        if left == right:
            return 0.0 * G
        a, b = self.kernels[left], self.kernels[right]
        first, middle, last = (kernel.apply(G, sizes) for kernel in (a, mix(a, b, 0.5), b))
        # Quadratic in share for a Kronecker kernel, both of whose factors change; linear otherwise.
        curvature = 2 * (first + last - 2 * middle)
        return (last - first + (2 * share - 1) * curvature) / (self.times[right] - self.times[left])

    def apply(self, G: Gradient, sizes: Sizes) -> Gradient:
        """The operator of the first knot."""
        return self.kernels[0].apply(G, sizes)

    def solve(self, H: Features, sizes: Sizes) -> Features:
        """The inverse operator of the first knot."""
        return self.kernels[0].solve(H, sizes)

    def feature_matrices(self, sizes: Sizes) -> tuple[FeatureMatrix, ...]:
        """Those of all knots."""
        return tuple(A for kernel in self.kernels for A in kernel.feature_matrices(sizes))

    def thin(self, sizes: Sizes) -> ThinCoefficients | None:
        """Coefficients with the schedule of the knots; they are linear in the kernel's constants."""
        knots = [kernel.thin(sizes) for kernel in self.kernels]
        schedule = tuple((t, knot) for t, knot in zip(self.times, knots, strict=True) if knot is not None)
        if len(schedule) < len(knots):
            return None
        first = schedule[0][1]
        return ThinCoefficients(first.class_kernel, first.within, schedule)


def _same(a: Kernel, b: Kernel) -> bool:
    pairs = ((getattr(a, field.name), getattr(b, field.name)) for field in fields(a))  # type: ignore[arg-type]
    return all(_same(x, y) if isinstance(x, Kernel) else np.array_equal(x, y) for x, y in pairs)


def mix(a: K, b: K, share: float) -> K:
    """(1 - share) a + share b, constant by constant; a Kronecker kernel mixes each of its two factors."""
    values = {}
    for field in fields(a):  # type: ignore[arg-type]
        left, right = getattr(a, field.name), getattr(b, field.name)
        values[field.name] = (
            mix(left, right, share) if isinstance(left, Kernel) else (1 - share) * left + share * right
        )
    return type(a)(**values)

"""Runs of linear layers of equal shape together: explicit steps in one array, each member with a step of its own (theory 18.9).

Dormand and Prince's pair of order 8 with scipy's coefficients and rules of step control. No digit of a member depends on who its
companions are: products are of one member each, sums over stages are written out.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, cast

import numpy as np

from ntkflow._types import Floats
from ntkflow.dynamics.layers import LayeredFlow
from ntkflow.integrate.layers.march import LayersMarch
from ntkflow.integrate.stopping import Reason

# Members under way at a time: their arrays should fit the caches.
SLOTS = 64
# As `scipy.integrate.DOP853` has them.
SAFETY, LEAST, MOST, ORDER = 0.9, 0.2, 10.0, 8


class Systems:
    """The field of packed thin states, one member a row.

    Args:
        flows: of equal shape.
    """

    def __init__(self, flows: Sequence[LayeredFlow]) -> None:
        first = flows[0]
        self.shapes, self.cuts, self.L = first.shapes, (0, *first.cuts, len(first.start)), first.problem.L
        self.C = first.problem.sizes.C
        self.biased = bool(first.problem.state.c)
        self.class_kernel = np.array([flow.class_kernel for flow in flows], dtype=np.float64)
        self.within = np.array([flow.within for flow in flows], dtype=np.float64)
        self.weights = np.array([flow.weights for flow in flows])
        decays = [flow.problem.decay for flow in flows]
        # Of V_1 .. V_L, W, b and the layers' biases.
        self.rates = np.array([(*decay.rates(self.L), decay.b, decay.c) for decay in decays])

    def _parts(self, y: Floats) -> list[Floats]:
        return [
            y[:, a:b].reshape(len(y), *shape)
            for (a, b), shape in zip(pairwise(self.cuts), self.shapes, strict=True)
        ]

    def field(self, y: Floats) -> Floats:
        """dy/dt of each member, (B, unknowns), as `LayeredFlow.field`."""
        L, C = self.L, self.C
        parts = self._parts(y)
        Z, V, W, b, c = parts[0], parts[1:L], parts[L], parts[L + 1], parts[L + 2 :]
        below = [W]
        for layer in reversed(V):
            below.append(below[-1] @ layer)
        below.reverse()
        bias = b
        for U, own in zip(below, c, strict=False):
            bias = bias + (U @ own[..., None])[..., 0]
        R = below[0] @ Z
        R[:, :, :C] += bias[:, :, None] - np.eye(C)
        weighted = R * self.weights[:, None]
        common = np.sum(weighted[:, :, :C], axis=2)
        rate = self.rates[:, :, None, None]
        pull = np.concatenate([R[:, :, :C] @ self.class_kernel, R[:, :, C:] * self.within[:, None]], axis=2)
        out = np.empty_like(y)
        views = self._parts(out)
        np.subtract(-(below[0].swapaxes(1, 2) @ pull), rate[:, 0] * Z, out=views[0])
        D = weighted @ Z.swapaxes(1, 2)
        if self.biased:
            D = D + common[:, :, None] * c[0][:, None]
        for l, layer in enumerate(V, 1):
            np.subtract(-(below[l].swapaxes(1, 2) @ D), rate[:, l] * layer, out=views[l])
            D = D @ layer.swapaxes(1, 2)
            if self.biased:
                D = D + common[:, :, None] * c[l][:, None]
        np.subtract(-D, rate[:, L] * W, out=views[L])
        np.subtract(-common, self.rates[:, L + 1, None] * b, out=views[L + 1])
        for l, (U, own) in enumerate(zip(below, c, strict=False)):
            moved = (U.swapaxes(1, 2) @ common[..., None])[..., 0]
            np.subtract(-moved, self.rates[:, L + 2, None] * own, out=views[L + 2 + l])
        return out


def together(marches: Sequence[LayersMarch], slots: int = SLOTS) -> Iterator[tuple[LayersMarch, Reason]]:
    """Take integrations of equal shape to their ends.

    Args:
        marches: by 'DOP853', of thin states whose packed parts have equal shapes.
        slots: how many are under way at a time.

    Returns:
        Each with its reason, as it ends.
    """
    queue = list(reversed(marches))
    members: list[_Member] = []
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        while members or queue:
            members += [_Member(queue.pop()) for _ in range(min(slots - len(members), len(queue)))]
            group = _Group(members)
            # With the same members until one ends; others may be waiting for its place.
            while all(member.reason is None for member in members):
                group.step()
            yield from ((member.march, member.reason) for member in members if member.reason is not None)
            members = [member for member in members if member.reason is None]


class _Member:
    """A march and the step that it tries next."""

    def __init__(self, march: LayersMarch) -> None:
        self.march = march
        # scipy's own, whose step is taken here.
        self.stepper = cast("Any", march.stepper)
        self.h = float(self.stepper.h_abs)
        self.rejected = False
        self.reason: Reason | None = None
        stop = march.ends.stop
        # No target is met while states move faster than this share of their size.
        self.pace = max(stop.nc1 or 0.0, stop.stationarity or 0.0) * march.ends.clock
        self.always = stop.loss is not None
        self.outside = 0.0 if march.reduced is None else march.reduced.outside

    def length(self) -> float:
        """Of the step to try; where there is none left, the march has failed."""
        s = self.stepper
        least = 10 * float(np.nextafter(s.t, np.inf) - s.t)
        if not self.h >= least:
            if self.rejected:
                self.reason = Reason.STEP_FAILED
                self.march.end(self.reason)
            self.h = least
        return min(self.h, float(s.t_bound - s.t))

    def judge(self, h: float, error: float) -> bool:
        """Whether a step of length h is accepted; sets the length of the next one."""
        best = SAFETY * error ** (-1 / ORDER) if error > 0 else MOST
        if error < 1:
            most = 1.0 if self.rejected else MOST
            self.h, self.rejected = h * min(most, best), False
            return True
        # An error that is not a number asks for the least.
        self.h, self.rejected = h * (max(LEAST, best) if error < np.inf else LEAST), True
        return False

    def accept(self, h: float, K: Floats, y: Floats, size: float, speed: float) -> None:
        """Take an accepted step with its stages K, (13, unknowns), to the state y."""
        s, begin = self.stepper, self.stepper.t
        s.K[:] = K
        s.t_old, s.y_old, s.h_previous = begin, s.y, h
        s.t = s.t_bound if h >= s.t_bound - begin else begin + h
        s.y, s.f = y, K[-1].copy()
        if s.t >= s.t_bound:
            s.status = "finished"
        moving = speed**2 > self.pace**2 * (size**2 + self.outside)
        self.reason = self.march.stepped(begin, self.always or not moving)
        if self.reason is not None:
            self.march.end(self.reason)


class _Group:
    """Some members as one array."""

    def __init__(self, members: Sequence[_Member]) -> None:
        from scipy.integrate import DOP853

        self.members = members
        self.pair: Any = DOP853
        self.systems = Systems([member.march.flow for member in members])
        self.y = np.array([member.stepper.y for member in members])
        self.f = np.array([member.stepper.f for member in members])
        self.rtol = np.array([[member.march.rtol] for member in members])
        self.atol = np.array([[member.stepper.atol] for member in members])

    def step(self) -> None:
        """Let each member try a step."""
        pair, members = self.pair, self.members
        lengths = [member.length() for member in members]
        h = np.array(lengths)[:, None]
        K = np.empty((pair.n_stages + 1, *self.y.shape))
        K[0] = self.f
        for stage in range(1, pair.n_stages):
            K[stage] = self.systems.field(self.y + h * _sum(pair.A[stage], K[:stage]))
        y = self.y + h * _sum(pair.B, K[:-1])
        K[-1] = self.systems.field(y)
        scale = self.atol + np.maximum(np.abs(self.y), np.abs(y)) * self.rtol
        fifth, third = (np.sum((_sum(E, K) / scale) ** 2, axis=1) for E in (pair.E5, pair.E3))
        errors = h[:, 0] * fifth / np.sqrt((fifth + 0.01 * third) * y.shape[1])
        # Nothing moves.
        errors = np.where(fifth + third == 0, 0.0, errors)
        sizes, speeds = (np.sqrt(np.sum(x**2, axis=1)) for x in (y, K[-1]))
        for i, member in enumerate(members):
            member.stepper.nfev += pair.n_stages
            if member.reason is None and member.judge(lengths[i], float(errors[i])):
                member.accept(lengths[i], K[:, i], y[i].copy(), float(sizes[i]), float(speeds[i]))
                self.y[i], self.f[i] = y[i], K[-1, i]


def _sum(weights: Floats, stages: Floats) -> Floats:
    """The weighted sum of stages, term by term: a product of matrices would round by who else is there."""
    result: Floats = np.zeros_like(stages[0])
    for weight, stage in zip(weights, stages, strict=False):
        if weight:
            result += weight * stage
    return result

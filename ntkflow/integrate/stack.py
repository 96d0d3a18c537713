"""The saved states of a trajectory in stacks, for metrics that look at many at a time."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float64

from ntkflow._types import Floats, Integers, Times
from ntkflow.dynamics.packed import Flow, ThinFlow
from ntkflow.problem.problem import Problem
from ntkflow.problem.state import State, ThinState
from ntkflow.problem.thin import Frame

# So much memory the logits of a stack and what else the metrics need may take.
BYTES = 2**24


@runtime_checkable
class Trajectory(Protocol):
    """What the metrics look at: saved times, and the states there in full and in thin form."""

    @property
    def problem(self) -> Problem:
        """What was integrated."""

    @property
    def times(self) -> Times:
        """Saved times, (T,)."""

    @property
    def packed(self) -> Floats:
        """Packed states there, (T, D)."""

    @property
    def flow(self) -> Flow:
        """What packed them."""

    def __len__(self) -> int: ...

    def state(self, i: int) -> State:
        """Full state at saved time i."""

    def thin(self, i: int) -> tuple[ThinState, Frame]:
        """Thin state at saved time i and its frame."""


@dataclass(frozen=True, eq=False)
class Stack:
    """States that share a frame.

    Attributes:
        at: their places among the saved times, (T,).
        H1: class means, (T, k, C), in all n feature coordinates or in those of the frame's subspace.
        L: within-class factors, (T, k, r).
        W: weights, (T, C, k).
        b: biases, (T, C).
        frame: the frame.
        V: what takes the coordinates of the subspace to all n; None where they are these.
    """

    at: Integers
    H1: Float64[Floats, "T k C"]
    L: Float64[Floats, "T k r"]
    W: Float64[Floats, "T C k"]
    b: Float64[Floats, "T C"]
    frame: Frame
    V: Floats | None


def stacks(trajectory: Trajectory, at: Integers) -> Iterator[Stack]:
    """Those at some of the saved times, in their order; one by one where each has a frame of its own."""
    flow = trajectory.flow
    if not (isinstance(flow, ThinFlow) and isinstance(flow.frame, Frame)):
        for i in at.tolist():
            thin, frame = trajectory.thin(i)
            yield Stack(np.array([i]), thin.H1[None], thin.L[None], thin.W[None], thin.b[None], frame, None)
        return
    sizes, (n, r) = flow.frame.sizes, flow.frame.V.shape
    one = 8 * (2 * sizes.C * sizes.N + sizes.C * n * flow.frame.Q.shape[1] + 8 * r * r + n * (sizes.C + r))
    most = max(1, BYTES // one)
    for k in range(0, len(at), most):
        some = at[k : k + most]
        H1, L, W, b = flow.unpack_many(trajectory.packed[some])
        yield Stack(some, H1, L, W, b, flow.frame, flow.frame.V if r < n else None)

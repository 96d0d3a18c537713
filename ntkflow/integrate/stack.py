"""The saved states of a trajectory in stacks, for metrics that look at many at a time."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float64

from ntkflow._types import Floats, Integers, Times
from ntkflow.dynamics.fields import ThinSystem
from ntkflow.dynamics.packed import Flow, ThinFlow
from ntkflow.problem.problem import Problem
from ntkflow.problem.state import State, ThinState
from ntkflow.problem.thin import Frame, Frames

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
        frame: the frame, or one for each.
        V: what takes the coordinates of the subspace to all n; None where they are these.
    """

    at: Integers
    H1: Float64[Floats, "T k C"]
    L: Float64[Floats, "T k r"]
    W: Float64[Floats, "T C k"]
    b: Float64[Floats, "T C"]
    frame: Frame | Frames
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


def system_of(flow: Flow) -> ThinSystem:
    """The system of a thin flow, whose inverse class kernel is found once however many ask."""
    assert isinstance(flow, ThinFlow)
    return flow.system


def alike(trajectory: Trajectory) -> tuple[object, ...] | None:
    """What trajectories must have in common for their ends to lie in one stack; None of those that never do."""
    problem, flow = trajectory.problem, trajectory.flow
    if not (isinstance(flow, ThinFlow) and isinstance(flow.frame, Frame) and problem.squared_error):
        return None
    if len(trajectory) < 2 or flow.system.schedule:
        return None
    return problem.sizes, flow.frame.V.shape, flow.frame.Q.shape


def crowded(
    trajectories: Sequence[Trajectory], looked: Sequence[Integers | slice], with_frames: bool
) -> tuple[Stack, list[int]]:
    """States of trajectories that are alike, one trajectory after the other, and how many of each.

    Args:
        trajectories: alike.
        looked: which saved states of each.
        with_frames: whether each state has its frame and what takes it to all features; without, it has the first one's.
    """
    parts, frames = [], []
    for trajectory, at in zip(trajectories, looked, strict=True):
        flow = trajectory.flow
        assert isinstance(flow, ThinFlow)
        assert isinstance(flow.frame, Frame)
        parts.append(flow.unpack_many(trajectory.packed[at]))
        frames.append(flow.frame)
    counts = [len(part[0]) for part in parts]
    # Of one trajectory nothing is copied.
    H1, L, W, b = (
        parts[0] if len(parts) == 1 else (np.concatenate(blocks) for blocks in zip(*parts, strict=True))
    )
    frame: Frame | Frames = frames[0]
    V, (n, k) = None, frames[0].V.shape
    if with_frames:
        frame = Frames(frames[0].sizes, np.repeat(np.stack([one.Q for one in frames]), counts, axis=0))
        V = np.repeat(np.stack([one.V for one in frames]), counts, axis=0) if k < n else None
    return Stack(np.arange(len(b)), H1, L, W, b, frame, V), counts

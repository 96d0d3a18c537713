"""The packed systems that engines integrate: one flat float64 vector, its field, and what stopping needs.

`ThinFlow` is the thin form of a block structured kernel; `RawFlow` is (H, W, b) itself for any kernel.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol, runtime_checkable

import numpy as np

from ntkflow import views
from ntkflow._types import Floats, Vector
from ntkflow.dynamics.fields import ThinSystem, raw_field
from ntkflow.dynamics.saddle import largest_eigenvalue
from ntkflow.errors import InputError
from ntkflow.problem.kernels import Kernel
from ntkflow.problem.problem import Problem
from ntkflow.problem.sizes import Sizes
from ntkflow.problem.state import State, ThinState, class_means, spread
from ntkflow.problem.thin import SQUARES_VANISH, Frame, SampleCoordinates, by_samples, decompose
from ntkflow.scaling import frobenius

# How fast a state moves beside its size: of its blocks and of their change per unit of time.
Speed = Callable[[Sequence[Floats], Sequence[Floats]], float]

# Contrasts below this share of what they are taken from are rounding.
NOTHING = 1e-9


@runtime_checkable
class Flow(Protocol):
    """What `solve` asks of a packed system."""

    @property
    def form(self) -> str:
        """'thin' or 'raw'."""
        ...

    @property
    def clock(self) -> float:
        """Rate of the dimensionless time tau = clock t."""
        ...

    def start(self) -> Vector:
        """The packed initial state."""
        ...

    def field(self, t: float, y: Vector) -> Vector:
        """dy/dt."""
        ...

    def blocks(self, y: Vector) -> tuple[Floats, ...]:
        """Views of the blocks of y, whose scales set the absolute tolerances."""
        ...

    def loss(self, y: Vector) -> float:
        """The loss (4)."""
        ...

    def within_rms(self, y: Vector) -> float:
        """Root mean square within-class standard deviation per feature."""
        ...

    def spectral_radius(self, y: Vector) -> float:
        """Estimate of the largest rate at y, under all kernels of a schedule."""
        ...

    def between(self, begin: float, end: float) -> "Flow":
        """The flow from `begin` to `end`, between which no knot lies, in a clock that starts at `begin`."""
        ...

    def thin(self, y: Vector) -> tuple[ThinState, Frame]:
        """Thin state in all n coordinates, for the metrics."""
        ...

    def state(self, y: Vector) -> State:
        """The full state."""
        ...


def collapse_rate(problem: Problem) -> float:
    """Rate sqrt(m mu_class) of the class means at a collapsed point, here from the kernel's action on contrasts.

    Of kernels that treat classes or features unlike, the contrasts are those of the rows of W, so that the clock depends
    neither on the order of the classes nor on the axes of features.
    """
    sizes, state = problem.sizes, problem.state
    # Contrasts are class means whose sum over samples vanishes: W's, where they vanish H's, else along all features.
    for means in (state.W.T, class_means(state.H, sizes)):
        centred = means - (means @ sizes.masses / sizes.N)[:, None]
        if frobenius(centred) > NOTHING * frobenius(means):
            break
    else:
        centred = np.zeros((sizes.n, sizes.C))
        centred[:, :2] = 1 / sizes.counts[0], -1 / sizes.counts[1]
    coefficients = problem.thin
    if coefficients is not None:
        # The same on class means alone: features and samples need not be touched.
        weighed = centred * sizes.masses
        gain = float(np.vdot(weighed, centred @ coefficients.class_kernel) / np.vdot(weighed, centred))
    else:
        probe = np.repeat(centred, sizes.counts, axis=1)
        gain = float(np.vdot(probe, problem.kernel.apply(probe, sizes)) / np.vdot(probe, probe))
    return float(np.sqrt(sizes.N / sizes.C * gain))


def relative_speed(now: Sequence[Floats], change: Sequence[Floats]) -> float:
    """Largest relative rate of change of the features (all blocks but the last two), W and b.

    Each against its own size, so that a huge bias does not hide that the features move; biases against 1/C.
    """
    b = now[-1]
    sizes = (norm(now[:-2]), norm(now[-2:-1]), max(norm(now[-1:]), 1 / math.sqrt(len(b))))
    speeds = (norm(change[:-2]), norm(change[-2:-1]), norm(change[-1:]))
    # What leaves zero, at however low a speed, is not at rest.
    return (
        max(
            speed / size if size > 0 else math.inf for speed, size in zip(speeds, sizes, strict=True) if speed
        )
        if any(speeds)
        else 0.0
    )


def class_speed(now: Sequence[Floats], change: Sequence[Floats], sizes: Sizes) -> float:
    """`relative_speed` of the class means, W and b alone, from blocks whose first is H1 or all samples."""

    def of_classes(blocks: Sequence[Floats]) -> tuple[Floats, ...]:
        first = blocks[0] if blocks[0].shape[1] == sizes.C else class_means(blocks[0], sizes)
        return first, blocks[-2], blocks[-1]

    return relative_speed(of_classes(now), of_classes(change))


def norm(blocks: Sequence[Floats]) -> float:
    """Frobenius norm of all blocks together, also where their squares are below the smallest float."""
    plain = math.sqrt(sum(float(np.vdot(block, block)) for block in blocks))
    if plain > SQUARES_VANISH:
        return plain
    largest = max((float(np.abs(block).max(initial=0.0)) for block in blocks), default=0.0)
    return (
        largest * math.sqrt(sum(float(np.sum((block / largest) ** 2)) for block in blocks))
        if largest
        else 0.0
    )


def rms(block: Floats) -> float:
    """Root mean square of the entries, also where their squares are below the smallest float; 0 for none."""
    plain = math.sqrt(np.mean(block**2)) if block.size else 0.0
    return plain if plain > SQUARES_VANISH or not block.size else norm([block]) / math.sqrt(block.size)


class InFrame(ABC):
    """What flows in thin coordinates share: a state packed as H1, L, W, b, and the frame that turns it into a full one."""

    frame: Frame | SampleCoordinates
    initial: ThinState

    @abstractmethod
    def unpack(self, y: Vector) -> ThinState:
        """H1, L, W, b."""

    def start(self) -> Vector:
        """The packed initial state."""
        return self.initial.pack()

    def blocks(self, y: Vector) -> tuple[Floats, ...]:
        """H1, L, W, b."""
        s = self.unpack(y)
        return s.H1, s.L, s.W, s.b

    def within_rms(self, y: Vector) -> float:
        """Root mean square within-class standard deviation per feature."""
        return self.frame.within_rms(self.unpack(y))

    def thin(self, y: Vector) -> tuple[ThinState, Frame]:
        """Thin state in all n coordinates."""
        return self.frame.view(self.unpack(y))

    def state(self, y: Vector) -> State:
        """The full state."""
        return self.frame.compose(self.unpack(y))


def no_thin_form(problem: Problem) -> InputError:
    """What to raise where a thin form is asked for that the problem does not have."""
    what = f"the {problem.kernel.rung} kernel with the {problem.loss.name} loss"
    return InputError("form", "'thin'", f"does not exist for {what}", "use form='raw'")


@dataclass(frozen=True, eq=False)
class ThinFlow(InFrame):
    """Theorem 5.1 in thin form on the subspace the flow lives in.

    For a sample kernel without blocks every sample is a group of its own: Theorem 4.1 in the same form.
    """

    system: ThinSystem
    frame: Frame | SampleCoordinates
    initial: ThinState
    clock: float
    form: str = "thin"

    __repr__ = views.short

    @classmethod
    def build(cls, problem: Problem) -> "ThinFlow":
        """From a problem with a thin form, `problem.has_thin`.

        Raises:
            InputError: the kernel acts on features, or the loss is not the squared error.
        """
        if problem.has_thin and problem.thin is None:
            thin, coordinates = by_samples(problem.state, problem.sizes)
            return cls.on(problem, coordinates, thin.pack())
        coefficients = problem.thin
        if coefficients is None or not problem.has_thin:
            raise no_thin_form(problem)
        thin, frame = decompose(problem.state, problem.sizes, coefficients.groups)
        return cls.on(problem, frame, thin.pack())

    @classmethod
    def on(cls, problem: Problem, frame: Frame | SampleCoordinates, start: Vector) -> "ThinFlow":
        """From a frame and the packed initial state in it: bases of a subspace differ by signs between machines."""
        if isinstance(frame, SampleCoordinates):
            sizes, kernel = problem.sizes, problem.kernel

            def at(knot: Kernel) -> ThinSystem:
                assert knot.sample_matrix is not None
                # Every sample is a group of its own, of mass 1, so that nothing is left within groups.
                nothing, ones = np.zeros(0), np.ones(sizes.N)
                return ThinSystem(
                    ones, knot.sample_matrix, nothing, frame.n_eff, problem.decay.rates,
                    targets=sizes.Y, train_bias=problem.train_bias,
                )  # fmt: skip

            knots = (
                [(t, at(knot)) for t, knot in zip(kernel.knots, kernel.at_knots, strict=True)]
                if kernel.moves
                else []
            )
            system = replace(knots[0][1], schedule=tuple(knots)) if knots else at(kernel)
            return cls(system, frame, system.unpack(start), collapse_rate(problem), "sample")
        coefficients = problem.thin
        assert coefficients is not None
        system = ThinSystem.build(
            coefficients,
            problem.sizes,
            frame.column_class,
            frame.n_eff,
            problem.decay.rates,
            problem.train_bias,
        )
        return cls(system, frame, system.unpack(start), collapse_rate(problem))

    def field(self, t: float, y: Vector) -> Vector:
        """dy/dt."""
        return self.system.flat_field(t, y)

    def loss(self, y: Vector) -> float:
        """The loss (4)."""
        return self.system.loss(self.unpack(y))

    def unpack(self, y: Vector) -> ThinState:
        """`ThinSystem.unpack` with the cuts worked out once: stop conditions ask after every step."""
        parts = [y[cut].reshape(shape) for cut, shape in self._cuts]
        return ThinState(*parts)

    def unpack_many(self, packed: Floats) -> tuple[Floats, ...]:
        """H1, L, W, b of packed states, (T, ...) each."""
        return tuple(packed[:, cut].reshape(len(packed), *shape) for cut, shape in self._cuts)

    def losses(self, packed: Floats) -> Floats:
        """The loss (4) of packed states, (T,)."""
        H1, L, W, b = self.unpack_many(packed)
        R1 = W @ H1 + b[..., None] - self.system.goal
        squares = self.system.masses * R1**2
        result: Floats = 0.5 * (np.sum(squares, axis=(1, 2)) + np.sum((W @ L) ** 2, axis=(1, 2)))
        return result

    @cached_property
    def _cuts(self) -> list[tuple[slice, tuple[int, ...]]]:
        shapes = self.system.shapes
        ends = np.cumsum([math.prod(shape) for shape in shapes]).tolist()
        return [(slice(a, b), shape) for a, b, shape in zip([0, *ends], ends, shapes, strict=False)]

    def spectral_radius(self, y: Vector) -> float:
        """Estimate of the largest rate at y."""
        return self.system.spectral_radius(self.unpack(y))

    def between(self, begin: float, end: float) -> "ThinFlow":
        """The flow on an interval without knots inside, in a clock that starts at `begin`."""
        return replace(self, system=self.system.between(begin, end)) if self.system.schedule else self


@dataclass(frozen=True, eq=False)
class RawFlow:
    """Theorem 4.1 on (H, W, b) as it stands: any kernel of the ladder."""

    problem: Problem
    kernel: Kernel
    clock: float
    form: str = "raw"

    __repr__ = views.short

    @classmethod
    def build(cls, problem: Problem) -> "RawFlow":
        """From any problem."""
        return cls(problem, problem.kernel, collapse_rate(problem))

    def between(self, begin: float, end: float) -> "RawFlow":
        """The flow on an interval without knots inside, in a clock that starts at `begin`."""
        return replace(self, kernel=self.kernel.between(begin, end))

    def start(self) -> Vector:
        """The packed initial state, in the order H, W, b."""
        s = self.problem.state
        return np.concatenate([s.H.ravel(), s.W.ravel(), s.b])

    def blocks(self, y: Vector) -> tuple[Floats, Floats, Floats]:
        """H, W, b."""
        sizes = self.problem.sizes
        split = sizes.n * sizes.N
        H, W = y[:split], y[split : split + sizes.C * sizes.n]
        return H.reshape(sizes.n, sizes.N), W.reshape(sizes.C, sizes.n), y[split + W.size :]

    def field(self, t: float, y: Vector) -> Vector:
        """dy/dt."""
        H, W, b = self.blocks(y)
        R = self.problem.loss.residual(self._outputs(y), self._targets)
        flow = raw_field(H, W, R, self.kernel.at(t), self.problem.sizes)
        if not self.problem.train_bias:
            flow = (*flow[:2], np.zeros_like(b))
        lw, lh, lb = self.problem.decay.rates
        parts = zip(flow, (lh, lw, lb), (H, W, b), strict=True)
        return np.concatenate([(d - rate * part).ravel() for d, rate, part in parts])

    def loss(self, y: Vector) -> float:
        """The problem's loss, without what decay would add to it."""
        return float(self.problem.loss.value(self._outputs(y), self._targets))

    def within_rms(self, y: Vector) -> float:
        """Root mean square within-class standard deviation per feature."""
        H, sizes = self.blocks(y)[0], self.problem.sizes
        return float(np.sqrt(np.mean((H - spread(class_means(H, sizes), sizes)) ** 2)))

    def spectral_radius(self, y: Vector) -> float:
        """Estimate of the largest rate at y for a loss with curvature up to 1, by a few power iterations."""
        H, W, _ = self.blocks(y)
        sizes = self.problem.sizes
        # An estimate is enough to choose an engine and the first saved time.
        gain = largest_eigenvalue(self.kernel, sizes)
        decay = max(self.problem.decay.rates)
        return float(np.linalg.norm(H, 2) ** 2 + sizes.N + np.linalg.norm(W, 2) ** 2 * gain + decay)

    def thin(self, y: Vector) -> tuple[ThinState, Frame]:
        """Thin state in all n coordinates."""
        # Without blocks one factor of all deviations does: it is looked at, never integrated.
        coefficients = self.problem.thin
        groups = None if coefficients is None else coefficients.groups
        return decompose(self.state(y), self.problem.sizes, groups, subspace=False)

    def state(self, y: Vector) -> State:
        """The full state."""
        return State(*(block.copy() for block in self.blocks(y)))

    def _outputs(self, y: Vector) -> Floats:
        H, W, b = self.blocks(y)
        return W @ H + b[:, None]

    @property
    def _targets(self) -> Floats:
        return self.problem.sizes.Y

"""Exact reductions of a state: (H, W, b) to the thin form, and n to the subspace the flow lives in.

Both are changes of coordinates, not approximations (theory 4.1 and 4.3): within-class deviations keep
their right singular vectors for all time, and every column of W^T and H stays in the span of the initial ones.
"""

import math
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Float64

from ntkflow import views
from ntkflow._types import Features, Floats, Integers, PerClass, SampleFrame, WithinFactor
from ntkflow.problem.sizes import Sizes
from ntkflow.problem.state import State, ThinState, class_means, deviations, spread
from ntkflow.scaling import frobenius

# Singular values below this fraction of the whole are rounding left over from subtracting means.
RANK_TOLERANCE = 1e-13
# Far above that, a direction is no rounding.
SURELY = 1e-9
# From so many samples a feature on the Gram matrix is worth it, down to this share of its largest singular value.
MANY = 5
CLEAR = 1e-4
# Images beyond C by which low rank is recognised, and the share of the cutoff that they may leave out.
SPARE, SPANNED = 4, 0.1
# Norms below it have lost digits or are zero, because the squares in them are below the smallest float.
SQUARES_VANISH = 1e-140

Groups = tuple[tuple[int, ...], ...]
Decomposed = tuple[ThinState, "Frame"]
_Known = dict[tuple[int, Hashable], tuple[State, Any]]
# Of every `remembering` that is open, the innermost last.
_KNOWN: ContextVar[tuple[_Known, ...]] = ContextVar("known", default=())

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Frame:
    """The constant part of a decomposition: H = V (H1 Y + L Q^T), W = W_reduced V^T.

    Attributes:
        sizes: sizes of the full state.
        Q: N x r, orthonormal columns, each summing to zero over every class.
        V: n x n_eff, orthonormal columns; the identity when nothing was gained.
        column_class: for each column of Q one class whose within-class rate it has.
    """

    sizes: Sizes
    Q: SampleFrame
    V: Float64[Floats, "n n_eff"]
    column_class: tuple[int, ...]

    __repr__ = views.short

    @property
    def n_eff(self) -> int:
        """Dimension of the subspace that the flow lives in."""
        return int(self.V.shape[1])

    @cached_property
    def class_grams(self) -> Float64[Floats, "C r r"]:
        """Q_c^T Q_c of the rows of each class, so that class covariances are L (Q_c^T Q_c) L^T / m_c."""
        return _class_grams(self.Q, self.sizes)

    def view(self, thin: ThinState) -> tuple[ThinState, "Frame"]:
        """Class means and within-class factor in all n coordinates, and the frame they belong to."""
        return self.lift(thin), self

    def within_rms(self, thin: ThinState) -> float:
        """Root mean square within-class standard deviation per feature."""
        return float(frobenius(thin.L) / np.sqrt(self.sizes.N * self.sizes.n))

    def lift(self, thin: ThinState) -> ThinState:
        """The same thin state in all n feature coordinates."""
        return ThinState(self.V @ thin.H1, self.V @ thin.L, thin.W @ self.V.T, thin.b)

    def compose(self, thin: ThinState) -> State:
        """The full state (H, W, b) of a reduced thin state. Source: eqs. (21)-(24)."""
        H = spread(self.V @ thin.H1, self.sizes) + (self.V @ thin.L) @ self.Q.T
        return State(H, thin.W @ self.V.T, thin.b.copy())


@dataclass(frozen=True, eq=False)
class Frames:
    """What metrics ask of a frame, of states of equal sizes that have one each.

    Attributes:
        sizes: sizes of the full states.
        Q: theirs, stacked.
    """

    sizes: Sizes
    Q: Float64[Floats, "T N r"]

    @cached_property
    def class_grams(self) -> Float64[Floats, "T C r r"]:
        """As of each frame."""
        return _class_grams(self.Q, self.sizes)


def _class_grams(Q: Floats, sizes: Sizes) -> Floats:
    rows = np.split(Q, sizes.starts[1:], axis=-2)
    return np.stack([block.swapaxes(-1, -2) @ block for block in rows], axis=-3)


@dataclass(frozen=True, eq=False)
class SampleCoordinates:
    """The frame of a system in which every sample is a group of its own: H = V H1.

    Attributes:
        sizes: sizes of the full state.
        V: n x n_eff, orthonormal columns.
    """

    sizes: Sizes
    V: Float64[Floats, "n n_eff"]

    __repr__ = views.short

    @property
    def n_eff(self) -> int:
        """Dimension of the subspace that the flow lives in."""
        return int(self.V.shape[1])

    def view(self, thin: ThinState) -> tuple[ThinState, Frame]:
        """Class means and within-class factor in all n coordinates, and the frame they belong to."""
        return decompose(self.compose(thin), self.sizes, subspace=False)

    def within_rms(self, thin: ThinState) -> float:
        """Root mean square within-class standard deviation per feature."""
        D = deviations(thin.H1, class_means(thin.H1, self.sizes), self.sizes)
        return float(frobenius(D) / np.sqrt(self.sizes.N * self.sizes.n))

    def compose(self, thin: ThinState) -> State:
        """The full state (H, W, b)."""
        return State(self.V @ thin.H1, thin.W @ self.V.T, thin.b.copy())


def by_samples(state: State, sizes: Sizes) -> tuple[ThinState, SampleCoordinates]:
    """The state with every sample a group of its own, in the smallest sufficient subspace."""
    state.check(sizes)
    unit = _unit(state)
    # Without L: W^T and H itself span all that the flow of samples sees.
    V = _subspace(ThinState(state.H / unit, state.H[:, :0], state.W / unit, state.b))
    thin = ThinState(V.T @ state.H, np.zeros((V.shape[1], 0)), state.W @ V, state.b)
    return thin, SampleCoordinates(sizes, V)


def decompose(
    state: State, sizes: Sizes, within: PerClass | None = None, subspace: bool = True
) -> tuple[ThinState, Frame]:
    """Class means plus a thin factor of the within-class part, in the smallest sufficient subspace.

    Args:
        state: the full state, samples ordered by class.
        sizes: its sizes.
        within: mu_single of each class; classes with the same value share one factor.
            None means all equal.
        subspace: also replace n by n_eff = rank [W^T, H1, L].

    Returns:
        The thin state and the frame that turns it back: `frame.compose(thin)` is `state` to rounding.
    """
    state.check(sizes)
    # One factor for all classes that decay alike within: its columns then have one rate (theory 4.1; 10, L1).
    groups = _alike((0.0,) * sizes.C if within is None else tuple(within.tolist()))
    whole = kept(state, (groups, False), lambda: _whole(state, sizes, groups))
    return kept(state, (groups, True), lambda: _reduced(*whole, _unit(state))) if subspace else whole


@lru_cache(maxsize=64)
def _alike(within: tuple[float, ...]) -> Groups:
    """The classes of each rate, by ascending rate."""
    return tuple(tuple(k for k, rate in enumerate(within) if rate == level) for level in sorted(set(within)))


def _whole(state: State, sizes: Sizes, groups: Groups) -> Decomposed:
    """Class means and factor in all n coordinates."""
    unit = _unit(state)
    if unit != 1.0:
        thin, frame = _whole(State(state.H / unit, state.W / unit, state.b), sizes, groups)
        return ThinState(unit * thin.H1, unit * thin.L, unit * thin.W, thin.b), frame
    H1 = class_means(state.H, sizes)
    D = deviations(state.H, H1, sizes)
    # Beside all of H, since D is what is left of it after subtracting means, with H's rounding.
    scale = frobenius(state.H)
    every = np.arange(sizes.N)
    columns = [
        every if len(groups) == 1 else np.flatnonzero(np.isin(sizes.labels, group)) for group in groups
    ]
    factors = [_thin_factor(D, some, scale, sizes.C) for some in columns]
    # One group, the usual case, is not copied: Q is as large as H.
    L, Q = factors[0] if len(factors) == 1 else (np.hstack(parts) for parts in zip(*factors, strict=True))
    column_class = tuple(
        group[0] for group, (factor, _) in zip(groups, factors, strict=True) for _ in range(factor.shape[1])
    )
    return ThinState(H1, L, state.W, state.b), Frame(sizes, Q, np.eye(sizes.n), column_class)


def _reduced(thin: ThinState, frame: "Frame", unit: float) -> Decomposed:
    """The same in the smallest sufficient subspace."""
    if _spans_everything(thin.L, frame):
        return thin, frame
    H1, L, W = (thin.H1, thin.L, thin.W) if unit == 1.0 else (thin.H1 / unit, thin.L / unit, thin.W / unit)
    V = _subspace(ThinState(H1, L, W, thin.b))
    if V.shape[1] == len(V):
        return thin, frame
    parts = V.T @ H1, V.T @ L, W @ V
    if unit != 1.0:
        parts = unit * parts[0], unit * parts[1], unit * parts[2]
    return ThinState(*parts, thin.b), Frame(frame.sizes, frame.Q, V, frame.column_class)


@contextmanager
def remembering() -> Iterator[None]:
    """Inside, a state is decomposed once, however many ask; nobody may change it, or what it is decomposed into, there.

    Inside another one what that knows is known, and what is found is forgotten at the end.
    """
    token = _KNOWN.set((*_KNOWN.get(), {}))
    try:
        yield
    finally:
        _KNOWN.reset(token)


def kept(state: State, what: Hashable, make: Callable[[], T]) -> T:
    """What is found of a state under a name; inside `remembering` once.

    Args:
        state: the state.
        what: the name, with everything else that it depends on.
        make: finds it.
    """
    levels = _KNOWN.get()
    if not levels:
        return make()
    key = id(state), what
    for known in levels:
        if key in known:
            found: T = known[key][1]
            return found
    made = make()
    # The state is kept too, so that no other one has its number meanwhile.
    levels[-1][key] = state, made
    return made


def _unit(state: State) -> float:
    """A power of two to measure features and weights in, 1 unless their squares would vanish."""
    largest = max(float(np.abs(part).max(initial=0.0)) for part in (state.H, state.W))
    return 1.0 if largest > SQUARES_VANISH or largest == 0 else 2.0 ** math.floor(math.log2(largest))


def _thin_factor(
    whole: Features, columns: Integers, scale: float, C: int
) -> tuple[WithinFactor, SampleFrame]:
    """L and Q with whole[:, columns] = L Q^T there, Q zero elsewhere; r = numerical rank, often C."""
    every = len(columns) == whole.shape[1]
    D = whole if every else whole[:, columns]
    cutoff = RANK_TOLERANCE * max(scale, np.finfo(float).tiny)
    L, right = _by_gram(D, cutoff) or _by_images(D, cutoff, C + SPARE) or _by_svd(D, cutoff)
    if every:
        return L, right
    Q = np.zeros((whole.shape[1], L.shape[1]))
    Q[columns] = right
    return L, Q


def _by_images(D: Floats, cutoff: float, most: int) -> tuple[Floats, Floats] | None:
    """The same of a low rank, as balanced states have it, in a fifth of the time: from the images of a few vectors.

    None where they do not span the columns of D.
    """
    if 2 * most > min(D.shape):
        return None
    basis = np.linalg.qr(D @ _vectors(D.shape[1], most))[0]
    inside = basis.T @ D
    # What lies outside would have been cut off, with room to spare.
    if not frobenius(D - basis @ inside) <= SPANNED * cutoff:
        return None
    L, right = _by_svd(inside, cutoff)
    return basis @ L, right


@lru_cache(maxsize=16)
def _vectors(N: int, count: int) -> Floats:
    """Vectors whose images span the columns of any matrix of lower rank, but with probability zero; the same every time."""
    found: Floats = np.random.default_rng(0).standard_normal((N, count))
    found.flags.writeable = False
    return found


def _by_svd(D: Floats, cutoff: float) -> tuple[Floats, Floats]:
    n, N = D.shape
    # A triangle first: what the decomposition then costs does not grow with N.
    if n < N:
        tall, triangle = np.linalg.qr(D.T)
        U, s, Vt = np.linalg.svd(triangle.T)
        right = tall @ Vt.T
    else:
        U, s, Vt = np.linalg.svd(D, full_matrices=False)
        right = Vt.T
    r = int(np.sum(s > cutoff))
    return U[:, :r] * s[:r], right[:, :r]


def _by_gram(D: Floats, cutoff: float) -> tuple[Floats, Floats] | None:
    """The same for many samples, several times faster: from D D^T, made orthonormal a second time.

    None where it would lose digits: singular values between `cutoff` and `CLEAR` of the largest.
    """
    n, N = D.shape
    if MANY * n > N:
        return None
    values, U = np.linalg.eigh(D @ D.T)
    U, s = U[:, ::-1], np.sqrt(np.maximum(values[::-1], 0.0))
    r = int(np.sum(s > max(CLEAR * s[0], cutoff)))
    U, s = U[:, :r], s[:r]
    if r < n and frobenius(D - U @ (U.T @ D)) > cutoff:
        return None
    inside = (U / s).T @ D
    # Orthonormal but for eps/CLEAR^2; the Cholesky factor of what is missing restores it to rounding.
    factor = np.linalg.cholesky(inside @ inside.T)
    return (U * s) @ factor, (np.linalg.inv(factor) @ inside).T


def _spans_everything(L: WithinFactor, frame: "Frame") -> bool:
    """Whether deviations alone reach every direction, as those of many samples do: then no subspace is looked for."""
    # Of one rate the columns are orthogonal, and their norms are the singular values that a subspace is found by.
    if L.shape[0] > L.shape[1] or len(set(frame.column_class)) > 1:
        return False
    norms = np.linalg.norm(L, axis=0)
    return bool(norms.min(initial=np.inf) > SURELY * np.linalg.norm(norms))


def _subspace(thin: ThinState) -> Floats:
    """Orthonormal basis of span [W^T, H1, L]; each block scaled to norm one so that none is drowned."""
    blocks = [block / norm for block in (thin.W.T, thin.H1, thin.L) if (norm := frobenius(block)) > 0]
    n = thin.W.shape[1]
    if not blocks:
        return np.eye(n)[:, :1]
    U, s, _ = np.linalg.svd(np.hstack(blocks), full_matrices=False)
    # Ten times the rounding of one block, as three are put together.
    rank = int(np.sum(s > RANK_TOLERANCE * s[0] * 10))
    return np.eye(n) if rank == n else U[:, :rank]

"""The facts of many initial states at once: what `initial_facts` finds of each, in stacks of states of equal shape.

Of one small state it is the calls that cost. What only few states need, such as a search for a projector, is left to the
functions for one. No product or sum runs over the states, so that the digits of one do not depend on the others.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ntkflow._types import Floats, Truths
from ntkflow.metrics import invariant
from ntkflow.metrics.neural_collapse import centring
from ntkflow.problem.kernels.block import BlockKernel
from ntkflow.problem.problem import Problem
from ntkflow.problem.sizes import Sizes
from ntkflow.problem.state import State, ThinState
from ntkflow.problem.thin import decompose
from ntkflow.scaling import frobenii
from ntkflow.theory import initial_facts
from ntkflow.theory.bounds import Inertia, rounding
from ntkflow.theory.exact.recognise import sector_of
from ntkflow.theory.initial_facts import ZERO, Facts
from ntkflow.theory.limits import eigenvalues
from ntkflow.theory.prediction import predictable

# What one asks for at a time: a kernel with scalar blocks and a state.
Start = tuple[BlockKernel, State]


def look_at_facts(problems: Sequence[Problem]) -> None:
    """Find the facts of those problems that closed forms apply to; inside `remembering` whoever asks for them then has them.

    Args:
        problems: any; one that can't be looked at costs the others nothing.
    """
    groups: dict[Sizes, list[Start]] = defaultdict(list)
    for problem in problems:
        if predictable(problem) and (kernel := problem.equal_blocks) is not None:
            groups[problem.sizes].append((kernel, problem.state))
    for sizes, starts in groups.items():
        for (kernel, state), found in zip(starts, facts_of_many(sizes, starts), strict=True):
            initial_facts.remember(sizes, kernel, state, found)


def facts_of_many(sizes: Sizes, starts: Sequence[Start]) -> list[Facts]:
    """`initial_facts.facts` of many states, to rounding.

    Args:
        sizes: sizes of all of them.
        starts: a kernel and a state each.

    Raises:
        InputError: a kernel is singular on these sizes, or a state does not fit them.
    """
    groups: dict[object, list[int]] = defaultdict(list)
    for number, (_, state) in enumerate(starts):
        thin, _ = decompose(state, sizes)
        groups[thin.L.shape].append(number)
    found: dict[int, Facts] = {}
    for numbers in groups.values():
        some = _Crowd(sizes, [starts[number] for number in numbers])
        found.update(zip(numbers, some.facts(), strict=True))
    return [found[number] for number in range(len(starts))]


@dataclass(frozen=True, eq=False)
class _Crowd:
    """States whose subspaces and factors have equal dimensions; leading axes are the states."""

    sizes: Sizes
    starts: Sequence[Start]

    @cached_property
    def thin(self) -> list[ThinState]:
        """Each in the coordinates of its subspace."""
        return [decompose(state, self.sizes)[0] for _, state in self.starts]

    @cached_property
    def H1(self) -> Floats:
        return np.stack([thin.H1 for thin in self.thin])

    @cached_property
    def L(self) -> Floats:
        return np.stack([thin.L for thin in self.thin])

    @cached_property
    def W(self) -> Floats:
        return np.stack([thin.W for thin in self.thin])

    @cached_property
    def b(self) -> Floats:
        return np.stack([thin.b for thin in self.thin])

    @cached_property
    def norms(self) -> tuple[Floats, Floats, Floats]:
        """|H1|, |L| and |W|."""
        return frobenii(self.H1), frobenii(self.L), frobenii(self.W)

    @cached_property
    def row_sums(self) -> Floats:
        """|W^T 1|."""
        sums = self.W.sum(axis=1)
        return _norms(sums)

    @cached_property
    def sources(self) -> Floats:
        """[W^T, H1], each scaled to norm one."""
        (means, _, weights), tiny = self.norms, np.finfo(float).tiny
        blocks = (self.W.swapaxes(1, 2), weights), (self.H1, means)
        return np.concatenate([part / np.maximum(norm, tiny)[:, None, None] for part, norm in blocks], axis=2)

    def terms(self) -> tuple[Floats, Floats]:
        """E, and what its size is held against."""
        sizes = self.sizes
        coefficients = [kernel.thin(sizes) for kernel, _ in self.starts]
        inverse = np.linalg.solve(np.stack([c.class_kernel for c in coefficients]), np.diag(sizes.masses))
        inverse = (inverse + inverse.swapaxes(1, 2)) / 2
        rates = np.array([c.within[0] for c in coefficients])[:, None, None]
        found = invariant.main_terms_of(np, self.H1, self.L, self.W, inverse, rates, sizes.masses.mean())
        weights, features = found["weights"], found["means"] + found["within"]
        return weights - features, frobenii(weights) + frobenii(features)

    def losses(self) -> Floats:
        """The loss (4)."""
        R1 = self.W @ self.H1 + self.b[..., None] - np.eye(self.sizes.C)
        squares = np.sum(self.sizes.masses * R1**2, axis=(1, 2)) + np.sum((self.W @ self.L) ** 2, axis=(1, 2))
        result: Floats = 0.5 * squares
        return result

    def frozen(self) -> Iterator[float | None]:
        """The part of tr L L^T that is never moved; None where equal eigenvalues must be looked at together."""
        if not self.L.size:
            yield from [0.0] * len(self.starts)
            return
        U, s, _ = np.linalg.svd(self.L, full_matrices=False)
        apart = np.all(s[:, :-1] - s[:, 1:] > ZERO * s[:, :1], axis=1)
        unseen = _norms(U.swapaxes(1, 2) @ self.sources) <= ZERO
        for alone, total in zip(apart.tolist(), np.sum(s**2 * unseen, axis=1).tolist(), strict=True):
            yield total if alone else None

    def may_be_symmetric(self, spread_of_b: Floats, zero: float) -> Truths:
        """Whether biases and Gram matrices of [W^T, H1] are those of a symmetric state; S is not looked at."""
        C, Z = self.sizes.C, self.sources
        gram, P = Z.swapaxes(1, 2) @ Z, centring(C)
        J, found = np.eye(C) - P, spread_of_b <= zero
        for block in (gram[:, :C, :C], gram[:, :C, C:], gram[:, C:, C:]):
            of_sum = block.sum(axis=(1, 2)) / C
            of_contrasts = (np.trace(block, axis1=1, axis2=2) - of_sum) / (C - 1)
            mean = of_contrasts[:, None, None] * P + of_sum[:, None, None] * J
            # With as much room again: those that pass are looked at one by one.
            found &= np.abs(block - mean).max(axis=(1, 2)) <= 2 * zero
        return found

    def facts(self) -> Iterator[Facts]:
        """Of each."""
        sizes, zero = self.sizes, ZERO
        C, m, n_eff = sizes.C, sizes.per_class, self.H1.shape[1]
        E, scale = self.terms()
        values = np.linalg.eigvalsh((E + E.swapaxes(1, 2)) / 2)
        if n_eff < sizes.n:
            values = np.sort(np.concatenate([values, np.zeros((len(E), sizes.n - n_eff))], axis=1), axis=1)
        # E is a difference of terms that may be far larger: zero is what their rounding leaves of it.
        tolerance = rounding(sizes.n, 1.0) * scale
        mu = [eigenvalues(sizes, kernel) for kernel, _ in self.starts]
        mu_single, mu_global = (
            np.array([getattr(one, name) for one in mu]) for name in ("mu_single", "mu_global")
        )
        H1_norm, L_norm, W_norm = self.norms
        mean, off = self.H1.mean(axis=2), np.abs(self.b - 1 / C)
        spread_of_b, column_sums = np.ptp(self.b, axis=1), _ratios(self.row_sums, W_norm)
        equal = (spread_of_b <= zero) & (column_sums <= zero)
        raised = values + tolerance[:, None]
        both, largest = W_norm + H1_norm, np.abs(values).max(axis=1)
        columns = {
            "positive": np.sum(values > tolerance[:, None], axis=1),
            "negative": np.sum(values < -tolerance[:, None], axis=1),
            "tolerance": tolerance,
            "norm_E": _ratios(frobenii(E), scale),
            "zero_E": largest <= tolerance,
            "V": np.sum(off**2, axis=1) + sizes.N / mu_global * np.sum(mean**2, axis=1),
            "centred": (_norms(mean) <= zero * np.maximum(H1_norm, ZERO))
            & (equal | (off.max(axis=1) <= zero)),
            "column_sums": column_sums,
            "trace_S": np.sum(self.L**2, axis=(1, 2)) / m,
            # E raised by its rounding: a floor must never be too high.
            "floor": np.sum(mu_single[:, None] * np.maximum(-raised[:, C:], 0.0), axis=1),
            "loss": self.losses(),
            "means": np.sum((self.H1 - mean[..., None]) ** 2, axis=(1, 2)),
            "moved": np.any(self.W, axis=(1, 2)) | np.any(self.H1, axis=(1, 2)),
            "spread": np.any(self.L, axis=(1, 2)),
            "apart": _apart(values, tolerance, zero),
            "symmetric": self.may_be_symmetric(spread_of_b, zero),
            "saddle": (both == 0)
            | (spread_of_b <= zero) & (L_norm <= 2 * zero * both) & (self.row_sums <= 2 * zero * both),
        }
        rows = zip(*(column.tolist() for column in columns.values()), strict=True)
        every = zip(self.starts, self.thin, E, values, self.frozen(), rows, strict=True)
        for (kernel, state), thin, E_k, spectrum, frozen, row in every:
            yield self._one(kernel, state, thin, E_k, spectrum, frozen, dict(zip(columns, row, strict=True)))

    def _one(
        self,
        kernel: BlockKernel,
        state: State,
        thin: ThinState,
        E: Floats,
        spectrum: Floats,
        frozen: float | None,
        row: dict[str, float],
    ) -> Facts:
        """The facts of one state, for which the stack has done what it can."""
        sizes, zero, tolerance = self.sizes, ZERO, row["tolerance"]
        projector = None
        if not (row["zero_E"] or row["apart"]):
            projector = initial_facts.projector_of(E, spectrum, thin, tolerance, zero)
        symmetric = bool(row["symmetric"])
        if symmetric or frozen is None:
            spaces, sources = initial_facts.spread_spaces(thin), initial_facts.sources_of(thin)
            symmetric = symmetric and initial_facts.is_symmetric(thin, sources, spaces, zero)
            frozen = initial_facts.frozen_part(sources, spaces) if frozen is None else frozen
        positive, negative = int(row["positive"]), int(row["negative"])
        return Facts(
            sizes=sizes,
            kernel=kernel,
            signs=Inertia(positive, negative, len(spectrum) - positive - negative, tolerance),
            norm_E=row["norm_E"],
            zero_E=bool(row["zero_E"]),
            spectrum_E=tuple(spectrum[::-1].tolist()),
            projector=projector,
            V=row["V"],
            centred=bool(row["centred"]),
            column_sums=row["column_sums"],
            trace_S=row["trace_S"],
            frozen=frozen / sizes.per_class,
            floor=row["floor"],
            reach=self.H1.shape[1] if row["moved"] or row["spread"] else 0,
            symmetric=symmetric,
            saddle=bool(row["saddle"]) and initial_facts.runs_into_saddle(thin, sizes, kernel, zero),
            sector=sector_of(state, sizes, kernel, zero),
            loss=row["loss"],
            means=row["means"],
            still=not row["moved"],
        )


def _norms(rows: Floats) -> Floats:
    """Euclidean norms along the last axis."""
    result: Floats = np.sqrt(np.sum(rows * rows, axis=-1))
    return result


def _ratios(part: Floats, whole: Floats) -> Floats:
    result: Floats = np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)
    return result


def _apart(values: Floats, tolerance: Floats, zero: float) -> Truths:
    """Whether eigenvalues of E are so far apart that it is no multiple of a projector; see `initial_facts.projector_of`."""
    sizes = np.abs(values)
    large = sizes > 2 * tolerance[:, None]
    width = np.where(large, values, -np.inf).max(axis=1) - np.where(large, values, np.inf).min(axis=1)
    allowed = 2 * np.maximum(2 * tolerance, zero * sizes.max(axis=1))
    result: Truths = np.any(large, axis=1) & (width > allowed)
    return result

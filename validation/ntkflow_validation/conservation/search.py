"""All independent laws of a network: slice by slice, tensor by tensor, then in the full null space.

Channels that belong together mostly share an index: the k-th slices of all axes of one length are one tiny system, and
so are all tensors with one coefficient each (layer and group normalisation). The full null space proves that none is
missing and gives those that no such system has, as after a permutation or a concatenation of channels.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from ntkflow_validation.conservation.equations import Equations
from ntkflow_validation.conservation.null_space import NEW, Span, echelon, laws_in, rounded
from ntkflow_validation.conservation.slices import Layout

# Relative defects: rounding of float64 is below the first; what the epsilon of a normalisation leaves, from 1e-9 for large
# activations to some 1e-5, lies between the two.
EXACT, APPROXIMATE = 1e-11, 1e-4
# The epsilon of a normalisation breaks the law of the one layer before it, a weight and a bias. A small defect of more
# tensors together is no law of anything: a DenseNet40 has one of 44 with 6e-5.
TENSORS = 2
# Equations beyond the unknowns of a system.
SPARE = 16

Group = list[int]


class Found(NamedTuple):
    """One law as a vector over all slices.

    Attributes:
        d: coefficients.
        defect: relative, over the probed equations.
        exact: whether that is rounding.
        spread: whether it was not found among slices of one index.
    """

    d: np.ndarray
    defect: float
    exact: bool
    spread: bool = False


def systems(layout: Layout) -> Iterator[list[Group]]:
    """Groups of slices, one unknown each, that may be tied by a law."""
    axes = [(name, axis, layout.shapes[name][axis]) for name, found in layout.axes.items() for axis in found]
    starts = {(s.tensor, s.axis): j for j, s in enumerate(layout.slices) if s.index == 0}
    for width in sorted({length for _, _, length in axes}):
        for k in range(width):
            groups = []
            for name, axis, length in axes:
                start = starts[name, axis]
                if length == width:
                    groups.append([start + k])
                elif width > 1 and length % width == 0 and axis != layout.output_axis(name):
                    # A flattened image has its channels last, or first.
                    positions = length // width
                    groups.append([start + k + width * p for p in range(positions)])
                    groups.append([start + k * positions + p for p in range(positions)])
            yield groups
    yield [
        [starts[name, found[0]] + i for i in range(layout.shapes[name][found[0]])]
        for name, found in layout.axes.items()
    ]


def rows_needed(layout: Layout, certify: bool) -> int:
    """Backward passes that the search needs, however many slices there are unless it is to be certified."""
    unknowns = max(len(groups) for groups in systems(layout))
    return (max(len(layout.slices), unknowns) if certify else unknowns) + SPARE


def search(system: Equations, layout: Layout, certify: bool) -> list[Found]:
    """Independent laws, exact ones first; slices without a signal are in none of them."""
    few = system.first(rows_needed(layout, certify=False))
    silent = system.silent
    candidates: dict[bytes, Found] = {}
    together = list(systems(layout))
    for groups in together:
        loud = [heard for g in groups if (heard := [j for j in g if not silent[j]])]
        for tolerance in (EXACT, APPROXIMATE):
            for found in _solved(few, loud, tolerance):
                tensors = {layout.slices[j].tensor for j in np.flatnonzero(found.d)}
                if found.exact or len(tensors) <= TENSORS:
                    key = np.round(found.d, 6).tobytes()
                    candidates.setdefault(key, found._replace(spread=groups is together[-1]))
        for found in _alone(few, loud):
            key = np.round(found.d, 6).tobytes()
            candidates.setdefault(key, found._replace(spread=groups is together[-1]))
    identities = [known for v in layout.identities() if np.any(known := np.where(silent, 0.0, v))]
    if certify:
        for found in _in_full_null_space(system, identities):
            candidates.setdefault(np.round(found.d, 6).tobytes(), found)
    span = Span(len(silent))
    for identity in identities:
        span.add(identity)
    order = sorted(candidates.values(), key=lambda f: (not f.exact, f.spread, np.count_nonzero(f.d)))
    exact = [f for f in order if f.exact and span.add(f.d)]
    return exact + [f for f in order if not f.exact and span.add(f.d)]


def _in_full_null_space(system: Equations, identities: list[np.ndarray]) -> Iterator[Found]:
    """A basis modulo the identities, made sparse: each frees a law of a whole tensor by one axis or the other."""
    alone = [[int(j)] for j in np.flatnonzero(~system.silent)]
    rows = [found.d for found in _solved(system, alone, EXACT)]
    for _ in range(2):
        span = Span(len(system.scale))
        for identity in identities:
            span.add(identity)
        cleaned = [_sparsest(row, identities) for row in rows]
        kept = [row for row in cleaned if np.any(row) and span.add(row)]
        rows = list(echelon(np.array(kept).T)) if kept else []
    for row in rows:
        d, defect = rounded(_sparsest(row, identities), system, EXACT)
        # Elimination adds up the rounding of all rows; nothing that is not exact may count as found.
        if defect < EXACT:
            yield Found(d, defect, True, spread=True)


def _sparsest(d: np.ndarray, identities: list[np.ndarray]) -> np.ndarray:
    """The vector plus multiples of the identities, which change nothing, with the fewest coefficients."""
    for identity in identities:
        inside = np.flatnonzero(identity)
        shifts = np.unique(np.round(-d[inside] / identity[inside], 6))
        trials = [d, *(d + shift * identity for shift in shifts)]
        d = min(trials, key=lambda t: np.count_nonzero(np.abs(t) > NEW))
    return np.where(np.abs(d) > NEW, d, 0.0)


def _alone(system: Equations, groups: list[Group]) -> Iterator[Found]:
    """Filters before a normalisation, each by itself, and whole tensors: approximate laws in all but some draws.

    A draw in which the filter's channel hardly varies lifts the defect over all of them above the bar: a VGG11 of width 1,
    whose law count by hand is 55 + 55, had 54 or 55 of them by the draw, or a sum of many filters in the place of one.
    """
    for group in groups:
        d = np.zeros(len(system.scale))
        d[group] = 1.0
        if system.usual_defect(d) < APPROXIMATE:
            defect = system.defect(d)
            yield Found(d, defect, defect < EXACT)


def _solved(system: Equations, groups: list[Group], tolerance: float) -> Iterator[Found]:
    if not groups:
        return
    for values, defect in laws_in(system.grouped(groups), tolerance):
        d = np.zeros(len(system.scale))
        for group, value in zip(groups, values, strict=True):
            d[group] += value
        if np.any(d):
            yield Found(d, defect, defect < EXACT)

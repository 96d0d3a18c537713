"""All independent laws of a network: slice by slice, tensor by tensor, then in the full null space.

Channels that belong together mostly share an index: the k-th slices of all axes of one length are one tiny system, and
so are all tensors with one coefficient each (layer and group normalisation). The full null space proves that none is
missing and gives those that no such system has, as after a permutation or a concatenation of channels.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from ntkflow_validation.conservation.equations import Equations
from ntkflow_validation.conservation.null_space import Span, laws_in
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
    yield [[starts[name, found[0]] + i for i in range(layout.shapes[name][found[0]])] for name, found in layout.axes.items()]


def rows_needed(layout: Layout, certify: bool) -> int:
    """Backward passes that the search needs, however many slices there are unless it is to be certified."""
    unknowns = max(len(groups) for groups in systems(layout))
    return (max(len(layout.slices), unknowns) if certify else unknowns) + SPARE


def search(system: Equations, layout: Layout, certify: bool) -> list[Found]:
    """Independent laws, exact ones first; slices without a signal are in none of them."""
    few = Equations(system.A[: rows_needed(layout, certify=False)], system.scale)
    silent = system.silent
    candidates: dict[bytes, Found] = {}
    together = list(systems(layout))
    for groups in together:
        loud = [heard for g in groups if (heard := [j for j in g if not silent[j]])]
        for tolerance in (EXACT, APPROXIMATE):
            for found in _solved(few, loud, tolerance):
                whole = groups is together[-1]
                if whole and not found.exact and len({layout.slices[j].tensor for j in np.flatnonzero(found.d)}) > TENSORS:
                    continue
                candidates.setdefault(np.round(found.d, 6).tobytes(), found._replace(spread=whole))
    if certify:
        alone = [[int(j)] for j in np.flatnonzero(~silent)]
        for found in _solved(system, alone, EXACT):
            candidates.setdefault(np.round(found.d, 6).tobytes(), found._replace(spread=True))
    span = Span(len(silent))
    for identity in layout.identities():
        if np.any(known := np.where(silent, 0.0, identity)):
            span.add(known)
    order = sorted(candidates.values(), key=lambda f: (not f.exact, f.spread, np.count_nonzero(f.d)))
    exact = [f for f in order if f.exact and span.add(f.d)]
    return exact + [f for f in order if not f.exact and span.add(f.d)]


def _solved(system: Equations, groups: list[Group], tolerance: float) -> Iterator[Found]:
    if not groups:
        return
    for values, defect in laws_in(system.grouped(groups), tolerance):
        d = np.zeros(len(system.scale))
        for group, value in zip(groups, values, strict=True):
            d[group] += value
        if np.any(d):
            yield Found(d, defect, defect < EXACT)

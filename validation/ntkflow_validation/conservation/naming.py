"""What a law is a law of, told from which slices it has; and families whose whole matrix is conserved."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from ntkflow_validation.conservation.slices import Layout, Slice, Tensors

Coefficients = Mapping[Slice, float]
# Tensors that are listed in a name.
LISTED = 3


class Named(NamedTuple):
    """Name and kind of a law."""

    name: str
    kind: str


def oriented(d: np.ndarray, layout: Layout) -> np.ndarray:
    """The sign in which readers count as positive, or where there are none the first coefficient."""
    readers = [j for j in np.flatnonzero(d) if not layout.writes(layout.slices[j])]
    lead = d[readers].sum() if readers and abs(d[readers].sum()) > 0 else d[np.flatnonzero(d)[0]]
    return d if lead > 0 else -d


def named(law: Coefficients, layout: Layout, linear: bool = False) -> Named:
    """What a law is a law of, as far as its slices tell; `linear`: without an activation between writers and readers."""
    tensors = list(dict.fromkeys(piece.tensor for piece in law))
    writers = [p for p in law if layout.writes(p)]
    readers = [p for p in law if not layout.writes(p)]
    if len(tensors) == 1 and len(law) == 1:
        (piece,) = law
        side = "" if piece in writers else "input "
        return Named(
            f"{side}filter {piece.index} of {_layer(piece.tensor)} before a normalisation",
            "filter before a normalisation",
        )
    if _whole(law, layout) and len(tensors) == 1:
        return Named(f"norm of {tensors[0]} before a normalisation", "whole tensors")
    if _whole(law, layout):
        return Named(f"norms of {_listed(tensors)}", "whole tensors")
    channels = {p.index for p in writers}
    if not readers or len(channels) != 1 or len({p.tensor for p in writers}) != len(writers):
        return Named(f"combination of {_listed(tensors)}", "other")
    (k,) = channels
    layers = list(dict.fromkeys(_layer(p.tensor) for p in writers))
    weights = [p for p in writers if len(layout.shapes[p.tensor]) > 1]
    if len(weights) > 1 or (len(layers) > 1 and all("." in p.tensor for p in writers)):
        return Named(f"channel {k} of the residual stream of {_listed(layers)}", "residual channel")
    reading = len({p.tensor for p in readers})
    if reading > 1 or not weights:
        return Named(f"channel {k} of {layers[0]}", "channel")
    if linear:
        return Named(f"feature {k} of {layers[0]}, read out by {_layer(readers[0].tensor)}", "readout")
    return Named(f"hidden neuron {k} of {layers[0]}", "hidden neuron")


def _whole(law: Coefficients, layout: Layout) -> bool:
    counts: dict[tuple[str, int], int] = defaultdict(int)
    for piece in law:
        counts[piece.tensor, piece.axis] += 1
    return all(layout.shapes[name][axis] == count for (name, axis), count in counts.items())


def _layer(tensor: str) -> str:
    found = tensor.rpartition(".")[0] or tensor
    # Layers of a sequence of torch are called by number.
    return f"layer {found}" if found.isdigit() else found


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return ", ".join(names[:LISTED]) + more


def families(laws: Sequence[Coefficients]) -> list[list[int]]:
    """Positions of laws that have the same axes with the same coefficients, as often: the channels of one interface."""
    alike = defaultdict(list)
    for i, law in enumerate(laws):
        alike[tuple(sorted((p.tensor, p.axis, round(d, 6)) for p, d in law.items()))].append(i)
    return [family for key, family in alike.items() if len(family) > 1 and len(key) > 1]


def matrix_defect(laws: Sequence[Coefficients], theta: Tensors, g: Tensors) -> float:
    """Largest entry of sum readers theta_k . g_l - sum writers g_k . theta_l, relative; 0 when no activation is between.

    This is the derivative of the outputs by theta -> (W A, -A V) for every n x n matrix A. Theory 16.2.

    Args:
        laws: one family.
        theta: parameters.
        g: gradients by them.
    """
    size = sum(abs(d) * float(np.linalg.norm(x) * np.linalg.norm(y)) for d, x, y in _channels(laws, theta, g))
    return float(np.abs(family_matrix(laws, theta, g)).max() / size) if size > 0 else float("inf")


def family_matrix(laws: Sequence[Coefficients], x: Tensors, y: Tensors) -> np.ndarray:
    """sum readers x_k . y_l - sum writers y_k . x_l of one family, (k, k): the conserved matrix where both are parameters."""
    total = np.zeros((len(laws), len(laws)))
    for d, left, right in _channels(laws, x, y):
        total += d * (left @ right.T if d > 0 else right @ left.T)
    return total


def _channels(
    laws: Sequence[Coefficients], x: Tensors, y: Tensors
) -> Iterator[tuple[float, np.ndarray, np.ndarray]]:
    """Coefficient and slices, one a row, of every axis that a family has."""
    for name, axis, d in sorted({(p.tensor, p.axis, d) for p, d in laws[0].items()}):
        picks = [[p.index for p in law if (p.tensor, p.axis) == (name, axis)] for law in laws]
        left, right = (np.stack([np.take(t[name], pick, axis).ravel() for pick in picks]) for t in (x, y))
        yield d, left, right

"""State files of linear layers (.npz): H or V1 with inputs X, V2 .. VL, W, b, labels, c1 .. cL, and what a kernel needs."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from ntkflow import views
from ntkflow._types import Document, Json, Labels
from ntkflow.errors import InputError
from ntkflow.problem.kernels import Kernel, kernel_files
from ntkflow.problem.layers.state import LayeredState
from ntkflow.problem.sizes import Sizes
from ntkflow.problem.state import checked_labels
from ntkflow.runs import files

_LAYER, _BIAS = re.compile(r"V[1-9]\d*"), re.compile(r"c[1-9]\d*")


@dataclass(frozen=True, eq=False)
class LayeredStateFile:
    """What a state file of layers holds, samples sorted by class.

    Attributes:
        state: the layers.
        sizes: C, m (per class when imbalanced), n_L.
        order: H_sorted = H_file[:, order].
        arrays: arrays of the kernel K0 in sorted order; K = X^T X where the file has inputs X.
        meta: free JSON.
    """

    state: LayeredState
    sizes: Sizes
    order: Labels
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    meta: Json = field(default_factory=dict)

    __repr__ = views.short


def write_layers(
    path: Path | str,
    state: LayeredState,
    labels: Labels,
    kernel: Kernel | None = None,
    meta: Document | None = None,
) -> None:
    """Write a state file of layers.

    Args:
        path: the file.
        state: the layers.
        labels: class of each sample, (N,).
        kernel: K0, of a state whose samples are sorted by class.
        meta: free JSON.

    Raises:
        InputError: the kernel has no form in files.
    """
    content = {**named(state), "labels": np.asarray(labels)}
    if kernel is not None:
        counts = tuple(int(count) for count in np.bincount(np.asarray(labels)))
        sizes = Sizes(len(state.W), counts, state.W.shape[1])
        content |= kernel_files.arrays_of(kernel, sizes)
    if meta is not None:
        content["meta"] = np.array(files.dump_json(meta))
    files.write_arrays(path, content)


def named(state: LayeredState) -> dict[str, np.ndarray]:
    """The arrays of a state by their names in files: H, V2 .. VL, W, b, c1 .. cL."""
    upper = {f"V{l}": V for l, V in enumerate(state.V, 2)}
    return {
        "H": state.H,
        "W": state.W,
        "b": state.b,
        **upper,
        **{f"c{l}": c for l, c in enumerate(state.c, 1)},
    }


def state_of(path: Path, arrays: Mapping[str, np.ndarray]) -> LayeredState:
    """Inverse of `named`; float32 is widened.

    Raises:
        InputError: a layer or a bias is left out, or shapes do not fit.
    """
    upper, biases = _in_order(path, arrays, "V", 2), _in_order(path, arrays, "c", 1)
    H, W, b = (files.widened(arrays[name]) for name in ("H", "W", "b"))
    return LayeredState(H, upper, W, b, biases)


def read_layers(path: Path | str) -> LayeredStateFile:
    """Read and check a state file of layers; labels may come in any order, and float32 is widened.

    Raises:
        InputError: unreadable file, missing or superfluous array, wrong shape, NaN, or a label out of range.
    """
    path = Path(path)
    arrays, _ = files.read_arrays(path, "state", _needed)
    if "H" not in arrays and {"V1", "X"} <= arrays.keys():
        X = files.widened(arrays["X"])
        try:
            arrays |= {"H": files.widened(arrays["V1"]) @ X, "K": X.T @ X}
        except ValueError:
            shapes = f"V1 of shape {arrays['V1'].shape} and X of shape {X.shape}"
            raise InputError("state", path, f"has {shapes}", "X is (d, N) and V1 is (n_1, d)") from None
    files.require_state(path, arrays, "a state file of layers has H, V2 .. VL, W, b, labels")
    state, sizes, order = by_class(state_of(path, arrays), arrays["labels"])
    kernel = files.sort_kernel(arrays, sizes, order)
    return LayeredStateFile(state, sizes, order, kernel, files.meta_of(path, arrays))


def by_class(state: LayeredState, labels: object) -> tuple[LayeredState, Sizes, Labels]:
    """A state with its samples sorted by class, its sizes, and the order in which they stood before.

    Raises:
        InputError: a label is out of range, or a class is missing.
    """
    known = checked_labels(labels, C=len(state.W), N=state.H.shape[1])
    order = np.argsort(known, kind="stable")
    counts = np.bincount(known, minlength=len(state.W))
    sizes = Sizes(len(state.W), tuple(int(count) for count in counts), state.W.shape[1])
    return replace(state, H=np.ascontiguousarray(state.H[:, order])), sizes, order


def is_part(name: str) -> bool:
    """Whether an array of that name is a part of the state of layers: H, V2 .. VL, W, b, c1 .. cL, or its labels."""
    return name in files.STATE or bool(_LAYER.fullmatch(name) or _BIAS.fullmatch(name))


def _needed(name: str) -> bool:
    return name in files.WITH_KERNEL or name == "X" or is_part(name)


def _in_order(
    path: Path, arrays: Mapping[str, np.ndarray], letter: str, first: int
) -> tuple[np.ndarray, ...]:
    """The arrays letter + first, letter + first + 1 and so on, of which none may be left out."""
    numbers = sorted(int(name[1:]) for name in arrays if name[0] == letter and name[1:].isdigit())
    numbers = [number for number in numbers if number >= first]
    if numbers != list(range(first, first + len(numbers))):
        rule = f"has {', '.join(f'{letter}{number}' for number in numbers)}"
        raise InputError("state", path, rule, f"give {letter}{first} and all up to the last")
    return tuple(files.widened(arrays[f"{letter}{number}"]) for number in numbers)

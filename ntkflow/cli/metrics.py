"""`ntkflow metrics FILE`: every published measure of collapse of somebody's features."""

import warnings
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ntkflow.cli.printed.output import number, warn
from ntkflow.errors import InputError
from ntkflow.metrics.published.collapse import collapse
from ntkflow.metrics.published.labels import LabelsWarning
from ntkflow.metrics.published.registry import METRICS
from ntkflow.metrics.published.result import Collapse, Layers
from ntkflow.runs import files
from ntkflow.runs.border.tensors import read_tensors

# What an array may be called, first come first taken.
FEATURES = ("H", "features", "embeddings", "h")
LABELS = ("y", "labels", "label", "targets")
WEIGHTS, BIASES = ("W", "weight", "weights"), ("b", "bias", "biases")


def metrics(
    file: Annotated[
        Path,
        typer.Argument(
            help="H (N, n), samples in rows, with y (N,) or one-hot, and W (C, n), b (C,) if any: .npz, .safetensors, .csv, .npy."
        ),
    ],
    labels: Annotated[
        Path | None,
        typer.Option(help="Labels in a file of their own (.npy, .csv, ...), as for an .npy of features."),
    ] = None,
    test: Annotated[
        Path | None, typer.Option(help="Test features with labels, measured against the training means.")
    ] = None,
    ood: Annotated[Path | None, typer.Option(help="Features from outside the classes, for NC5.")] = None,
    layer: Annotated[
        list[str] | None,
        typer.Option(
            help="Measure this array of the file as features, without a head; may be given more than once."
        ),
    ] = None,
    centre: Annotated[
        str,
        typer.Option(help="classes: from the mean of class means; samples: from the mean of all samples."),
    ] = "classes",
    explain: Annotated[
        bool, typer.Option("--explain", help="Formula, source and condition of each.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the result alone, as JSON.")] = False,
) -> None:
    """Neural collapse of any features by every published measure; no kernel, head or bias is needed.

    Arrays are found by name (H or features, y or labels, W or weight, b or bias). A state file (features in columns,
    `labels`) is read as it is.
    """  # fmt: skip
    wanted = {*FEATURES, *LABELS, *WEIGHTS, *BIASES, *(layer or ())}
    arrays = read_tensors(file, "file", wanted.__contains__)
    y = _alone(labels) if labels is not None else _one(arrays, LABELS, file, "labels", "--labels FILE")
    with warnings.catch_warnings():
        # What they say is among the notes.
        warnings.simplefilter("ignore", LabelsWarning)
        if layer:
            found: Collapse | Layers = _of_layers(arrays, layer, y, file, test, ood, centre)
        else:
            found = _of_head(arrays, y, file, test, ood, centre)
    if json:
        print(files.dump_json(found.as_dict()))
    elif isinstance(found, Collapse):
        _print({"": found}, explain)
    else:
        _print(found, explain)


def _of_head(
    arrays: dict[str, np.ndarray], y: np.ndarray, file: Path, test: Path | None, ood: Path | None, centre: str
) -> Collapse | Layers:
    H = _one(arrays, FEATURES, file, "features", "--layer NAME")
    W, b = (next((arrays[name] for name in names if name in arrays), None) for names in (WEIGHTS, BIASES))
    if _is_state(arrays, H, W, y):
        H = H.T
    pair = None if test is None else _pair(test, H.shape[-1])
    away = None if ood is None else _features(ood)
    return collapse(H, y, W, b, centre=centre, test=pair, ood=away)


def _of_layers(
    arrays: dict[str, np.ndarray], names: list[str], y: np.ndarray, file: Path, test: Path | None, ood: Path | None, centre: str
) -> Collapse | Layers:  # fmt: skip
    if ood is not None:
        raise InputError("--ood", ood, "belongs to one layer", "leave --layer out")
    pair = None
    if test is not None:
        others = read_tensors(test, "--test", {*names, *LABELS}.__contains__)
        pair = (_named(others, names, test), _one(others, LABELS, test, "labels", "a file that has them"))
    return collapse(_named(arrays, names, file), y, centre=centre, test=pair)


def _is_state(arrays: dict[str, np.ndarray], H: np.ndarray, W: np.ndarray | None, y: np.ndarray) -> bool:
    """Whether these are the arrays of our own state files, H (n, N) beside W (C, n) and labels (N,)."""
    return (
        W is not None and "labels" in arrays and "b" in arrays and "y" not in arrays
        and H.ndim == 2 == W.ndim and H.shape == (W.shape[1], len(np.atleast_1d(y))) and H.shape[0] != H.shape[1]
    )  # fmt: skip


def _pair(path: Path, n: int) -> tuple[np.ndarray, np.ndarray]:
    arrays = read_tensors(path, "--test", {*FEATURES, *LABELS}.__contains__)
    H = _one(arrays, FEATURES, path, "features", "a file that has them")
    y = _one(arrays, LABELS, path, "labels", "a file that has them")
    if (
        H.ndim == 2
        and "labels" in arrays
        and H.shape == (n, len(np.atleast_1d(y)))
        and H.shape[0] != H.shape[1]
    ):
        H = H.T
    return H, y


def _features(path: Path) -> np.ndarray:
    return _one(
        read_tensors(path, "--ood", set(FEATURES).__contains__), FEATURES, path, "features", "such a file"
    )


def _alone(path: Path) -> np.ndarray:
    """Labels from a file that holds little else."""
    arrays = read_tensors(path, "--labels", {*FEATURES, *LABELS}.__contains__)
    found = next(
        (arrays[name] for name in (*LABELS, *FEATURES) if name in arrays and arrays[name].size), None
    )
    if found is None:
        raise InputError("--labels", path, "holds no labels", f"name them {' or '.join(LABELS)}")
    return found


def _one(
    arrays: dict[str, np.ndarray], names: tuple[str, ...], path: Path, what: str, remedy: str
) -> np.ndarray:
    for name in names:
        if name in arrays:
            return arrays[name]
    raise InputError("file", path, f"has no {what} ({', '.join(names)})", f"name them so, or give {remedy}")


def _named(arrays: dict[str, np.ndarray], names: list[str], path: Path) -> dict[str, np.ndarray]:
    absent = next((name for name in names if name not in arrays), None)
    if absent is not None:
        raise InputError("--layer", absent, f"is no array of {path}", "give names of arrays")
    return {name: arrays[name] for name in names}


def _print(found: dict[str, Collapse], explain: bool) -> None:
    console = Console(highlight=False)
    first = next(iter(found.values()))
    sizes = ", ".join(f"{name} = {first.sizes[name]}" for name in ("C", "N", "n"))
    named = sizes if list(found) == [""] else sizes.rsplit(",", 1)[0]
    console.print(Text(f"{named}; means from the {_CENTRES[first.centre]}", style="bold"))
    columns = [
        (f"{layer} {kind}".strip() or "value", part)
        for layer, one in found.items()
        for kind, part in _parts(one)
    ]
    grid = Table(show_header=True, header_style="bold", box=None, pad_edge=False)
    grid.add_column("", no_wrap=True)
    for name, _ in columns:
        grid.add_column(name, justify="right", no_wrap=True)
    for name in ("formula", "source", "has a value") if explain else ():
        grid.add_column(name)
    for name, metric in METRICS.items():
        if any(name in part for _, part in columns):
            told = (metric.formula, metric.source, metric.applies) if explain else ()
            grid.add_row(Text(name), *(number(part.get(name)) for _, part in columns), *map(Text, told))
    console.print(grid)
    for name, reason in _absent(found):
        console.print(Text(f"{name}: {reason}", style="dim"))
    for layer, one in found.items():
        for note in one.notes:
            warn(f"{layer}: {note}" if layer else note)


_CENTRES = {"classes": "mean of the class means", "samples": "mean of all samples"}


def _parts(found: Collapse) -> list[tuple[str, Collapse]]:
    return [("", found)] if found.test is None else [("training", found), ("test", found.test)]


def _absent(found: dict[str, Collapse]) -> list[tuple[str, str]]:
    """Why measures have no value on the training features, those with one reason together."""
    names: dict[str, dict[str, None]] = {}
    for layer, one in found.items():
        for name, reason in one.absent.items():
            # A head is not to be had where layers are measured.
            if not layer or any(name in other for other in found.values()):
                names.setdefault(f"{layer}: {reason}" if layer else reason, {})[name] = None
    return [(", ".join(of), reason) for reason, of in names.items()]

"""Files: state files, JSON, TOML, tables of arrays. Written whole or not at all (`ntkflow.runs.atomic`), never pickled."""

import json
import os
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np

from ntkflow import views
from ntkflow._types import Document, Json, Labels
from ntkflow.errors import InputError
from ntkflow.problem.kernels import KAPPAS, BlockKernel, kernel_files
from ntkflow.problem.sizes import Sizes
from ntkflow.problem.state import State
from ntkflow.runs.atomic import atomic as atomic
from ntkflow.runs.atomic import refuse_existing as refuse_existing
from ntkflow.runs.atomic import staged_directory as staged_directory
from ntkflow.runs.border.reading import archive, reading, refuse_deep

# What is read of a state file; whatever else it holds stays on disk.
STATE = frozenset({"H", "W", "b", "labels", "meta"})
WITH_KERNEL = STATE.union(kernel_files.ARRAYS)
# What tells a state of linear layers from one of features alone.
LAYER = "V2"


def write_json(path: Path, value: Document) -> None:
    """JSON with NaN written as null, since NaN is not JSON."""
    with atomic(path, "w") as handle:
        handle.write(dump_json(value) + "\n")


def dump_json(value: object) -> str:
    """One JSON text for files and `--json`: numpy scalars as numbers, NaN and infinities as null."""
    return json.dumps(_plain(value), indent=2, allow_nan=False)


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value


def write_toml(path: Path, tables: Document) -> None:
    """TOML; keys whose value is None are left out, since TOML has no null."""
    import tomli_w

    def without_none(table: Document) -> Json:
        return {
            k: without_none(v) if isinstance(v, Mapping) else v for k, v in table.items() if v is not None
        }

    with atomic(path) as handle:
        tomli_w.dump(without_none(tables), handle)


def read_toml(path: Path) -> Json:
    """Tables of a TOML file.

    Raises:
        InputError: the file is missing or not TOML.
    """
    with reading("config", path, "TOML", "fix the file"), Path(path).open("rb") as handle:
        tables: Json = refuse_deep(tomllib.load(handle))
        return tables


def write_arrays(
    path: Path | str,
    arrays: Mapping[str, np.ndarray],
    header: Document | None = None,
    compressed: bool = True,
) -> None:
    """An .npz of named arrays with a JSON header under the name `header`."""
    write = np.savez_compressed if compressed else np.savez
    extra = {} if header is None else {"header": np.array(dump_json(header))}
    with atomic(Path(path)) as handle:
        write(handle, **dict(arrays), **extra)  # type: ignore[arg-type]


def read_arrays(
    path: Path | str, argument: str = "file", needed: Callable[[str], bool] = lambda _: True
) -> tuple[dict[str, np.ndarray], Json]:
    """Arrays and JSON header of an .npz; of the arrays only those whose names are `needed`.

    Raises:
        InputError: the file is missing, truncated, not an .npz, unpacks to more than fits, or holds pickled objects.
    """
    path = Path(path)
    arrays, _ = archive(path, argument, lambda name: name == "header" or needed(name))
    with reading(argument, path, ".npz"):
        header = json.loads(str(arrays.pop("header"))) if "header" in arrays else {}
    return arrays, header if isinstance(header, dict) else {}


@dataclass(frozen=True, eq=False)
class StateFile:
    """What a state file holds, samples sorted by class.

    Attributes:
        state: H, W, b with sorted samples.
        sizes: C, m (per class when imbalanced), n.
        kernel: block kernel, when the file has the numbers kappa_d, kappa_c, kappa_n.
        order: H_sorted = H_file[:, order].
        arrays: all arrays of a kernel (see `ntkflow.problem.kernels.kernel_files`), K and Theta already in sorted order.
        meta: free JSON.
    """

    state: State
    sizes: Sizes
    kernel: BlockKernel | None
    order: Labels
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    meta: Json = field(default_factory=dict)

    __repr__ = views.short


def write_state(
    path: Path | str,
    state: State,
    labels: Labels,
    kernel: BlockKernel | None = None,
    meta: Document | None = None,
    compressed: bool = True,
    **arrays: np.ndarray,
) -> None:
    """Write a state file: H (n,N), W (C,n), b (C,), labels (N,), optional kappas, K, A_d, A_c, A_n and meta.

    Compressed it has some half of the size, and takes several times as long.
    """
    content: dict[str, np.ndarray] = {
        "H": state.H,
        "W": state.W,
        "b": state.b,
        "labels": np.asarray(labels),
        **arrays,
    }
    if kernel is not None:
        content |= {name: np.float64(getattr(kernel, name)) for name in KAPPAS}  # type: ignore[misc]
    if meta is not None:
        content["meta"] = np.array(dump_json(meta))
    write_arrays(path, content, compressed=compressed)


def read_state(path: Path | str, kernel: bool = True) -> StateFile:
    """Read and check a state file; labels may come in any order.

    Float32 arrays, as networks give them, are widened to float64.

    Args:
        path: the file.
        kernel: whether its kernel is wanted, which may be far larger than the state.

    Raises:
        InputError: unreadable file, missing array, wrong shape, NaN, label out of range, missing class,
            or kappas that are incomplete or not ordered.
    """
    path = Path(path)
    arrays, _ = read_arrays(path, "state", ((WITH_KERNEL if kernel else STATE) | {LAYER}).__contains__)
    if LAYER in arrays:
        raise InputError("state", path, "holds linear layers", "give --widths too, those of the file")
    require_state(path, arrays, "a state file has H, W, b, labels")
    arrays |= {name: widened(arrays[name]) for name in ("H", "W", "b")}
    if arrays["W"].ndim != 2 or arrays["H"].ndim != 2:
        raise InputError("state", path, "H and W must have 2 axes", "H is (n, N), W is (C, n)")
    if arrays["H"].shape[0] != arrays["W"].shape[1]:
        shapes = f"H of shape {arrays['H'].shape} and W of shape {arrays['W'].shape}"
        raise InputError("state", path, f"has {shapes}: H is (n, N) and W is (C, n)", "transpose one of them")
    state, sizes, order = State.from_samples(
        arrays.pop("H"), arrays.pop("W"), arrays.pop("b"), arrays.pop("labels")
    )
    meta = meta_of(path, arrays)
    return StateFile(state, sizes, _kernel_of(path, arrays), order, sort_kernel(arrays, sizes, order), meta)


def require_state(path: Path, arrays: Mapping[str, np.ndarray], remedy: str) -> None:
    """Refuse a state file without what every one has.

    Raises:
        InputError: an array is missing.
    """
    for name in ("H", "W", "b", "labels"):
        if name not in arrays:
            raise InputError("state", path, f"lacks the array {name!r}", remedy)


def widened(array: np.ndarray) -> np.ndarray:
    """An array in float64 where it was in float32, as networks give it; any other itself."""
    return array.astype(np.float64) if array.dtype == np.float32 else array


def read_kernel(path: Path | str, rung: str | None = None) -> dict[str, np.ndarray]:
    """The arrays that a file holds of a kernel; of a rung that is named those that it is made from, and no others.

    Args:
        path: a kernel file, a state file with a kernel, or whatever else has such arrays.
        rung: see `ntkflow.problem.kernels.kernel_files.build`.

    Raises:
        InputError: the file is missing or damaged, what is needed of it does not fit, or nothing in it is a kernel's.
    """
    path = Path(path)
    _, names = archive(path, "kernel_file", lambda _: False)
    arrays, _ = archive(path, "kernel_file", kernel_files.used(names, rung).__contains__)
    return kernel_files.checked(arrays, path, names)


def sort_kernel(arrays: Mapping[str, np.ndarray], sizes: Sizes, order: Labels) -> dict[str, np.ndarray]:
    """Kernel arrays with their samples in the order of the classes; a leading time axis is kept.

    Raises:
        InputError: K or Theta does not have one row per sample.
    """
    n, N = sizes.n, sizes.N
    result = {name: arrays[name] for name in kernel_files.ARRAYS if name in arrays}
    for name, shape in (("K", (N, N)), ("Theta", (n, N, n, N))):
        if name not in result:
            continue
        if result[name].shape[-len(shape) :] != shape:
            raise InputError(
                name, f"array of shape {result[name].shape}", f"must be {shape}", "check the file"
            )
        for axis in (-1, -2) if name == "K" else (-1, -3):
            result[name] = np.take(result[name], order, axis=axis)
    return result


def meta_of(path: Path, arrays: dict[str, np.ndarray]) -> Json:
    """Take the free JSON out of a state file's arrays."""
    text = str(arrays.pop("meta")) if "meta" in arrays else "{}"
    try:
        meta = json.loads(text)
    except (ValueError, RecursionError):
        raise InputError("state", path, "has a meta that is not JSON", "write it with json.dumps") from None
    return meta if isinstance(meta, dict) else {"meta": meta}


def _kernel_of(path: Path, arrays: dict[str, np.ndarray]) -> BlockKernel | None:
    present = [name for name in KAPPAS if name in arrays]
    if not present or "times" in arrays or "B" in arrays:
        return None
    if len(present) < 3:
        absent = next(name for name in KAPPAS if name not in present)
        raise InputError("state", path, f"has {present[0]} but not {absent}", "give all three kappas or none")
    kernel = kernel_files.build(arrays, "block")
    assert isinstance(kernel, BlockKernel)
    return kernel


@cache
def _versions() -> dict[str, str | None]:
    from importlib.metadata import PackageNotFoundError, version

    versions: dict[str, str | None] = {}
    for package in ("ntkflow", "numpy", "scipy", "jax", "flax", "optax"):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:  # pragma: no cover -- only in a source tree that was never installed
            versions[package] = None
    return versions


def run_versions() -> Json:
    """Versions and host facts that a run records, so that it can be repeated."""
    import platform

    return {
        "versions": dict(_versions()),
        "host": {
            "python": platform.python_version(),
            "machine": platform.machine(),
            "system": platform.system(),
            "cores": os.cpu_count(),
        },
    }

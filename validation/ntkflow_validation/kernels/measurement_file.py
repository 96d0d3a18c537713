"""The file of a measurement: the same `Measurement` as was saved, or one without its large arrays."""

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

import numpy as np

from ntkflow._types import Json
from ntkflow.errors import InputError
from ntkflow.problem.kernels.kernel_files import MEASURED
from ntkflow.problem.sizes import Sizes
from ntkflow.runs.border.reading import NOTHING, NUMBER, Shape, misfit, reading
from ntkflow.runs.files import read_arrays
from ntkflow_validation.kernels.found import CLASS_KERNELS, STATE_NAMES
from ntkflow_validation.kernels.measurement import Measurement
from ntkflow_validation.kernels.methods import shape
from ntkflow_validation.kernels.methods.class_kernels import ClassKernels
from ntkflow_validation.kernels.methods.components import Head, Rayleigh
from ntkflow_validation.kernels.methods.pairs import PairNorms
from ntkflow_validation.kernels.methods.tensor import MatrixBlocks, Tensor
from ntkflow_validation.kernels.statistics import NAMES, BlockSums, Constant
from ntkflow_validation.kernels.summary import Summary

_CONSTANT = {
    "value": NUMBER,
    **dict.fromkeys(("spread_entries", "spread_neurons", "spread_classes", "standard_error"), NUMBER),
}
_FAMILY = {
    "alignment": NUMBER,
    "block_residual": NUMBER,
    "leak?": NUMBER,
    "directions": int,
    **dict.fromkeys(NAMES[3:], _CONSTANT),
}
_KAPPAS = {**_FAMILY, **{f"kappa_{name}": _CONSTANT for name in NAMES[:3]}}
_SHARE = (NOTHING, {"probes": int})
_QUOTIENTS = {"*": NUMBER}
SHAPE: Shape = {
    "measurement": {
        "method": str,
        "bn": str,
        **dict.fromkeys(("neurons", "neurons_in_all", "parameters", "parameters_in_all"), int),
        "features": _KAPPAS,
        "row_space": (NOTHING, _KAPPAS),
        "outputs": (NOTHING, {**_FAMILY, **{f"gamma_{name}": _CONSTANT for name in NAMES[:3]}}),
        "rayleigh": (NOTHING, {f.name: _QUOTIENTS for f in fields(Rayleigh)}),
        "off_neuron_share": _SHARE,
        "off_output_share": _SHARE,
        **{f"{name}?": {"D_error": NUMBER, "whole": bool} for name in CLASS_KERNELS},
    }
}
REMEDY = "remove the file and measure again"
# Arrays that grow with the square of what was measured; all else that there is fits into memory many times.
TENSORS = (f"{MEASURED}full.values", f"{MEASURED}full_outputs.values")
LARGE = (
    *TENSORS, "K", f"{MEASURED}outputs.mean", f"{MEASURED}row_space.mean",
    *(f"{MEASURED}{name}.{part}" for name in CLASS_KERNELS for part in "TD"),
)  # fmt: skip


def load_measurement(path: Path | str) -> Measurement:
    """What `Measurement.save`, or `ntkflow validate` at a snapshot of a run, has written.

    Raises:
        InputError: the file is missing, damaged, or none of a measurement.
    """
    return read(path)[0]


def read(path: Path | str, without: Sequence[str] = ()) -> tuple[Measurement, Json]:
    """A measurement and what was kept beside it.

    Args:
        path: the file.
        without: arrays to leave in it, `TENSORS` or `LARGE`; the measurement then lacks them and says the same numbers.

    Raises:
        InputError: see `load_measurement`.
    """
    arrays, header = read_arrays(path, "measurement", lambda name: name not in without)
    wrong = misfit(header, SHAPE)
    if wrong:
        raise InputError("measurement", path, f"has a header that {wrong}", REMEDY)
    with reading("measurement", path, "a measurement", REMEDY):
        found = _Reader(arrays, header.pop("measurement")).measurement()
    return found, header


def read_details(path: Path | str) -> Json:
    """What was kept beside a measurement, without reading it."""
    return {
        k: v for k, v in read_arrays(path, "measurement", lambda _: False)[1].items() if k != "measurement"
    }


class _Reader:
    """Puts a measurement together from named arrays and plain values; each array has to fit the others."""

    def __init__(self, arrays: dict[str, np.ndarray], numbers: Json) -> None:
        self.arrays, self.numbers = arrays, numbers
        self.labels = self.array("features.labels", None)
        if self.labels.dtype.kind == "f" or not len(self.labels) or self.labels.min() < 0:
            raise ValueError("'labels' are no class indices")
        self.N, self.C, self.n = len(self.labels), int(self.labels.max()) + 1, int(numbers["neurons_in_all"])

    def measurement(self) -> Measurement:
        """The whole."""
        N, C, n, said = self.N, self.C, self.n, self.numbers
        W = self.optional("head.W", C, n)
        return Measurement(
            features=self.summary("features", "kappa"),
            H=self.array("H", n, N),
            order=self.array("order", N),
            counts=self.array("counts", C),
            totals=self.array("totals", C),
            neurons=said["neurons"],
            total_neurons=n,
            parameters=said["parameters"],
            total_parameters=said["parameters_in_all"],
            method=said["method"],
            bn=said["bn"],
            head=None if W is None else Head(W, self.optional("head.b", C)),
            outputs=self.summary("outputs", "gamma") if said["outputs"] else None,
            row_space=self.summary("row_space", "kappa") if said["row_space"] else None,
            rayleigh=self.rayleigh(),
            matrix=self.blocks("matrix"),
            row_matrix=self.blocks("row_matrix"),
            full=self.tensor("full"),
            full_outputs=self.tensor("full_outputs"),
            pairs=self.pairs("pairs", "off_neuron_share"),
            output_pairs=self.pairs("output_pairs", "off_output_share"),
            **{name: self.class_kernels(name) for name in CLASS_KERNELS},
        )

    def array(self, path: str, *shape: int | None) -> np.ndarray:
        """An array of numbers; None stands for any length."""
        name = STATE_NAMES.get(path, f"{MEASURED}{path}")
        values = self.arrays[name]
        fits = values.ndim == len(shape) and all(
            b in (None, a) for a, b in zip(values.shape, shape, strict=True)
        )
        if not fits or values.dtype.kind not in "iuf":
            raise ValueError(f"{name!r} is {values.dtype} of shape {values.shape}")
        if path in STATE_NAMES and not np.isfinite(values).all():
            raise ValueError(f"{name!r} has entries that are not finite")
        return values

    def optional(self, path: str, *shape: int | None) -> np.ndarray | None:
        """The same, or None where there is none."""
        there = STATE_NAMES.get(path, f"{MEASURED}{path}") in self.arrays
        return self.array(path, *shape) if there else None

    def summary(self, path: str, letter: str) -> Summary:
        """Kernels of one family."""
        said, C, N = self.numbers[path], self.C, self.N
        constants = {name: said[f"{letter}_{name}" if len(name) == 1 else name] for name in NAMES}
        sums = BlockSums(
            self.array(f"{path}.sums.counts", C),
            self.array(f"{path}.sums.diagonal", None, C),
            self.array(f"{path}.sums.within", None, C),
            self.array(f"{path}.sums.means", None, C, C),
        )
        mean = self.optional(f"{path}.mean", N, N)
        # Not in files of before.
        leak = said["leak"] if "leak" in said else None if mean is None else shape.leak(mean, self.labels)
        return Summary(
            {name: Constant(**{**c, "value": _number(c["value"])}) for name, c in constants.items()},
            sums,
            mean,
            self.labels,
            self.optional(f"{path}.norms", None),
            said["directions"],
            said["alignment"],
            said["block_residual"],
            leak,
        )

    def rayleigh(self) -> Rayleigh | None:
        """Quotients along the residual's components."""
        said = self.numbers["rayleigh"]
        return said and Rayleigh(**{k: {n: _number(v) for n, v in part.items()} for k, part in said.items()})

    def blocks(self, path: str) -> MatrixBlocks | None:
        """Matrix blocks."""
        if f"{MEASURED}{path}.diagonal" not in self.arrays:
            return None
        return MatrixBlocks(*(self.array(f"{path}.{f.name}", None, None) for f in fields(MatrixBlocks)))

    def tensor(self, path: str) -> Tensor | None:
        """A whole tensor."""
        values = self.optional(f"{path}.values", None, self.N, None, self.N)
        return None if values is None else Tensor(values)

    def class_kernels(self, path: str) -> ClassKernels | None:
        """T and D; None where they were not measured, or T stayed in the file."""
        n, C = self.n, self.C
        T = self.optional(f"{path}.T", n, C, n, C)
        if T is None:
            return None
        sizes = Sizes(C, tuple(np.bincount(self.labels).tolist()), n)
        return ClassKernels(T, self.array(f"{path}.D", C, n, n), sizes=sizes, **self.numbers[path])

    def pairs(self, path: str, share: str) -> PairNorms | None:
        """Norms over pairs."""
        squares = self.optional(f"{path}.squares", None, None)
        if squares is None:
            return None
        return PairNorms(
            squares, self.optional(f"{path}.without", None, None, None), self.numbers[share]["probes"]
        )


def _number(value: float | None) -> float:
    return float("nan") if value is None else value

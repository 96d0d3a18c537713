"""What a measurement found: constants with errors, kernels, its table and its file."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ntkflow import views
from ntkflow._types import Features, Json
from ntkflow.errors import InputError
from ntkflow.problem.kernels import KAPPAS
from ntkflow.problem.kernels.kernel_files import MEASURED
from ntkflow.runs.files import write_arrays
from ntkflow_validation.kernels.methods.class_kernels import ClassKernels
from ntkflow_validation.kernels.methods.components import Head, Rayleigh
from ntkflow_validation.kernels.methods.pairs import PairNorms
from ntkflow_validation.kernels.methods.shape import KernelShape, anisotropy, spread_of_contrasts
from ntkflow_validation.kernels.methods.tensor import MatrixBlocks, Tensor
from ntkflow_validation.kernels.statistics import NAMES, Constant
from ntkflow_validation.kernels.summary import Summary

if TYPE_CHECKING:
    from _typeshed import DataclassInstance
    from matplotlib.figure import Figure
    from pandas import DataFrame
    from xarray import Dataset

# The constants of a block kernel, by which files, tables and pages name them.
CONSTANTS = (*KAPPAS, "mu_single")
# What a state file calls it; everything else of a measurement has its path behind `MEASURED`.
STATE_NAMES = {"H": "H", "head.W": "W", "head.b": "b", "features.labels": "labels", "features.mean": "K"}
CLASS_KERNELS = ("classes", "row_classes")
_HEADS = ("", "mean", "standard error", "spread over neurons", "spread over entries")


def _named(family: str, constant: str) -> str:
    """kappa_d, gamma_n, mu_class; those of the row space of W, and the outputs' eigenvalues, say whose they are."""
    if family == "row space":
        return f"{_named('kappa', constant)} (row space of W)"
    if constant in NAMES[:3]:
        return f"{family}_{constant}"
    return constant if family == "kappa" else f"{constant} (outputs)"


def _arrays_of(thing: "DataclassInstance", path: str) -> Iterator[tuple[str, np.ndarray]]:
    """Arrays of a dataclass and of those in it, with their paths; labels are the same in every family."""
    for field in fields(thing):
        value, inner = getattr(thing, field.name), f"{path}{field.name}"
        if is_dataclass(value) and not isinstance(value, type):
            yield from _arrays_of(value, f"{inner}.")
        elif isinstance(value, np.ndarray) and (field.name != "labels" or path == "features."):
            yield inner, value


@dataclass(frozen=True, eq=False)
class Found:
    """Empirical kernels of one network at one set of parameters.

    Attributes:
        features: the features' NTK; constants are the paper's kappas.
        H: measured features, (n, N).
        order: index in the given samples of each measured one, rising: kernels, features and labels have their samples
            in the order in which these were given.
        counts: measured samples of each class.
        totals: samples of each class in all.
        neurons: neurons, or random combinations of them, that were measured.
        total_neurons: n.
        parameters: how many numbers were differentiated by.
        total_parameters: how many parameters there are, those that are frozen included.
        method: how.
        bn: mode of batch normalisation.
        head: the classifier; None when there was none.
        outputs: the output NTK including the head's own contribution delta_ks (h_i . h_j + 1); the gammas.
        row_space: the features' NTK averaged over orthonormal directions of the row space of W.
        rayleigh: quotients along the residual's components.
        matrix: matrix blocks between features.
        row_matrix: matrix blocks in the orthonormal basis `head.row_space` of the row space of W.
        full: the features' whole tensor, (n, N, n, N).
        full_outputs: the output NTK's whole tensor, (C, N, C, N).
        pairs: norms of the features' NTK between every two neurons measured, and the share off the diagonal.
        output_pairs: the same of the output NTK.
        classes: kernels between classes in all feature directions that were measured.
        row_classes: the same in the row space of W.
    """

    features: Summary
    H: Features
    order: np.ndarray
    counts: np.ndarray
    totals: np.ndarray
    neurons: int
    total_neurons: int
    parameters: int
    total_parameters: int
    method: str
    bn: str
    head: Head | None = None
    outputs: Summary | None = None
    row_space: Summary | None = None
    rayleigh: Rayleigh | None = None
    matrix: MatrixBlocks | None = None
    row_matrix: MatrixBlocks | None = None
    full: Tensor | None = None
    full_outputs: Tensor | None = None
    pairs: PairNorms | None = None
    output_pairs: PairNorms | None = None
    classes: ClassKernels | None = None
    row_classes: ClassKernels | None = None

    @property
    def table(self) -> list[tuple[str, float, float | None, float | None, float | None]]:
        """Each constant measured: name, value, standard error, spread over neurons, spread over entries."""
        families = {"kappa": self.features, "gamma": self.outputs, "row space": self.row_space}
        return [
            (_named(family, name), c.value, c.standard_error, c.spread_neurons, c.spread_entries)
            for family, found in families.items()
            if found is not None
            for name, c in found.constants.items()
        ]

    def _headline(self) -> str:
        measured, given = int(self.counts.sum()), int(self.totals.sum())
        samples = f"all {given}" if measured == given else f"{measured} of {given}"
        all_neurons = self.neurons == self.total_neurons
        neurons = f"all {self.neurons}" if all_neurons else f"{self.neurons} of {self.total_neurons}"
        over = f"{neurons} neurons"
        if "probes" in self.method:
            over = f"{self.neurons} random directions of {self.total_neurons} neurons"
        return (
            f"Measurement by {self.method}: means over {over} and over the entries of each kind, "
            f"{samples} samples, {self.parameters} parameters"
        )

    def __repr__(self) -> str:
        return f"{self._headline()}\n{views.text_table(_HEADS, self.table)}"

    def _repr_html_(self) -> str:
        return views.html_table(self._headline(), _HEADS, self.table)

    def to_pandas(self) -> "DataFrame":
        """A pandas.DataFrame of `table`; needs the extra `ntkflow[pandas]`."""
        columns = zip(*self.table, strict=True)
        return views.dataframe(dict(zip(("constant", *_HEADS[1:]), columns, strict=True)), "constant")

    def to_xarray(self) -> "Dataset":
        """An xarray.Dataset: the constants of `table` along `constant`, H and, where it was formed, K along `sample`.

        K is the features' kernel, the mean over neurons; `label` says the class of each sample. Needs `ntkflow[xarray]`.
        """
        names, *columns = zip(*self.table, strict=True)
        series = {
            name.replace(" ", "_"): np.array(values, dtype=float)
            for name, values in zip(_HEADS[1:], columns, strict=True)
        }
        coords: views.Coordinates = {
            "constant": ("constant", np.array(names), {}),
            "label": ("sample", self.labels, {}),
        }
        attrs = {"title": self._headline(), "method": self.method, "bn": self.bn}
        found = views.dataset(["constant"], coords, series, {}, attrs)
        found["H"] = (("feature", "sample"), self.H)
        if self.features.mean is not None:
            found["K"] = (("sample", "other_sample"), self.features.mean)
        return found

    def figure(
        self, *, panes: Sequence[str] | None = None, size: float | tuple[float, float] | None = None
    ) -> "Figure":
        """Heat maps of what was measured, and the constants with their errors; several by time: `nf.kernel_figure`.

        Args:
            panes: outputs, features, output_norms, neuron_norms, constants; None: all that was measured.
            size: width in inches, or width and height.

        Raises:
            InputError: no such pane or size, or a map that was not measured.
        """
        # What draws stands above: the door leads there.
        import ntkflow_validation

        drawn: Figure = ntkflow_validation.kernel_figure(self, panes=panes, size=size)
        return drawn

    def __getattr__(self, name: str) -> Constant:
        """kappa_d, kappa_c, kappa_n, mu_single, mu_class, mu_global, gamma_d, gamma_c, gamma_n."""
        family, _, letter = name.partition("_")
        if family == "kappa" and letter in NAMES[:3]:
            return self.features.constants[letter]
        if name in NAMES[3:]:
            return self.features.constants[name]
        if family == "gamma" and letter in NAMES[:3] and self.outputs is not None:
            return self.outputs.constants[letter]
        raise AttributeError(name)

    @property
    def labels(self) -> np.ndarray:
        """Class of each measured sample, in the order given."""
        return self.features.labels

    @property
    def broken_order(self) -> str | None:
        """Which of mu_single, mu_class, mu_global > 0 the features' constants break on the whole classes, or None."""
        return self.features.broken_order(self.totals)

    @property
    def neuron_pairs(self) -> PairNorms | None:
        """`pairs`, or what the whole tensor says about them."""
        return self.pairs or (PairNorms(self.full.norms**2) if self.full is not None else None)

    @property
    def class_pairs(self) -> PairNorms | None:
        """`output_pairs`, or what the whole tensor says about them."""
        full = self.full_outputs
        return self.output_pairs or (PairNorms(full.norms**2) if full is not None else None)

    @property
    def weighted(self) -> dict[str, float] | None:
        """The constants averaged over directions of W, each as much as W has of it: of sum_pq (W^T W)_pq Theta_pq/|W|^2.

        What moves the outputs, where neurons differ: at the collapse of linear layers these give the rates that means over
        neurons miss by (C-1)/n (theory 18.2). None unless each direction of the row space of W was measured by itself.
        """
        family, head = self.row_space, self.head
        if family is None or head is None or "probes" in self.method or not len(family.sums.diagonal):
            return None
        s = np.linalg.svd(head.W, compute_uv=False)[: len(family.sums.diagonal)]
        values = (s**2 / np.sum(s**2)) @ family.sums.constants
        return {name: float(value) for name, value in zip(NAMES, values, strict=True)}

    @property
    def shape(self) -> KernelShape:
        """How far the features' kernel is from three constants, part by part; no drift, which takes two measurements."""
        own, whole = self.features, self.neuron_pairs
        square, means = own.mean_square, own.sums.means.mean(axis=0)
        iso = None
        if square is not None and whole is not None:
            iso = anisotropy(square, whole.total, len(whole.squares))
        return KernelShape(spread_of_contrasts(means, own.sums.counts), own.leak, iso)

    def to_dict(self) -> Json:
        """Numbers for files and people; arrays stay attributes."""
        own, outputs, shape, weighted = self.neuron_pairs, self.class_pairs, self.shape, self.weighted
        return {
            "method": self.method,
            "bn": self.bn,
            "samples": self.counts.tolist(),
            "samples_in_all": self.totals.tolist(),
            "neurons": self.neurons,
            "neurons_in_all": self.total_neurons,
            "parameters": self.parameters,
            "parameters_in_all": self.total_parameters,
            "features": self.features.to_dict("kappa"),
            "shape": {name: getattr(shape, name) for name in ("cv", "leak", "iso")}
            | {"foretold": dict(shape.foretold)},
            "outputs": self.outputs.to_dict("gamma") if self.outputs else None,
            "row_space": self.row_space.to_dict("kappa") if self.row_space else None,
            "weighted": None
            if weighted is None
            else {k: v if np.isfinite(v) else None for k, v in weighted.items()},
            "rayleigh": self.rayleigh.to_dict() if self.rayleigh else None,
            "off_neuron_share": own.to_dict() if own else None,
            "off_output_share": outputs.to_dict() if outputs else None,
            **{name: kept.to_dict() for name in CLASS_KERNELS if (kept := getattr(self, name)) is not None},
            "tensor_block_residual": own.block_residual(self.features.block_square) if own else None,
        }

    def row(self) -> Json:
        """The features' block constants in short, as every table and page has them; a number that is not there is None.

        Keys: `CONSTANTS` with their values, `errors` of each, `alignment`, `alignment_k`, `block_residual`,
        `broken_order`; `cv`, `leak` and `iso` of `shape`.
        """
        constants, own = {name: getattr(self, name) for name in CONSTANTS}, self.features
        shape = self.shape
        return {
            **{name: c.value for name, c in constants.items()},
            "errors": {name: c.standard_error for name, c in constants.items()},
            "alignment": own.alignment,
            "alignment_k": own.alignment_k,
            "block_residual": own.block_residual,
            "broken_order": self.broken_order,
            **{name: getattr(shape, name) for name in ("cv", "leak", "iso")},
        }

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything that is an array, by the name it has in the file; samples in the order given."""
        found = {STATE_NAMES.get(path, f"{MEASURED}{path}"): values for path, values in _arrays_of(self, "")}
        if self.broken_order is None:
            kd, kn = self.kappa_d.value, self.kappa_n.value
            kappas = (kd, kd - self.mu_single.value, kn)
            found |= {name: np.float64(value) for name, value in zip(KAPPAS, kappas, strict=True)}  # type: ignore[misc]
        return found

    def save(self, path: Path | str, *, overwrite: bool = False, **details: Any) -> Path:
        """Write the measurement to one .npz, which with a head is a state file too, for `ntkflow simulate --state`.

        `nf.load` gives it back.

        Args:
            path: where.
            overwrite: whether a file there is replaced.
            details: plain values to keep beside it.

        Raises:
            InputError: there is one, and `overwrite` is not given.
        """
        if Path(path).exists() and not overwrite:
            raise InputError("path", path, "exists", "choose another or pass overwrite=True")
        write_arrays(path, self.arrays(), {"measurement": self.to_dict(), **details})
        return Path(path)

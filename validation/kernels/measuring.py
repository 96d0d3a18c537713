"""measure: the empirical kernels of any network, by the method its sizes and the memory allow."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import jax
import numpy as np

from ntkflow._types import Features
from ntkflow.errors import InputError
from validation.kernels import class_sums, statistics, tensor
from validation.kernels.backend import Backend, FeatureFunction, JaxBackend, check_finite
from validation.kernels.budget import Budget
from validation.kernels.components import Head, rayleigh
from validation.kernels.gram import fits, grams
from validation.kernels.measurement import Measurement, Summary
from validation.kernels.statistics import NAMES, BlockSums, Constant
from validation.kernels.store import ChunkStore, NoStore
from validation.kernels.task import Progress, Task, silent

METHODS = ("auto", "gram", "class-sums", "probes", "orthogonal-probes")
QUANTITIES = ("outputs", "row-space", "rayleigh", "matrix", "tensor", "output-tensor")
MODES = ("eval", "recalibrated", "batch")
WITH_HEAD = ("outputs", "row-space", "rayleigh", "output-tensor")
# Samples above which the N x N kernels cost more than they tell.
LARGE = 4000
# Neurons times samples: hours of exact gradients on two cores for a ResNet20.
LONG = 2_000_000


def measure(
    features: Callable[[Any, Any], Any] | Backend,
    params: Any,
    X: np.ndarray,
    y: np.ndarray,
    *,
    head: tuple[Any, Any] | None = None,
    quantities: Sequence[str] | None = None,
    method: str = "auto",
    memory: str | int | Budget = "2GiB",
    neurons: int | Sequence[int] | None = None,
    per_class: int | None = None,
    probes: int = 16,
    bn: str = "eval",
    seed: int = 0,
    store: ChunkStore | None = None,
    progress: Progress = silent,
) -> Measurement:
    """Empirical kernels of a network on samples X of classes y.

    Args:
        features: pure function of (params, x) giving h(x), (B, n), for a batch x; or a `Backend`, whose
            parameters are its own (then `params` is None).
        params: what it is differentiated by: the body's parameters for the features' NTK of the paper.
        X: inputs, (N, ...).
        y: class of each, 0 .. C-1, in any order and number.
        head: W (C, n) and b (C,) or None; with it the outputs, the row space of W and the residual exist.
        quantities: of `QUANTITIES`, beside the features' block constants; by default "outputs", "row-space"
            and "rayleigh" with a head, else none.
        method: "gram" exact N x N kernels; "class-sums" exact block constants of any number of samples;
            "probes" unbiased estimates of these; "orthogonal-probes" estimates of the traced N x N kernel;
            "auto" the first of gram, class-sums, probes that is sensible for these sizes and this memory.
        memory: what the measurement may use, such as "1.5GiB".
        neurons: how many of the first neurons, or which; all by default. Not with probes, which use all.
        per_class: measure the first s samples of each class; standard errors are for a random order.
        probes: random directions, for the two methods that use them.
        bn: mode of batch normalisation the function runs in. "eval" and "recalibrated" (running statistics
            recomputed beforehand) are the same here; in "batch" mode samples see each other and only block
            constants and Rayleigh quotients exist.
        seed: of the probes.
        store: keeps finished chunks, so that a measurement that was interrupted goes on.
        progress: called with (what, done, in all).

    Raises:
        InputError: parameters, inputs or features are not finite, sizes do not fit each other, a quantity does
            not exist in this mode, or the memory does not suffice.
    """
    _one_of("method", method, METHODS)
    _one_of("bn", bn, MODES)
    order, labels, totals = _samples(X, y, per_class)
    x = np.asarray(X)[order]
    check_finite(x, "X")
    backend = features if not callable(features) else JaxBackend(_three(features), params).check(x)
    task = Task(backend, x, labels, bn == "batch", Budget.parse(memory), store or NoStore(), progress)
    H = task.features()
    found = _head(head, backend.n, task.C)
    wanted = _quantities(quantities, found, bn)
    if bn != "batch":
        _refuse_coupling(task, H)
    chosen = _method(method, task, bn)
    plan = _Plan(task, chosen, totals, probes, np.random.default_rng(seed))
    return _assemble(plan, _neurons(neurons, backend.n, chosen), found, H, wanted, order, bn)


@dataclass(frozen=True, eq=False)
class _Plan:
    task: Task
    method: str
    totals: np.ndarray
    probes: int
    rng: np.random.Generator

    def family(self, D: np.ndarray, population: int, what: str, head: BlockSums | None = None,
               added: np.ndarray | None = None) -> Summary:  # fmt: skip
        """Kernels of the directions D, or of random combinations of them, plus what the head adds."""
        mean, norms, task, q = None, None, self.task, len(D)
        k: int | None = population
        if self.method == "class-sums":
            sums = class_sums.exact(task, D, what)
        elif self.method == "probes":
            V, fresh = (class_sums.random_directions(self.probes, q, self.rng) @ D for _ in range(2))
            sums, k = class_sums.probed(task, V, fresh, self.rng, what), None
        else:
            V = D
            if self.method == "orthogonal-probes":
                V = class_sums.orthonormal_directions(min(self.probes, q), q, self.rng) @ D
                k = q
            result = grams(task, V, what)
            mean, sums, norms = result.mean, result.sums, result.norms
        if head is not None:
            sums = BlockSums(
                sums.counts,
                sums.diagonal + head.diagonal,
                sums.within + head.within,
                sums.means + head.means,
            )
            mean, norms = (None if mean is None else mean + added), None
        constants = self._constants(sums, mean, k)
        return Summary(constants, sums, mean, task.labels, norms, population)

    def _constants(
        self, sums: BlockSums, mean: np.ndarray | None, population: int | None
    ) -> dict[str, Constant]:
        values, labels = sums.constants, self.task.labels
        entries = [None] * 6 if mean is None else statistics.entry_spreads(mean, labels)
        classes = statistics.class_spreads(sums)
        errors = np.hypot(
            statistics.direction_error(values, population),
            statistics.sampling_error(mean, labels, self.totals.astype(float)),
        )
        probed = "probes" in self.method
        return {
            name: Constant(
                float(values[:, i].mean()),
                entries[i],
                None if probed else float(values[:, i].std()),
                classes[i],
                None if np.isnan(errors[i]) else float(errors[i]),
            )
            for i, name in enumerate(NAMES)
        }


def _assemble(
    plan: _Plan,
    V: np.ndarray,
    head: Head | None,
    H: Features,
    wanted: tuple[str, ...],
    order: np.ndarray,
    bn: str,
) -> Measurement:
    task, n = plan.task, len(H)
    outputs = row_space = quotients = full = full_outputs = None
    own = plan.family(V, n, "features")
    if head is not None:
        added = H.T @ H + (0.0 if head.b is None else 1.0)
        if "outputs" in wanted:
            gained = head_sums(H, task.labels, head.b is not None)
            outputs = plan.family(head.W, task.C, "outputs", gained, added)
        if "row-space" in wanted:
            row_space = plan.family(head.row_space, len(head.row_space), "row space")
        if "rayleigh" in wanted:
            quotients = rayleigh(task, head, H)
        if "output-tensor" in wanted:
            Theta = tensor.full(task, head.W, "output tensor").values
            full_outputs = tensor.Tensor(Theta + np.einsum("kl,ij->kilj", np.eye(task.C), added))
    if "tensor" in wanted:
        full = tensor.full(task, V)
    matrix = tensor.matrix_blocks(task, V) if "matrix" in wanted else None
    return Measurement(
        own, outputs, row_space, quotients, matrix, full, full_outputs, order, task.counts, plan.totals,
        len(own.sums.diagonal), n, plan.method, bn,
    )  # fmt: skip


def head_sums(H: Features, labels: np.ndarray, bias: bool) -> BlockSums:
    """Block sums of H^T H + 1, what the head's own weights and bias add to the kernel of every output."""
    counts = np.bincount(labels)
    Y = np.eye(len(counts))[labels]
    H1 = H @ Y / counts
    deviations = ((H - H1[:, labels]) ** 2).sum(axis=0) @ Y
    within = np.where(counts > 1, deviations / np.maximum(counts - 1, 1), np.nan)
    one = 1.0 if bias else 0.0
    diagonal = (H**2).sum(axis=0) @ Y / counts + one
    return BlockSums(counts.astype(float), diagonal[None], within[None], (H1.T @ H1 + one)[None])


@lru_cache(maxsize=32)
def _three(features: Callable[[Any, Any], Any]) -> FeatureFunction:
    """The function with an empty middle argument; one object per function, so that it compiles once."""

    def call(params: Any, constants: Any, x: jax.Array) -> jax.Array:
        del constants
        return features(params, x)

    return call


def _one_of(name: str, value: object, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise InputError(name, value, f"must be one of {', '.join(allowed)}", "pick one of these")


def _samples(X: Any, y: Any, per_class: int | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Indices of the measured samples sorted by class, their labels, and the counts in all."""
    labels = np.asarray(y)
    if labels.ndim != 1 or len(labels) != len(X) or not np.issubdtype(labels.dtype, np.integer):
        raise InputError(
            "y", f"{labels.dtype} array of shape {labels.shape}", f"must be {len(X)} whole numbers", "fix it"
        )
    if len(labels) == 0 or labels.min() < 0:
        raise InputError("y", "empty or negative labels", "must be 0 .. C-1", "renumber the classes")
    totals = np.bincount(labels)
    if len(totals) < 2 or totals.min() == 0:
        raise InputError(
            "y", f"counts {totals.tolist()}", "must have two or more classes, none empty", "renumber them"
        )
    if per_class is not None and per_class < 1:
        raise InputError("per_class", per_class, "must be at least 1", "give None for all")
    rows = [np.flatnonzero(labels == c)[:per_class] for c in range(len(totals))]
    order = np.concatenate(rows)
    return order, labels[order].astype(np.int64), totals


def _head(head: tuple[Any, Any] | None, n: int, C: int) -> Head | None:
    if head is None:
        return None
    W = np.asarray(head[0], dtype=np.float64)
    b = None if head[1] is None else np.asarray(head[1], dtype=np.float64)
    if W.shape != (C, n):
        raise InputError("head", f"W of shape {W.shape}", f"must be (C, n) = ({C}, {n})", "transpose it")
    if b is not None and b.shape != (C,):
        raise InputError("head", f"b of shape {b.shape}", f"must be ({C},), or None", "fix it")
    check_finite({"W": W, "b": b}, "head")
    return Head(W, b)


def _quantities(wanted: Sequence[str] | None, head: Head | None, bn: str) -> tuple[str, ...]:
    if wanted is None:
        return ("outputs", "row-space", "rayleigh") if head is not None else ()
    for name in wanted:
        _one_of("quantities", name, QUANTITIES)
        if name in WITH_HEAD and head is None:
            raise InputError("quantities", name, "needs the classifier", "give head=(W, b)")
        if bn == "batch" and name in ("matrix", "tensor", "output-tensor"):
            raise _coupled(name)
    return tuple(wanted)


def _coupled(what: str) -> InputError:
    return InputError(
        "bn",
        "batch",
        f"{what} looks at samples one by one, but in batch mode the features of each depend on all others",
        "measure in 'eval' or 'recalibrated' mode, or with method 'probes'",
    )


def _refuse_coupling(task: Task, H: Features) -> None:
    alone = task.backend.features(task.x[:1])[0]
    if np.abs(alone - H[:, 0]).max() > 1e-3 * max(np.abs(H).max(), 1e-30):
        raise InputError(
            "features",
            "of a sample",
            "depend on the other samples of the batch, as in batch normalisation in training mode",
            "use inference mode, or bn='batch' for block constants alone",
        )


def _method(method: str, task: Task, bn: str) -> str:
    if bn == "batch":
        if method not in ("auto", "probes"):
            raise _coupled(f"method {method!r}")
        return "probes"
    if method != "auto":
        return method
    if task.backend.n * task.N > LONG:
        return "probes"
    return "gram" if task.N <= LARGE and fits(task) else "class-sums"


def _neurons(neurons: int | Sequence[int] | None, n: int, method: str) -> np.ndarray:
    if neurons is None:
        return np.eye(n)
    chosen = np.arange(neurons) if isinstance(neurons, int) else np.asarray(neurons)
    if len(chosen) == 0 or chosen.min() < 0 or chosen.max() >= n or len(set(chosen.tolist())) < len(chosen):
        raise InputError("neurons", neurons, f"must be different numbers within 0 .. {n - 1}", "fix them")
    if "probes" in method:
        raise InputError("neurons", neurons, "probes combine all neurons", "leave it out or use 'gram'")
    return np.eye(n)[chosen]

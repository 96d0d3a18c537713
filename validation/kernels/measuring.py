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
from validation.kernels.arguments import (
    METHODS,
    MODES,
    checked_head,
    checked_quantities,
    coupled,
    neuron_directions,
    one_of,
    samples,
)
from validation.kernels.backend import Backend, FeatureFunction, JaxBackend, check_finite
from validation.kernels.budget import Budget
from validation.kernels.components import Head, rayleigh
from validation.kernels.forecast import Forecast, Work, forecast, of_method
from validation.kernels.gram import fits, grams
from validation.kernels.measurement import Measurement, Summary
from validation.kernels.pairs import PairNorms, pair_norms
from validation.kernels.statistics import NAMES, BlockSums, Constant
from validation.kernels.store import ChunkStore, NoStore
from validation.kernels.task import Progress, Task, silent

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
    announce: Callable[[Forecast], object] | None = None,
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
        probes: random directions, for the two methods that use them, and random sample vectors of the pair
            norms, which are exact when these and the classes span the samples.
        bn: mode of batch normalisation the function runs in. "eval" and "recalibrated" (running statistics
            recomputed beforehand) are the same here; in "batch" mode samples see each other and only block
            constants and Rayleigh quotients exist.
        seed: of the probes.
        store: keeps finished chunks, so that a measurement that was interrupted goes on.
        progress: called with (what, done, in all).
        announce: called once, before the long part, with how long it will take; costs a few gradients.

    Raises:
        InputError: parameters, inputs or features are not finite, sizes do not fit each other, a quantity does
            not exist in this mode, or the memory does not suffice.
    """
    one_of("method", method, METHODS)
    one_of("bn", bn, MODES)
    order, labels, totals = samples(X, y, per_class)
    x = np.asarray(X)[order]
    check_finite(x, "X")
    backend = _backend(features, params, x)
    task = Task(backend, x, labels, bn == "batch", Budget.parse(memory), store or NoStore(), progress)
    found = checked_head(head, backend.n, task.C)
    wanted = checked_quantities(quantities, found, bn)
    chosen = _method(method, task, bn)
    plan = _Plan(task, chosen, totals, probes, np.random.default_rng(seed))
    V = neuron_directions(neurons, backend.n, chosen)
    if announce is not None:
        announce(forecast(task, chosen, plan.work(len(V), found, wanted)))
    H = task.features()
    if bn != "batch":
        _refuse_coupling(task, H)
    return _assemble(plan, V, found, H, wanted, order, bn)


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

    def work(self, k: int, head: Head | None, wanted: tuple[str, ...]) -> Work:
        """How much there is to compute for k neurons and these quantities."""
        N, C, has = self.task.N, self.task.C, wanted.__contains__
        total = of_method(self.method, k, self.probes, N)
        r = 0 if head is None else len(head.row_space)
        total += of_method(self.method, C, self.probes, N) if has("outputs") else Work()
        total += of_method(self.method, r, self.probes, N) if has("row-space") else Work()
        total += Work(pulled=3 * N) if has("rayleigh") else Work()
        for name, q in (("pair-norms", k), ("output-pair-norms", C)):
            v = min(N, C + self.probes)
            total += Work(rows=q * N, grams=(q * v / N) ** 2) if has(name) else Work()
        for name, q in (("matrix", k), ("row-matrix", r)):
            # Two products of q rows each for every sample.
            total += Work(rows=q * N, pulled=q * N, grams=2 * q**2 / N) if has(name) else Work()
        for name, q in (("tensor", k), ("output-tensor", C)):
            total += Work(rows=q * N, grams=q**2) if has(name) else Work()
        return total

    def pairs(
        self, D: np.ndarray, full: tensor.Tensor | None, what: str, added: np.ndarray | None = None
    ) -> PairNorms:
        """Norms of all pairs of directions, from the tensor where it was measured."""
        if full is not None:
            return PairNorms(full.norms**2)
        return pair_norms(self.task, D, max(self.probes, 2), self.rng, what, added)

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
    task, n, has = plan.task, len(H), wanted.__contains__
    own = plan.family(V, n, "features")
    found: dict[str, Any] = (
        {"rayleigh": rayleigh(task, head, H)} if head is not None and has("rayleigh") else {}
    )
    if head is not None:
        added = H.T @ H + (0.0 if head.b is None else 1.0)
        if has("outputs"):
            gained = head_sums(H, task.labels, head.b is not None)
            found["outputs"] = plan.family(head.W, task.C, "outputs", gained, added)
        if has("row-space"):
            found["row_space"] = plan.family(head.row_space, len(head.row_space), "row space")
        if has("row-matrix"):
            found["row_matrix"] = tensor.matrix_blocks(task, head.row_space, "row-space blocks")
        if has("output-tensor"):
            Theta = tensor.full(task, head.W, "output tensor").values
            found["full_outputs"] = tensor.Tensor(Theta + np.einsum("kl,ij->kilj", np.eye(task.C), added))
    if has("tensor"):
        found["full"] = tensor.full(task, V)
    if has("matrix"):
        found["matrix"] = tensor.matrix_blocks(task, V)
    # Last, so that asking for these changes no number drawn before.
    if has("pair-norms"):
        found["pairs"] = plan.pairs(V, found.get("full"), "pair norms")
    if head is not None and has("output-pair-norms"):
        found["output_pairs"] = plan.pairs(head.W, found.get("full_outputs"), "output pairs", added)
    return Measurement(
        features=own, head=head, order=order, counts=task.counts, totals=plan.totals,
        neurons=len(own.sums.diagonal), total_neurons=n, method=plan.method, bn=bn, **found,
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


def _backend(features: Callable[[Any, Any], Any] | Backend, params: Any, x: np.ndarray) -> Backend:
    if hasattr(features, "named_parameters"):
        raise InputError(
            "features",
            type(features).__name__,
            "is a PyTorch module, not a pure function",
            "give validation.kernels.pytorch.TorchBackend(module, X), and None as params",
        )
    return JaxBackend(_three(features), params).check(x) if callable(features) else features


@lru_cache(maxsize=32)
def _three(features: Callable[[Any, Any], Any]) -> FeatureFunction:
    """The function with an empty middle argument; one object per function, so that it compiles once."""

    def call(params: Any, constants: Any, x: jax.Array) -> jax.Array:
        del constants
        return features(params, x)

    return call


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
            raise coupled(f"method {method!r}")
        return "probes"
    if method != "auto":
        return method
    if task.backend.n * task.N > LONG:
        return "probes"
    return "gram" if task.N <= LARGE and fits(task) else "class-sums"

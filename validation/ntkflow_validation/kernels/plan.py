"""What a measurement consists of: families of directions, their constants with errors, and the work they are."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ntkflow._types import Features
from ntkflow.scaling import unit, units
from ntkflow_validation.kernels import statistics
from ntkflow_validation.kernels.forecast import Work, of_method
from ntkflow_validation.kernels.measurement import Measurement
from ntkflow_validation.kernels.methods import class_sums, tensor, two_level
from ntkflow_validation.kernels.methods.class_kernels import ClassKernels, class_kernels
from ntkflow_validation.kernels.methods.components import Head, rayleigh
from ntkflow_validation.kernels.methods.gram import Grams, grams, pair
from ntkflow_validation.kernels.methods.head_kernel import HeadKernel
from ntkflow_validation.kernels.methods.pairs import PairNorms, pair_norms
from ntkflow_validation.kernels.statistics import BlockSums
from ntkflow_validation.kernels.summary import Summary
from ntkflow_validation.kernels.task import Task


@dataclass(frozen=True, eq=False)
class Plan:
    """A task and how to do it.

    Attributes:
        task: network and samples.
        method: one of `METHODS` but "auto".
        totals: samples of each class in all.
        probes: random directions.
        seed: of their source.
    """

    task: Task
    method: str
    totals: np.ndarray
    probes: int
    seed: int | Sequence[int]

    @cached_property
    def rng(self) -> np.random.Generator:
        """One source for all that is drawn, one after the other."""
        return np.random.default_rng(self.seed)

    def family(
        self,
        D: np.ndarray,
        population: int,
        what: str,
        added: HeadKernel | None = None,
        known: Grams | None = None,
    ) -> Summary:
        """Kernels of the directions D, or of random combinations of them, plus what the head adds.

        Directions are measured in units of their own, their combinations in a common one. Of `known` nothing is measured again.
        """
        mean, norms, task, q = None, None, self.task, len(D)
        if "probes" in self.method:
            D, common = unit(D)
            sizes, shares = np.array([common]), None
        else:
            D, sizes = units(D)
            common = float(sizes.max())
            shares = None if np.all(sizes == common) else (sizes / common) ** 2
        k: int | None = population
        if self.method == "class-sums":
            sums = class_sums.exact(task, D, what)
        elif self.method == "probes":
            sums, k = two_level.probed(task, D, self.probes, self.rng, what)
        elif self.method == "sign-probes":
            V, fresh = (class_sums.random_directions(self.probes, q, self.rng) @ D for _ in range(2))
            sums, k = class_sums.signed(task, V, fresh, self.rng, what), None
        else:
            V = D
            if self.method == "orthogonal-probes":
                V = class_sums.orthonormal_directions(min(self.probes, q), q, self.rng) @ D
                k = q
            result = known or grams(task, V, what, shares)
            mean, sums, norms = result.mean * common * common, result.sums, result.norms * sizes * sizes
        sums = sums.times(sizes)
        if added is not None:
            head = added.sums(task.labels)
            sums = BlockSums(
                sums.counts,
                sums.diagonal + head.diagonal,
                sums.within + head.within,
                sums.means + head.means,
            )
            mean, norms = (None if mean is None else mean + added.full), None
        for part in (sums.diagonal, sums.means, *([] if mean is None else [mean])):
            task.finite(f"kernel ({what})", part)
        constants = statistics.constants(
            sums, mean, task.labels, self.totals, k, combined="probes" in self.method
        )
        return Summary.of(constants, sums, mean, task.labels, norms, population)

    def of_head(self, head: Head, wanted: tuple[str, ...]) -> tuple[Grams | None, Grams | None]:
        """Kernels of the rows of W and of a basis of what they span, together where both are wanted and that is cheaper."""
        both_wanted = {"outputs", "row-space"} <= {*wanted}
        if not both_wanted or self.method != "gram" or not len(head.row_space):
            return None, None
        (V, of_V), (U, of_U) = units(head.W), units(head.row_space)
        one, other = (V, (of_V / of_V.max()) ** 2), (U, (of_U / of_U.max()) ** 2)
        return pair(self.task, one, other, "outputs and row space") or (None, None)

    def work(self, k: int, head: Head | None, wanted: tuple[str, ...]) -> Work:
        """How much there is to compute for k neurons and these quantities."""
        N, C, has = self.task.N, self.task.C, wanted.__contains__
        counts = self.task.counts
        total = of_method(self.method, k, self.probes, counts)
        r = 0 if head is None else len(head.row_space)
        total += of_method(self.method, C, self.probes, counts) if has("outputs") else Work()
        total += of_method(self.method, r, self.probes, counts) if has("row-space") else Work()
        total += Work(pulled=3 * N) if has("rayleigh") else Work()
        for name, q in (("pair-norms", k), ("output-pair-norms", C)):
            v = min(N, C + self.probes)
            total += Work(rows=q * N, grams=(q * v / N) ** 2) if has(name) else Work()
        for name, q in (("matrix", k), ("row-matrix", r)):
            # Two products of q rows each for every sample.
            total += Work(rows=q * N, pulled=q * N, grams=2 * q**2 / N) if has(name) else Work()
        for name, q in (("class-kernels", k), ("row-class-kernels", r)):
            total += Work(pulled=q * N * (1 + self.probes)) if has(name) else Work()
        for name, q in (("tensor", k), ("output-tensor", C)):
            total += Work(rows=q * N, grams=q**2) if has(name) else Work()
        return total

    def classes(self, D: np.ndarray) -> ClassKernels:
        """Kernels between classes along orthonormal directions D, by signs that nothing else draws from."""
        return class_kernels(self.task, D, self.probes, np.random.default_rng(self.seed))

    def pairs(
        self, D: np.ndarray, full: tensor.Tensor | None, what: str, added: HeadKernel | None = None
    ) -> PairNorms:
        """Norms of all pairs of directions, from the tensor where it was measured."""
        found = (
            PairNorms(full.norms**2)
            if full is not None
            else pair_norms(self.task, D, max(self.probes, 2), self.rng, what, added)
        )
        self.task.finite(f"squares of {what}", found.squares)
        return found


def assemble(
    plan: Plan,
    V: np.ndarray,
    head: Head | None,
    H: Features,
    wanted: tuple[str, ...],
    bn: str,
) -> Measurement:
    """Measure everything that is wanted; samples of the result in the order they were given in.

    Args:
        plan: how.
        V: neurons, rows of the identity.
        head: the classifier.
        H: features.
        wanted: quantities.
        bn: mode of batch normalisation.
    """
    task, has = plan.task, wanted.__contains__
    own = plan.family(V, len(H), "features")
    found: dict[str, Any] = {} if head is None else _of_head(plan, head, H, wanted)
    if has("tensor"):
        found["full"] = tensor.full(task, V)
    if has("matrix"):
        found["matrix"] = tensor.matrix_blocks(task, V)
    if has("class-kernels"):
        found["classes"] = plan.classes(V)
    # Last, so that asking for these changes no number drawn before. Of a tensor they are kept in any case: small, and asked
    # for by readers that leave the tensor in its file.
    if has("pair-norms") or has("tensor"):
        found["pairs"] = plan.pairs(V, found.get("full"), "pair norms")
    if head is not None and (has("output-pair-norms") or has("output-tensor")):
        added = HeadKernel(H, head.b is not None)
        found["output_pairs"] = plan.pairs(head.W, found.get("full_outputs"), "output pairs", added)
    return _in_given_order(plan, head, H, own, found, bn)


def _of_head(plan: Plan, head: Head, H: Features, wanted: tuple[str, ...]) -> dict[str, Any]:
    """What needs the classifier, but for norms of pairs."""
    task, has, added = plan.task, wanted.__contains__, HeadKernel(H, head.b is not None)
    found: dict[str, Any] = {}
    if has("rayleigh"):
        found["rayleigh"] = rayleigh(task, head, H)
    known = plan.of_head(head, wanted)
    if has("outputs"):
        found["outputs"] = plan.family(head.W, task.C, "outputs", added, known[0])
    if has("row-space"):
        found["row_space"] = plan.family(head.row_space, len(head.row_space), "row space", known=known[1])
    if has("row-matrix"):
        found["row_matrix"] = tensor.matrix_blocks(task, head.row_space, "row-space blocks")
    if has("row-class-kernels"):
        found["row_classes"] = plan.classes(head.row_space)
    if has("output-tensor"):
        Theta = tensor.full(task, head.W, "output tensor").values
        task.finite("kernel (output tensor)", Theta)
        found["full_outputs"] = tensor.Tensor(Theta + np.einsum("kl,ij->kilj", np.eye(task.C), added.full))
    return found


def _in_given_order(
    plan: Plan, head: Head | None, H: Features, own: Summary, found: dict[str, Any], bn: str
) -> Measurement:
    """What was found on samples sorted by class, with the samples as they were given."""
    task = plan.task
    order = np.arange(task.N) if task.order is None else task.order
    back = np.argsort(order)
    for name, value in found.items():
        if isinstance(value, (Summary, tensor.Tensor)):
            found[name] = value.reordered(back)
    return Measurement(
        features=own.reordered(back), H=H[:, back], head=head, order=order[back], counts=task.counts, totals=plan.totals,
        neurons=len(own.sums.diagonal), total_neurons=len(H), parameters=task.backend.P,
        total_parameters=getattr(task.backend, "total", task.backend.P), method=plan.method, bn=bn, **found,
    )  # fmt: skip

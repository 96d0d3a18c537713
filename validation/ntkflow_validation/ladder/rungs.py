"""The rungs: what each assumes, how many constants it takes from the network, and its operator."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from ntkflow.errors import InputError
from ntkflow.problem.kernels import ClassBlockKernel, KroneckerKernel, ScheduledKernel, TensorKernel
from ntkflow_validation.ladder.clocks import on_observed, on_probe
from ntkflow_validation.ladder.given import (
    Decays,
    decayed,
    fading,
    homogeneous,
    infinite_width,
    two_linear_layers,
)
from ntkflow_validation.ladder.measured import Measured
from ntkflow_validation.ladder.operators import restricted
from ntkflow_validation.ladder.operators.base import KernelOperator, Operator, nystrom
from ntkflow_validation.ladder.operators.subspace import corrected, sample_basis
from ntkflow_validation.metrics.objective import PLAIN, Objective

# nN above which the tensor is applied instead of stored.
TENSOR_ROWS = 2500


@dataclass(frozen=True)
class Spec:
    """A rung before it is built.

    Attributes:
        name: for --rungs and files.
        title: in words.
        constants: how many numbers it takes from the network, from what was measured. The row space of W is
            part of the state that every prediction starts from, and free.
        build: its operator on the observed samples; None of what is predicted without a flow.
        costly: not among the default rungs of large networks.
        decays: rates (W, H, b) that are its own, which its flow has too; None: its flow has no decay.
        given: it is left out where it does not hold and nobody asked for it: its kernel is not measured, or more often than
            runs do of their own accord.
    """

    name: str
    title: str
    constants: Callable[[Measured], int]
    build: Callable[[Measured], Operator] | None
    costly: bool = False
    decays: Callable[[Measured], Decays] | None = None
    given: bool = False


@dataclass(frozen=True, eq=False)
class Rung:
    """A rung on a network: its operator, or why there is none.

    Attributes:
        spec: what it is.
        constants: how many.
        operator: on the observed samples; None if refused, or where there is no flow.
        refused: why.
        objective: what the training minimises.
        decay: rates (W, H, b) of its flow; None: those of the recipe are a modification of it.
    """

    spec: Spec
    constants: int
    operator: Operator | None
    refused: str | None
    objective: Objective = PLAIN
    decay: Decays | None = None


def _triangle(k: int) -> int:
    return k * (k + 1) // 2


def _block(found: Measured) -> Operator:
    return KernelOperator(on_observed(found.kernel.block(), found), found.sizes)


def _class_block(found: Measured) -> Operator:
    if found.kernel_mean is None or found.coupled or found.share < 1 or not found.whole:
        return restricted.scalar_classes(found.classes, np.eye(found.sizes.n))
    # The class kernels have the mean over neurons of what the run measured: nothing more need be.
    return KernelOperator(ClassBlockKernel(*found.kernel.features.class_values), found.sizes)


def _scheduled(found: Measured, of: str = "features") -> Operator:
    knots = found.schedule
    if len(knots) < 2:
        raise InputError(
            "kernels.count", len(knots), "no later kernel was measured", "measure more snapshots"
        )
    kernels = tuple(on_observed(later.block(of), found) for _, later in knots)
    return KernelOperator(ScheduledKernel(tuple(t / found.share for t, _ in knots), kernels), found.sizes)


def _kronecker(found: Measured) -> Operator:
    classes, masses = found.classes, found.sizes.masses
    # Partial trace over samples, the sum of Theta(x, x): class means and deviations each hold a part of it.
    A = np.einsum("pcqc,c->pq", classes.T, masses) + np.einsum("cpq,c->pq", classes.D, masses - 1)
    A = A * len(A) / np.trace(A)
    values, vectors = np.linalg.eigh(A)
    A = (vectors * np.maximum(values, 1e-10 * values[-1])) @ vectors.T
    return KernelOperator(KroneckerKernel(on_probe(found.mean_kernel, found), A), found.sizes)


def _tensor(found: Measured) -> Operator:
    if found.share < 1:
        raise InputError("rungs", "tensor", "needs all training samples observed", found.observe_all)
    if found.coupled or found.sizes.n * found.sizes.N > TENSOR_ROWS:
        return found.frozen
    return KernelOperator(TensorKernel(found.tensor), found.sizes)


def _rayleigh(found: Measured) -> Operator:
    if not found.sizes.balanced:
        raise InputError(
            "rungs",
            "rayleigh",
            "has three eigenvalues for parts of the residual that are no eigenspaces where classes differ in size",
            "use class-block, or residual-3, which is exact on these parts",
        )
    return restricted.quotients(found.rayleigh, found.sizes)


def _moving_block(found: Measured) -> Operator:
    if not found.coupled:
        raise InputError(
            "rungs", "moving-block", "is the block kernel itself, no statistics move", "use block"
        )
    return restricted.scalar_blocks(found.classes, np.eye(found.sizes.n))


def _still(found: Measured) -> Operator:
    if not found.coupled:
        raise InputError("rungs", "tensor-still", "is the tensor itself, no statistics move", "use tensor")
    if found.share < 1:
        raise InputError("rungs", "tensor-still", "needs all training samples observed", found.observe_all)
    return found.still


def _krylov(k: int) -> Spec:
    def build(found: Measured) -> Operator:
        Z, images = found.explored(k)
        return restricted.krylov(Z, images, restricted.quotients(found.rayleigh, found.sizes))

    title = f"rayleigh, and exact on the first {k} Krylov direction{'s' * (k > 1)} of the residual"
    return Spec(f"krylov-{k}", title, lambda f: k * f.sizes.n * f.sizes.C + 3, build)


def _residual(blocks: int, whole: bool) -> Spec:
    """Exact on the residual's Krylov directions; if not whole, of their images only what a few sample vectors hold.

    The first block lies in the span of these vectors, later ones do not.
    """

    def build(found: Measured) -> Operator:
        Z, images = found.residual_directions(blocks)
        if not whole:
            V = sample_basis(found.residual, found.sizes)
            images = (images @ V.T) @ V
        return corrected(Z, images, restricted.quotients(found.rayleigh, found.sizes))

    def constants(found: Measured) -> int:
        columns = found.sizes.N if whole else len(sample_basis(found.residual, found.sizes))
        return 3 * blocks * found.sizes.n * columns + 3

    k, of = 3 * blocks, "all samples" if whole else "classes and the residual's directions within them"
    name = f"residual-{k}" if whole else f"residual-classes-{k}"
    return Spec(
        name,
        f"rayleigh, and exact on {k} directions of the residual over {of}",
        constants,
        build,
        costly=blocks > 2,
    )


def _row_sample_modes(k: int) -> Spec:
    def build(found: Measured) -> Operator:
        values, vectors = np.linalg.eigh(found.row_mean)
        V = vectors[:, -k:]
        rest = max(float(values[:-k].mean()), 1e-12 * float(values[-1])) if k < len(values) else 0.0
        K = (V * (values[-k:] - rest)) @ V.T + rest * np.eye(len(values))
        return KernelOperator(on_probe(K, found), found.sizes)

    title = f"{k} leading modes of the N x N kernel, mean over the row space of W"
    return Spec(f"row-sample-modes-{k}", title, lambda f: k * f.sizes.N + 1, build, costly=True)


def _modes(k: int) -> Spec:
    return Spec(
        f"row-modes-{k}",
        f"{k} leading mode{'s' * (k > 1)} of the class kernel in the row space of W",
        lambda f: k * len(f.basis) * f.sizes.C + 1,
        lambda f: restricted.leading_modes(f.row_classes, k, f.basis),
    )


SPECS: tuple[Spec, ...] = (
    Spec("block", "three constants", lambda _: 3, _block),
    Spec("block-in-time", "three constants, interpolated between measured snapshots",
         lambda f: 3 * len(f.schedule), _scheduled),
    Spec("moving-block", "three constants, normalisation moving along", lambda _: 3, _moving_block),
    Spec("rayleigh", "three constants as the residual sees them", lambda _: 3,
         _rayleigh),
    Spec("row-block", "three constants averaged over the row space of W", lambda _: 3,
         lambda f: restricted.scalar_blocks(f.row_classes, f.basis)),
    Spec("weighted-block", "three constants averaged over directions of W, each as much as W has of it", lambda _: 3,
         lambda f: restricted.scalar_blocks(f.row_classes, restricted.weighted_rows(f.state.W))),
    Spec("weighted-block-in-time", "the same weighted constants, interpolated between measured snapshots",
         lambda f: 3 * len(f.schedule), partial(_scheduled, of="weighted"), given=True),
    Spec("class-block", "constants of every class and pair of classes",
         lambda f: f.sizes.C + _triangle(f.sizes.C),
         _class_block),
    Spec("row-class-block", "constants of every class and pair, averaged over the row space of W",
         lambda f: f.sizes.C + _triangle(f.sizes.C),
         lambda f: restricted.scalar_classes(f.row_classes, f.basis)),
    Spec("row-product", "classes times directions of the row space of W",
         lambda f: _triangle(f.sizes.C) + _triangle(len(f.basis)) + 1,
         lambda f: restricted.product(f.row_classes, f.basis)),
    Spec("row-matrix-block", "three matrices in the row space of W", lambda f: 3 * _triangle(len(f.basis)),
         lambda f: restricted.matrix_blocks(f.row_classes, f.basis)),
    _modes(16),
    _krylov(1), _krylov(2), _krylov(4), _krylov(8), _krylov(16),
    Spec("matrix-block", "three matrices between features", lambda f: 3 * _triangle(f.sizes.n),
         lambda f: restricted.matrix_blocks(f.classes)),
    Spec("neuron-diagonal", "own constants of every neuron for every class and pair",
         lambda f: f.sizes.n * (_triangle(f.sizes.C) + f.sizes.C),
         lambda f: restricted.independent_neurons(f.classes)),
    Spec("row-class-matrix", "matrices in the row space of W for every pair of classes",
         lambda f: _triangle(len(f.basis) * f.sizes.C) + f.sizes.C * _triangle(len(f.basis)),
         lambda f: restricted.class_matrices(f.row_classes, f.basis)),
    Spec("class-matrix", "matrices between features for every pair of classes",
         lambda f: _triangle(f.sizes.n * f.sizes.C) + f.sizes.C * _triangle(f.sizes.n),
         lambda f: restricted.class_matrices(f.classes)),
    Spec("sample", "the N x N kernel, mean over neurons", lambda f: _triangle(f.sizes.N),
         lambda f: KernelOperator(on_probe(f.mean_kernel, f), f.sizes)),
    Spec("row-sample", "the N x N kernel, mean over the row space of W", lambda f: _triangle(f.sizes.N),
         lambda f: KernelOperator(on_probe(f.row_mean, f), f.sizes), costly=True),
    Spec("kronecker", "the N x N kernel times a matrix between features",
         lambda f: _triangle(f.sizes.N) + _triangle(f.sizes.n) - 1, _kronecker),
    _row_sample_modes(10), _row_sample_modes(30),
    _residual(1, False), _residual(1, True), _residual(2, True),
    Spec("infinite-width", "the N x N kernel of the infinitely wide network, from the inputs alone", lambda _: 0,
         infinite_width, given=True),
    Spec("fading-sample", "the N x N kernel of a homogeneous network, which decay shrinks",
         lambda f: _triangle(f.sizes.N) + 1, fading, decays=homogeneous, given=True),
    Spec("two-linear-layers", "readout and classifier on hidden activations that do not move, with decay",
         lambda f: f.sizes.n * f.sizes.N, two_linear_layers, decays=decayed, given=True),
    Spec("components", "exact on the residual's three components at the start",
         lambda f: 3 * f.sizes.n * f.sizes.N, lambda f: nystrom(*f.components, f.sizes)),
    Spec("tensor-still", "the whole tensor, normalisation held still",
         lambda f: _triangle(f.sizes.n * f.sizes.N), _still, costly=True),
    Spec("tensor", "the whole tensor: the linearised network", lambda f: _triangle(f.sizes.n * f.sizes.N),
         _tensor, costly=True),
)  # fmt: skip
NAMES = tuple(spec.name for spec in SPECS)


def chosen(names: Sequence[str] | None, large: bool) -> list[Spec]:
    """The rungs of these names, in the ladder's order; None: all, or all but the costly ones of a large network.

    `krylov-K` and `row-modes-K` exist for every K.

    Raises:
        InputError: there is no rung of a name.
    """
    if names is None:
        return [spec for spec in SPECS if not (large and spec.costly)]
    specs = list(SPECS)
    for name in names:
        match = re.fullmatch(r"(krylov|row-modes)-([1-9]\d{0,3})", name)
        if match and name not in NAMES:
            specs.append((_krylov if match[1] == "krylov" else _modes)(int(match[2])))
    known = {spec.name for spec in specs}
    for name in names:
        if name not in known:
            raise InputError("rungs", name, f"must be all or of {', '.join(NAMES)}", "pick some of these")
    return [spec for spec in specs if spec.name in names]


def build(spec: Spec, found: Measured) -> Rung:
    """The rung on a network; refusals keep their reason."""
    constants, objective = spec.constants(found), found.objective
    if spec.build is None:
        return Rung(spec, constants, None, None, objective)
    try:
        operator = found.ready(spec.name) or spec.build(found)
        decay = None if spec.decays is None else spec.decays(found)
        return Rung(spec, constants, operator, None, objective, decay)
    except InputError as error:
        # What is wrong with a rung is what it stands on, named by the value.
        subject = error.value if error.argument == "rungs" else error.argument
        return Rung(spec, constants, None, f"{subject} {error.rule}; {error.remedy}", objective)

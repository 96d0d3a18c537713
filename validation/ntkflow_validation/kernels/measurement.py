"""A measurement, and the rungs of the kernel ladder and the problems it gives."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ntkflow._types import Json
from ntkflow.checks import choice
from ntkflow.errors import InputError
from ntkflow.problem import kernels as rungs
from ntkflow.problem.kernels import KAPPAS
from ntkflow.problem.kernels.kernel_files import NEEDS, build
from ntkflow.problem.problem import Problem
from ntkflow.problem.state import State
from ntkflow.runs.files import sort_kernel, write_state
from ntkflow_validation.kernels.found import Found
from ntkflow_validation.kernels.methods.tensor import MatrixBlocks, blocks_of_tensor
from ntkflow_validation.kernels.summary import Summary


@dataclass(frozen=True, eq=False, repr=False)
class Measurement(Found):
    """Empirical kernels of one network at one set of parameters; `Found` says what it holds."""

    def block(self, of: str = "features") -> rungs.BlockKernel:
        """kappa_d, kappa_d - mu_single, kappa_n.

        Args:
            of: "features", or "row_space" for the kernel averaged over the row space of W, or "weighted" for that weighted
                by W, `weighted`.

        Raises:
            InputError: no positive block kernel on the whole classes has these constants, or kappa_c does not exist.
        """
        if of == "weighted":
            return self._weighted()
        family = self._family(of)
        chosen = {name: c.value for name, c in family.constants.items()}
        if not np.isfinite(chosen["c"]):
            raise InputError(
                "per_class", 1, "kappa_c needs two samples of a class", "measure at least 2 per class"
            )
        broken = family.broken_order(self.totals)
        if broken is not None:
            raise InputError(
                "kernel",
                "measured constants",
                f"break {broken}, so that no block kernel has them",
                "take rung='class-block', which may have them, or measure another snapshot",
            )
        d, mu, n = (chosen[k] for k in ("d", "mu_single", "n"))
        return rungs.BlockKernel(d, d - mu, n)

    def _weighted(self) -> rungs.BlockKernel:
        found = self.weighted
        if found is None:
            rule = "was not measured: it takes each direction of the row space of W"
            raise InputError("of", "weighted", rule, "add 'row-space' and a head, by an exact method")
        return rungs.BlockKernel(found["d"], found["d"] - found["mu_single"], found["n"])

    def class_block(self, of: str = "features") -> rungs.ClassBlockKernel:
        """Own constants for each class and pair of classes."""
        kd, B = self._family(of).class_values
        if not np.isfinite(B).all():
            raise InputError(
                "per_class", 1, "kappa_c needs two samples of every class", "measure at least 2 per class"
            )
        return rungs.ClassBlockKernel(kd, B)

    def sample(self, of: str = "features", order: str = "given") -> rungs.SampleKernel:
        """The mean over neurons of the N x N kernels.

        Args:
            of: "features" or "row_space".
            order: "given", as the samples were given, which state files hold beside H and labels in that order; or
                "class", sorted by class, which `ntkflow.Problem` takes. `problem` and `save_state` see to it.
        """
        rows, family = self._rows(order), self._family(of)
        if family.mean is None:
            raise InputError("method", self.method, "does not form N x N kernels", "measure with 'gram'")
        return rungs.SampleKernel(family.mean[np.ix_(rows, rows)])

    def kronecker(self, of: str = "features", order: str = "given") -> rungs.KroneckerKernel:
        """K (x) A from the partial traces: K = tr_n Theta / n, A = tr_N Theta normalised to trace n.

        Args:
            of: "features" or "row_space", for K.
            order: of the samples; see `sample`.
        """
        A = np.einsum("piqi->pq", self.full.values) if self.full is not None else self._matrix().diagonal
        self._all_neurons()
        return rungs.KroneckerKernel(self.sample(of, order), A * (len(A) / np.trace(A)))

    def matrix_block(self, of: str = "features") -> rungs.MatrixBlockKernel:
        """A_d, A_c, A_n in the convention of `MatrixBlockKernel`.

        Args:
            of: "features", or "row_space": the blocks restricted to the row space of W, outside of which each
                acts as a multiple of the identity, its mean over the row space. Features outside are not
                moved by these as long as W stays in its row space.
        """
        if of == "row_space":
            blocks = self._row_blocks()
            return rungs.MatrixBlockKernel(*(self._lifted(A) for A in blocks.rung))
        choice("of", of, ("features", "row_space"))
        blocks = self._matrix()
        self._all_neurons()
        return rungs.MatrixBlockKernel(*blocks.rung)

    def tensor(self, order: str = "given") -> rungs.TensorKernel:
        """The whole tensor; for the order of the samples see `sample`."""
        self._all_neurons()
        if self.full is None:
            raise InputError("quantities", "no tensor", "was not measured", "add 'tensor'")
        return rungs.TensorKernel(self.full.reordered(self._rows(order)).values)

    def problem(
        self,
        H: np.ndarray | None = None,
        W: np.ndarray | None = None,
        b: np.ndarray | None = None,
        *,
        rung: str = "block",
        of: str = "features",
    ) -> Problem:
        """What `ntkflow.solve` integrates: a state and a kernel of this measurement, their samples sorted alike.

        Args:
            H: features (n, N) in the order in which the samples were given, all of them or the measured ones; by
                default those that were measured.
            W: head (C, n); by default that of the measurement.
            b: its biases (C,).
            rung: block, class-block, sample, kronecker, matrix-block or tensor.
            of: "features" or "row_space".

        Raises:
            InputError: sizes do not fit, there is no head, or the rung was not measured.
        """
        H, W, b = self._state(H, W, b)
        state, sizes, order = State.from_samples(H, W, b, self.labels)
        arrays = sort_kernel(self._kernel_arrays(rung, of), sizes, order)
        return Problem(sizes, build(arrays, rung), state)

    def save_state(
        self,
        path: Path | str,
        H: np.ndarray | None = None,
        W: np.ndarray | None = None,
        b: np.ndarray | None = None,
        *,
        rung: str = "block",
        of: str = "features",
    ) -> None:
        """Write a state file with a kernel, for `ntkflow simulate --state`, samples in the order given.

        Args:
            path: where.
            H: see `problem`, also for what else there is.
            W: head (C, n).
            b: its biases (C,).
            rung: see `problem`.
            of: "features" or "row_space".

        Raises:
            InputError: see `problem`.
        """
        H, W, b = self._state(H, W, b)
        arrays: Json = {**self._kernel_arrays(rung, of)}
        write_state(Path(path), State(H, W, b), self.labels, **arrays)

    def _rows(self, order: str) -> np.ndarray:
        choice("order", order, ("given", "class"))
        N = len(self.labels)
        return np.arange(N) if order == "given" else np.argsort(self.labels, kind="stable")

    def _state(
        self, H: np.ndarray | None, W: np.ndarray | None, b: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        H = self.H if H is None else np.asarray(H, dtype=np.float64)
        N, given = len(self.order), int(self.totals.sum())
        if H.ndim != 2 or H.shape[1] not in (N, given):
            raise InputError(
                "H", f"array of shape {H.shape}", f"must be (n, {given}), one column a sample", "transpose it"
            )
        H = H if H.shape[1] == N else H[:, self.order]
        if W is None and self.head is None:
            raise InputError(
                "W", None, "a problem needs the classifier", "give W and b, or measure with head"
            )
        if W is None and self.head is not None:
            W, b = self.head.W, self.head.b if b is None else b
        W = np.asarray(W, dtype=np.float64)
        return H, W, np.zeros(len(W)) if b is None else np.asarray(b, dtype=np.float64)

    def _kernel_arrays(self, rung: str, of: str) -> dict[str, np.ndarray]:
        """Arrays of a rung as files name them, samples in the order given."""
        choice("rung", rung, tuple(NEEDS))
        if rung == "block":
            block = self.block(of)
            return {name: np.asarray(getattr(block, name)) for name in KAPPAS}
        if rung == "class-block":
            classes = self.class_block(of)
            return {"kappa_d": classes.kappa_d, "B": classes.B}
        if rung == "sample":
            return {"K": self.sample(of).K}
        if rung == "kronecker":
            both = self.kronecker(of)
            return {"K": self.sample(of).K, "A": both.A}
        if rung == "matrix-block":
            blocks = self.matrix_block(of)
            return {name: getattr(blocks, name) for name in NEEDS[rung]}
        self.tensor()
        return {"Theta": self.full.values}  # type: ignore[union-attr]

    def _family(self, of: str) -> Summary:
        family = {"features": self.features, "row_space": self.row_space}.get(of)
        if family is None:
            raise InputError("of", of, "was not measured", "use 'features', or 'row_space' with a head")
        return family

    def _matrix(self) -> MatrixBlocks:
        if self.matrix is not None:
            return self.matrix
        if self.full is not None:
            return blocks_of_tensor(self.full.values, self.features.labels)
        raise InputError("quantities", "no matrix blocks", "were not measured", "add 'matrix' or 'tensor'")

    def _row_blocks(self) -> MatrixBlocks:
        if self.row_matrix is not None:
            return self.row_matrix
        if self.head is None:
            raise InputError("of", "row_space", "needs the classifier", "measure with head=(W, b)")
        whole, B = self._matrix(), self.head.row_space
        self._all_neurons()
        return MatrixBlocks(*(B @ A @ B.T for A in (whole.diagonal, whole.single, whole.between)))

    def _lifted(self, A: np.ndarray) -> np.ndarray:
        B = self.head.row_space  # type: ignore[union-attr]
        outside = np.eye(B.shape[1]) - B.T @ B
        found: np.ndarray = B.T @ A @ B + np.trace(A) / len(A) * outside
        return found

    def _all_neurons(self) -> None:
        measured = self.matrix.diagonal if self.matrix is not None else None
        rows = (
            len(self.full.values) if self.full is not None else len(measured) if measured is not None else 0
        )
        if rows and rows != self.total_neurons:
            raise InputError(
                "neurons", rows, f"does not determine a kernel of all {self.total_neurons}", "measure all"
            )

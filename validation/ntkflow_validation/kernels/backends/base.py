"""Derivatives of features by parameters: the only thing measuring asks of a framework."""

from collections.abc import Callable
from typing import Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Float64, PyTree
from numpy.typing import ArrayLike

from ntkflow.errors import InputError
from ntkflow_validation.kernels.backends.factored import Factors
from ntkflow_validation.kernels.backends.layers import Layer
from ntkflow_validation.kernels.backends.moments import Moments

Inputs = np.ndarray
Directions = Float[np.ndarray, "k n"]
# (differentiated parameters, other numbers, inputs (B, ...)) to features (B, n)
FeatureFunction = Callable[[PyTree, PyTree, jax.Array], jax.Array]


@runtime_checkable
class Backend(Protocol):
    """A network's features h(x) and their derivatives; float32 or better inside, numpy outside.

    One may also have `total`, how many parameters the network has, P when it has none; and `columns`, the names and
    sizes of the parameters that are differentiated by, in their order in a row.

    Attributes:
        n: features.
        P: numbers that are differentiated by.
    """

    n: int
    P: int

    def features(self, x: Inputs) -> Float64[np.ndarray, "B n"]:
        """h(x_i)."""

    def rows(self, x: Inputs, V: Directions) -> Float[np.ndarray, "B k P"]:
        """Gradients of v_k . h(x_i), one row per sample and direction; needs samples not to see each other."""

    def pull(self, x: Inputs, cotangents: Float[np.ndarray, "k B n"]) -> Float[np.ndarray, "k P"]:
        """Gradients of sum_i cotangent_ki . h(x_i), with all x in one batch."""

    def moments(self, x: Inputs, V: Directions, fresh: np.ndarray) -> Moments:
        """Of the rows of the samples that `fresh` is true of, (B,); one at least."""

    def tile(self, x: Inputs, k: int, limit: int) -> tuple[int, int]:
        """Samples and directions to give `rows` at once so that it stays below `limit` bytes."""

    def batch(self, x: Inputs, k: int, limit: int) -> tuple[int, int]:
        """Samples and directions to give `pull` at once so that it stays below `limit` bytes."""

    def pull_bytes(self, x: Inputs, k: int) -> int:
        """What `pull` of k directions on all of x at once needs."""

    def fingerprint(self) -> bytes:
        """Digest of the function, of all it closes over and of its parameters, for names of stored chunks."""


@runtime_checkable
class Checked(Protocol):
    """A backend that looks anew at what it computes before every measurement."""

    def check(self, x: Inputs) -> Backend:
        """The backend for such inputs."""


@runtime_checkable
class FactoringBackend(Backend, Protocol):
    """A backend that also gives the gradients of dense and convolutional layers as products of factors.

    Attributes:
        layers: those where products of factors are cheaper; none when there are no such.
        plain: numbers that are no such layer's weights.
    """

    @property
    def layers(self) -> tuple[Layer, ...]:
        """Layers whose weights `factors` takes apart."""

    @property
    def plain(self) -> int:
        """Parameters outside these."""

    def factors(self, x: Inputs, V: Directions) -> Factors:
        """The same Jacobian as `rows`, in parts."""

    def factor_tile(self, x: Inputs, k: int, limit: int) -> tuple[int, int]:
        """Samples and directions to give `factors` at once so that it stays below `limit` bytes."""


@runtime_checkable
class WritingBackend(Backend, Protocol):
    """A backend that puts rows where they are to be, and so needs no memory of its own for them."""

    def rows_into(self, x: Inputs, V: Directions, out: Float[np.ndarray, "B k P"]) -> None:
        """`rows`, into an array of any strides whose rows are contiguous."""


@runtime_checkable
class PromisingBackend(Backend, Protocol):
    """A backend that computes rows beside whoever asked for them, so that the next ones are begun before these are read."""

    def rows_begun(self, x: Inputs, V: Directions) -> ArrayLike:
        """`rows`, to be waited for by `np.asarray`, the columns of each parameter in an order of its own."""

    def ordered(self, rows: Float[np.ndarray, "B k P"]) -> Float[np.ndarray, "B k P"]:
        """These with the columns of each parameter as it has them."""


@runtime_checkable
class ContractingBackend(Backend, Protocol):
    """A backend that has kernels where its derivatives are, so that there is a kernel and never the Jacobian."""

    def contractible(self, x: Inputs, k: int, limit: int) -> int:
        """How many of k directions at once on all of x; 0 where that is no faster, or one does not fit.

        Args:
            x: all samples.
            k: directions.
            limit: bytes here; an accelerator has its own memory.
        """

    def contracted(
        self, x: Inputs, V: Directions, counts: np.ndarray | None, limit: int
    ) -> tuple[Float64[np.ndarray, "k N N"], Float64[np.ndarray, "k N"]]:
        """K_v of each direction, and |row - mean of its class|^2 of each sample.

        Args:
            x: all samples, sorted by class.
            V: directions.
            counts: samples of each class; None where no one looks at the deviations.
            limit: bytes here, as for `contractible`.
        """


def check_finite(tree: PyTree, root: str) -> None:
    """Raise InputError naming the first array of a tree that is not finite."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    for path, leaf in leaves:
        if not hasattr(leaf, "dtype") or not jnp.issubdtype(leaf.dtype, jnp.inexact):
            continue
        value = np.asarray(leaf)
        bad = value.size - int(np.isfinite(value).sum())
        if bad:
            name = jax.tree_util.keystr(path, simple=True, separator=".")
            raise InputError(
                f"{root}.{name}" if name else root,
                f"array with {bad} NaN or infinite entries",
                "must be finite",
                "use an earlier snapshot",
            )

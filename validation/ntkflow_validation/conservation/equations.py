"""The linear equations that coefficients of a law satisfy: one backward pass gives one of them on all slices at once.

<r, J D theta> = sum_g d_g <(J^T r)_g, theta_g> vanishes for a law whatever r, theta and the inputs are. Theory 16.2.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ntkflow_validation.conservation.passes import Passes
from ntkflow_validation.conservation.slices import Layout, Tensors

# Directions pulled back through one draw of parameters and inputs.
DIRECTIONS = 4
# Part of the draws in which an approximate law has to hold.
USUAL = 0.75
# Draws around the network's own parameters, and draws that forget them but for their size. A unit that is always active
# or dead in the first, and so seems to obey laws of a linear one or none at all, is another in the second.
SPREAD = 0.3
# Size of what is zero, as a head is that starts at zero.
FROM_ZERO = 0.1
# Below this part of the largest gradient a slice has no signal in any draw.
SILENT = 1e-12


@dataclass(frozen=True, eq=False)
class Equations:
    """Rows of the system, and what its numbers would be without cancellation.

    Attributes:
        A: (rows, slices), rows of about unit length.
        sizes: |(J^T r)_g| |theta_g| in the same units, (rows, slices).
    """

    A: np.ndarray
    sizes: np.ndarray

    @cached_property
    def scale(self) -> np.ndarray:
        """Lengths of the columns of `sizes`, (slices,)."""
        found: np.ndarray = np.linalg.norm(self.sizes, axis=0)
        return found

    @property
    def silent(self) -> np.ndarray:
        """Slices that no output depends on in any draw."""
        found: np.ndarray = self.scale <= SILENT * self.scale.max(initial=0.0)
        return found

    def grouped(self, groups: list[list[int]]) -> "Equations":
        """The system for one coefficient a group."""
        A = np.stack([self.A[:, g].sum(axis=1) for g in groups], axis=1)
        return Equations(A, np.stack([np.linalg.norm(self.sizes[:, g], axis=1) for g in groups], axis=1))

    def first(self, rows: int) -> "Equations":
        """So many of the rows."""
        return Equations(self.A[:rows], self.sizes[:rows])

    def defect(self, d: np.ndarray) -> float:
        """|J D theta| / (|J| |D theta|) over all rows; NaN where no slice of the law has a signal."""
        size = np.linalg.norm(self.scale * d)
        return float(np.linalg.norm(self.A @ d) / size) if size > 0 else float("nan")

    def usual_defect(self, d: np.ndarray) -> float:
        """The same in all but a quarter of the draws: where a channel hardly moves, an epsilon is large beside its variance."""
        draws = np.arange(len(self.A)) // DIRECTIONS
        left, size = (
            np.bincount(draws, weights=np.square(x))
            for x in (self.A @ d, np.linalg.norm(self.sizes * d, axis=1))
        )
        heard = size > 0
        return float(np.sqrt(np.quantile(left[heard] / size[heard], USUAL))) if heard.any() else float("nan")


def drawn(tensors: Tensors, rng: np.random.Generator, anew: bool = False) -> dict[str, np.ndarray]:
    """Parameters around the given ones, so that no law holds by the accident of an initialisation such as zero biases.

    Args:
        tensors: the given ones.
        rng: random numbers.
        anew: forget them but for the size of weights; biases and scales have unit size at most.
    """

    def moved(tensor: np.ndarray) -> np.ndarray:
        size, noise = float(np.sqrt(np.mean(tensor**2))), rng.standard_normal(tensor.shape)
        vector = tensor.ndim == 1
        if anew:
            return (min(size, 1.0) + SPREAD if vector else size or FROM_ZERO) * noise
        # Biases start at zero and scales at one: both must move.
        return tensor + SPREAD * (size + SPREAD if vector else size or FROM_ZERO) * noise

    return {name: moved(tensor) for name, tensor in tensors.items()}


def drawn_statistics(constants: Tensors, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Running statistics that are not those of an untrained network; other constants stay."""

    def moved(name: str, value: np.ndarray) -> np.ndarray:
        noise = 0.3 * rng.standard_normal(np.shape(value))
        if name.endswith("mean"):
            return value + noise
        return value * np.exp(noise) if name.endswith("var") else value

    return {name: moved(name, value) for name, value in constants.items()}


def equations(net: Passes, layout: Layout, like: np.ndarray, rows: int, seed: int) -> Equations:
    """As many rows as asked, with new parameters and Gaussian inputs every few of them.

    Args:
        net: the network.
        layout: its slices.
        like: inputs whose shape is taken; of whole numbers, which cannot be Gaussian, rows are drawn.
        rows: at least one more than the unknowns of any system that is solved.
        seed: of everything that is drawn.
    """
    rng = np.random.default_rng(seed)
    A, S = [], []
    for row in range(rows):
        if row % DIRECTIONS == 0:
            theta = drawn(net.params, rng, anew=bool(row // DIRECTIONS % 2))
            constants, x = drawn_statistics(net.constants, rng), _inputs(like, rng)
        g, _ = net.pull(theta, constants, x, int(rng.integers(2**31)))
        products, sizes = _products(layout, theta, g)
        A.append(products)
        S.append(sizes)
    return _scaled(np.array(A), np.array(S))


def equations_on(net: Passes, layout: Layout, X: np.ndarray, seed: int) -> tuple[Equations, np.ndarray]:
    """A few rows at the network's own parameters on its own inputs, and which slices are dead there.

    Dead is a slice whose gradient vanishes; a bias that is still zero has a gradient.
    """
    A, S, gradients = [], [], np.zeros(len(layout.slices))
    for s in np.random.default_rng(seed).integers(2**31, size=DIRECTIONS).tolist():
        g, _ = net.pull(net.params, net.constants, X, s)
        products, sizes = _products(layout, net.params, g)
        A.append(products)
        S.append(sizes)
        gradients += layout.sums(_squares(g))
    return _scaled(np.array(A), np.array(S)), gradients <= SILENT**2 * gradients.max(initial=0.0)


def _inputs(like: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    if like.dtype.kind == "f":
        return rng.standard_normal(like.shape)
    return like[rng.integers(len(like), size=len(like))]


def _products(layout: Layout, theta: Tensors, g: Tensors) -> tuple[np.ndarray, np.ndarray]:
    """<g, theta> and |g| |theta| of every slice."""
    sizes = np.sqrt(layout.sums(_squares(theta)) * layout.sums(_squares(g)))
    return layout.sums({name: theta[name] * g[name] for name in theta}), sizes


def _squares(tensors: Tensors) -> Tensors:
    return {name: t**2 for name, t in tensors.items()}


def _scaled(A: np.ndarray, S: np.ndarray) -> Equations:
    lengths = np.linalg.norm(S, axis=1, keepdims=True)
    lengths[lengths == 0] = 1.0
    return Equations(A / lengths, S / lengths)

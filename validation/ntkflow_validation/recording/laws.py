"""Laws of a network that is recorded: their values at every call, for its snapshots."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import PyTree

from ntkflow._types import FeatureMatrix, Weights
from ntkflow.errors import InputError
from ntkflow.problem.training_clock import Clock
from ntkflow_validation.conservation.along import Tables, families
from ntkflow_validation.conservation.law import Law, Laws, tensors_of
from ntkflow_validation.conservation.naming import Coefficients, family_matrix
from ntkflow_validation.conservation.naming import families as alike
from ntkflow_validation.runs.law_values import FoundLaws, LawValues, write_found, write_values
from ntkflow_validation.runs.rundir import RunDirectory


class Followed:
    """Values of laws along a training that is recorded.

    Args:
        laws: of the network.
        clock: which says what decays.

    Attributes:
        latest: values at the last call.
    """

    def __init__(self, laws: Laws, clock: Clock) -> None:
        if not isinstance(laws, Laws) or not len(laws):
            rule = "must be the laws of the network, at least one"
            raise InputError("laws", laws, rule, "give nf.conservation_laws(f, params, X), or leave it out")
        self._laws, self._everything = laws, clock.decay_on == "all"
        self._tables: Tables | None = None
        self._readout: list[Law] | None = None
        self._decaying: Sequence[str] = ()
        self.latest: LawValues | None = None
        self._said = False

    def observe(self, params: PyTree, W: Weights) -> None:
        """Take the values at these parameters.

        Raises:
            InputError: they are not parameters of the network that the laws are of.
        """
        if params is None:
            rule = "are needed by laws, which H, W and b alone do not tell"
            raise InputError("params", None, rule, "call recorder(step, H, W, b, params=...)")
        theta = _known(params, self._laws)
        if self._tables is None:
            self._decaying = [name for name, t in theta.items() if self._everything or t.ndim > 1]
            self._tables = Tables(self._laws.found, theta, self._decaying)
            self._readout = _of_head(self._laws, theta, W)
        Q = still = None
        if self._readout:
            rates = self._readout[0].rates
            Q = _matrix(self._readout, {n: t / rates.get(n, 1.0) for n, t in theta.items()}, theta)
            decaying = {n: t if n in self._decaying else np.zeros_like(t) for n, t in theta.items()}
            still = Q - _matrix(self._readout, decaying, decaying)
        self.latest = LawValues(*self._tables.at(theta), Q, still)

    def keep(self, run: RunDirectory, step: int) -> None:
        """Write the values of the last call; first which laws they are of.

        Raises:
            InputError: the run follows others, or none.
        """
        assert self.latest is not None
        if not self._said:
            tied = {name: tuple(members) for name, members in families(self._laws.found).items()}
            names = tuple(law.name for law in self._laws)
            rates = dict(self._laws[0].rates) or None
            write_found(run, FoundLaws(self._laws.certified, names, tied, bool(self._readout), rates))
            self._said = True
        write_values(run, step, self.latest)


def _known(params: PyTree, laws: Laws) -> Mapping[str, np.ndarray]:
    """Parameters by path."""
    remedy = "give params= beside the network, as nf.conservation_laws was given them"
    try:
        theta = tensors_of(params)
    except (InputError, TypeError, ValueError) as error:
        raise InputError("params", type(params).__name__, f"cannot be read: {error}", remedy) from None
    for law in laws:
        for piece in law.coefficients:
            if piece.tensor not in theta or theta[piece.tensor].shape[piece.axis] <= piece.index:
                rule = "is no tensor of these parameters, though laws are of it"
                raise InputError("params", piece.tensor, rule, remedy)
    return theta


def _of_head(laws: Laws, theta: Mapping[str, np.ndarray], W: Weights) -> list[Law] | None:
    """The linear laws whose readers are the head's columns, in their order: those of Q; None without a linear readout."""
    linear = [law for law in laws if law.linear]
    for family in alike([law.coefficients for law in linear]):
        found = sorted((linear[i] for i in family), key=lambda law: _read(law.coefficients)[1])
        tensor, _, axis = _read(found[0].coefficients)
        if len(found) == W.shape[1] and tensor:
            columns = np.moveaxis(theta[tensor], axis, 0).reshape(theta[tensor].shape[axis], -1)
            if columns.shape == W.T.shape and np.allclose(columns, W.T):
                return found
    return None


def _read(law: Coefficients) -> tuple[str, int, int]:
    """The one tensor that reads, where, along which axis; "" where several do."""
    readers = [piece for piece, d in law.items() if d > 0]
    return (readers[0].tensor, readers[0].index, readers[0].axis) if len(readers) == 1 else ("", 0, 0)


def _matrix(laws: list[Law], x: Mapping[str, np.ndarray], y: Mapping[str, np.ndarray]) -> FeatureMatrix:
    found: FeatureMatrix = family_matrix([law.coefficients for law in laws], x, y)
    return found

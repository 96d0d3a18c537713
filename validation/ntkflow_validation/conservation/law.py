"""Conserved quantities of a network as values: what they are made of, how well they hold, what they are called."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, overload

import numpy as np
from jaxtyping import PyTree

from ntkflow import checks, views
from ntkflow.errors import InputError
from ntkflow_validation.conservation.passes import passes
from ntkflow_validation.conservation.slices import Slice

if TYPE_CHECKING:
    from pandas import DataFrame

Decays = float | Mapping[str, float]
# Rows of a table in a notebook.
SHOWN = 60


@dataclass(frozen=True, repr=False)
class Law:
    """q = sum_g d_g |theta_g|^2/r_g, constant under gradient flow of any loss of the outputs. Source: docs/conservation-laws.md.

    Attributes:
        coefficients: d_g by slice; + for slices that read a channel, - for those that write it.
        name: what it is a law of.
        kind: "hidden neuron", "residual channel", "channel", "readout" (linear, one reader), "filter before a normalisation",
            "whole tensors" or "other".
        defect: |J D theta| / (|J| |D theta|) over random parameters, inputs and directions.
        defect_on_X: the same at the network's own parameters on its inputs; NaN where all of its slices are dead there.
        exact: whether the defect is rounding; else a normalisation's epsilon, or the like, breaks the law a little.
        linear: whether it is one of a family whose whole matrix is conserved: the interface has no activation.
        rates: r_g by tensor, of groups that are trained at rates of their own, see `Laws.at_rates`; of others 1.
    """

    coefficients: Mapping[Slice, float]
    name: str
    kind: str
    defect: float
    defect_on_X: float
    exact: bool
    linear: bool = False
    rates: Mapping[str, float] = field(default_factory=dict)

    def value(self, params: PyTree) -> float:
        """q of these parameters: those of the function, or the module itself."""
        return sum(d * square / self.rates.get(piece.tensor, 1.0) for piece, d, square in self._terms(params))

    def rate(self, params: PyTree, decay: Decays) -> float:
        """dq/dt = -2 sum_g lambda_g d_g |theta_g|^2 under gradient flow with weight decay.

        Of groups with rates of their own too: theta_g moves by -r_g (gradient + lambda_g theta_g), so that r_g drops out.

        Args:
            params: as for `value`.
            decay: lambda, for all tensors or by path; tensors that are not named have none. In units of 1/time.
        """

        def of(piece: Slice) -> float:
            return decay.get(piece.tensor, 0.0) if isinstance(decay, Mapping) else decay

        return -2 * sum(of(piece) * d * square for piece, d, square in self._terms(params))

    def _terms(self, params: PyTree) -> Iterator[tuple[Slice, float, float]]:
        tensors = tensors_of(params)
        for piece, d in self.coefficients.items():
            if piece.tensor not in tensors:
                rule = "has no such tensor"
                raise InputError(
                    "params", piece.tensor, rule, "give parameters of the network that the law is of"
                )
            yield piece, d, float(np.sum(np.take(tensors[piece.tensor], piece.index, piece.axis) ** 2))

    def __repr__(self) -> str:
        return views.called(self, name=self.name, slices=len(self.coefficients), defect=self.defect)


def tensors_of(params: PyTree) -> Mapping[str, np.ndarray]:
    """Parameters by path in float64: of a function, of Linen's variables, or of a module."""
    module = not isinstance(params, Mapping | tuple | list) and callable(params)
    if module:
        return passes(params, None).params
    own = (
        params["params"]
        if isinstance(params, Mapping) and isinstance(params.get("params"), Mapping)
        else params
    )
    return passes(lambda p, _: p, own).params


@dataclass(frozen=True, repr=False)
class Laws(Sequence[Law]):
    """All independent laws that were found, exact ones first.

    Attributes:
        found: the laws.
        certified: whether the full null space was looked at: no rescaling law is missing.
        silent: slices that no output depends on in any draw; they are in no law.
        dead: slices whose gradient vanishes at the network's own parameters on X, such as those of units that are never
            active.
        slices: how many there are.
        rows: backward passes that were made.
    """

    found: tuple[Law, ...]
    certified: bool
    silent: tuple[Slice, ...]
    dead: tuple[Slice, ...]
    slices: int
    rows: int
    _heads: tuple[str, ...] = field(
        default=("name", "kind", "exact", "linear", "defect", "defect_on_X"), init=False
    )

    @property
    def exact(self) -> tuple[Law, ...]:
        """Those that hold to rounding."""
        return tuple(law for law in self.found if law.exact)

    @property
    def approximate(self) -> tuple[Law, ...]:
        """The others."""
        return tuple(law for law in self.found if not law.exact)

    def at_rates(self, rates: Mapping[str, float]) -> "Laws":
        """The laws of a training whose groups of parameters have rates of their own: q = sum_g d_g |theta_g|^2/r_g.

        Args:
            rates: r_g > 0 by tensor, as laws name them, over the rate that flow time is counted in, such as the head's;
                tensors that are not named have that rate.

        Raises:
            InputError: no law is of such a tensor, or a rate is not positive.
        """
        known = {piece.tensor for law in self.found for piece in law.coefficients}
        for name, rate in rates.items():
            if name not in known:
                rule = "is no tensor of these laws"
                raise InputError("rates", name, rule, f"name some of {', '.join(sorted(known))}")
            checks.positive(f"rates[{name!r}]", rate)
        own = {name: float(rate) for name, rate in rates.items()}
        return replace(self, found=tuple(replace(law, rates=own) for law in self.found))

    @overload
    def __getitem__(self, index: int) -> Law: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Law, ...]: ...
    def __getitem__(self, index: int | slice) -> Law | tuple[Law, ...]:
        return self.found[index]

    def __len__(self) -> int:
        return len(self.found)

    def __repr__(self) -> str:
        proof = "certified" if self.certified else "not certified"
        more = f", {len(self.dead)} dead slices on X" if self.dead else ""
        return f"Laws({len(self.exact)} exact, {len(self.approximate)} approximate, {proof}{more})"

    def __str__(self) -> str:
        return f"{self!r}\n{views.text_table(self._heads, self._rows())}" if self.found else repr(self)

    def _repr_html_(self) -> str:
        return views.html_table(repr(self), self._heads, self._rows()[:SHOWN])

    def to_pandas(self) -> "DataFrame":
        """A row for each law.

        Raises:
            InputError: pandas is not installed.
        """
        return views.dataframe({name: [getattr(law, name) for law in self] for name in self._heads})

    def _rows(self) -> list[list[object]]:
        return [[getattr(law, name) for name in self._heads] for law in self]

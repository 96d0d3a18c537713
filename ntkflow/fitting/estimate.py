"""`fit`: estimates with standard errors, and what the data cannot tell."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ntkflow import views
from ntkflow._types import Json
from ntkflow.errors import InputError
from ntkflow.fitting.family import family
from ntkflow.fitting.observed import Data, Observed
from ntkflow.fitting.refine import Optimum, Simulator
from ntkflow.fitting.spread import Estimate, Spread, warnings_of
from ntkflow.fitting.start import candidates
from ntkflow.fitting.wrong_clock import Head, hint
from ntkflow.problem.kernels import Kernel

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame
    from xarray import Dataset

# Biases that should have moved so far and are the same to the last digit are held.
HELD = 1e-6
_HEADS = ("estimate", "standard error", "linear start")
INITIAL = ("noisy", "exact")


@dataclass(frozen=True, eq=False)
class Fit:
    """The kernel that explains a trajectory best.

    Attributes:
        kind: family it was chosen from.
        kernel: the kernel; constants that are not determined have any values. Times of a schedule are those of the
            observations.
        estimates: kappas and eigenvalues by name.
        start: kappas and eigenvalues of the linear start.
        noise: estimated standard deviation of one observed entry of H, W or b.
        misfit: norm of what is left over that of the moves from the first state; 1 is as bad as no motion.
        condition: condition number of the column-normalised Jacobian.
        warnings: sentences.
        converged: whether the refinement met its tolerances.
        evaluations: simulations.
        train_bias: whether it was fitted with the flow of W, H and b, or with b held.
    """

    kind: str
    kernel: Kernel
    estimates: dict[str, Estimate]
    start: dict[str, float]
    noise: float
    misfit: float
    condition: float
    warnings: tuple[str, ...]
    converged: bool
    evaluations: int
    train_bias: bool = True

    def save(self, path: Path | str, *, overwrite: bool = False) -> Path:
        """Write the numbers as JSON, from which `nf.load` gives this fit back.

        Raises:
            InputError: the file exists.
        """
        # What writes it stands above: the door leads there.
        import ntkflow

        return ntkflow.save(self, path, overwrite=overwrite)

    def figure(
        self,
        observed: Observed | None = None,
        *,
        panes: Sequence[str] | None = None,
        size: float | tuple[float, float] | None = None,
    ) -> "Figure":
        """The constants with their errors; with the observations, the fitted trajectory over the observed one.

        Args:
            observed: what was fitted.
            panes: constants, trajectory; None: all for which there is what they need.
            size: width in inches, or width and height.

        Raises:
            InputError: no such pane or size, or a trajectory without observations.
            SolveError: the fitted trajectory cannot be integrated.
        """
        import ntkflow

        return ntkflow.figure(self, observed=observed, panes=panes, size=size)

    def to_xarray(self) -> "Dataset":
        """An xarray.Dataset along `constant`: estimate, standard_error, linear_start; needs `ntkflow[xarray]`."""
        names, *columns = zip(*self._rows(), strict=True)
        series = {
            name.replace(" ", "_"): np.array(values) for name, values in zip(_HEADS, columns, strict=True)
        }
        facts = {
            name: getattr(self, name) for name in ("kind", "misfit", "noise", "condition", "evaluations")
        }
        coords: views.Coordinates = {"constant": ("constant", np.array(names), {})}
        meanings = {"standard_error": "infinite where the data do not determine the constant"}
        # Attributes of a file are numbers and texts, no truth values.
        return views.dataset(
            ["constant"], coords, series, meanings, {**facts, "converged": int(self.converged)}
        )

    def to_pandas(self) -> "DataFrame":
        """A pandas.DataFrame of the constants: estimate, standard error, linear start; needs `ntkflow[pandas]`."""
        names, *columns = zip(*self._rows(), strict=True)
        return views.dataframe(dict(zip(("constant", *_HEADS), (names, *columns), strict=True)), "constant")

    def _rows(self) -> list[tuple[str, float, float, float]]:
        return [(name, e.value, e.error, self.start[name]) for name, e in self.estimates.items()]

    def _headline(self) -> str:
        state = "" if self.converged else ", not converged"
        return f"Fit({self.kind}: {self.misfit:.3g} of the motion left, noise {self.noise:.3g}{state})"

    def __repr__(self) -> str:
        table = views.text_table(("", *_HEADS), self._rows())
        return "\n".join([self._headline(), table, *(f"warning: {sentence}" for sentence in self.warnings)])

    def _repr_html_(self) -> str:
        return views.html_table(self._headline(), ("", *_HEADS), self._rows())

    def as_dict(self) -> Json:
        """Plain values for files."""
        plain: Json = {**vars(self), "kernel": self.kernel.as_dict()}
        plain["estimates"] = {name: vars(estimate) for name, estimate in self.estimates.items()}
        return plain


def fit(
    observed: Observed,
    kind: str = "block",
    *,
    knots: Sequence[float] | None = None,
    initial: str = "noisy",
    rtol: float = 1e-8,
    train_bias: bool = True,
) -> Fit:
    """Estimate the kernel constants of an observed run of the squared-error flow without decay.

    Main arguments:
        observed: states at times of the sum loss (4).
        kind: block, class-block or schedule.

    Other Arguments:
        knots: times of a schedule's knots; None takes the first, the middle and the last observation.
        initial: 'noisy': the first state is observed like the others, and its noise counts in the errors;
            'exact': it is known exactly.
        rtol: relative tolerance of the simulations.
        train_bias: False for a head without biases, or with biases that are held: the flow of W and H alone.

    Returns:
        Estimates with standard errors under independent noise of one size in every entry of H, W and b; of biases that
        are held in none of b.

    Raises:
        InputError: an argument is out of range, nothing moves, or the biases are held and said to be trained, or the
            other way round.
        SolveError: the trajectory of the best parameters cannot be simulated.
    """
    if not isinstance(observed, Observed):
        remedy = "give nf.Observed.from_arrays(times, H, W, b, labels); of linear layers call nf.fit_layers(states, times, sizes)"
        raise InputError("observed", type(observed).__name__, "must be states at times, nf.Observed", remedy)
    if initial not in INITIAL:
        raise InputError("initial", repr(initial), "must be noisy or exact", "choose one of these")
    if not 1e-11 <= rtol <= 1e-3:
        raise InputError("rtol", rtol, "must lie in 1e-11 .. 1e-3", "1e-8 suits most uses")
    if kind == "schedule" and knots is None:
        # Three knots are the fewest that tell a bend from a slope; more would each ask for data of their own.
        knots = [
            float(observed.times[i]) for i in sorted({0, len(observed.times) // 2, -1 % len(observed.times)})
        ]
    chosen = family(kind, observed.sizes, knots, float(observed.times[0]))
    data = Data.build(observed, chosen, train_bias)
    if data.moves == 0:
        raise InputError("observed", "constant states", "must move", "give a run that trains")
    _refuse_other_biases(observed, train_bias)
    simulator = Simulator(data, chosen, rtol)
    starts = candidates(data, chosen)
    optimum = simulator.optimise(starts)
    noise_in = simulator.initial_noise(optimum) if initial == "noisy" else (0.0, 0.0)
    spread = Spread.build(optimum, noise_in, data.silent * len(optimum.residuals))
    estimates = {name: spread.of(row, optimum.theta) for name, row in chosen.reported.items()}
    misfit = _misfit(optimum, data)

    def refitted(other: Observed) -> float:
        # Knots lie where they lay among the observations.
        stretch = float(other.times[-1] / observed.times[-1]) if observed.times[-1] else 1.0
        moved = None if knots is None else [float(knot) * stretch for knot in knots]
        family_then = family(kind, other.sizes, moved, float(other.times[0]))
        then = Data.build(other, family_then, train_bias)
        return _misfit(Simulator(then, family_then, rtol).optimise(candidates(then, family_then)), then)

    sentences = [*warnings_of(data.moves, chosen, optimum, spread, estimates)]
    if (said := hint(observed, misfit, refitted, Head(train_bias))) is not None:
        sentences.append(said)
    return Fit(
        kind=kind,
        kernel=chosen.make(optimum.theta),
        estimates=estimates,
        start={name: float(row @ starts[0]) for name, row in chosen.reported.items()},
        noise=spread.noise,
        misfit=misfit,
        condition=spread.condition,
        warnings=tuple(sentences),
        converged=optimum.converged,
        evaluations=optimum.evaluations,
        train_bias=train_bias,
    )


def _refuse_other_biases(observed: Observed, train_bias: bool) -> None:
    """Biases that are the same to the last digit, where db/dt = -R 1 would have moved them, are not trained."""
    sizes, first = observed.sizes, observed.states[0]
    furthest = max(float(np.abs(state.b - first.b).max()) for state in observed.states)
    if furthest and not train_bias:
        raise InputError(
            "observed.b",
            f"moves by {furthest:.2g}",
            "must be the same at all times where the biases are held",
            "drop train_bias=False (--no-train-bias)",
        )
    if furthest or not train_bias:
        return
    # The biases alone relax at the rate N.
    steps = np.minimum(np.diff(observed.times), 1 / sizes.N).tolist()
    pulls = [float(np.linalg.norm((s.logits - sizes.Y).sum(axis=1))) for s in observed.states[:-1]]
    moved = max(pull * step for pull, step in zip(pulls, steps, strict=True))
    if moved > HELD:
        raise InputError(
            "observed.b",
            f"the same at all times, where the flow would have moved it by some {moved:.2g}",
            "must be trained: the constants are fitted with the flow of W, H and b",
            "give train_bias=False (--no-train-bias), the flow of W and H alone",
        )


def _misfit(optimum: Optimum, data: Data) -> float:
    # What the frame cannot hold counts as unexplained, but not as noise: no parameter can reduce it.
    left = float(np.sum(optimum.residuals**2)) + data.outside
    return float(np.sqrt(left / data.moves))

"""`fit`: estimates with standard errors, and what the data cannot tell."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float64

from ntkflow import views
from ntkflow._types import Floats, Json
from ntkflow.errors import InputError
from ntkflow.fitting.family import Family, Parameters, family
from ntkflow.fitting.observed import Data, Observed
from ntkflow.fitting.refine import Optimum, Simulator
from ntkflow.fitting.start import candidates
from ntkflow.fitting.wrong_clock import Head, hint
from ntkflow.problem.kernels import Kernel

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Singular values of the scaled Jacobian below this fraction of the largest are rounding.
NULL = 1e-6
# From here on the worst determined mixture of constants has ten thousand times the error of the best determined one.
ILL_CONDITIONED = 1e4
# Neighbouring residuals correlated by more than this are no noise.
SYSTEMATIC = 0.8
# Fraction of the largest parameter: closer to its bound than this a parameter lies on it.
ACTIVE = 1e-6
# Share of the motion; what is left below it is accuracy of the simulation, correlated or not.
PRECISE = 1e-4
# Biases that should have moved so far and are the same to the last digit are held.
HELD = 1e-6
_HEADS = ("estimate", "standard error", "linear start")
INITIAL = ("noisy", "exact")


@dataclass(frozen=True)
class Estimate:
    """One constant.

    Attributes:
        value: estimate; NaN where the data do not determine the constant.
        error: standard error; infinite there.
    """

    value: float
    error: float


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

    def to_xarray(self) -> Any:
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

    def to_pandas(self) -> Any:
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
    spread = _Spread.build(optimum, noise_in, data.silent * len(optimum.residuals))
    estimates = {name: spread.of(row, optimum.theta) for name, row in chosen.reported.items()}
    misfit = _misfit(optimum, data)

    def refitted(other: Observed) -> float:
        # Knots lie where they lay among the observations.
        stretch = float(other.times[-1] / observed.times[-1]) if observed.times[-1] else 1.0
        moved = None if knots is None else [float(knot) * stretch for knot in knots]
        family_then = family(kind, other.sizes, moved, float(other.times[0]))
        then = Data.build(other, family_then, train_bias)
        return _misfit(Simulator(then, family_then, rtol).optimise(candidates(then, family_then)), then)

    sentences = [*_warnings(data, chosen, optimum, spread, estimates)]
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


@dataclass(frozen=True, eq=False)
class _Spread:
    """Covariance of the parameters on the identified subspace, and the rest.

    With residuals e - S e_0 of noise e, e_0 and (J^T J)^-1 = A, the covariance is noise^2 (A + A J^T S S^T J A),
    and the residual sum of squares has the mean noise^2 (count - p + tr S^T S - tr A J^T S S^T J).
    """

    covariance: Float64[Floats, "p p"]
    null: Float64[Floats, "k p"]
    noise: float
    condition: float

    @classmethod
    def build(cls, optimum: Optimum, noise_in: tuple[Any, float], silent: int = 0) -> "_Spread":
        J = optimum.jacobian.reshape(-1, len(optimum.theta))
        # The condition number asks whether constants can stand in for each other, whatever each of them moves: columns
        # of length one. What the data lose is asked of J itself, where all parameters have the unit of the kernel.
        lengths = np.linalg.norm(J, axis=0)
        units = J / np.where(lengths > 0, lengths, 1.0)
        values = np.linalg.svd(units, compute_uv=False)
        s, V = np.linalg.svd(J, full_matrices=False)[1:]
        keep = s > NULL * max(float(s[0]), 1e-300)
        A = (V[keep].T / s[keep] ** 2) @ V[keep]
        # The first state starts the simulation: its noise is in every residual, and the plain covariance would be too
        # small wherever it is amplified.
        middle = A @ noise_in[0] if np.ndim(noise_in[0]) else np.zeros_like(A)
        count = J.shape[0] - silent - int(keep.sum()) + noise_in[1] - float(np.trace(middle))
        variance = float(np.sum(optimum.residuals**2)) / max(count, 1.0)
        condition = float(values[0] / values[-1]) if values[-1] > 0 else np.inf
        return cls(variance * (A + middle @ A), V[~keep], float(np.sqrt(variance)), condition)

    def of(self, row: Parameters, theta: Parameters) -> Estimate:
        """A linear function of the parameters."""
        if self.lost(row):
            return Estimate(float("nan"), float("inf"))
        return Estimate(float(row @ theta), float(np.sqrt(max(float(row @ self.covariance @ row), 0.0))))

    def lost(self, row: Parameters) -> bool:
        """Whether directions that move nothing change this linear function."""
        # Far above the rounding of the null space's directions, far below any share that would matter to the value.
        return float(np.linalg.norm(self.null @ row)) > 1e-3 * float(np.linalg.norm(row))


_REASONS = {
    "mu_single": "the within-class part H2 of the data does not move",
    "mu_class": "the centred class means of the residual do not move the features",
    "mu_global": "the global mean of the residual has vanished",
}


def _warnings(
    data: Data, chosen: Family, optimum: Optimum, spread: _Spread, estimates: dict[str, Estimate]
) -> list[str]:
    found = []
    for name, estimate in estimates.items():
        if np.isinf(estimate.error):
            constant = name.split("[")[0].split(" at ")[0]
            other = "it depends on what moves nothing observed"
            reason = _REASONS.get(constant, other)
            found.append(f"{name} is not identifiable: {reason}")
        elif estimate.error > abs(estimate.value) > ACTIVE * float(np.abs(optimum.theta).max()):
            found.append(f"{name} is not determined: its standard error exceeds it")
    if not len(spread.null) and spread.condition > ILL_CONDITIONED:
        found.append(
            f"the parameters are nearly interchangeable: condition number {spread.condition:.2g} of the Jacobian"
        )
    size = float(np.abs(optimum.theta).max()) or 1.0
    for k, (name, value, lower) in enumerate(zip(chosen.names, optimum.theta, chosen.lower, strict=True)):
        # A parameter that moves nothing sits on its bound by chance, and has been reported above.
        if value - lower <= ACTIVE * size and not spread.lost(np.eye(len(chosen))[k]):
            found.append(f"the bound {name} >= 0 is active: errors around it are one-sided")
    left = float(np.sqrt(np.sum(optimum.residuals**2) / data.moves))
    if (share := _correlation(optimum.residuals)) > SYSTEMATIC and left > PRECISE:
        found.append(
            f"neighbouring residuals are correlated ({share:.2f}): the model and not noise limits the fit, "
            "and the standard errors are too small"
        )
    if not optimum.converged:
        found.append("the refinement ended before it met its tolerances")
    return found


def _correlation(residuals: Floats) -> float:
    """Correlation of the residuals at one time with those at the next; 0 with fewer than four times."""
    # One or two pairs of neighbours tell nothing.
    if len(residuals) < 4:
        return 0.0
    a, b = residuals[:-1].ravel(), residuals[1:].ravel()
    norms = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / norms if norms > 0 else 0.0

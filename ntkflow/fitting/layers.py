"""The inputs' kernel from a trajectory of linear layers: K0's three constants by least squares over the flow (theory 18.1).

The first layer's images obey dH[1] = -U_1^T R K0 - l_1 H[1], and Q_1 = V_2^T V_2 - H[1] K0^{-1} H[1]^T - c_1 c_1^T its law
(18.3): either is linear in K0's eigenvalues or their inverses and gives a start; the rest is least squares over the flow.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from ntkflow import checks
from ntkflow._types import Floats, Times
from ntkflow.errors import InputError, SolveError
from ntkflow.fitting.estimate import Fit
from ntkflow.fitting.family import Family, Parameters, family
from ntkflow.fitting.refine import HOPELESS, Optimum
from ntkflow.fitting.spread import NULL, Spread, warnings_of
from ntkflow.integrate.layers.solve import solve_layers
from ntkflow.problem.kernels.block import BlockKernel
from ntkflow.problem.layers.problem import LayerDecay, LayeredProblem
from ntkflow.problem.layers.state import LayeredState
from ntkflow.problem.losses import SQUARED_ERROR, Loss
from ntkflow.problem.sizes import Sizes
from ntkflow.problem.state import class_means, deviations

KIND = "layers"
# Where nothing says how large a constant is.
GUESS = BlockKernel(1.0, 0.5, 0.1)
# Differences of integrations at rtol, in the logarithm of a constant: far above their error.
STEP = 1e-4
# A component of this size beside the others is the rounding of theirs.
ROUNDING = 1e-12
# A start far off makes a flow too stiff to be of use: it is given up then.
MAX_STEPS = 100_000


def fit_layers(
    states: Sequence[LayeredState],
    times: Sequence[float] | Times,
    sizes: Sizes,
    *,
    guess: BlockKernel | None = None,
    loss: Loss = SQUARED_ERROR,
    decay: LayerDecay | None = None,
    rtol: float = 1e-7,
) -> Fit:
    """The block kernel of the inputs under which the flow of linear layers from the first state passes the others.

    Only images of inputs and layers are asked for, as a training records them: the inputs themselves are not.

    Args:
        states: observed, the first is the start and taken to be exact.
        times: their flow times, increasing.
        sizes: C, m, n_L; equal classes.
        guess: one more start of the iteration, and what a constant is begun with on which the data are silent; None:
            kappas (1, 0.5, 0.1) for these.
        loss: of the training.
        decay: rates of the layers; None: no decay.
        rtol: of the integrations.

    Returns:
        K0's constants with standard errors under independent noise of one size in every entry after the first state;
        `kind` is "layers".

    Raises:
        InputError: fewer than two states, not one time for each, classes of unequal size, or states that do not move.
        SolveError: no kernel near the starts integrates.
    """
    times = checks.times("times", times, start=-np.inf)
    if len(states) != len(times) or len(states) < 2:
        rule = f"must be one for each of {len(times)} times, two at least"
        raise InputError("states", f"{len(states)} states", rule, "give a start and what came after")
    if not sizes.balanced:
        raise InputError("sizes", sizes.m, "must be equal classes", "fit one class size")
    if not 1e-11 <= rtol <= 1e-3:
        raise InputError("rtol", rtol, "must lie in 1e-11 .. 1e-3", "1e-7 suits most uses")
    chosen = family("block", sizes)
    simulator = _Simulator(states, times, sizes, chosen, loss, decay or LayerDecay(), rtol)
    if simulator.moves == 0:
        raise InputError("states", "states that are all alike", "must move", "observe longer")
    starts = _starts(simulator, guess)
    optimum = simulator.optimise(starts)
    spread = Spread.build(optimum, (0.0, 0.0))
    estimates = {name: spread.of(row, optimum.theta) for name, row in chosen.reported.items()}
    return Fit(
        kind=KIND,
        kernel=chosen.make(optimum.theta),
        estimates=estimates,
        start={name: float(row @ starts[0]) for name, row in chosen.reported.items()},
        noise=spread.noise,
        misfit=math.sqrt(float(np.sum(optimum.residuals**2)) / simulator.moves),
        condition=spread.condition,
        warnings=tuple(warnings_of(simulator.moves, chosen, optimum, spread, estimates)),
        converged=optimum.converged,
        evaluations=optimum.evaluations,
    )


class _Simulator:
    """Flows from the first state under kernels of a family, against the observed states."""

    def __init__(
        self,
        states: Sequence[LayeredState],
        times: Times,
        sizes: Sizes,
        chosen: Family,
        loss: Loss,
        decay: LayerDecay,
        rtol: float,
    ) -> None:
        self.states, self.times, self.sizes = states, times - times[0], sizes
        self.family, self.loss, self.decay, self.rtol = chosen, loss, decay, rtol
        self.target = np.stack([state.pack() for state in states[1:]])
        self.moves = float(np.sum((self.target - states[0].pack()) ** 2))
        self.evaluations = 0
        self._last: tuple[Parameters, Floats] | None = None

    def problem(self, theta: Parameters) -> LayeredProblem:
        """The flow from the first state under the kernel of some parameters."""
        kernel = self.family.make(theta)
        return LayeredProblem(self.sizes, kernel, self.states[0], self.loss, self.decay)

    def residuals(self, theta: Parameters) -> Floats:
        """Simulated minus observed after the first state, (S, D); hopeless ones where the integration fails."""
        if self._last is None or not np.array_equal(self._last[0], theta):
            self.evaluations += 1
            self._last = theta.copy(), self._residuals(theta)
        return self._last[1]

    def _residuals(self, theta: Parameters) -> Floats:
        problem = self.problem(theta)
        found = solve_layers(problem, save_at=self.times, rtol=self.rtol, max_steps=MAX_STEPS, throw=False)
        if found.reason.failed:
            return np.full(self.target.shape, HOPELESS * math.sqrt(self.moves / self.target.size))
        return np.stack([found.state(i).pack() for i in range(1, len(self.times))]) - self.target

    def optimise(self, starts: list[Parameters]) -> Optimum:
        """Refine the best of the starts in the logarithms, in which every kernel is positive."""
        from scipy.optimize import least_squares

        unit = math.sqrt(self.moves)
        best = min(starts, key=lambda theta: float(np.sum(self.residuals(theta) ** 2)))
        if float(np.sum(self.residuals(best) ** 2)) >= HOPELESS**2 * self.moves:
            raise SolveError("no start of the fit integrates: give a guess that does")

        def at(logs: Floats) -> Parameters:
            # From ones on: tolerances are relative to the size of what is sought, and steps begin with it.
            return np.asarray(best * np.exp(logs - 1))

        def derivatives(logs: Floats) -> Floats:
            theta = at(logs)
            here = self.residuals(theta)
            columns = [self._residuals(theta * np.exp(STEP * axis)) - here for axis in np.eye(len(theta))]
            self.evaluations += len(columns)
            found = np.stack(columns, axis=-1) / STEP
            # What moves nothing is rounding: steps along it would go anywhere, into flows too stiff to be integrated.
            lengths = np.linalg.norm(found, axis=(0, 1))
            return np.where(lengths > NULL * lengths.max(), found, 0.0)

        found = least_squares(
            lambda logs: self.residuals(at(logs)).ravel() / unit,
            np.ones(len(best)),
            lambda logs: derivatives(logs).reshape(-1, len(logs)) / unit,
            # As of the fit of features: below the accuracy of the simulation the cost is not smooth.
            ftol=1e-2 * self.rtol,
            xtol=1e-2 * self.rtol,
            gtol=1e-14,
            max_nfev=60,
        )
        theta = at(found.x)
        by_theta = found.jac.reshape(*self.target.shape, len(theta)) * unit / theta
        return Optimum(theta, self.residuals(theta), by_theta, found.status > 0, self.evaluations)


def _starts(simulator: _Simulator, guess: BlockKernel | None) -> list[Parameters]:
    """Parameters to begin with; which is best is known after simulating them."""
    sizes = simulator.sizes
    values = (guess or GUESS).eigenvalues(sizes)
    units = np.array([1.0, sizes.per_class, sizes.N])
    mu = np.array([values.mu_single, values.mu_class, values.mu_global])
    integrals = _usable(_from_integrals(simulator), mu)
    found = [integrals, _usable(_from_invariant(simulator), integrals)]
    return [start / units for start in (found if guess is None else [*found, mu])]


def _usable(found: Floats, otherwise: Floats) -> Floats:
    """Eigenvalues, with others where they came out as none."""
    known = np.isfinite(found) & (found > 0)
    return np.where(known, found, otherwise)


def _components(H: Floats, sizes: Sizes) -> tuple[Floats, Floats, Floats]:
    """What mu_single, mu_class and mu_global act on: deviations, centred class means and the mean, weighted as samples."""
    H1 = class_means(H, sizes)
    g = H1.mean(axis=1, keepdims=True)
    return deviations(H, H1, sizes), math.sqrt(sizes.per_class) * (H1 - g), math.sqrt(sizes.N) * g


def _integrals(times: Times, values: Sequence[Floats]) -> Floats:
    """Integrals from the first time to each, of a spline through the values: (T, ...)."""
    from scipy.interpolate import make_interp_spline

    flat = np.stack([value.ravel() for value in values])
    whole: Floats = make_interp_spline(times, flat, k=min(3, len(times) - 1)).antiderivative()(times)
    return whole.reshape(len(times), *values[0].shape)


def _from_integrals(simulator: _Simulator) -> Floats:
    """mu_single, mu_class, mu_global by least squares over the windows between observations, each on its own component."""
    sizes, states, times = simulator.sizes, simulator.states, simulator.times
    decay = simulator.decay.of_layers(states[0].L)[0]
    images = [_components(state.H, sizes) for state in states]
    pulls = [
        _components(state.below[0].T @ simulator.loss.residual(state.logits, sizes.Y), sizes)
        for state in states
    ]
    found = []
    for images_of, pulls_of in zip(zip(*images, strict=True), zip(*pulls, strict=True), strict=True):
        pulled = np.diff(_integrals(times, pulls_of), axis=0)
        moved = np.diff(np.stack(images_of) + decay * _integrals(times, images_of), axis=0)
        found.append((-float(np.sum(moved * pulled)), float(np.sum(pulled**2))))
    above, below = np.array(found).T
    # A component that nothing pulls at has sums of rounding, whose quotient may be anything.
    known = below > ROUNDING**2 * below.sum()
    result: Floats = np.where(known, above / np.where(known, below, 1.0), math.nan)
    return result


def _from_invariant(simulator: _Simulator) -> Floats:
    """The same from the law of Q_1, whatever happened between the observations; 0 or NaN where a component did not move."""
    from scipy.optimize import nnls

    sizes, states, times, decay = simulator.sizes, simulator.states, simulator.times, simulator.decay
    rates = decay.rates(states[0].L)

    def moved(gram: Callable[[LayeredState], Floats], rate: float) -> Floats:
        grams = [gram(state) for state in states]
        whole = np.stack(grams) - grams[0]
        return (whole + 2 * rate * _integrals(times, grams) if rate else whole)[1:].ravel()

    above = moved(lambda state: _gram(state.V[0].T if state.V else state.W.T), rates[1])
    if states[0].c:
        above = above - moved(lambda state: np.outer(state.c[0], state.c[0]), decay.c)
    images = [moved(partial(_image, sizes, k), rates[0]) for k in range(3)]
    # Not negative: a negative eigenvalue has no flow to be simulated.
    columns = np.stack(images, axis=1)
    lengths = np.linalg.norm(columns, axis=0)
    inverse: Floats = nnls(columns, above)[0]
    # Of rounding alone any multiple is as good: it says nothing of the constant.
    known = (lengths > ROUNDING * lengths.max()) & (inverse > 1e-12 * max(float(inverse.max()), 1e-300))
    result: Floats = np.where(known, 1 / np.where(known, inverse, 1.0), math.nan)
    return result


def _image(sizes: Sizes, k: int, state: LayeredState) -> Floats:
    return _gram(_components(state.H, sizes)[k])


def _gram(A: Floats) -> Floats:
    result: Floats = A @ A.T
    return result

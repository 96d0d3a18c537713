"""Metrics along a trajectory: plain named series with a unit and a meaning each."""

from collections.abc import Sequence

import numpy as np

from ntkflow._types import Floats, Integers, Times
from ntkflow.dynamics.fields import ThinSystem
from ntkflow.integrate.stack import Stack, Trajectory, stacks
from ntkflow.metrics import components, invariant, neural_collapse
from ntkflow.metrics.quantities import conserved_by
from ntkflow.problem.kernels.base import ThinCoefficients
from ntkflow.problem.sizes import Sizes
from ntkflow.scaling import cosine, cosines

TIME_UNIT = "flow time of the sum loss 1/2 |W H + b 1^T - Y|_F^2 (eq. 4)"
DESCRIPTIONS: dict[str, str] = {
    "loss": "1/2 |W H + b 1^T - Y|_F^2, sum over samples and outputs (eq. 4)",
    "loss_global": "part of the loss in the global mean of the residual",
    "loss_class": "part of the loss in the centred class means of the residual",
    "loss_individual": "part of the loss in the residual of individual samples",
    "E_norm": "|E|_F (eq. 26); of kernels that act on features, of the part of E that is conserved (theory 10)",
    "E_drift": "|E(t) - E(0)|_F / (|W^T W / m|_F + |H K^{-1} H^T / m|_F at t), of the conserved part as E_norm",
    "E_alignment": "cosine between W^T W and H K^{-1} H^T",
    "E_weights": "|W^T W / m|_F",
    "E_means": "|H1 (I - alpha 11^T) H1^T / mu_class|_F",
    "E_within": "|H2 H2^T / mu_single|_F",
    "E_eot_norm": "|W^T W - H H^T / mu_single|_F, constant only at the end of training (eq. 27)",
    "E_features": "|H K^{-1} H^T / m|_F, the norm of the sum of the terms of class means and within classes",
    "E_global_mean": "|(C / mu_global) g g^T|_F, the global mean's part of E_means",
    "H1H1_norm": "|H1 H1^T|_F",
    "H2H2_norm": "|H2 H2^T|_F = |S|_F",
    "gg_norm": "|g g^T|_F, g the mean of the class means",
    "tr_S": "trace of S = H2 H2^T",
    "W_norm": "|W|_F",
    "b_error": "|b - 1/C|, 0 at neural collapse",
    "V": "|b - 1/C|^2 + (N / mu_global) |g|^2, which never rises (theory 3.3); scalar blocks and trained biases only",
    **{name: "see ntkflow.metrics.neural_collapse" for name in neural_collapse.NAMES},
    "NC1": "mean over classes and features of the standard deviation within the class: alone of all series it depends on "
    "the axes of feature space (the paper's code; NC1_frobenius does not)",
}


class Narrow(dict[str, Floats]):
    """Series of a trajectory without the measures of collapse, which are evaluated all together when one is asked for."""

    def __init__(self, trajectory: Trajectory) -> None:
        super().__init__(evaluate(trajectory, narrow=True))
        self.trajectory = trajectory

    def __missing__(self, name: str) -> Floats:
        self.update(evaluate(self.trajectory))
        return dict(self)[name]


def evaluate(
    trajectory: Trajectory, only: Sequence[int] | None = None, narrow: bool = False
) -> dict[str, Floats]:
    """All series of `DESCRIPTIONS` that exist for the problem: loss components need the squared error.

    Args:
        trajectory: saved states.
        only: indices of the saved times to look at, increasing, the first among them; None: all.
        narrow: of the measures of collapse NC1_frobenius alone, which costs nothing.
    """
    looked = np.arange(len(trajectory)) if only is None else np.asarray(only)
    problem, sizes = trajectory.problem, trajectory.problem.sizes
    first: Floats | None = None
    parts = []
    for stack in stacks(trajectory, looked):
        H1, L, W, b = stack.H1, stack.L, stack.W, stack.b
        # The three components are orthogonal parts of R, which are parts of the loss for squares only.
        if problem.squared_error:
            values = components.loss_of(np, H1, L, W, b, sizes.masses)
        else:
            losses = [float(trajectory.flow.loss(trajectory.packed[i])) for i in stack.at]
            values = {"loss": np.array(losses)}
        if narrow:
            values["NC1_frobenius"] = neural_collapse.nc1_frobenius(L, sizes.N)
        else:
            values |= neural_collapse.measure_stack(H1, L, W, b, stack.frame, stack.V)
        values |= components.moments_of(np, H1, L, sizes.N / sizes.C)
        values |= components.norms_of(np, L, W, b, sizes.N / sizes.C)
        # The terms of E where it is a matrix of blocks; what the rung conserves everywhere else. E_drift is that of an
        # exact trajectory's zero; with decay or a moving kernel it is a real motion.
        if problem.thin is not None:
            terms = _terms(stack, trajectory.times[stack.at], problem.thin, sizes)
            # Of a thin flow the frame is one for the whole run, of a raw one all n coordinates are looked at.
            if first is None:
                first = terms["weights"][0] - (terms["means"][0] + terms["within"][0])
            values |= _of_terms(terms, first)
            values["E_eot_norm"] = _end_of_training(stack, terms["rates"], sizes)
        parts.append(values)
    columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    # Held biases follow no law that V would belong to (theory 11.8).
    if (kernel := problem.equal_blocks) is not None and problem.train_bias:
        share = sizes.N / kernel.eigenvalues(sizes).mu_global
        columns["V"] = columns["b_error"] ** 2 + share * columns["gg_norm"]
    if problem.thin is None:
        columns |= _columns(_general_rows(trajectory, looked))
    # What belongs to E comes last, in tables and files too.
    return dict(sorted(columns.items(), key=lambda column: column[0].startswith("E_")))


def _columns(rows: Sequence[dict[str, float]]) -> dict[str, Floats]:
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


def _terms(stack: Stack, times: Times, coefficients: ThinCoefficients, sizes: Sizes) -> dict[str, Floats]:
    """The terms of E of the states of a stack, and the rates within classes that they hold, (T, 1, r) or (r,)."""
    built = ThinSystem.build(coefficients, sizes, stack.frame.column_class, stack.H1.shape[1])
    inverse, rates = built.inverse, built.rates
    if built.schedule:
        now = [built.at(float(t)) for t in times]
        inverse = np.stack([system.inverse for system in now])
        rates = np.stack([system.rates for system in now])[:, None]
    found = invariant.terms_of(np, stack.H1, stack.L, stack.W, inverse, rates, built.masses.mean())
    return {**found, "rates": rates}


def _of_terms(terms: dict[str, Floats], first: Floats) -> dict[str, Floats]:
    weights, features = terms["weights"], terms["means"] + terms["within"]
    return {
        "E_norm": _norms(weights - features),
        "E_drift": invariant.drifts(terms, first),
        "E_alignment": cosines(weights, features),
        "E_weights": _norms(weights),
        "E_means": _norms(terms["means"]),
        "E_within": _norms(terms["within"]),
        "E_features": _norms(features),
        "E_global_mean": _norms(terms["global_mean"]),
    }


def _norms(A: Floats) -> Floats:
    return np.asarray(np.linalg.norm(A, axis=(1, 2)))


def _end_of_training(stack: Stack, rates: Floats, sizes: Sizes) -> Floats:
    """Norm of E_eot; NaN when the classes differ in mu_single, since eq. (27) has only one."""
    if rates.size == 0 or np.any(np.ptp(rates, axis=-1) > 0):
        return np.full(len(stack.at), np.nan)
    H1, L, W = stack.H1, stack.L, stack.W
    moments = (H1 * sizes.masses) @ np.swapaxes(H1, 1, 2) + L @ np.swapaxes(L, 1, 2)
    gap = np.swapaxes(W, 1, 2) @ W - moments / rates[..., :1]
    return _norms(gap)


def _general_rows(trajectory: Trajectory, looked: Integers) -> list[dict[str, float]]:
    quantity = conserved_by(trajectory.problem)
    rows = []
    for i, t in zip(looked.tolist(), trajectory.times[looked], strict=True):
        state = trajectory.state(i)
        weights, features = quantity.terms(state, float(t))
        rows.append(
            {
                "E_norm": quantity.norm(quantity.values(state, float(t))),
                "E_drift": quantity.drift(trajectory.state(0), state, float(t)),
                "E_alignment": cosine(weights, features),
                "E_weights": float(np.linalg.norm(weights)),
                "E_features": float(np.linalg.norm(features)),
            }
        )
    return rows

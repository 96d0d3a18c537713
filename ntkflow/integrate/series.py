"""Metrics along a trajectory: plain named series with a unit and a meaning each."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np

from ntkflow._types import Floats, Times
from ntkflow.dynamics.fields import ThinSystem
from ntkflow.dynamics.packed import Flow
from ntkflow.metrics import invariant, neural_collapse
from ntkflow.metrics.components import loss_components, moments, norms
from ntkflow.metrics.quantities import conserved_by
from ntkflow.problem.kernels.base import ThinCoefficients
from ntkflow.problem.problem import Problem
from ntkflow.problem.state import State, ThinState
from ntkflow.problem.thin import Frame
from ntkflow.scaling import cosine


@runtime_checkable
class Trajectory(Protocol):
    """What the metrics look at: saved times, and the states there in full and in thin form."""

    @property
    def problem(self) -> Problem:
        """What was integrated."""

    @property
    def times(self) -> Times:
        """Saved times, (T,)."""

    @property
    def packed(self) -> Floats:
        """Packed states there, (T, D)."""

    @property
    def flow(self) -> Flow:
        """What packed them."""

    def __len__(self) -> int: ...

    def state(self, i: int) -> State:
        """Full state at saved time i."""

    def thin(self, i: int) -> tuple[ThinState, Frame]:
        """Thin state at saved time i and its frame."""


Thin = tuple[ThinState, Frame]

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


def evaluate(trajectory: Trajectory) -> dict[str, Floats]:
    """All series of `DESCRIPTIONS` that exist for the problem: loss components need the squared error."""
    problem, sizes = trajectory.problem, trajectory.problem.sizes
    # Once for every saved time: the metrics and the terms of E look at the same.
    thins = [trajectory.thin(i) for i in range(len(trajectory))]
    rows = []
    for i, (thin, frame) in enumerate(thins):
        # The three components are orthogonal parts of R, which are parts of the loss for squares only.
        if problem.squared_error:
            losses = loss_components(thin, sizes.masses)
        else:
            losses = {"loss": float(trajectory.flow.loss(trajectory.packed[i]))}
        measured = neural_collapse.measure_thin(thin, frame)
        rows.append({**losses, **measured, **moments(thin, sizes), **norms(thin, sizes)})
    columns = _columns(rows)
    # Held biases follow no law that V would belong to (theory 11.8).
    if (kernel := problem.equal_blocks) is not None and problem.train_bias:
        share = sizes.N / kernel.eigenvalues(sizes).mu_global
        columns["V"] = columns["b_error"] ** 2 + share * columns["gg_norm"]
    # The terms of E where it is a matrix of blocks; what the rung conserves everywhere else. E_drift is that of an exact
    # trajectory's zero; with decay or a moving kernel it is a real motion.
    coefficients = problem.thin
    if coefficients is None:
        return {**columns, **_columns(_general_rows(trajectory))}
    return {**columns, **_columns(_block_rows(trajectory, thins, coefficients))}


def _columns(rows: Sequence[dict[str, float]]) -> dict[str, Floats]:
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


def _block_rows(
    trajectory: Trajectory, thins: Sequence[Thin], coefficients: ThinCoefficients
) -> list[dict[str, float]]:
    sizes = trajectory.problem.sizes
    rows = []
    first = built = columns = None
    for t, (thin, frame) in zip(trajectory.times, thins, strict=True):
        # Of a thin flow the frame is one for the whole run, of a raw one it is that of each state.
        if built is None or frame.column_class != columns:
            columns = frame.column_class
            built = ThinSystem.build(coefficients, sizes, columns, sizes.n)
        system = built.at(float(t))
        terms = invariant.thin_terms(thin, system)
        first = first or terms
        rows.append(
            {
                "E_norm": float(np.linalg.norm(terms.E)),
                "E_drift": invariant.drift(first, terms),
                "E_alignment": terms.alignment,
                "E_weights": float(np.linalg.norm(terms.weights)),
                "E_means": float(np.linalg.norm(terms.means)),
                "E_within": float(np.linalg.norm(terms.within)),
                "E_features": float(np.linalg.norm(terms.features)),
                "E_global_mean": float(np.linalg.norm(terms.global_mean)),
                "E_eot_norm": _end_of_training(thin, system),
            }
        )
    return rows


def _end_of_training(thin: ThinState, system: ThinSystem) -> float:
    """Norm of E_eot; NaN when the classes differ in mu_single, since eq. (27) has only one."""
    mu = system.rates
    if mu.size == 0 or np.ptp(mu) > 0:
        return float("nan")
    moments = (thin.H1 * system.masses) @ thin.H1.T + thin.L @ thin.L.T
    return float(np.linalg.norm(thin.W.T @ thin.W - moments / mu[0]))


def _general_rows(trajectory: Trajectory) -> list[dict[str, float]]:
    quantity = conserved_by(trajectory.problem)
    rows = []
    for i, t in enumerate(trajectory.times):
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

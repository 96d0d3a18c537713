"""Metrics along a trajectory: plain named series with a unit and a meaning each."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from ntkflow._types import Floats, Integers
from ntkflow.dynamics.fields import ThinSystem
from ntkflow.dynamics.packed import ThinFlow
from ntkflow.integrate.stack import Stack, Trajectory, crowded, stacks, system_of
from ntkflow.metrics import components, invariant, neural_collapse
from ntkflow.metrics.quantities import conserved_by
from ntkflow.problem.problem import Problem
from ntkflow.problem.sizes import Sizes
from ntkflow.problem.thin import Frame
from ntkflow.scaling import cosine, cosines, frobenii

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
    """What laws are checked by along a trajectory; all other series are evaluated together when one is asked for."""

    def __init__(self, trajectory: Trajectory, checked: dict[str, Floats] | None = None) -> None:
        super().__init__(_checked(trajectory) if checked is None else checked)
        self.trajectory = trajectory

    def __missing__(self, name: str) -> Floats:
        self.update(evaluate(self.trajectory))
        return dict(self)[name]


def evaluate(trajectory: Trajectory, only: Sequence[int] | None = None) -> dict[str, Floats]:
    """All series of `DESCRIPTIONS` that exist for the problem: loss components need the squared error.

    Args:
        trajectory: saved states.
        only: indices of the saved times to look at, increasing, the first among them; None: all.
    """
    looked = np.arange(len(trajectory)) if only is None else np.asarray(only)
    problem, sizes = trajectory.problem, trajectory.problem.sizes
    first: Floats | None = None
    parts = []
    for stack in stacks(trajectory, looked):
        values = _losses(trajectory, stack) | _measures(stack, sizes)
        # The terms of E where it is a matrix of blocks; what the rung conserves everywhere else. E_drift is that of an
        # exact trajectory's zero; with decay or a moving kernel it is a real motion.
        if problem.thin is not None:
            terms = _terms(trajectory, stack)
            # Of a thin flow the frame is one for the whole run, of a raw one all n coordinates are looked at.
            if first is None:
                first = _difference(terms)[0]
            values |= _of_terms(terms, first)
            values["E_eot_norm"] = _end_of_training(stack, terms["rates"], sizes)
        parts.append(values)
    columns = _joined(parts, problem)
    if problem.thin is None:
        rows = _general_rows(trajectory, looked)
        columns |= {name: np.array([row[name] for row in rows]) for name in rows[0]}
    return _in_order(columns)


def _in_order(columns: dict[str, Floats]) -> dict[str, Floats]:
    # What belongs to E comes last, in tables and files too.
    return dict(sorted(columns.items(), key=lambda column: column[0].startswith("E_")))


def _measures(stack: Stack, sizes: Sizes) -> dict[str, Floats]:
    """What the states alone tell."""
    H1, L, W, b = stack.H1, stack.L, stack.W, stack.b
    found = neural_collapse.measure_stack(H1, L, W, b, stack.frame, stack.V)
    found |= components.moments_of(np, H1, L, sizes.N / sizes.C)
    return found | components.norms_of(np, L, W, b, sizes.N / sizes.C)


def of_crowd(trajectories: Sequence[Trajectory]) -> list[dict[str, Floats]]:
    """`evaluate` at the first and the last saved time of many trajectories alike, see `stack.alike`, with the same digits."""
    stack, inverse, rates, sizes = _crowd(trajectories, [np.array([0, -1])] * len(trajectories), frames=True)
    values = components.loss_of(np, stack.H1, stack.L, stack.W, stack.b, sizes.masses)
    values |= _measures(stack, sizes)
    terms = invariant.terms_of(np, stack.H1, stack.L, stack.W, inverse, rates, sizes.masses.mean())
    values |= _of_terms(terms, np.repeat(_difference(terms)[::2], 2, axis=0))
    values["E_eot_norm"] = _end_of_training(stack, rates, sizes)
    columns = _shared_out(values, trajectories, [2] * len(trajectories))
    return [_in_order(found) for found in columns]


def checked_of_crowd(trajectories: Sequence[Trajectory]) -> list[Narrow]:
    """`Narrow` of many trajectories alike."""
    counts = [len(trajectory) for trajectory in trajectories]
    stack, inverse, rates, sizes = _crowd(trajectories, [slice(None)] * len(trajectories))
    values = {
        "loss": components.loss_of(np, stack.H1, stack.L, stack.W, stack.b, sizes.masses)["loss"],
        **_falling(stack, sizes),
    }
    terms = invariant.main_terms_of(np, stack.H1, stack.L, stack.W, inverse, rates, sizes.masses.mean())
    begins = np.repeat(np.cumsum([0, *counts[:-1]]), counts)
    values["E_drift"] = invariant.drifts(terms, _difference(terms)[begins])
    columns = _shared_out(values, trajectories, counts)
    return [Narrow(trajectory, found) for trajectory, found in zip(trajectories, columns, strict=True)]


def _crowd(
    trajectories: Sequence[Trajectory], looked: Sequence[Integers | slice], frames: bool = False
) -> tuple[Stack, Floats, Floats, Sizes]:
    """States of a crowd, for each the inverse class kernel and the rates within classes, or those of all, and the sizes."""
    stack, counts = crowded(trajectories, looked, frames)
    systems = [system_of(trajectory.flow) for trajectory in trajectories]
    inverse = np.stack([system.inverse for system in systems])
    rates = np.stack([system.rates for system in systems])[:, None]
    if len(trajectories) > 1:
        inverse, rates = np.repeat(inverse, counts, axis=0), np.repeat(rates, counts, axis=0)
    return stack, inverse, rates, trajectories[0].problem.sizes


def _difference(terms: dict[str, Floats]) -> Floats:
    """E of its terms."""
    E: Floats = terms["weights"] - (terms["means"] + terms["within"])
    return E


def _shared_out(
    values: dict[str, Floats], trajectories: Sequence[Trajectory], counts: Sequence[int]
) -> Iterator[dict[str, Floats]]:
    """To each of a crowd the values of its own states, with V."""
    ends = np.cumsum(counts).tolist()
    for trajectory, begin, end in zip(trajectories, [0, *ends], ends, strict=False):
        yield _joined([{name: column[begin:end] for name, column in values.items()}], trajectory.problem)


def _joined(parts: Sequence[dict[str, Floats]], problem: Problem) -> dict[str, Floats]:
    """The columns of stacks after each other, and V."""
    one = len(parts) == 1
    columns = dict(parts[0]) if one else {n: np.concatenate([part[n] for part in parts]) for n in parts[0]}
    # Held biases follow no law that V would belong to (theory 11.8).
    if (kernel := problem.equal_blocks) is not None and problem.train_bias:
        share = problem.sizes.N / kernel.eigenvalues(problem.sizes).mu_global
        columns["V"] = columns["b_error"] ** 2 + share * columns["gg_norm"]
    return columns


def _checked(trajectory: Trajectory) -> dict[str, Floats]:
    """Of the series of `evaluate` those that fall, or stay, by a law; with the same digits."""
    problem, sizes, every = trajectory.problem, trajectory.problem.sizes, np.arange(len(trajectory))
    first: Floats | None = None
    parts = []
    for stack in stacks(trajectory, every):
        values = {"loss": _losses(trajectory, stack)["loss"], **_falling(stack, sizes)}
        if problem.thin is not None:
            terms = _terms(trajectory, stack, invariant.main_terms_of)
            if first is None:
                first = _difference(terms)[0]
            values["E_drift"] = invariant.drifts(terms, first)
        parts.append(values)
    columns = _joined(parts, problem)
    if problem.thin is None:
        columns["E_drift"] = np.array([row["E_drift"] for row in _general_rows(trajectory, every)])
    return columns


def _falling(stack: Stack, sizes: Sizes) -> dict[str, Floats]:
    """What laws are checked by beside the loss and E."""
    return {
        "NC1_frobenius": neural_collapse.nc1_frobenius(stack.L, sizes.N),
        "gg_norm": components.mean_square(np, stack.H1),
        **components.norms_of(np, stack.L, stack.W, stack.b, sizes.N / sizes.C),
    }


def _losses(trajectory: Trajectory, stack: Stack) -> dict[str, Floats]:
    """The loss of the states of a stack; of the squared error its components too, the orthogonal parts of R."""
    if trajectory.problem.squared_error:
        masses = trajectory.problem.sizes.masses
        return components.loss_of(np, stack.H1, stack.L, stack.W, stack.b, masses)
    return {"loss": np.array([float(trajectory.flow.loss(trajectory.packed[i])) for i in stack.at])}


def _terms(
    trajectory: Trajectory, stack: Stack, of: Callable[..., dict[str, Floats]] = invariant.terms_of
) -> dict[str, Floats]:
    """The terms of E of the states of a stack, and the rates within classes that they hold, (T, 1, r) or (r,)."""
    if isinstance(trajectory.flow, ThinFlow):
        built = system_of(trajectory.flow)
    else:
        coefficients, frame = trajectory.problem.thin, stack.frame
        assert coefficients is not None
        assert isinstance(frame, Frame)
        built = ThinSystem.build(coefficients, frame.sizes, frame.column_class, stack.H1.shape[1])
    inverse, rates = built.inverse, built.rates
    if built.schedule:
        now = [built.at(float(t)) for t in trajectory.times[stack.at]]
        inverse = np.stack([system.inverse for system in now])
        rates = np.stack([system.rates for system in now])[:, None]
    found = of(np, stack.H1, stack.L, stack.W, inverse, rates, built.masses.mean())
    return {**found, "rates": rates}


def _of_terms(terms: dict[str, Floats], first: Floats) -> dict[str, Floats]:
    weights, features = terms["weights"], terms["means"] + terms["within"]
    return {
        "E_norm": frobenii(weights - features),
        "E_drift": invariant.drifts(terms, first),
        "E_alignment": cosines(weights, features),
        "E_weights": frobenii(weights),
        "E_means": frobenii(terms["means"]),
        "E_within": frobenii(terms["within"]),
        "E_features": frobenii(features),
        "E_global_mean": frobenii(terms["global_mean"]),
    }


def _end_of_training(stack: Stack, rates: Floats, sizes: Sizes) -> Floats:
    """Norm of E_eot; NaN when the classes differ in mu_single, since eq. (27) has only one."""
    if rates.size == 0 or np.any(np.ptp(rates, axis=-1) > 0):
        return np.full(len(stack.at), np.nan)
    H1, L, W = stack.H1, stack.L, stack.W
    moments = (H1 * sizes.masses) @ np.swapaxes(H1, 1, 2) + L @ np.swapaxes(L, 1, 2)
    gap = np.swapaxes(W, 1, 2) @ W - moments / rates[..., :1]
    return frobenii(gap)


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

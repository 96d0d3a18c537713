"""What the theory says of a finished cell, as numbers of the table under theory.*: lines for figures."""

from collections.abc import Mapping
from math import exp, sqrt

# Biases this close to each other, against 1/C, count as equal, and an E this small, against its terms, as zero.
EQUAL = 1e-6


def nc1_floor(floor_tr_S: float, C: int) -> float:
    """The least NC1_frobenius = sqrt(tr S / C) that the invariant allows for all time.

    tr S(t) >= mu_single sum_{j>C} max(lambda_j(-E), 0), because E + S/mu_single >= -H1 Mc H1^T / m has at most C
    negative directions. Not in the paper (theory 3.5).
    """
    return sqrt(floor_tr_S / C)


def nc3_equal_bias(beta: float, C: int, mu_class: float, mu_global: float) -> float:
    """NC3 at zero loss when E = 0 and b = beta 1: NC3^2 = 2 - 2 sqrt((C-1) / (C-1 + 1 - gamma C)).

    1 - gamma C = |1 - beta C| sqrt(mu_class / mu_global). Source: from W W^T of eqs. (62), (68), M^T M of eq. (67)
    and <M, W^T> = C - 1, which holds whenever the loss vanishes. At beta = 1/C it is 0: exact self-duality.
    """
    excess = abs(1 - beta * C) * sqrt(mu_class / mu_global)
    return sqrt(max(0.0, 2 - 2 * sqrt((C - 1) / (C - 1 + excess))))


def decayed_norm(norm: float, decay: float, t: float) -> float:
    """|E(t)| = exp(-2 decay t) |E(0)| for the same decay rate on W and H and a constant kernel.

    dE/dt = -2 decay_w E + (2/m)(decay_h - decay_w) H K^{-1} H^T. Not in the paper (theory 11.1).
    """
    return norm * exp(-2 * decay * t)


def of_layers(numbers: Mapping[str, float]) -> dict[str, float]:
    """Of linear layers: the share of a contrast that survives decay, and W W^T of it (theory 18.8)."""
    names = {"theory.p_high": "predicted.decay.p_high", "theory.X": "predicted.decay.X"}
    return {name: numbers[source] for name, source in names.items() if source in numbers}


def theory_values(numbers: Mapping[str, float]) -> dict[str, float]:
    """The values of theory.* that apply to a cell with these numbers."""
    values: dict[str, float] = {}
    # One search of all names instead of one of each.
    if ".step_size\n" in "\n".join((*numbers, "")):
        return values  # all of them are statements about the flow, and discrete steps move E
    if "invariant.norm_initial" not in numbers:
        return of_layers(numbers)
    C = int(numbers["sizes.C"])
    if "predicted.floor_tr_S" in numbers:
        values["theory.nc1_floor"] = nc1_floor(numbers["predicted.floor_tr_S"], C)
    zero = numbers["invariant.norm_initial"] <= EQUAL * numbers["series.E_weights.initial"]
    # A floor is predicted for the paper's flow alone: squared error, scalar blocks, no decay.
    if "predicted.floor_tr_S" in numbers and zero and numbers["final.bias_spread"] <= EQUAL / C:
        values["theory.nc3_equal_bias"] = nc3_equal_bias(
            numbers["final.bias_mean"], C, numbers["eigenvalues.mu_class"], numbers["eigenvalues.mu_global"]
        )
    # An optimiser's decay is not in the configuration's own rates.
    decay, of_features = (numbers.get(f"predicted.decay.rates.{name}", 0.0) for name in ("W", "H"))
    # Eigenvalues are there for constant scalar blocks only.
    if "eigenvalues.mu_single" in numbers and decay == of_features:
        values["theory.E_norm"] = decayed_norm(numbers["invariant.norm_initial"], decay, numbers["t_end"])
    return values

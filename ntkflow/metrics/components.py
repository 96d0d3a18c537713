"""The loss by component of the residual: global mean, class means, individual samples (section 4.1)."""

import numpy as np

from ntkflow._types import PerClass
from ntkflow.problem.state import ThinState


def loss_components(thin: ThinState, masses: PerClass) -> dict[str, float]:
    """Loss = loss_global + loss_class + loss_individual, each 1/2 of a squared norm summed over samples.

    The three parts of R are orthogonal: R_global, R_class - R_global and R - R_class (eqs. 16-18).

    Args:
        thin: thin state; W H1 is that of the MSE model.
        masses: samples per class, (C,).
    """
    R1 = thin.W @ thin.H1 + thin.b[:, None] - np.eye(len(masses))
    N = masses.sum()
    mean = R1 @ masses / N
    parts = {
        "loss_global": 0.5 * float(N * (mean @ mean)),
        "loss_class": 0.5 * float(np.sum(masses * (R1 - mean[:, None]) ** 2)),
        "loss_individual": 0.5 * float(np.sum((thin.W @ thin.L) ** 2)),
    }
    return {"loss": sum(parts.values()), **parts}

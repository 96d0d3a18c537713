"""What one step does to a history as a matrix, so that all slots are served by one stack of products.

Rows of a history: the backward differences D_0 .. D_7, the predicted value, the known part of the formula, and the
correction d found so far; see `structured.formulas`.
"""

import numpy as np

from ntkflow._types import Floats, Integers
from ntkflow.integrate.engines.structured.formulas import GAMMA, HIGHEST_ORDER

DIFFERENCES = HIGHEST_ORDER + 3
PREDICTED, KNOWN, CORRECTION = DIFFERENCES, DIFFERENCES + 1, DIFFERENCES + 2
ROWS = DIFFERENCES + 3
# Differences that formulas use; the last two are kept to judge the next higher order.
USED = HIGHEST_ORDER + 1
_INDEX = np.arange(USED)


def _accepting() -> Floats:
    """For every order the new differences from the old ones and d: those of order k + 1 become d, and so on down."""
    found = np.tile(np.eye(DIFFERENCES, ROWS), (USED, 1, 1))
    for k in range(1, USED):
        found[k, k + 2] = 0.0
        found[k, k + 2, [CORRECTION, k + 1]] = 1.0, -1.0
        found[k, k + 1] = 0.0
        found[k, k + 1, CORRECTION] = 1.0
        for j in range(k, -1, -1):
            found[k, j] += found[k, j + 1]
    return found


def _predicting() -> Floats:
    """For every order the predicted value, and h times the known part, from D_0 .. D_5."""
    found = np.zeros((USED, 2, USED))
    for k in range(1, USED):
        found[k, 0, : k + 1] = 1.0
        found[k, 1, : k + 1] = GAMMA[: k + 1]
    return found


def _newton_basis(ratio: Floats) -> Floats:
    """Entry (i, j): the coefficient of D_i in the interpolating polynomial at -j ratio h, for each ratio."""
    i, j = np.arange(1, USED)[:, None], np.arange(USED)
    table = np.ones((len(ratio), USED, USED))
    table[:, 1:] = (i - 1 - ratio[:, None, None] * j) / i
    return np.cumprod(table, axis=1)


ACCEPT, PREDICT = _accepting(), _predicting()
STAY = np.eye(DIFFERENCES, ROWS)
UNIT = _newton_basis(np.ones(1))[0]


def rescaling(order: Integers, ratio: Floats) -> Floats:
    """Matrices that take D_0 .. D_k, D_5 after them untouched, to the grid of step ratio h."""
    on = order[:, None] >= _INDEX
    inside = on[:, None, :] & on[:, :, None]
    return np.where(inside, (_newton_basis(ratio) @ UNIT).swapaxes(1, 2), np.eye(USED))


def interpolating(order: Integers, shift: Floats) -> Floats:
    """Shares of D_0 .. D_5 in the values of polynomials at t_last + shift h, one row each."""
    shares = np.ones((len(shift), USED))
    j = np.arange(USED - 1)
    shares[:, 1:] = np.cumprod((shift[:, None] + j) / (j + 1), axis=1)
    return shares * (order[:, None] >= _INDEX)

"""What one step does to a history as a matrix, so that all slots are served by one stack of products.

Rows of a history: the backward differences D_0 .. D_5 and the correction d found so far, of which all of it is made anew after
a step, then the predicted value and the known part of the formula; see `structured.formulas`.
"""

import numpy as np

from ntkflow._types import Floats, Integers
from ntkflow.integrate.engines.structured.formulas import GAMMA, HIGHEST_ORDER

# Order k is judged by D_{k+1}, but the highest one is never raised: what lies beyond D_5 is asked for by nobody.
DIFFERENCES = HIGHEST_ORDER + 1
CORRECTION, PREDICTED, KNOWN = DIFFERENCES, DIFFERENCES + 1, DIFFERENCES + 2
SOURCES, ROWS = DIFFERENCES + 1, DIFFERENCES + 3
_INDEX = np.arange(DIFFERENCES)


def _accepting() -> Floats:
    """For every order k the new differences from the old ones and d: those of order k + 1 become d, and so on down."""
    found = np.tile(np.eye(DIFFERENCES, SOURCES), (DIFFERENCES, 1, 1))
    for k in range(1, DIFFERENCES):
        above = np.zeros(SOURCES)
        above[CORRECTION] = 1.0
        if k < HIGHEST_ORDER:
            found[k, k + 1] = above
        for j in range(k, -1, -1):
            found[k, j] += above
            above = found[k, j]
    return found


def _predicting() -> Floats:
    """For every order the predicted value, and h times the known part, from D_0 .. D_5."""
    found = np.zeros((DIFFERENCES, 2, DIFFERENCES))
    for k in range(1, DIFFERENCES):
        found[k, 0, : k + 1] = 1.0
        found[k, 1, : k + 1] = GAMMA[: k + 1]
    return found


def _newton_basis(ratio: Floats) -> Floats:
    """Entry (i, j): the coefficient of D_i in the interpolating polynomial at -j ratio h, for each ratio."""
    i, j = np.arange(1, DIFFERENCES)[:, None], np.arange(DIFFERENCES)
    table = np.ones((len(ratio), DIFFERENCES, DIFFERENCES))
    table[:, 1:] = (i - 1 - ratio[:, None, None] * j) / i
    return np.cumprod(table, axis=1)


ACCEPT, PREDICT = _accepting(), _predicting()
STAY = np.eye(DIFFERENCES, SOURCES)
UNIT = _newton_basis(np.ones(1))[0]


def rescaling(order: Integers, ratio: Floats) -> Floats:
    """Matrices that take D_0 .. D_k, those after them untouched, to the grid of step ratio h."""
    on = order[:, None] >= _INDEX
    inside = on[:, None, :] & on[:, :, None]
    return np.where(inside, (_newton_basis(ratio) @ UNIT).swapaxes(1, 2), np.eye(DIFFERENCES))


def interpolating(order: Integers, shift: Floats) -> Floats:
    """Shares of D_0 .. D_5 in the values of polynomials at t_last + shift h, one row each."""
    shares = np.ones((len(shift), DIFFERENCES))
    j = np.arange(DIFFERENCES - 1)
    shares[:, 1:] = np.cumprod((shift[:, None] + j) / (j + 1), axis=1)
    return shares * (order[:, None] >= _INDEX)

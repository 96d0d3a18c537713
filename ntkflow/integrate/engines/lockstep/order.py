"""Order and step of the next step, from the errors that the neighbouring orders would have made."""

import numpy as np

from ntkflow._types import Floats, Integers
from ntkflow.integrate.engines.lockstep.history import CORRECTION
from ntkflow.integrate.engines.structured import bdf, formulas


def choose(
    i: Integers, k: Integers, error: Floats, equal: Integers, X: Floats, weights: Floats
) -> tuple[Integers, Floats]:
    """Orders, and factors by which steps grow, after steps of order k were accepted; as `StructuredBDF` chooses them.

    Args:
        i: the slots whose steps these are.
        k: orders of the steps.
        error: their errors, 1 being the tolerance.
        equal: equal steps in a row.
        X: histories of all slots from before the steps, with their corrections.
        weights: of the norms, of all slots.
    """
    order, ratio = k.copy(), np.ones(len(k))
    # Differences of order k + 1 are those of one grid after so many equal steps, and only then tell of other orders.
    told = np.flatnonzero(equal > k)
    if not len(told):
        return order, ratio
    slots, own = i[told], k[told]
    best, growth = own.copy(), _growth(error[told], own)
    # By the new differences of orders k and k + 2; most steps are of the highest order, above which there is none.
    for by, there in ((-1, own > 1), (1, own < formulas.HIGHEST_ORDER)):
        j = there.nonzero()[0]
        if not len(j):
            continue
        those, other = slots[j], own[j] + by
        scaled = X[those, np.maximum(other, own[j])]
        scaled += -by * X[those, CORRECTION]
        scaled *= weights[those]
        candidate = _growth(formulas.ERROR[other] * np.sqrt(np.einsum("bf,bf->b", scaled, scaled)), other)
        better = candidate > growth[j]
        best[j], growth[j] = np.where(better, other, best[j]), np.where(better, candidate, growth[j])
    # A change of step or order asks for new differences and a new matrix: not for a few per cent.
    growth = np.minimum(bdf.LARGEST_GROWTH, bdf.SAFETY * growth)
    stay = (growth >= bdf.SAFETY) & (growth < bdf.WORTHWHILE_GROWTH)
    order[told] = np.where(stay, own, best)
    ratio[told] = np.where(stay, 1.0, growth)
    return order, ratio


def _growth(error: Floats, order: Integers) -> Floats:
    result: Floats = np.maximum(error, 1e-10) ** (-1 / (order + 1))
    return result

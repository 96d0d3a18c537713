"""The one ratio behind every skill."""

from typing import Any

import numpy as np


def ratio(error: Any, change: Any) -> np.ndarray:
    """1 - error/change of sums of squares: 1 is perfect, 0 no better than no change; NaN where nothing changed."""
    error, change = np.asarray(error, dtype=np.float64), np.asarray(change, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(change > 0, 1 - error / change, np.nan)

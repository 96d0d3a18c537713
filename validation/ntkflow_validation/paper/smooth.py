"""Smoothing of curves over epochs, as in the paper's figures."""

import numpy as np

# Savitzky-Golay filter of polynomial degree 1 over a window of size 10. Source: caption of Figure 2.
WINDOW, DEGREE = 10, 1


def smoothed(values: np.ndarray, window: int = WINDOW) -> np.ndarray:
    """A Savitzky-Golay filter of degree 1 over `window` points, fewer when there are fewer.

    In the middle that is the mean over the window, at the ends a fitted line. A window of even size has no
    middle point, so that its mean stands half a point off.

    Args:
        values: finite values at equally spaced epochs, (T,).
        window: points.

    Returns:
        As many values. Source: caption of Figure 2.
    """
    from scipy.signal import savgol_filter

    size = min(window, len(values))
    if size <= DEGREE + 1:
        return values.copy()
    return np.asarray(savgol_filter(values, size, DEGREE), dtype=float)


def equally_spaced(epochs: np.ndarray) -> bool:
    """Whether points are equally far apart, but for rounding to whole steps: others must not be smoothed."""
    gaps = np.diff(epochs)
    return bool(gaps.size) and bool(gaps.max() <= 1.5 * gaps.min())

"""Axes of pictures: values to pixels, round ticks, short labels."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

# Decades on a logarithmic axis at most; below, values are off the picture.
DECADES = 7
# How far predictions may widen the range of the observed values, in parts of it (logarithmic: in decades).
LEEWAY = 0.5
SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True)
class Axis:
    """One axis of a picture.

    Attributes:
        low, high: range of values.
        start, end: where they lie, in pixels.
        log: logarithmic.
    """

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """Pixel of a value; values far off the range stay near it, so that paths keep short numbers."""
        if self.log:
            span = math.log(self.high / self.low)
            share = math.log(max(value, 1e-300) / self.low) / span
        else:
            share = (value - self.low) / (self.high - self.low)
        return self.start + min(max(share, -2.0), 3.0) * (self.end - self.start)

    def ticks(self, count: int = 5) -> list[tuple[float, str]]:
        """Round values within the range with their labels."""
        values = (
            log_ticks(self.low, self.high, count) if self.log else linear_ticks(self.low, self.high, count)
        )
        return [(value, label(value)) for value in values]


def linear_ticks(low: float, high: float, count: int) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten within [low, high], about `count` of them."""
    raw = (high - low) / max(count, 1)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(s * power for s in (1, 2, 5, 10) if s * power >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [float(f"{k * step:.12g}") for k in range(first, last + 1)]


def log_ticks(low: float, high: float, count: int) -> list[float]:
    """Powers of ten within [low, high], every so many; with values between them on a short axis."""
    first, last = math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9)
    decades = [10.0**k for k in range(first, last + 1)]
    if len(decades) >= 3:
        return decades[:: -(-len(decades) // count)]
    for digits in ((1, 2, 5), (1, 3), (1,)):
        fine = [s * 10.0**k for k in range(first - 1, last + 1) for s in digits]
        inside = [value for value in fine if low <= value * (1 + 1e-9) and value <= high * (1 + 1e-9)]
        if 2 <= len(inside) <= count:
            return inside
    return decades if len(decades) >= 2 else linear_ticks(low, high, count)


def label(value: float) -> str:
    """A short number: plain between 0.001 and 99999, otherwise a power of ten."""
    if value == 0 or 1e-3 <= abs(value) < 1e5:
        return f"{value:.6g}".replace("-", "−")
    mantissa, exponent = f"{value:.2e}".split("e")
    power = f"10{str(int(exponent)).translate(SUPERSCRIPTS)}"
    digits = f"{float(mantissa):g}"
    return power if digits == "1" else f"{digits}·{power}".replace("-", "−")


def value_range(
    seen: Sequence[float | None], foretold: Sequence[float | None] = (), log: bool = False
) -> tuple[float, float]:
    """A range that shows all of `seen`, and of `foretold` what is not far from it.

    Args:
        seen: values that decide; without any, all of `foretold` do.
        foretold: values that widen the range by `LEEWAY` at most.
        log: for a logarithmic axis: positive values only, `DECADES` at most.
    """
    first, second = (_usable(values, log) for values in (seen, foretold))
    if first.size == 0:
        first, second = second, first
    if first.size == 0:
        return (0.1, 1.0) if log else (0.0, 1.0)
    low, high = float(first.min()), float(first.max())
    leeway = 2 * LEEWAY if log else LEEWAY * max(high - low, 0.05 * abs(high), 1e-300)
    if second.size:
        low = max(min(low, float(second.min())), low - leeway)
        high = min(max(high, float(second.max())), high + leeway)
    margin = 0.04 * (high - low) or 0.04 * (1.0 if log else abs(high) or 1.0)
    low, high = low - margin, high + margin
    if not log:
        return low, high
    return 10.0 ** max(low, high - DECADES), 10.0**high


def _usable(values: Sequence[float | None], log: bool) -> np.ndarray:
    array = np.asarray([np.nan if v is None else v for v in values], dtype=np.float64)
    array = array[np.isfinite(array)]
    return np.log10(array[array > 0]) if log else array

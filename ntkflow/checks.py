"""What counts as a number: the one check of arguments, of arrays in files and of options' values.

numpy takes a truth value for 1, drops the imaginary part of a complex number with a warning at most, reads text as a
number and forgets the mask of a masked array. None of these is what was meant, so all are refused by name.
"""

import warnings
from collections.abc import Iterable, Sequence
from numbers import Complex, Real
from operator import index

import numpy as np

from ntkflow._types import Floats, Labels, Times
from ntkflow.errors import LARGEST, MOST, InputError, PrecisionWarning, shown

# numpy's kinds of dtype that are no real numbers, in words.
_KINDS = {
    "b": "truth values",
    "c": "complex numbers, whose imaginary part would be lost",
    "U": "text",
    "S": "text",
    "O": "Python objects",
    "M": "dates",
    "m": "time spans",
    "V": "records",
}


_FLOATS = frozenset({float, np.float64})


def real(argument: str, value: object, remedy: str = "give a number") -> float:
    """A finite float of reasonable size.

    Args:
        argument: its name.
        value: a Python or numpy number, or an array without axes that holds one.
        remedy: what to do otherwise.

    Raises:
        InputError: it is no real number (complex, a truth value, text, a list), not finite, or too large for the dynamics.
    """
    # The usual case first: the other questions cost ten times as much.
    if type(value) in _FLOATS and abs(value) <= LARGEST:  # type: ignore[arg-type]
        return float(value)  # type: ignore[arg-type]
    if isinstance(value, str | bytes | np.str_ | np.bytes_):
        raise InputError(argument, repr(value), "must be a number, not text", remedy)
    if np.ndim(value) != 0:  # type: ignore[arg-type]
        raise InputError(argument, value, "must be one number", remedy)
    if not isinstance(value, Real) or isinstance(value, bool | np.bool_):
        value = _plain(argument, value, remedy)[()]
    try:
        number = float(value)
    except OverflowError:
        number = np.inf
    if not abs(number) <= LARGEST:
        raise InputError(argument, number, f"must be finite and at most {LARGEST:g}", remedy)
    return number


def whole(argument: str, value: object, least: int, why: str = "") -> int:
    """A whole number of at least `least`; `why` says what that is good for.

    Raises:
        InputError: it is no integer (a truth value is none), or smaller.
    """
    try:
        number = index(value)  # type: ignore[arg-type]
    except TypeError:
        number = None
    if number is None or isinstance(value, bool | np.bool_ | np.ma.MaskedArray):
        raise InputError(argument, value, "must be a whole number", f"give an integer >= {least}")
    if number < least:
        rule = f"must be at least {least}" + (f", {why}" if why else "")
        raise InputError(argument, shown(number), rule, f"give an integer >= {least}")
    if number > MOST:
        raise InputError(argument, shown(number), "must be below 2^63", "give a smaller number")
    return number


def positive(argument: str, value: object, remedy: str = "give a number > 0") -> float:
    """As `real`, and above zero.

    Raises:
        InputError: it is no real number, not finite, zero or negative.
    """
    number = real(argument, value, remedy)
    if not number > 0:
        raise InputError(argument, value, "must be positive and finite", remedy)
    return number


def not_negative(argument: str, value: object, remedy: str = "give a number >= 0") -> float:
    """As `real`, and zero at least.

    Raises:
        InputError: it is no real number, not finite, or negative.
    """
    number = real(argument, value, remedy)
    if number < 0:
        raise InputError(argument, value, "must be finite and at least 0", remedy)
    return number


def momentum(value: object) -> float:
    """A momentum: a real number from 0 to 1, 1 excluded.

    Raises:
        InputError: it is another one, or none.
    """
    number = real("momentum", value)
    if not 0 <= number < 1:
        raise InputError("momentum", value, "must lie in 0 <= momentum < 1", "0.9 is usual")
    return number


def smoothing(argument: str, value: object) -> float:
    """A share of label smoothing: a real number from 0 to 1, 1 excluded, where nothing would be left of the labels.

    Raises:
        InputError: it is another one, or none.
    """
    number = real(argument, value)
    if not 0 <= number < 1:
        raise InputError(argument, value, "must lie in 0 <= epsilon < 1", "0.1 is usual, 0 is none")
    return number


def choice(argument: str, value: object, allowed: Iterable[str], remedy: str = "choose one of these") -> str:
    """One of some words.

    Raises:
        InputError: another one.
    """
    words = tuple(allowed)
    # An array beside words is no answer but many.
    if not isinstance(value, str) or value not in words:
        raise InputError(argument, repr(value), f"must be one of {', '.join(words)}", remedy)
    return value


def shape(argument: str, got: tuple[int, ...], want: tuple[int, ...], meaning: str, remedy: str) -> None:
    """Refuse a shape that does not fit; `meaning` says where the one that is wanted comes from."""
    if got != want:
        raise InputError(argument, f"array of shape {got}", f"must have shape {want}{meaning}", remedy)


def beside(argument: str, value: object, other: str) -> InputError:
    """What to raise where two options exclude each other."""
    return InputError(argument, value, f"has no meaning beside {other}", "drop one of the two")


def numbers(argument: str, value: object, ndim: int | None = None, remedy: str = "clean it") -> Floats:
    """A finite, contiguous float64 array.

    Args:
        argument: its name.
        value: anything that numpy takes for an array of real numbers.
        ndim: axes that it must have; None for any.
        remedy: what to do about entries that are not finite.

    Raises:
        InputError: its entries are no real numbers, some are masked or not finite, or it has other axes.
    """
    array = _plain(argument, value, "pass an array of numbers")
    result = np.ascontiguousarray(array, dtype=np.float64).reshape(array.shape)
    if ndim is not None and result.ndim != ndim:
        raise InputError(argument, f"array of shape {result.shape}", f"must have {ndim} axes", "reshape it")
    bad = result.size - int(np.isfinite(result).sum())
    if bad:
        raise InputError(argument, f"array with {bad} NaN or infinite entries", "must be finite", remedy)
    return result


def double(argument: str, value: object, ndim: int) -> Floats:
    """As `numbers`, of floats: shorter ones are widened, with a word about it; not too large for the dynamics.

    Raises:
        InputError: as `numbers`, or integers, or floats longer than float64, or entries that are too large.

    Warns:
        PrecisionWarning: the floats are shorter than float64.
    """
    # The usual case first; what is not finite is not at most the largest either.
    if type(value) is np.ndarray and value.ndim == ndim and _usual(value):
        return value
    array = _plain(argument, value, f"pass {argument}.astype('float64')")
    if array.dtype in (np.float16, np.float32):
        # Widening changes no number; but what was computed in short floats has only their digits.
        warnings.warn(
            f"{argument} is a {array.dtype} array, widened to float64: its numbers have {np.finfo(array.dtype).precision} "
            f"digits; pass {argument}.astype('float64') to say that this is meant",
            PrecisionWarning,
            stacklevel=4,
        )
        array = array.astype(np.float64)
    if array.dtype != np.float64:
        raise InputError(
            argument,
            f"{array.dtype} array",
            "the dynamics are float64",
            f"pass {argument}.astype('float64')",
        )
    numbers(argument, array, ndim, "clean the state")
    largest = float(np.abs(array).max(initial=0.0))
    if largest > LARGEST:
        raise InputError(
            argument, f"array with entries up to {largest:.3g}", f"must be at most {LARGEST:g}", "scale it"
        )
    return array


def _usual(array: np.ndarray) -> bool:
    """Whether the entries are float64, finite, and not too large."""
    return array.dtype == np.float64 and bool(np.abs(array).max(initial=0.0) <= LARGEST)


def times(argument: str, value: object, least: int = 1, start: float = 0.0) -> Times:
    """Finite times that increase, float64.

    Args:
        argument: its name.
        value: the times.
        least: how many there must be.
        start: none may be earlier.

    Raises:
        InputError: they are no numbers, too few, do not increase, or begin too early.
    """
    grid = numbers(argument, value, remedy="give finite times")
    if grid.ndim != 1 or grid.size < least:
        rule = "must be a list of finite times" + (f", at least {least}" if least > 1 else "")
        raise InputError(argument, f"array of shape {grid.shape}", rule, f"give at least {least}")
    if np.any(np.diff(grid) <= 0):
        raise InputError(argument, grid[:4], "must increase", "sort the times and drop repeats")
    if grid.size and grid[0] < start:
        raise InputError(argument, grid[:4], f"must increase from a time >= {start:g}", "drop earlier ones")
    return grid


def class_indices(argument: str, value: object, N: int, why: str = "one per column of H") -> Labels:
    """N integers as int64; `why` says why so many.

    Raises:
        InputError: another number of them, or they are no integers.
    """
    array = _plain(argument, value, "pass class indices 0 .. C-1")
    if array.shape != (N,):
        rule = f"must have shape ({N},), {why}"
        raise InputError(argument, f"array of shape {array.shape}", rule, "check both")
    if array.dtype.kind not in "iu":
        raise InputError(
            argument, f"{array.dtype} array", "must hold integers", "pass class indices 0 .. C-1"
        )
    return array.astype(np.int64)


def as_given(argument: str, value: object, remedy: str = "pass an array of numbers") -> np.ndarray:
    """An array of real numbers as it is: of its own type and shape, not copied, its entries not looked at.

    Raises:
        InputError: its entries are no real numbers, or some are masked.
    """
    return _plain(argument, value, remedy)


def _plain(argument: str, value: object, remedy: str) -> np.ndarray:
    """The value as an array of real numbers of whatever type, nothing dropped and nothing converted."""
    if isinstance(value, np.ma.MaskedArray) or value is np.ma.masked:
        raise InputError(
            argument, "masked array", "hides entries that would be used as they are", "fill or drop these"
        )
    try:
        array = np.asarray(value)
    except (TypeError, ValueError):
        raise InputError(argument, type(value).__name__, "must be an array of numbers", remedy) from None
    word = _KINDS.get(array.dtype.kind) or _hidden(value)
    if word is not None:
        what = f"{array.dtype} array" if array.ndim else repr(value)
        raise InputError(argument, what, f"must hold real numbers, not {word}", remedy)
    return array


def _hidden(value: object) -> str | None:
    """Truth values among the numbers of a list, which numpy would make numbers of; None when there are none."""
    if not isinstance(value, Sequence):
        return None
    if any(isinstance(entry, bool | np.bool_) for entry in value):
        return _KINDS["b"]
    if any(isinstance(entry, Complex) and not isinstance(entry, Real) for entry in value):
        return _KINDS["c"]
    return None

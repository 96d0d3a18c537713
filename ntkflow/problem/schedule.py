"""Learning rates step by step: a function of the step, as optax has it, or the list that a scheduler left behind."""

from collections.abc import Callable

import numpy as np

from ntkflow._types import Vector
from ntkflow.checks import numbers
from ntkflow.errors import InputError

# More steps than anyone takes; a schedule that ends at 0 reaches some times never.
MOST_STEPS = 10_000_000
# A function is asked for many steps at once where it says the same for so many of them one by one.
COMPARED = 5


class Schedule:
    """The rates of all steps, kept once they are known.

    Args:
        rates: function from steps (from 0) to rates, such as an optax schedule; or the rates of all steps, (steps,) or
            (steps, groups) with equal groups, as torch's `get_last_lr()` of every step.

    Raises:
        InputError: neither of these, or a rate is negative or not finite, or groups have different rates.
    """

    def __init__(self, rates: object) -> None:
        self.function: Callable[..., object] | None = rates if callable(rates) else None
        self.known = np.zeros(0) if callable(rates) else _checked(_one_group(rates), 0)
        # Checks the first rate now, not at the first question.
        self.first(1)

    @property
    def steps(self) -> int | None:
        """How many steps have rates; None for a function."""
        return None if self.function else len(self.known)

    def first(self, steps: int) -> Vector:
        """The rates of the first steps, (steps,).

        Raises:
            InputError: there are not so many.
        """
        if self.function is None and steps > len(self.known):
            raise InputError(
                "schedule",
                f"{len(self.known)} rates",
                f"says nothing of step {steps}",
                "give the rate of every step, or ask for earlier ones",
            )
        if steps > MOST_STEPS:
            raise InputError("step", steps, f"are more than {MOST_STEPS} steps", "ask for earlier ones")
        if self.function is not None and steps > len(self.known):
            # Twice as many as before: whoever asks for one step more each time does not pay for all of them each time.
            ahead = max(steps, min(2 * len(self.known), MOST_STEPS))
            asked = np.arange(len(self.known), ahead, dtype=np.int32)
            self.known = np.concatenate([self.known, _checked(_asked(self.function, asked), len(self.known))])
        return self.known[:steps]

    def __repr__(self) -> str:
        if self.function is None:
            return f"a list of {len(self.known)} rates"
        return getattr(self.function, "__qualname__", type(self.function).__name__).split(".")[0]


def _asked(function: Callable[..., object], steps: np.ndarray) -> np.ndarray:
    """The function's rates, at once where it can take many steps, else one by one."""
    # A function that does something else with an array than with a number gives itself away at a few steps across the range.
    looked = np.unique(np.linspace(0, len(steps) - 1, COMPARED).astype(int))
    single = np.array([_rate(function, steps[i]) for i in looked])
    if len(looked) == len(steps):
        return single
    try:
        rates = np.asarray(function(steps), dtype=np.float64)
    except Exception:  # of any kind: functions of one step need not know arrays
        rates = np.zeros(0)
    if rates.shape == steps.shape and np.allclose(rates[looked], single, rtol=1e-5, atol=0):
        return rates
    return np.array([_rate(function, step) for step in steps])


def _rate(function: Callable[..., object], step: np.integer) -> float:
    value = np.asarray(function(int(step)))
    if value.size != 1 or value.dtype.kind not in "fiu":
        raise InputError(
            "schedule", f"{value!r:.80} at step {step}", "must give one rate for a step", "give step -> rate"
        )
    return float(value.reshape(()))


def _one_group(rates: object) -> np.ndarray:
    if hasattr(rates, "get_last_lr"):
        raise InputError(
            "schedule",
            type(rates).__name__,
            "is a scheduler, which knows its present rate only",
            "append scheduler.get_last_lr() to a list at every step of the optimiser, and give that",
        )
    array = numbers("schedule", rates, remedy="give a function step -> rate, or the rate of every step")
    if array.ndim == 2 and array.shape[1]:
        if np.any(array != array[:, :1]):
            raise InputError(
                "schedule",
                f"{array.shape[1]} groups of parameters with different rates",
                "has no one clock",
                "give the head's rates, and the measured kernel times (rate of the body / rate of the head)",
            )
        array = array[:, 0]
    if not array.size:
        raise InputError(
            "schedule",
            "an empty list",
            "has no rate",
            "give a function step -> rate, or the rate of every step: a scheduler tells them beforehand, on an optimiser of "
            "its own",
        )
    if array.ndim != 1:
        raise InputError(
            "schedule", f"array of shape {array.shape}", "must be one rate per step", "give (steps,)"
        )
    return array


def _checked(rates: np.ndarray, first: int) -> Vector:
    bad = np.flatnonzero(~(np.isfinite(rates) & (rates >= 0)))
    if bad.size:
        raise InputError(
            "schedule",
            f"{rates[bad[0]]} at step {first + bad[0]}",
            "must be finite and at least 0",
            "give rates >= 0",
        )
    return rates

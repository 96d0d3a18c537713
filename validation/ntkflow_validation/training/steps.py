"""The steps of a training run as flow time, the time of the theory's sum loss (eq. 4), by `ntkflow.Clock`."""

from functools import partial

import jax.numpy as jnp
import numpy as np

from ntkflow._types import Array, Times
from ntkflow.problem.flow_units import drift_step
from ntkflow.problem.training_clock import Clock
from ntkflow_validation.config.config import TrainConfig


def total_steps(config: TrainConfig, per_class: int) -> int:
    """Optimiser steps of a run; epochs are rounded up to whole steps.

    Args:
        config: `steps`, or `epochs` and `batch_per_class`.
        per_class: m, training samples of each class.
    """
    if config.epochs == 0:
        return config.steps
    return -(-config.epochs * per_class // (config.batch_per_class or per_class))


def epochs_of(config: TrainConfig, steps: Array, per_class: int) -> Array:
    """Passes through the data after so many optimiser steps.

    Args:
        config: its batch size.
        steps: numbers of steps.
        per_class: m.
    """
    return steps * (config.batch_per_class or per_class) / per_class


def learning_rate(config: TrainConfig, step: Array, per_class: int, peak: Array | None = None) -> Array:
    """Rate of optimiser step `step` (from 0): linear warm-up, then constant, divided by 10 every so many epochs.

    Args:
        config: rate and schedule.
        step: numpy or traced whole numbers.
        per_class: m, which with the batch size says when an epoch ends.
        peak: in the place of the configured rate, as where networks of several rates are one program.
    """
    peak = config.learning_rate if peak is None else peak
    xp = np if isinstance(step, np.ndarray | int | float) else jnp
    rate = peak + 0.0 * step
    if config.warmup:
        rate = peak * xp.minimum(1.0, (step + 1) / config.warmup)
    if config.drop_every:
        # Whole numbers: the epoch of a step must not depend on rounding.
        drops = step * (config.batch_per_class or per_class) // (config.drop_every * per_class)
        rate = rate * 0.1**drops
    return rate


def recipe_clock(config: TrainConfig, N: int, C: int) -> Clock:
    """The clock of a recipe on N samples of C classes.

    Raises:
        InputError: the optimiser has none.
    """
    return Clock(
        loss="half-squared" if config.loss == "mse" else config.loss,
        reduction=config.reduction,
        batch=config.batch_per_class * C if config.batch_per_class else None,
        momentum=config.momentum,
        nesterov=config.nesterov,
        optimiser=config.optimiser,
        weight_decay=config.weight_decay,
        decay_on=config.decay_on,
        samples=N,
        classes=C,
        schedule=partial(learning_rate, config, per_class=N // C),
    )


def loss_scale(config: TrainConfig, N: int, C: int) -> float:
    """Sum loss over all N samples divided by the loss that is differentiated, see `ntkflow.problem.flow_units.loss_scale`."""
    return recipe_clock(config, N, C).scale


def flow_times(config: TrainConfig, N: int, C: int) -> Times:
    """Flow time before each step and after the last, (steps + 1,), see `ntkflow.Clock.time`."""
    found: np.ndarray = recipe_clock(config, N, C).time(np.arange(total_steps(config, N // C) + 1))
    return found


def recorded_times(config: TrainConfig, N: int, C: int) -> Times:
    """`flow_times`; NaN for an optimiser whose steps are in no time those of the flow."""
    if config.adaptive:
        return np.full(total_steps(config, N // C) + 1, np.nan)
    return flow_times(config, N, C)


def theory_decay(config: TrainConfig, N: int, C: int) -> float:
    """The decay rate lambda of the theory, per unit of flow time: N C lambda for the mean loss (theory 11.6).

    Equal decay of weights and features shrinks E by exp(-2 lambda t).
    """
    return recipe_clock(config, N, C).rate


def inertia_step(config: TrainConfig, N: int, C: int) -> float:
    """The step eta_eff at the peak rate, in flow time, see `ntkflow.problem.flow_units.drift_step`."""
    return drift_step(config.learning_rate / loss_scale(config, N, C), config.momentum, config.nesterov)


def snapshot_steps(steps: int, count: int, spacing: str = "log") -> list[int]:
    """About `count` steps from 0 to `steps`, both included.

    Args:
        steps: optimiser steps of the run.
        count: how many.
        spacing: "log", since the flow is fast at first, or "even". Rounding early log-spaced steps to distinct
            whole ones leaves fewer, so the ratio is refined until `count` remain.
    """
    count = min(count, steps + 1)
    if spacing == "even":
        return [int(s) for s in np.unique(np.round(np.linspace(0, steps, max(count, 2))))]
    points = count
    while True:
        grid = np.unique(np.round(np.geomspace(1, steps, points)).astype(int)) if steps > 1 else np.array([1])
        if len(grid) + 1 >= count:
            return [0, *(int(s) for s in grid)]
        points += 1 + points // 20

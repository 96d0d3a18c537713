"""The only place that turns optimiser steps into flow time, the time of the theory's sum loss (eq. 4)."""

from typing import Any

import jax.numpy as jnp
import numpy as np

from ntkflow._types import Times
from validation.config import TrainConfig


def learning_rate(config: TrainConfig, step: Any) -> Any:
    """Rate of optimiser step `step` (from 0): linear warm-up, then constant. Takes numpy or traced steps."""
    if config.warmup == 0:
        return config.learning_rate + 0.0 * step
    xp = np if isinstance(step, np.ndarray | int | float) else jnp
    return config.learning_rate * xp.minimum(1.0, (step + 1) / config.warmup)


def loss_scale(config: TrainConfig, N: int, C: int) -> float:
    """Sum loss over all N samples divided by the loss that is differentiated, in expectation over batches.

    The mean over samples and outputs gives N C. The sum over a batch of B samples gives N / B, since a
    class-balanced batch has in expectation B / N of the full gradient.
    """
    if config.reduction == "mean":
        return float(N * C)
    return N / (config.batch_per_class * C) if config.batch_per_class else 1.0


def flow_times(config: TrainConfig, N: int, C: int) -> Times:
    """Flow time before each step and after the last, (steps + 1,).

    Without momentum t_k = sum_{j<k} eta_j / s with s = `loss_scale`. Heavy-ball momentum adds up gradients,
    v_j = sum_{i<=j} beta^(j-i) g_i, so under a slowly varying gradient step j takes the time
    eta_j (1 - beta^(j+1))/(1 - beta) / s: the factor 1/(1 - beta) of theory 11.6 once j >> 1/(1 - beta),
    and exact for a constant gradient before.
    """
    steps = np.arange(config.steps)
    rates = learning_rate(config, steps)
    build_up = (1 - config.momentum ** (steps + 1)) / (1 - config.momentum)
    increments = rates * build_up / loss_scale(config, N, C)
    return np.concatenate([[0.0], np.cumsum(increments)])


def snapshot_steps(steps: int, count: int) -> list[int]:
    """About `count` steps from 0 to `steps`: log-spaced, since the flow is fast at first.

    Rounding early ones to distinct whole steps leaves fewer, so the ratio is refined until `count` remain.
    """
    count = min(count, steps + 1)
    points = count
    while True:
        grid = np.unique(np.round(np.geomspace(1, steps, points)).astype(int)) if steps > 1 else np.array([1])
        if len(grid) + 1 >= count:
            return [0, *(int(s) for s in grid)]
        points += 1 + points // 20

"""Whether the running statistics of a network are those of the data, up to what chance does."""

import warnings
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import PyTree
from numpy.typing import ArrayLike

from ntkflow.foreign.arrays import Rows, rows_of
from ntkflow.foreign.modules import ForeignNetwork
from ntkflow_validation.normalisation.frameworks import holder, known, linen, watched, watched_in
from ntkflow_validation.normalisation.watched import Forward, Seen, Stored, Watched, name_of

# A check need not be as exact as a measurement.
LOOKED, FEWEST, BATCH = 512, 8, 128
# Differences in standard errors beyond which chance is no explanation, for a whole layer.
SIGMAS = 4.0
# Fresh running averages scatter too: with momentum 0.9 and batches of 32 by 0.04 standard deviations, and variances by 6 %.
# Below twice that nothing is said.
MEAN, VARIANCE = 0.1, 0.15


class StatisticsWarning(UserWarning):
    """Running statistics of batch normalisation that are not those of the data: inference is not what training sees."""


class Lag(NamedTuple):
    """How far a layer's stored statistics are from those of its inputs, root mean squares over its channels.

    Attributes:
        layer: its path.
        mean: difference of the means, in the standard deviations that the layer divides by.
        mean_error: standard error of that, from the scatter between samples.
        variance: relative difference of the variances, about the stored means.
        variance_error: standard error of that, of data that had the stored variances.
        stale: whether either is beyond chance and beyond what fresh running averages have.
    """

    layer: str
    mean: float
    mean_error: float
    variance: float
    variance_error: float
    stale: bool


def lags(
    network: ForeignNetwork, X: ArrayLike, variables: PyTree = None, *, forward: Forward | None = None
) -> tuple[Lag, ...]:
    """Every layer of batch normalisation, in the order of the pass, on what it is given in inference mode.

    At most `LOOKED` samples are looked at, evenly spread over X. Samples are the units of chance, not their pixels.

    Args:
        network: as for `recalibrate`.
        X: inputs, (N, ...).
        variables: of a Linen module.
        forward: as for `recalibrate`.

    Raises:
        InputError: as `recalibrate`.
    """
    return lags_of(watched(network, variables, forward, copy=linen(network)), rows_of(X))


def lags_of(layers: Watched, X: Rows) -> tuple[Lag, ...]:
    """`lags` of a network whose layers are watched."""
    rows = np.unique(np.linspace(0, len(X) - 1, min(len(X), LOOKED)).astype(int))
    x = X[rows]
    parts = [layers.look(x[start : start + BATCH]) for start in range(0, len(x), BATCH)]
    stored = layers.stored()
    return tuple(_lag(stored[seen[0].path], seen) for seen in zip(*parts, strict=True))


def _lag(stored: Stored, seen: tuple[Seen, ...]) -> Lag:
    first, within = (np.concatenate([getattr(s, name) for s in seen]) for name in ("first", "within"))
    scale = stored.var + stored.epsilon
    shift = (first - stored.mean) / np.sqrt(scale)
    spread = (within + (first - stored.mean) ** 2 - stored.var) / scale
    mean, mean_error = _rms(shift.mean(axis=0)), _rms(_errors(shift))
    grown = spread.mean(axis=0)
    # Data that vary more scatter more, and would hide behind their own scatter: above the stored variance, what counts is
    # the logarithm of the ratio, whose error is relative to what is there.
    ratio = 1 + np.maximum(grown, 0.0)
    variance, variance_error = _rms(grown), _rms(_errors(spread) / ratio)
    by_chance = _rms(np.where(grown > 0, np.log(ratio), grown)) <= SIGMAS * variance_error
    stale = mean > max(SIGMAS * mean_error, MEAN) or (variance > VARIANCE and not by_chance)
    return Lag(name_of(seen[0].path), mean, mean_error, variance, variance_error, bool(stale))


def _errors(differences: np.ndarray) -> np.ndarray:
    """Standard errors of the means over samples, (channels,)."""
    found: np.ndarray = differences.std(axis=0, ddof=1) / np.sqrt(len(differences))
    return found


def _rms(channels: np.ndarray) -> float:
    return float(np.sqrt(np.mean(channels**2)))


def warn_if_stale(
    network: ForeignNetwork, params: PyTree, X: ArrayLike, stacklevel: int = 4, forward: Forward | None = None
) -> None:
    """Warn when a network that can be seen has other statistics than the data; others are passed over in silence.

    Args:
        network: a module; a backend with a `body`; or a function of the variables of a Linen module or of a state of Flax.
        params: with the last, and with a Linen module, these.
        X: inputs, (N, ...).
        stacklevel: of the warning.
        forward: as for `recalibrate`.

    Warns:
        StatisticsWarning: a layer is stale.
    """
    if len(rows_of(X)) < FEWEST:
        return
    module, variables = _visible(network, params)
    try:
        found = (
            lags(module, X, variables, forward=forward)
            if module is not None
            else _of_function(network, params, rows_of(X))
        )
    except (
        Exception
    ):  # of any kind: whoever called says what is wrong with the network, or needs nothing of this
        return
    sentence = stale_sentence(found)
    if sentence is not None:
        warnings.warn(sentence, StatisticsWarning, stacklevel=stacklevel)


REMEDY = "use nf.recalibrate(network, X), unless the network as it stands is meant"


def stale_sentence(found: Sequence[Lag], remedy: str = REMEDY) -> str | None:
    """What is to be said of statistics that are not those of the data, and what helps; None where they are."""
    stale = [lag for lag in found if lag.stale]
    if not stale:
        return None
    worst = max(stale, key=lambda lag: max(lag.mean / MEAN, lag.variance / VARIANCE))
    return (
        f"running statistics of {len(stale)} of {len(found)} batch normalisations are not those of X: in {worst.layer} "
        f"the mean is off by {worst.mean:.3g} standard deviations (chance: {worst.mean_error:.2g}), the variance by "
        f"{worst.variance:.3g} of itself (chance: {worst.variance_error:.2g}); {remedy}"
    )


def _of_function(function: ForeignNetwork, params: PyTree, X: Rows) -> tuple[Lag, ...]:
    """Of a function of the variables of a Linen module, or of a state that has them; none of others."""
    layers = watched_in(params, function) if callable(function) and holder(params) == "linen" else None
    return () if layers is None else lags_of(layers, X)


def _visible(network: ForeignNetwork, params: PyTree) -> tuple[ForeignNetwork, PyTree]:
    owner = network if linen(network) else getattr(network, "__self__", None)
    if owner is not None and linen(owner) and (owner is network or network.__name__ == "apply"):
        return (owner, params) if isinstance(params, Mapping) and "batch_stats" in params else (None, None)
    module = getattr(network, "body", None) if not known(network) else network
    return (module, None) if module is not None and known(module) and not linen(module) else (None, None)

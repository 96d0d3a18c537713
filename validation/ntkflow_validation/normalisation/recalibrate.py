"""recalibrate: the running statistics of a network's batch normalisation are those of given data, and nothing else changes."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import PyTree
from numpy.typing import ArrayLike

from ntkflow.checks import whole
from ntkflow.errors import InputError
from ntkflow.foreign.arrays import Rows, rows_of
from ntkflow.foreign.modules import ForeignNetwork
from ntkflow.words import spelled
from ntkflow_validation.normalisation.frameworks import watched
from ntkflow_validation.normalisation.watched import Forward, Path, Seen, Statistics, Watched, merged, name_of


@spelled
def recalibrate(
    network: ForeignNetwork,
    X: ArrayLike,
    variables: PyTree = None,
    *,
    forward: Forward | None = None,
    batch: int = 256,
    inplace: bool = False,
) -> ForeignNetwork:
    """The network with the mean and variance that each batch normalisation sees on X in the place of its running ones.

    Exactly those of all samples, no matter how they are cut into batches: layer by layer, each on what the layers before it
    give once they are recalibrated. With them inference gives what training mode gives on all of X as one batch
    (dropout apart, which is off). Variances are the biased ones that training normalises by; PyTorch's own running
    variance is N/(N - 1) of it. Parameters, mode, random state and everything else stay.

    Args:
        network: a Flax NNX or Linen module, or a torch module.
        X: inputs, (N, ...); the data that the network is to be measured or compared on, or the training set.
        variables: of a Linen module: its collections, with "params" and "batch_stats"; None for the others.
        forward: forward(network, x) for a network that needs more than x, such as
            `lambda net, x: net(x, train=False)`; dropout has to be off in it.
        batch: samples at once. X that is no longer takes one pass, else one for each layer of normalisation.
        inplace: write into the NNX or torch module, instead of into a copy.

    Returns:
        A copy of the module (the module itself with `inplace`); of a Linen module its variables.

    Raises:
        InputError: it is no such network, has no running statistics, does not run on X, or its activations are not finite.
    """
    size, inputs = whole("batch", batch, 1), _inputs(X)
    layers = watched(network, variables, forward, copy=not inplace)
    one_pass = len(inputs) <= size
    # Nothing is written before everything is known.
    statistics = layers.at_once(inputs).statistics if one_pass else _layer_by_layer(layers, inputs, size)
    check_finite(statistics)
    layers.store(statistics)
    return layers.result()


def _inputs(X: ArrayLike) -> Rows:
    x = rows_of(X)
    if len(x.shape) < 1 or x.shape[0] < 2:
        raise InputError(
            "X", f"array of shape {tuple(x.shape)}", "must have two samples or more", "give (N, ...)"
        )
    return x


def _layer_by_layer(layers: Watched, x: Rows, batch: int) -> dict[Path, Statistics]:
    before = {path: Statistics(found.mean, found.var) for path, found in layers.stored().items()}
    done: dict[Path, Statistics] = {}
    try:
        while True:
            found = merged(_passes(layers, x, batch))
            # What comes after it is not what it will be, until this one is.
            first = next((path for path in found if path not in done), None)
            if first is None:
                return done
            done[first] = found[first]
            if len(done) == len(found):
                return done
            check_finite({first: found[first]})
            layers.store({first: found[first]})
    finally:
        layers.store(before)


def _passes(layers: Watched, x: Rows, batch: int) -> Iterator[tuple[int, list[Seen]]]:
    for start in range(0, len(x), batch):
        part = x[start : start + batch]
        yield len(part), layers.look(part)


def check_finite(statistics: dict[Path, Statistics]) -> None:
    """Refuse statistics of inputs that were not finite, by the name of the first layer that has some."""
    for path, found in statistics.items():
        if not (np.isfinite(found.mean).all() and np.isfinite(found.var).all()):
            raise InputError(
                "X",
                f"NaN or infinite input of {name_of(path)}",
                "must be finite",
                "clean the data, or use an earlier snapshot of the network",
            )

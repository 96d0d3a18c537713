"""What recalibrating asks of a framework: the inputs of its batch normalisations, sample by sample, in their order."""

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import PyTree

from ntkflow._types import Array
from ntkflow.errors import InputError
from ntkflow.foreign.arrays import Rows
from ntkflow.foreign.modules import ForeignNetwork

# The network applied to a batch: forward(network, x).
Forward = Callable[[ForeignNetwork, PyTree], PyTree]
# Keys from the network down to a layer.
Path = tuple[Hashable, ...]


class Seen(NamedTuple):
    """What one layer was given by a batch; arrays of NumPy, or traced ones.

    Attributes:
        path: of the layer.
        first: means of each sample over its positions, (B, channels).
        within: mean squared deviations of the positions from these, (B, channels).
    """

    path: Path
    first: Array
    within: Array


class Statistics(NamedTuple):
    """Mean and (biased) variance of every channel.

    Attributes:
        mean: (channels,).
        var: (channels,).
    """

    mean: Array
    var: Array


class AtOnce(NamedTuple):
    """What a pass gave in which layers normalised by the batch itself.

    Attributes:
        outputs: of the network, float64; None where these are no array.
        statistics: by which each layer normalised, float64. With them stored, inference gives these outputs.
    """

    outputs: np.ndarray | None
    statistics: dict[Path, Statistics]


class Stored(NamedTuple):
    """What a layer has.

    Attributes:
        mean: (channels,).
        var: (channels,).
        epsilon: what is added to the variance.
    """

    mean: np.ndarray
    var: np.ndarray
    epsilon: float


@runtime_checkable
class Watched(Protocol):
    """A network whose layers are watched; it computes on a copy, or leaves what it is given as it was."""

    def result(self) -> ForeignNetwork:
        """What holds the statistics that are stored: the module, copied when it is first asked for, or variables of Linen."""

    def again(self, network: ForeignNetwork) -> "Watched":
        """The same for the network after more steps, as a copy; what was compiled is not compiled again.

        Args:
            network: of the same structure; another one is compiled anew.
        """

    def bare(self) -> "Watched":
        """What was compiled and nothing of the network: `again` is all that it can."""

    def look(self, x: Rows) -> list[Seen]:
        """What the layers are given by a batch, (B, ...), in the order in which they are called, float64.

        They normalise by what is stored.
        """

    def at_once(self, x: Rows) -> AtOnce:
        """One pass in which every layer normalises by what it is given, (B, ...), as in training."""

    def stored(self) -> dict[Path, Stored]:
        """What every layer has."""

    def store(self, statistics: Mapping[Path, Statistics]) -> None:
        """Put these in the place of what is stored."""


def name_of(path: Path) -> str:
    """The path of a layer as its framework writes it."""
    return ".".join(map(str, path)) or "the network"


@contextmanager
def running(
    argument: str = "network",
    rule: str = "does not run on X as forward(network, x)",
    remedy: str = "give forward=lambda net, x: net(x, train=False), or whatever it needs for inference, and X as it takes it; "
    "layers inside scan, vmap or remat cannot be watched",
) -> Iterator[None]:
    """What a framework says of a network that does not run becomes one error, in our words, with the remedy.

    Args:
        argument: whose fault it is.
        rule: what it does not do.
        remedy: what helps.
    """
    try:
        yield
    except (InputError, MemoryError):
        raise
    except Exception as error:
        said = " ".join(str(error).split())[:200]
        raise InputError(argument, f"{type(error).__name__}: {said}", rule, remedy) from error


def pooled(seen: Seen) -> Statistics:
    """Mean and variance over samples and positions of a batch."""
    mean = seen.first.mean(0)
    # Once more about it: in float32 the mean of large numbers is off by more than their scatter can bear.
    mean = mean + (seen.first - mean).mean(0)
    return Statistics(mean, seen.within.mean(0) + ((seen.first - mean) ** 2).mean(0))


def once_each(paths: list[Path]) -> list[Path]:
    """The same list, of the layers in the order of their calls.

    Raises:
        InputError: a layer is called twice, so that one pair of statistics stands for two sets of inputs.
    """
    twice = next((path for path in paths if paths.count(path) > 1), None)
    if twice is not None:
        raise InputError(
            "network",
            name_of(twice),
            "normalises twice in a pass, and one mean and variance cannot be those of both",
            "give each place a batch normalisation of its own",
        )
    return paths


def merged(parts: Iterable[tuple[int, list[Seen]]]) -> dict[Path, Statistics]:
    """Statistics over all batches, with how many samples each has, exactly as over their union."""
    total, found = 0, dict[Path, Statistics]()
    for count, layers in parts:
        total += count
        share = count / total
        for seen in layers:
            new = pooled(seen)
            old = found.get(seen.path, new)
            gap = new.mean - old.mean
            mean = old.mean + share * gap
            var = old.var + share * (new.var - old.var) + share * (1 - share) * gap**2
            found[seen.path] = Statistics(mean, var)
    return found

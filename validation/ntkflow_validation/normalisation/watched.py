"""What recalibrating asks of a framework: the inputs of its batch normalisations, sample by sample, in their order."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np

from ntkflow.errors import InputError

# The network applied to a batch: forward(network, x).
Forward = Callable[[Any, Any], Any]
# Keys from the network down to a layer.
Path = tuple[Any, ...]


class Seen(NamedTuple):
    """What one layer was given by a batch; arrays of NumPy, or traced ones.

    Attributes:
        path: of the layer.
        first: means of each sample over its positions, (B, channels).
        within: mean squared deviations of the positions from these, (B, channels).
    """

    path: Path
    first: Any
    within: Any


class Statistics(NamedTuple):
    """Mean and (biased) variance of every channel.

    Attributes:
        mean: (channels,).
        var: (channels,).
    """

    mean: Any
    var: Any


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
    """A network whose layers are watched; it computes on a copy, or leaves what it is given as it was.

    Attributes:
        result: what holds the statistics that are stored: the module, or a Linen module's variables.
    """

    result: Any

    def again(self, network: Any) -> "Watched":
        """The same for the network after more steps, as a copy; what was compiled is not compiled again.

        Args:
            network: of the same structure; another one is compiled anew.
        """

    def release(self) -> None:
        """Hold nothing of the network any more; `again` is all that is left."""

    def look(self, x: Any, own: bool) -> list[Seen]:
        """What the layers are given by a batch, in the order in which they are called, float64.

        Args:
            x: inputs, (B, ...).
            own: normalise by the batch itself, as in training; else by what is stored.
        """

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
    return Statistics(mean, seen.within.mean(0) + ((seen.first - mean) ** 2).mean(0))


def once_each(found: list[Seen]) -> list[Seen]:
    """The same list.

    Raises:
        InputError: a layer is called twice, so that one pair of statistics stands for two sets of inputs.
    """
    paths = [seen.path for seen in found]
    twice = next((path for path in paths if paths.count(path) > 1), None)
    if twice is not None:
        raise InputError(
            "network",
            name_of(twice),
            "normalises twice in a pass, and one mean and variance cannot be those of both",
            "give each place a batch normalisation of its own",
        )
    return found


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

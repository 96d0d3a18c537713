"""Running statistics of a network that is recorded: brought up to date on a copy, or what is to be said of them."""

from collections.abc import Callable
from functools import cached_property

import numpy as np

from ntkflow._types import Labels
from ntkflow.errors import InputError
from ntkflow.foreign.modules import ForeignNetwork
from ntkflow_validation.config.recorded import GIVEN, RECALIBRATED, RUNNING
from ntkflow_validation.normalisation.frameworks import holder, watched_in
from ntkflow_validation.normalisation.lag import StatisticsWarning, lags_of, stale_sentence
from ntkflow_validation.normalisation.recalibrate import check_finite
from ntkflow_validation.normalisation.watched import AtOnce, Watched
from ntkflow_validation.recording.reader import Reader

# Of more samples, so many stand for all: exact statistics of more than fit into one pass take a pass for every layer, and
# these are off by 1/32 of a standard deviation, which is less than running averages scatter by.
ONE_PASS = 1024
REMEDY = "record with recalibrate=True, unless the network as it stands is meant"
Remark = Callable[[str, type[Warning] | None], None]


class Ready:
    """A network ready to be read; what was handed over stays as it is.

    Args:
        given: the network, as it was handed over.
        layers: the same, watched; None where it is read as it is.
        passed: the pass by whose statistics it is to be read.
        whole: whether that was a pass of all recorded samples.

    Attributes:
        features: (N, n), float64, where the pass has them already, in which case no other is needed; else None.
    """

    def __init__(
        self,
        given: ForeignNetwork,
        layers: Watched | None = None,
        passed: AtOnce | None = None,
        whole: bool = False,
    ) -> None:
        self.given, self._layers, self._passed = given, layers, passed
        self.features = passed.outputs if passed is not None and whole else None

    @cached_property
    def network(self) -> ForeignNetwork:
        """What features and kernel are those of: a copy, made when it is first asked for, where statistics are other ones."""
        if self._layers is None or self._passed is None:
            return self.given
        self._layers.store(self._passed.statistics)
        return self._layers.result()


class Statistics:
    """What is done about the statistics of batch normalisation before a network is read.

    Args:
        reader: of the features.
        labels: of the recorded samples, (N,).
        recalibrate: whether they are made those of the recorded samples.
        remark: told a sentence, and of which kind a warning of it is, where they are not; it is kept with the run.

    Attributes:
        norm: "batch" of a network that has some, "none" of others, None before the first.
        observed: what features are read with: `RECALIBRATED`; `RUNNING`, the network's own, because it was asked for;
            `GIVEN`, because nothing else is possible.
    """

    def __init__(self, reader: Reader, labels: Labels, recalibrate: bool, remark: Remark) -> None:
        self._reader, self._remark = reader, remark
        self._rows = None if len(labels) <= ONE_PASS else _standing_for_all(labels)
        self.norm: str | None = None
        self.observed = RECALIBRATED if recalibrate else RUNNING
        self._layers: Watched | None = None
        self._looks = True

    def ready(self, step: int, network: ForeignNetwork, kept: bool) -> Ready:
        """The network that features and kernel are those of.

        Args:
            step: of the training.
            network: after it.
            kept: whether its state is kept; where nothing is recalibrated, others are not looked at.
        """
        if self.norm is None:
            self.norm = "none" if holder(network) is None else "batch"
        if self.norm == "none" or self.observed == GIVEN:
            return Ready(network)
        first = self._layers is None
        try:
            layers = self._watched(network)
            if self.observed == RECALIBRATED:
                passed = layers.at_once(self._inputs)
                check_finite(passed.statistics)
                return Ready(network, layers, passed, whole=self._rows is None)
            if kept and self._looks:
                self._look(step, layers)
        except InputError as error:
            self._cannot(step, error, first)
        return Ready(network)

    def _watched(self, network: ForeignNetwork) -> Watched:
        """The network, watched; what is kept for the next one holds nothing of it."""
        found = (
            watched_in(network, self._reader.features)
            if self._layers is None
            else self._layers.again(network)
        )
        assert found is not None
        self._layers = found.bare()
        return found

    @cached_property
    def _inputs(self) -> np.ndarray:
        return self._reader.X if self._rows is None else self._reader.X[self._rows]

    def _look(self, step: int, layers: Watched) -> None:
        sentence = stale_sentence(lags_of(layers, self._reader.X), REMEDY)
        if sentence is not None:
            self._looks = False
            self._remark(f"batch normalisation, step {step}: {sentence}", StatisticsWarning)

    def _cannot(self, step: int, error: InputError, first: bool) -> None:
        if self.observed == RECALIBRATED:
            what = "running statistics cannot be recomputed, features are those of the network as given"
            # What the network is made of does not change; numbers that are not finite may.
            self.observed = GIVEN if first else self.observed
        else:
            what, self._looks = "running statistics are not looked at", False
        self._remark(f"batch normalisation, step {step}: {what}: {error}", None)


def _standing_for_all(labels: Labels) -> np.ndarray:
    """Rows of `ONE_PASS` samples, evenly spread over each class."""
    by_class = np.argsort(labels, kind="stable")
    spread: np.ndarray = np.sort(by_class[np.linspace(0, len(labels) - 1, ONE_PASS).astype(np.int64)])
    return spread

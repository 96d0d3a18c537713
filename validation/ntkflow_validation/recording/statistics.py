"""Running statistics of a network that is recorded: brought up to date on a copy, or what is to be said of them."""

from collections.abc import Callable
from typing import Any

from ntkflow.errors import InputError
from ntkflow_validation.config.recorded import GIVEN, RECALIBRATED, RUNNING
from ntkflow_validation.normalisation.frameworks import holder, watched_in
from ntkflow_validation.normalisation.lag import StatisticsWarning, lags_of, stale_sentence
from ntkflow_validation.normalisation.recalibrate import recalibrated
from ntkflow_validation.normalisation.watched import Watched
from ntkflow_validation.recording.reader import Reader

# Samples up to which one pass through the network does; of more it takes one for every layer of normalisation.
ONE_PASS = 1024
REMEDY = "record with recalibrate=True, unless the network as it stands is meant"
Remark = Callable[[str, type[Warning] | None], None]


class Statistics:
    """What is done about the statistics of batch normalisation before a network is read.

    Args:
        reader: of the features.
        recalibrate: whether they are made those of the recorded samples.
        remark: told a sentence, and of which kind a warning of it is, where they are not; it is kept with the run.

    Attributes:
        norm: "batch" of a network that has some, "none" of others, None before the first.
        observed: what features are read with: `RECALIBRATED`; `RUNNING`, the network's own, because it was asked for;
            `GIVEN`, because nothing else is possible.
    """

    def __init__(self, reader: Reader, recalibrate: bool, remark: Remark) -> None:
        self._reader, self._remark = reader, remark
        self.norm: str | None = None
        self.observed = RECALIBRATED if recalibrate else RUNNING
        self._layers: Watched | None = None
        self._looks = True

    def ready(self, step: int, network: Any, kept: bool) -> Any:
        """The network that features and kernel are those of; what is handed over stays as it is.

        Args:
            step: of the training.
            network: after it.
            kept: whether its state is kept; where nothing is recalibrated, others are not looked at.
        """
        if self.norm is None:
            self.norm = "none" if holder(network) is None else "batch"
        if self.norm == "none" or self.observed == GIVEN:
            return network
        first = self._layers is None
        try:
            self._layers = self._watched(network)
            if self.observed == RECALIBRATED:
                network = recalibrated(self._layers, self._reader.X, ONE_PASS)
            elif kept and self._looks:
                self._look(step)
        except InputError as error:
            self._cannot(step, error, first)
        finally:
            if self._layers is not None:
                self._layers.release()
        return network

    def _watched(self, network: Any) -> Watched:
        if self._layers is not None:
            return self._layers.again(network)
        found = watched_in(network, self._reader.features)
        assert found is not None
        return found

    def _look(self, step: int) -> None:
        assert self._layers is not None
        sentence = stale_sentence(lags_of(self._layers, self._reader.X), REMEDY)
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

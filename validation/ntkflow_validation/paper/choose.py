"""From many trainings those that a figure shows: a collapsed and a non-collapsed one of each initialisation."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ntkflow.errors import InputError
from ntkflow_validation.config.recorded import RecordedConfig
from ntkflow_validation.paper.registry import PaperFigure
from ntkflow_validation.sweep.grid import PAPER_INITS, Pair
from ntkflow_validation.sweep.records import Record

# Share of training samples classified correctly from which a network counts as trained.
TRAINED = 0.99
# What decides: within-class over between-class variance, which unlike NC1 does not depend on the features' scale.
SCORE = "NC1_tirer"


@dataclass(frozen=True, eq=False)
class Chosen:
    """The two trainings of one initialisation, and all it was chosen from.

    Attributes:
        init: initialisation.
        collapsed: of the trained ones that with the least variability within classes; None when none trained.
        other: of the trained ones that with the most; None when only one trained.
        all: every training of this initialisation, by rate.
    """

    init: str
    collapsed: Record | None
    other: Record | None
    all: tuple[Record, ...]


@dataclass(frozen=True, eq=False)
class Selection:
    """What a training figure shows.

    Attributes:
        pair: architecture and data set of the records, the figure's own where there are any of it.
        chosen: one entry for each initialisation.
    """

    pair: Pair
    chosen: tuple[Chosen, ...]


def select(figure: PaperFigure, records: Sequence[Record]) -> Selection:
    """Sort records by initialisation and rate, and choose.

    Records of other losses are left out. When no record has the figure's pair, but all have one other pair,
    that one is shown: a reduced reproduction.

    Raises:
        InputError: nothing fits the figure.
    """
    fitting = [r for r in records if r.config.training.loss == figure.loss]
    if not fitting:
        rule = f"shows trainings that minimised {figure.loss}, and there is none in the directories given"
        raise InputError(
            "figure",
            figure.number,
            rule,
            f"train some with --set training.loss={figure.loss}, or all with reproduce",
        )
    pairs = {_pair(r) for r in fitting}
    if figure.pair not in pairs and len(pairs) > 1:
        names = ", ".join(sorted(map(str, pairs)))
        raise InputError("path", names, f"are not {figure.pair}", "give directories of one pair")
    pair = figure.pair if figure.pair in pairs else pairs.pop()
    own = [r for r in fitting if _pair(r) == pair]
    present = {r.config.model.init for r in own}
    order = [name for name in PAPER_INITS if name in present] + sorted(present - set(PAPER_INITS))
    return Selection(pair, tuple(_choose(name, own) for name in order))


class _OwnPair(Pair):
    """Network and data of a recorded training, whatever they are called."""

    def __post_init__(self) -> None:
        pass


def _pair(record: Record) -> Pair:
    config = record.config
    kind = _OwnPair if isinstance(config, RecordedConfig) else Pair
    return kind(config.model.name, config.data.name)


def _choose(init: str, records: Sequence[Record]) -> Chosen:
    own = sorted((r for r in records if r.config.model.init == init), key=lambda r: (r.rate, r.config.seed))
    shown = _one_a_rate(own)
    trained = [r for r in shown if r.last("accuracy_train") >= TRAINED and np.isfinite(r.last(SCORE))]
    trained.sort(key=lambda r: r.last(SCORE))
    collapsed = trained[0] if trained else None
    other = trained[-1] if len(trained) > 1 else None
    return Chosen(
        init, collapsed and _detailed(collapsed, own), other and _detailed(other, own), tuple(shown)
    )


def _one_a_rate(records: Sequence[Record]) -> list[Record]:
    """One record for every rate and seed: the one observed least, since a sweep's cells all are."""
    found: dict[tuple[float, int], Record] = {}
    for record in records:
        key = (record.rate, record.config.seed)
        if key not in found or len(record.rows) < len(found[key].rows):
            found[key] = record
    return list(found.values())


def _detailed(record: Record, records: Sequence[Record]) -> Record:
    """The record of the same training whose invariant was measured most often."""
    same = [r for r in records if (r.rate, r.config.seed) == (record.rate, record.config.seed)]
    return max(same, key=lambda r: (int(np.isfinite(r.series("invariant_norm")).sum()), len(r.rows)))

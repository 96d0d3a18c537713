"""What a figure needs of one run, of this package or of another, and what tells runs from each other in a legend."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ntkflow._types import Document, Floats, Json

# What decides the numbers of a run only through rounding, or says nothing beside the arrays it names.
INCIDENTAL = ("engine", "form", "ensemble", "kernel_file", "state")
# Names of settings as labels write them.
LETTERS = {"classes": "C", "per_class": "m", "features": "n", "step_size": "eta", "t_end": "t_end"}


@dataclass(frozen=True, eq=False)
class Curves:
    """What a figure needs of one run.

    Attributes:
        t: times, (T,).
        series: named series, (T,) each; medians of an ensemble.
        title: one line that says what was run.
        constant: whether E stands still in exact arithmetic.
        settings: the settings it was made with, by name.
        bands: of an ensemble its lowest and highest quantile of each series.
        name: of its directory, where it comes from one.
        kind: what kind of run it is; settings of different kinds are not compared.
        sparse: whether NaN says that a series is not known at a time, which its line passes over; otherwise that it has
            no value there, which is a gap.
        timed: whether t is flow time; otherwise it counts the steps of an optimiser that are in none.
        layers: number of linear layers, which have panes of their own; 0 where the kernel is given.
    """

    t: Floats
    series: Mapping[str, Floats]
    title: str
    constant: bool
    settings: Json
    bands: Mapping[str, tuple[Floats, Floats]]
    name: str = ""
    kind: str = "simulation"
    sparse: bool = False
    timed: bool = True
    layers: int = 0


def flat(tables: Mapping[str, Document] | None) -> Json:
    """The settings of a configuration's tables, by name."""
    return {name: value for table in (tables or {}).values() for name, value in table.items()}


def differing(runs: Sequence[Curves]) -> list[str]:
    """Names of the settings in which some of the runs differ, in the order of the configuration."""
    names = dict.fromkeys(name for run in runs for name in run.settings)
    return [
        name
        for name in names
        if name not in INCIDENTAL and len({_plain(run.settings.get(name)) for run in runs}) > 1
    ]


def labelled(runs: Sequence[Curves]) -> list[str]:
    """What tells each run from the others, as `init = gaussian, seed = 1`; numbers where the settings are the same.

    Of different kinds the kind is said first, and then what tells a run from the others of its kind.
    """
    kinds = {kind: [run for run in runs if run.kind == kind] for kind in dict.fromkeys(r.kind for r in runs)}
    names = {kind: differing(found) for kind, found in kinds.items()}
    words = [", ".join(_said(run, names[run.kind])) for run in runs]
    if len(kinds) > 1:
        words = [f"{run.kind}: {word}" if word else run.kind for run, word in zip(runs, words, strict=True)]
    if all(words) and len(set(words)) == len(words):
        return words
    # The same settings twice, as from states or kernels in files: names tell them apart.
    return [run.name or word or f"run {k}" for k, (run, word) in enumerate(zip(runs, words, strict=True), 1)]


def _said(run: Curves, names: Sequence[str]) -> list[str]:
    known = {name: run.settings.get(name) for name in names}
    return [f"{LETTERS.get(name, name)} = {_plain(v)}" for name, v in known.items() if v is not None]


def _plain(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)

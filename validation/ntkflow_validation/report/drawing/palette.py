"""One colour and one dash for every rung, told apart by colour-blind readers and in print."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from ntkflow_validation.runs.compared import ComparedRung

# Okabe and Ito's, without the yellow that is lost on white and with darker ones of what remains.
COLOURS = ("#D55E00", "#0072B2", "#009E73", "#B2478A", "#B8860B", "#3A9BD0", "#7A4FB5", "#5C6B73")
DASHES = ("7 3", "2 3", "9 3 2 3", "1 2", "12 3")
MODIFIED = ("4 4", "10 2 2 2 2 2", "3 2 1 2", "14 6")
# The rungs drawn first, each in a colour of its own; the ladder in its main steps.
MAIN = (
    "block",
    "class-block",
    "sample",
    "neuron-diagonal",
    "class-matrix",
    "kronecker",
    "tensor",
    "matrix-block",
)


@dataclass(frozen=True)
class Style:
    """How one rung is drawn.

    Attributes:
        key: class of its elements.
        title: its name for people.
        colour: of line, band and points.
        dash: SVG dash array, None for a full line.
        shown: drawn before anybody asks.
    """

    key: str
    title: str
    colour: str
    dash: str | None
    shown: bool


def styles(rungs: Sequence[ComparedRung], wanted: Collection[str] = ()) -> dict[str, Style]:
    """Styles by `ComparedRung.key`, in the order given.

    The rungs of `MAIN` and `wanted` are shown at first and have full lines; the others can be switched on and
    have dashes. A rung with the training's modifications has the colour of the rung it modifies.

    Args:
        rungs: predictions of one or several windows, each once.
        wanted: names of further rungs to be shown at first.
    """
    names = list(dict.fromkeys(rung.name for rung in rungs))
    main = [name for name in names if name in MAIN] or names[: len(COLOURS)]
    others = [name for name in names if name not in main]
    colours = {name: COLOURS[i % len(COLOURS)] for i, name in enumerate([*main, *others])}
    dashes = {name: DASHES[i // len(COLOURS) % len(DASHES)] for i, name in enumerate(others)}
    found = {}
    for i, rung in enumerate(rungs):
        name, plain = rung.name, not rung.modifications
        dash = dashes.get(name) if plain else MODIFIED[len(rung.modifications) % len(MODIFIED)]
        shown = plain and not rung.refused and (name in main or name in wanted)
        found[rung.key] = Style(f"k{i}", rung.words, colours[name], dash, shown)
    return found

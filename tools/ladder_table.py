"""The table of ladders in the README.md of a folder, from the texts of `ntkflow validate frontier` in its folder ladders.

Run: python tools/ladder_table.py validation/results
"""

import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ntkflow_validation.evidence.pages import markdown, written_between

# Windows, rungs of the kernel by name, and baselines, in the order of the columns.
WINDOWS = ("early", "late")
RUNGS = {
    "block": "three constants",
    "weighted-block": "three, by W",
    "class-block": "class constants",
    "sample": "traced kernel",
}
BASELINES = {
    "no-class-structure": "no class structure",
    "frozen-features": "frozen features",
    "constant-velocity": "constant velocity",
}
QUANTITIES = {"skill M": "M", "skill H2": "H2"}
# Of the flow, and with the steps, momentum, decay and minibatches of the training.
CLOCKS = ("flow", "as trained")
HEAD = (
    "network",
    "seeds",
    "window",
    "steps",
    "accuracy",
    "skill on",
    "of",
    *RUNGS.values(),
    *BASELINES.values(),
)
TITLE = re.compile(
    r"(?P<name>early|late|step \d+): steps (?P<first>\d+) to (?P<last>\d+), .*train accuracy (?P<low>\S+) to (?P<high>[^;]+);"
)


@dataclass(frozen=True)
class Ladder:
    """A window of one run.

    Attributes:
        steps, accuracy: at both ends, the accuracy of training samples.
        until: the smallest share of the class residual that it came to, as 1/30, and "" if none.
        skill: by clock, rung and quantity. A rung that ends nowhere as trained has none there.
    """

    steps: tuple[int, int]
    accuracy: tuple[float, float]
    until: str
    skill: Mapping[str, Mapping[str, Mapping[str, float]]]


def read(text: str) -> dict[str, Ladder]:
    """The windows of a text by name; those of another form are passed over."""
    found = {}
    titles = [(match, match.end()) for match in TITLE.finditer(text)]
    ends = [match.start() for match, _ in titles[1:]] + [len(text)]
    for (title, start), end in zip(titles, ends, strict=True):
        part = text[start:end]
        shares = re.findall(r"skill on M until \|Rc\|\^2 is at (\S+)", part)
        found[title["name"]] = Ladder(
            (int(title["first"]), int(title["last"])),
            (float(title["low"]), float(title["high"])),
            shares[-1] if shares else "",
            _skills(part.splitlines()),
        )
    return found


def _skills(lines: Sequence[str]) -> dict[str, dict[str, dict[str, float]]]:
    """Rows of rungs; what follows the numbers is how the clock of the flow was changed."""
    found: dict[str, dict[str, dict[str, float]]] = {clock: {} for clock in CLOCKS}
    names: list[str] = []
    for line in lines:
        cells = re.split(r"\s{2,}", line.strip().lstrip("*").strip())
        if cells[0] == "rung":
            names = cells
        elif names and len(cells) >= len(names):
            values, changed = dict(zip(names, cells, strict=False)), cells[len(names) :]
            if changed != ["nominal rate"]:
                skill = {short: float(values[name]) for name, short in QUANTITIES.items()}
                found[CLOCKS[bool(changed)]][cells[0]] = skill
    return found


def rows(folder: Path) -> list[list[str]]:
    """A row for each network, window with its end, quantity and clock, from least to most over its seeds."""
    networks: dict[str, list[dict[str, Ladder]]] = {}
    for path in sorted(folder.glob("*.txt")):
        networks.setdefault(re.sub(r"-seed\d+$", "", path.stem), []).append(read(path.read_text("utf-8")))
    return [
        [
            name,
            str(len(alike)),
            f"{window}, to {until}" if until else window,
            *_ends(alike),
            quantity,
            clock,
            *skills,
        ]
        for name, seeds in networks.items()
        for window in WINDOWS
        for until, alike in _by_share([seed[window] for seed in seeds if window in seed])
        for quantity in QUANTITIES.values()
        for clock in CLOCKS
        for skills in [_row([seed.skill[clock] for seed in alike], quantity)]
        if set(skills) != {"-"}
    ]


def _by_share(seeds: Sequence[Ladder]) -> list[tuple[str, list[Ladder]]]:
    """Scores of windows that end at different shares of the class residual have no range together."""
    shares = sorted({seed.until for seed in seeds}, reverse=True)
    return [(share, [seed for seed in seeds if seed.until == share]) for share in shares]


def _ends(seeds: Sequence[Ladder]) -> list[str]:
    steps = " to ".join(_span([float(seed.steps[i]) for seed in seeds]) for i in (0, 1))
    return [steps, " to ".join(_span([seed.accuracy[i] for seed in seeds]) for i in (0, 1))]


def _row(seeds: Sequence[Mapping[str, Mapping[str, float]]], quantity: str) -> list[str]:
    of = [[seed[rung][quantity] for seed in seeds if rung in seed] for rung in {**RUNGS, **BASELINES}]
    # What one seed lacks is not told of the others.
    return [_span(values) if len(values) == len(seeds) else "-" for values in of]


def _span(values: Sequence[float]) -> str:
    """As the texts have them: three digits, which are not rounded again."""
    low, high = (
        f"{v:.3f}".rstrip("0").rstrip(".") if abs(v) < 1 else f"{v:.6g}" for v in (min(values), max(values))
    )
    shown = ["0" if float(text) == 0 else text for text in (low, high)]
    return shown[0] if shown[0] == shown[1] else f"{shown[0]} .. {shown[1]}"


def table(folder: Path) -> str:
    """As markdown."""
    return markdown(HEAD, rows(folder))


def written_into(text: str, folder: Path) -> str:
    """A page with the table between its two marks."""
    return written_between(text, "ladders", table(folder / "ladders"))


if __name__ == "__main__":
    page = Path(sys.argv[1]) / "README.md"
    page.write_text(written_into(page.read_text(encoding="utf-8"), page.parent), encoding="utf-8")

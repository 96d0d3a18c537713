"""Tables of exported trainings, in the README.md of their folder.

Run: python -m ntkflow_validation.evidence.evidence_table validation/results
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from ntkflow._types import Json

OUTCOME = ("run", "rate", "decay", "NC1", "NC1, traces", "NC2", "NC3", "train", "test")
INVARIANT = ("run", "E/E0", "equal decay", "W alone", "E/terms", "alignment", "distance", "lh/lw")
PARTS = ("decay", "kernel", "rest")
MOVED = ("run", *PARTS, *(f"negative: {name}" for name in ("first", *PARTS, "last")))


def documents(folder: Path | str) -> dict[str, Json]:
    """Exported trainings by name."""
    found = {
        path.stem: json.loads(path.read_text(encoding="utf-8"))
        for path in sorted(Path(folder).glob("*.json"))
    }
    return {name: value for name, value in found.items() if "trajectory" in value}


def outcome_row(name: str, document: Json) -> list[str]:
    """What came out: NC metrics at the first and the last snapshot, accuracies at the last."""
    first, last, recipe = document["first"], document["last"], document["config"]["training"]
    moved = [f"{_n(first[key])} to {_n(last[key])}" for key in ("NC1", "NC1_tirer", "NC2", "NC3")]
    accuracies = [f"{last[key]:.3f}" for key in ("accuracy_train", "accuracy_test")]
    return [name, _n(document["training"]["learning_rate"]), _n(recipe["weight_decay"]), *moved, *accuracies]


def invariant_row(name: str, document: Json) -> list[str]:
    """What became of E and what the laws of decay say."""
    found = document["invariant"]
    predicted, ratios = found["predicted"], found["feature_decay"]
    terms, distance = found["to_terms"], found["distance_from_collapse"]
    alignment = [a for a in document["trajectory"]["invariant_alignment"] if a is not None]
    return [
        name,
        *(_n(value) for value in (found["relative"], predicted["equal_decay"], predicted["weights_only"])),
        f"{_n(terms['first'])} to {_n(terms['last'])}",
        f"{_n(alignment[0])} to {_n(alignment[-1])}" if alignment else "not while training",
        f"{_n(distance['first'])} to {_n(distance['last'])}",
        f"{_n(ratios[0]['ratio'])} to {_n(ratios[-1]['ratio'])}",
    ]


def moved_row(name: str, document: Json) -> list[str]:
    """What moved E: size over |E0| and share of the change of each part, and what became of the negative part."""
    found = document["invariant"]
    parts = [f"{_n(found['parts'][key]['norm'])} ({found['parts'][key]['share']:+.2f})" for key in PARTS]
    negative = [f"{found['on_negative'].get(key, 0.0):+.2f}" for key in ("first", *PARTS, "last")]
    return [name, *parts, *negative]


def tables(folder: Path | str) -> str:
    """The tables of a folder's exported trainings."""
    found = documents(folder)
    measured = {name: value for name, value in found.items() if value["invariant"]}
    return "\n\n".join(
        [
            _markdown(OUTCOME, [outcome_row(name, value) for name, value in found.items()]),
            _markdown(INVARIANT, [invariant_row(name, value) for name, value in measured.items()]),
            _markdown(MOVED, [moved_row(name, value) for name, value in measured.items()]),
        ]
    )


def _n(value: float) -> str:
    return f"{value:.2g}"


def _markdown(head: Sequence[str], rows: list[list[str]]) -> str:
    return "\n".join("| " + " | ".join(row) + " |" for row in [head, ["---"] * len(head), *rows])


BEGIN, END = "<!-- tables -->", "<!-- end of tables -->"


def written_into(text: str, folder: Path | str) -> str:
    """A page with the tables between its two marks."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{tables(folder)}\n{END}{after}"


if __name__ == "__main__":
    page = Path(sys.argv[1]) / "README.md"
    page.write_text(written_into(page.read_text(encoding="utf-8"), page.parent), encoding="utf-8")

"""Tables of exported trainings, in the README.md of their folder.

Run: python tools/evidence_table.py validation/results
"""

import sys
from pathlib import Path

from ntkflow_validation.evidence.document import Evidence, InvariantAccount
from ntkflow_validation.evidence.pages import markdown, written_between
from ntkflow_validation.runs.compared import Numbers

from ntkflow.runs.border.reading import read_json, reading
from ntkflow.runs.border.records import record

OUTCOME = ("run", "rate", "decay", "NC1", "NC1, traces", "NC2", "NC3", "train", "test")
INVARIANT = ("run", "E/E0", "equal decay", "W alone", "E/terms", "alignment", "distance", "lh/lw")
PARTS = ("decay", "kernel", "rest")
MOVED = ("run", *PARTS, *(f"negative: {name}" for name in ("first", *PARTS, "last")))


def documents(folder: Path | str) -> dict[str, Evidence]:
    """Exported trainings by name; other documents of the folder are passed over.

    Raises:
        InputError: one of them is damaged.
    """
    found, remedy = {}, "export the run again"
    for path in sorted(Path(folder).glob("*.json")):
        kept = read_json(path, "folder", remedy)
        if "trajectory" in kept:
            with reading("folder", path, "an exported training", remedy):
                found[path.stem] = record(Evidence, kept)
    return found


def outcome_row(name: str, found: Evidence) -> list[str]:
    """What came out: NC metrics at the first and the last snapshot, accuracies at the last."""
    first, last, recipe = found.first, found.last, found.config["training"]
    moved = [_move(first.get(key), last.get(key)) for key in ("NC1", "NC1_tirer", "NC2", "NC3")]
    accuracies = [f"{last.values[key]:.3f}" for key in ("accuracy_train", "accuracy_test")]
    return [name, _n(found.training.learning_rate), _n(recipe["weight_decay"]), *moved, *accuracies]


def invariant_row(name: str, found: InvariantAccount, alignments: Numbers) -> list[str]:
    """What became of E and what the laws of decay say; its alignment is known where kernels were measured while training."""
    predicted, ratios = found.predicted, found.feature_decay
    known = [a for a in alignments if a is not None]
    return [
        name,
        *(_n(value) for value in (found.relative, predicted.equal_decay, predicted.weights_only)),
        _move(found.to_terms.first, found.to_terms.last),
        _move(known[0], known[-1]) if known else "not while training",
        _move(found.distance_from_collapse.first, found.distance_from_collapse.last),
        _move(ratios[0].ratio, ratios[-1].ratio),
    ]


def moved_row(name: str, found: InvariantAccount) -> list[str]:
    """What moved E: size over |E0| and share of the change of each part, and what became of the negative part."""
    parts = [f"{_n(found.parts[key].norm)} ({_signed(found.parts[key].share)})" for key in PARTS]
    return [name, *parts, *(_signed(found.on_negative.get(key, 0.0)) for key in ("first", *PARTS, "last"))]


def tables(folder: Path | str) -> str:
    """The tables of a folder's exported trainings."""
    found = documents(folder)
    measured = [(name, e, e.invariant) for name, e in found.items() if e.invariant is not None]
    alignment = "invariant_alignment"
    return "\n\n".join(
        [
            markdown(OUTCOME, [outcome_row(name, value) for name, value in found.items()]),
            markdown(INVARIANT, [invariant_row(n, E, e.trajectory[alignment]) for n, e, E in measured]),
            markdown(MOVED, [moved_row(name, E) for name, _, E in measured]),
        ]
    )


def _move(first: float | None, last: float | None) -> str:
    return f"{_n(first)} to {_n(last)}"


def _n(value: float | None) -> str:
    return "-" if value is None else f"{value:.2g}"


def _signed(value: float | None) -> str:
    return "-" if value is None else f"{value:+.2f}"


def written_into(text: str, folder: Path | str) -> str:
    """A page with the tables between its two marks."""
    return written_between(text, "tables", tables(folder))


if __name__ == "__main__":
    page = Path(sys.argv[1]) / "README.md"
    page.write_text(written_into(page.read_text(encoding="utf-8"), page.parent), encoding="utf-8")

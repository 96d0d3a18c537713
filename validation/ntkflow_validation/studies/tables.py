"""The tables of an experiment, in Markdown: what was expected beside what came out, then the numbers."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from ntkflow_validation.studies import parts
from ntkflow_validation.studies.document import SCORED, StudyRun, WindowRow
from ntkflow_validation.studies.expectations import Expectation, Verdict

ANSWERS = {True: "yes", False: "**no**", None: "not run"}
# Columns of the table of runs: head, and series whose end it is.
ENDS = {
    "NC1": "NC1",
    "NC1 in row(W)": "NC1_visible",
    "visible tr S": "visible",
    "invisible tr S": "invisible",
    "from Q(0)": "foretold",
    "training accuracy": "accuracy_train",
}


def tables(found: Sequence[Verdict], runs: Sequence[StudyRun], of_scores: bool = False) -> str:
    """What was expected, the ends of the runs, what made NC1 fall, and beside what is foretold its baselines.

    Args:
        found: the statements.
        runs: they are about.
        of_scores: whether predictions in windows are told of, with their baselines.
    """
    told = (
        expected(found),
        at_end(runs),
        by_group(runs, parts.fallen(runs)),
        by_group(runs, parts.baselines(runs)),
        windows(runs) if of_scores else "",
    )
    return "\n".join(f"{table}\n" for table in told if table)


def expected(found: Sequence[Verdict]) -> str:
    """A row a statement."""
    head = ("expected", "runs", "stated", "found: median (least to most)", "as stated")
    rows = [
        (v.expectation.says, v.expectation.runs, bounds(v.expectation), spread(v.values), answer(v))
        for v in found
    ]
    return _table(head, rows)


def answer(verdict: Verdict) -> str:
    """Yes, or how many were, and which were not."""
    if verdict.met in (True, None):
        return ANSWERS[verdict.met]
    return f"{ANSWERS[False]}, {verdict.within} of {len(verdict.values)}"


def bounds(expectation: Expectation) -> str:
    """What was stated, in signs."""
    low, high = expectation.low, expectation.high
    if math.isinf(low):
        return f"<= {high:g}"
    return f">= {low:g}" if math.isinf(high) else f"{low:g} to {high:g}"


def spread(values: Mapping[str, float]) -> str:
    """The median and both ends; how many did not happen."""
    numbers = np.array([v for v in values.values() if not math.isnan(v)])
    missing = len(values) - len(numbers)
    if not len(numbers):
        return "-" if not missing else "never"
    said = f"{np.median(numbers):.3g} ({numbers.min():.3g} to {numbers.max():.3g})"
    return f"{said}; never in {missing}" if missing else said


def at_end(runs: Sequence[StudyRun]) -> str:
    """A row a group: medians over its seeds at the end of the training."""
    groups = list(dict.fromkeys(run.group for run in runs))
    shown = {head: name for head, name in ENDS.items() if any(name in run.series for run in runs)}
    rows = []
    for group in groups:
        own = [run for run in runs if run.group == group]
        rows.append([group, str(len(own)), *(_ends(own, name) for name in shown.values())])
    return _table(("runs", "seeds", *(f"{head}" for head in shown)), rows)


def by_group(runs: Sequence[StudyRun], columns: Mapping[str, parts.Values]) -> str:
    """A row a group, in each column what is known of its seeds: the median and both ends; "" where nothing is."""
    rows = []
    for group in dict.fromkeys(run.group for run in runs):
        names = {run.name for run in runs if run.group == group}
        own = [{n: v for n, v in values.items() if n in names} for values in columns.values()]
        if any(own):
            rows.append([group, str(max(map(len, own))), *map(spread, own)])
    return _table(("runs", "seeds", *columns), rows) if rows else ""


def windows(runs: Sequence[StudyRun]) -> str:
    """A row a group and window: medians over its seeds of the skill of every rung and baseline; "" without baselines."""
    compared = [run for run in runs if any(w.baselines for w in run.windows)]
    rows, names = [], list(dict.fromkeys(n for r in compared for w in r.windows for n in _told(w)))
    for group in dict.fromkeys(run.group for run in compared):
        own = [run for run in compared if run.group == group]
        for i in range(max(len(run.windows) for run in own)):
            each = [_told(run.windows[i]) for run in own if i < len(run.windows)]
            for quantity in SCORED:
                values = ([told.get(name, {}).get(quantity) for told in each] for name in names)
                rows.append([group, str(i + 1), quantity, str(len(each)), *(_median(v) for v in values)])
    return _table(("runs", "window", "skill on", "seeds", *names), rows) if rows else ""


def _told(window: WindowRow) -> dict[str, Mapping[str, float | None]]:
    return {**window.skill, **(window.baselines or {})}


def _median(values: Sequence[float | None]) -> str:
    known = [v for v in values if v is not None]
    return f"{np.median(known):.3g}" if known else "-"


def _ends(runs: Sequence[StudyRun], name: str) -> str:
    return _median([v for run in runs if math.isfinite(v := run.last(name))])


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [_row(head), f"|{' --- |' * len(head)}"]
    return "\n".join([*lines, *(_row(row) for row in rows)])


def _row(cells: Sequence[str]) -> str:
    # Norms have the bars that Markdown takes for the edges of cells.
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"

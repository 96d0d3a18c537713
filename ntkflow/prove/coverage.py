"""Where each numbered equation of the paper is judged: nothing between (1) and (80) is passed over."""

from collections.abc import Sequence

from ntkflow.prove.entry import Entry, Verdict

DEFINITION = "definition"
# Right as printed, though what the text says of it is corrected; and right beside a wrong neighbour of its entry.
REMARKED, SOUND = frozenset({30, 39, 64, 80}), frozenset({45})

# Numbers to the keys of the entries that prove or correct them.
_JUDGED: dict[str, str] = {
    "6-9": "eq-35", "10": "eq-13", "11-12": "eq-12", "13-15": "eq-13", "17-18": "eq-19", "19": "eq-19", "20": "eq-20",
    "21-25": "eq-25", "26": "eq-26", "27": "eq-20", "28": "eq-28", "29": "eq-29", "30": "eq-30 eq-62 eq-67",
    "31-35": "eq-35", "36-38": "eq-25", "39": "eq-39", "40": "eq-40", "41-42": "eq-41", "43": "eq-26", "44": "eq-44",
    "45": "eq-46", "46": "eq-46", "47": "eq-47", "48": "eq-48", "49": "eq-49", "50": "eq-50", "51-53": "eq-53",
    "54": "eq-54", "55": "eq-55", "56": "eq-58", "57": "eq-57", "58": "eq-58", "59": "eq-59", "60": "eq-29",
    "61-62": "eq-62", "63": "eq-63", "64": "eq-67 eq-64", "65": "eq-67", "66": "eq-66", "67": "eq-67", "68": "eq-68",
    "69": "eq-69", "70": "eq-70", "72": "eq-72", "73": "L4", "74-76": "eq-75", "77": "eq-77", "78": "eq-78",
    "79": "eq-79", "80": "eq-75 D.2-rotation",
}  # fmt: skip
# Definitions and assumptions: there is nothing to prove.
_DEFINED = ("1-5", "16", "71")


def coverage() -> dict[int, tuple[str, ...]]:
    """Keys of the entries that judge each equation, or `DEFINITION` alone; ordered by number."""
    table = {number: tuple(keys.split()) for span, keys in _JUDGED.items() for number in _numbers(span)}
    table |= {number: (DEFINITION,) for span in _DEFINED for number in _numbers(span)}
    return dict(sorted(table.items()))


def coverage_table(entries: Sequence[Entry]) -> list[tuple[str, str, str, str]]:
    """Rows: equations, what became of them, the entries, and how the first of them is proved.

    Args:
        entries: judged entries, all of them.
    """
    found = {entry.key: entry for entry in entries}
    rows: list[tuple[list[int], tuple[str, str, str]]] = []
    for number, keys in coverage().items():
        judged = [found[key] for key in keys if key != DEFINITION]
        names, how = ", ".join(entry.key for entry in judged), judged[0].technique if judged else ""
        row = _outcome(number, judged), names, how
        if rows and rows[-1][1] == row:
            rows[-1][0].append(number)
        else:
            rows.append(([number], row))
    spans = [f"({n[0]})" if len(n) == 1 else f"({n[0]})-({n[-1]})" for n, _ in rows]
    return [(span, *row) for span, (_, row) in zip(spans, rows, strict=True)]


def _outcome(number: int, entries: Sequence[Entry]) -> str:
    if not entries:
        return "definition or assumption"
    # The worst verdict of an equation's entries is its own.
    if any(entry.verdict is Verdict.NOT_PROVED for entry in entries):
        return "not proved"
    if number in REMARKED:
        return "correct, a remark on it is corrected"
    wrong = any(entry.verdict is Verdict.CORRECTED for entry in entries) and number not in SOUND
    return "corrected" if wrong else "correct"


def _numbers(span: str) -> range:
    first, _, last = span.partition("-")
    return range(int(first), int(last or first) + 1)

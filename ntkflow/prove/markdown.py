"""Entries as a Markdown page. Pure text; the same entries give the same page on every machine."""

from collections.abc import Iterable, Sequence

from ntkflow.prove.coverage import coverage_table
from ntkflow.prove.entry import CORRECTED_TOLERANCE, Entry, Verdict, Witness

ERRATA_COMMAND = "ntkflow prove --errata --markdown docs/errata.md"
_INSTEAD = {Verdict.PROVED: "Sharper", Verdict.STATED: "Instead"}
FULL_COMMAND = "ntkflow prove --markdown FILE"


def errata_page(entries: Sequence[Entry], everything: Sequence[Entry]) -> str:
    """The errata of the paper: a summary table, one section an entry, and what became of every numbered equation.

    Args:
        entries: the errata.
        everything: all entries, for the last part.
    """
    lines = [
        f"<!-- Made by `{ERRATA_COMMAND}`; edit the claims, not this file. -->",
        "",
        "# Errata of the paper",
        "",
        "Seleznova, Weitzner, Giryes, Kutyniok, Chou: *Neural (Tangent Kernel) Collapse*. Notation as in the paper, with",
        "P = I - 11'/C, J = 11'/C, Mc = m (P/mu_class + J/mu_global), x* = sqrt(m/mu_class); a prime is the transpose.",
        "The residual is relative, on random float64 inputs of a fixed seed; every corrected form is below",
        f"{CORRECTED_TOLERANCE:g} there. *Stated* entries are about wording, numbering or the released code and carry no proof.",
        "",
        "In what is left of a printed formula u = 1_C, o = 1_N, mu_s, mu_c, mu_g = mu_single, mu_class, mu_global,",
        "p = sqrt(m), x = x*, r = sqrt(1 - alpha C), s = |1 - beta C|; square brackets enclose 1 x 1 products.",
        "",
    ]
    return (
        "\n".join([*lines, *_table(entries), "", *_sections(entries), *_numbered(everything)]).rstrip() + "\n"
    )


def _numbered(entries: Sequence[Entry]) -> list[str]:
    return [
        "## Every numbered equation",
        "",
        "`ntkflow prove --only KEY` repeats a proof. *Correct* means proved as printed, for symbolic C, m, n, under the",
        "hypotheses that the paper states there; limits are those of states at zero loss.",
        "",
        "| equations | as printed | entries | how |",
        "|---|---|---|---|",
        *(f"| {' | '.join(map(_cell, row))} |" for row in coverage_table(entries)),
        "",
    ]


def full_page(entries: Sequence[Entry]) -> str:
    """All entries, proofs and errata alike."""
    lines = [f"<!-- Made by `{FULL_COMMAND}`. -->", "", "# Verified statements", ""]
    return "\n".join([*lines, *_table(entries), "", *_sections(entries)]).rstrip() + "\n"


def _table(entries: Iterable[Entry]) -> list[str]:
    rows = []
    for e in entries:
        # Only what is misprinted has a residual as printed.
        printed = None if e.witness is None else e.witness.printed
        residual = "" if printed is None else f"{printed:.2g}"
        rows.append(f"| {e.key} | {_cell(e.statement)} | {e.verdict} | {residual} |")
    return ["| where | what | verdict | residual as printed |", "|---|---|---|---|", *rows]


def _sections(entries: Iterable[Entry]) -> list[str]:
    lines: list[str] = []
    for entry in entries:
        lines += [f"## {entry.key}", "", _plain(f"{entry.statement[:1].upper()}{entry.statement[1:]}."), ""]
        lines += [f"- {name}: {text}" for name, text in facts(entry) if text]
        lines.append("")
    return lines


def facts(entry: Entry) -> list[tuple[str, str]]:
    """What there is to say about an entry, by name; empty texts where there is nothing."""
    return [
        ("As printed" if entry.erratum else "Formula", _code(entry.printed)),
        (_INSTEAD.get(entry.verdict, "Corrected"), _code(entry.corrected)),
        ("Verdict", str(entry.verdict)),
        ("How", _plain(entry.technique)),
        ("Reduced to zero", "; ".join(_code(name) for name in entry.equations)),
        ("Left of the printed form", "; ".join(_code(text) for text in entry.remainders)),
        ("Exact counterexample", entry.counterexample or ""),
        ("Numeric witness", _witness(entry.witness)),
    ]


def _witness(witness: Witness | None) -> str:
    if witness is None:
        return ""
    if witness.printed is None:
        return f"{witness.measure}: {_below(witness.corrected)}"
    return f"{witness.measure}: {witness.printed:.2g} as printed, {_below(witness.corrected)} corrected"


def _below(value: float) -> str:
    # Rounding differs between machines, and the page must not.
    return f"<= {CORRECTED_TOLERANCE:g}" if value <= CORRECTED_TOLERANCE else f"{value:.2g}"


def _code(text: str) -> str:
    return f"`{text}`" if text else ""


def _plain(text: str) -> str:
    return text.replace("<", "&lt;")


def _cell(text: str) -> str:
    return _plain(text).replace("|", r"\|")

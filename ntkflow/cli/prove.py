"""`ntkflow prove`: symbolic verification and the errata table of the paper."""

import dataclasses
import json
from collections import Counter
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from ntkflow.errors import InputError
from ntkflow.prove import Entry, Verdict, prove
from ntkflow.prove.markdown import errata_page, facts, full_page

_COLOURS = {
    Verdict.PROVED: "green",
    Verdict.CORRECTED: "yellow",
    Verdict.NUMERIC: "cyan",
    Verdict.STATED: "blue",
    Verdict.NOT_PROVED: "bold red",
}


def prove_command(
    only: Annotated[
        str | None, typer.Option("--only", metavar="KEY", help="One entry, or all whose key contains KEY.")
    ] = None,
    errata: Annotated[bool, typer.Option("--errata", help="Only the corrections to the paper.")] = False,
    json_: Annotated[
        bool, typer.Option("--json", help="Print the entries as JSON and nothing else.")
    ] = False,
    markdown: Annotated[
        Path | None, typer.Option("--markdown", metavar="FILE", help="Write the entries as a Markdown page.")
    ] = None,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print only entries that are not as recorded.")
    ] = False,
) -> None:
    """Verify the theory symbolically, for symbolic C, m, n. Exit code 1 if a verdict is not the recorded one."""
    entries = prove(only, errata=errata)
    wrong = tuple(entry for entry in entries if not entry.as_recorded)
    if markdown is not None:
        _write(markdown, errata_page(entries, prove()) if errata else full_page(entries))
    if json_:
        typer.echo(
            json.dumps(
                [{**dataclasses.asdict(entry), "as_recorded": entry.as_recorded} for entry in entries],
                indent=1,
            )
        )
    else:
        _report(wrong if quiet else entries, entries, quiet, errata or only is not None)
    if wrong:
        raise typer.Exit(1)


def _write(path: Path, page: str) -> None:
    try:
        path.write_text(page, encoding="utf-8")
    except OSError as error:
        raise InputError(
            "markdown", path, f"cannot be written ({error.strerror})", "choose another file"
        ) from error


def _report(shown: tuple[Entry, ...], entries: tuple[Entry, ...], quiet: bool, formulas: bool) -> None:
    console = Console()
    if shown:
        console.print(_details(shown[0]) if len(entries) == 1 else _table(shown, formulas))
    if not quiet:
        noun = "entry" if len(entries) == 1 else "entries"
        counts = Counter(str(entry.verdict) for entry in entries)
        console.print(
            f"{len(entries)} {noun}: " + ", ".join(f"{count} {verdict}" for verdict, count in counts.items())
        )


def _table(entries: tuple[Entry, ...], formulas: bool) -> Table:
    """Key, statement, verdict and technique; with `formulas` also both forms and their residuals."""
    table = Table(show_lines=formulas)
    columns = (
        "key",
        "statement",
        *(("as printed or stated", "corrected") if formulas else ()),
        "verdict",
        "how",
    )
    for column in columns:
        table.add_column(column, overflow="fold", no_wrap=column == "key")
    for entry in entries:
        colour = _COLOURS[entry.verdict]
        mark = "" if entry.as_recorded else f" (recorded: {entry.recorded})"
        forms = (entry.printed, entry.corrected) if formulas else ()
        cells = (entry.key, entry.statement, *forms, f"{entry.verdict}{mark}", _how(entry))
        table.add_row(
            *(_escaped(cell) for cell in cells[:-2]), f"[{colour}]{cells[-2]}[/]", _escaped(cells[-1])
        )
    return table


def _details(entry: Entry) -> Table:
    """Everything about one entry, one fact a line."""
    table = Table(title=_escaped(f"{entry.key}: {entry.statement}"), show_header=False, title_justify="left")
    for name, text in facts(entry):
        if text:
            table.add_row(name, _escaped(text.replace("`", "").replace("&lt;", "<")))
    if not entry.as_recorded:
        table.add_row("recorded", str(entry.recorded))
        table.add_row("not reduced to zero", _escaped("; ".join(entry.failed)))
    return table


def _how(entry: Entry) -> str:
    if entry.failed:
        return "not reduced to zero: " + "; ".join(entry.failed)
    if entry.witness is None:
        return entry.technique
    if entry.witness.printed is None:
        return f"{entry.technique}. Error {entry.witness.corrected:.1g}"
    return f"{entry.technique}. Residual {entry.witness.printed:.2g} printed, {entry.witness.corrected:.1g} corrected"


def _escaped(text: str) -> str:
    return text.replace("[", r"\[")

"""Tables of the page: captions, headers of rows and columns, cells tinted by their score."""

from collections.abc import Sequence
from html import escape

from ntkflow_validation.report.drawing.scales import label
from ntkflow_validation.runs.compared import Skill

Cell = str


def table(
    caption: str,
    columns: Sequence[str],
    rows: Sequence[tuple[str, Sequence[Cell]]],
    note: str = "",
    kind: str = "",
) -> str:
    """A table that scrolls within itself where the screen is narrower.

    Args:
        caption: what it shows, HTML.
        columns: headers, HTML; the first stands above the row headers, a leading # marks a column of numbers.
        rows: header, HTML, and cells, each a whole <td> from this module.
        note: below it, HTML.
        kind: `wide` if rows are named by rungs, whose titles are long; `tight` if headers may break into lines, so
            that many columns fit.
    """
    head = "".join(_header(name) for name in columns)
    body = "".join(f'<tr><th scope="row">{name}</th>{"".join(cells)}</tr>' for name, cells in rows)
    named = f' class="{kind}"' if kind else ""
    below = f'<p class="note">{note}</p>' if note else ""
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{_words(caption)}"><table{named}>'
        f"<caption>{caption}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>{below}"
    )


def _header(name: str) -> str:
    return (
        f'<th scope="col" class="n">{name[1:]}</th>'
        if name.startswith("#")
        else f'<th scope="col">{name}</th>'
    )


def cell(words: str) -> Cell:
    """A cell of text."""
    return f"<td>{escape(words)}</td>"


def number_cell(value: float | None, error: float | None = None, digits: int = 4) -> Cell:
    """A number, with its standard error where there is one."""
    return f'<td class="n">{number(value, digits)}{_error(value, error)}</td>'


def score_cell(score: Skill) -> Cell:
    """A score with its error, tinted: blue towards the perfect 1, white at 0, orange below."""
    value, error = score.value, score.error
    if value is None:
        return '<td class="n none" title="it did not change, or was not predicted">–</td>'
    # Far below 0 the size of the failure matters and its decimals do not.
    shown = f"{value:.2f}" if value > -9.995 else label(float(f"{value:.1e}"))
    # A rung that is nearly perfect is told from one that is.
    if shown == "1.00" and value < 1 - 1e-4:
        shown = f"{value:.3f}"
    shown = shown.replace("-", "−")
    return f'<td class="n" style="background:{tint(value)}">{shown}{_error(value, error, 2)}</td>'


def tint(share: float) -> str:
    """Background of a score, light enough for dark text."""
    # Small scores stay pale: a colour is for seeing at once which rungs predict, not for reading their order.
    strong = min(abs(share), 1.0) ** 1.5
    end = (140, 190, 235) if share > 0 else (245, 178, 120)
    channels = (round(255 + strong * (c - 255)) for c in end)
    return "#" + "".join(f"{c:02x}" for c in channels)


def number(value: float | None, digits: int = 4) -> str:
    """A short number, or a dash."""
    return "–" if value is None else label(float(f"{value:.{digits}g}"))


def _error(value: float | None, error: float | None, decimals: int | None = None) -> str:
    # Errors that the shown digits do not have are left out.
    if value is None or error is None or (decimals and error < 0.5 * 10**-decimals):
        return ""
    shown = (
        f"{error:.{decimals}f}".removeprefix("0") if decimals and error < 10 else label(float(f"{error:.1g}"))
    )
    return f'<span class="pm"> ±{shown}</span>'


def _words(html: str) -> str:
    """Plain words of a caption, for an attribute."""
    words, inside = [], False
    for character in html:
        inside = (inside or character == "<") and character != ">"
        if not inside and character != ">":
            words.append(character)
    return escape("".join(words).replace("&", "and"))

"""Tables and pictures of one window: scores, attribution, rates, invariant."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from ntkflow_validation.report.drawing.bars import cost_bars
from ntkflow_validation.report.drawing.overlays import figure
from ntkflow_validation.report.drawing.palette import Style, rung_key, rung_title
from ntkflow_validation.report.tables import cell, number, number_cell, score_cell, table, value_of
from ntkflow_validation.report.words import CHANGES, QUANTITIES, UNCENTRED, typeset

Rung = Mapping[str, Any]


def swatch(style: Style | None) -> str:
    """A short piece of a rung's line."""
    if style is None:
        return ""
    dash = f' stroke-dasharray="{style.dash}"' if style.dash else ""
    return (
        f'<svg class="swatch" viewBox="0 0 26 8" aria-hidden="true">'
        f'<line x1="0" y1="4" x2="26" y2="4" stroke="{style.colour}" stroke-width="3"{dash}/></svg>'
    )


def name_of(rung: Rung, styles: Mapping[str, Style]) -> str:
    """Line and title of a rung."""
    return f"{swatch(styles.get(rung_key(rung)))}{escape(rung_title(rung))}"


def horizon_table(window: Mapping[str, Any], styles: Mapping[str, Style]) -> str:
    """Skill of every rung against the assumption that nothing changes; uncentred ones after the centred ones."""
    quantities = [q for q in QUANTITIES if any(q[0] in (r.get("skill") or {}) for r in window["rungs"])]
    beside = [q for q in UNCENTRED if any(_score(r, q[0]) is not None for r in window["rungs"])]
    columns = [
        "rung",
        "#constants",
        *(f"#{abbreviation(short, says)}" for _, short, says in [*quantities, *beside]),
    ]
    rows = []
    for rung in window["rungs"]:
        cells = [score_cell(_score(rung, q)) for q, _, _ in [*quantities, *beside]]
        if rung.get("refused"):
            cells = [f'<td class="refused" colspan="{len(cells)}">{escape(str(rung["refused"]))}</td>']
        rows.append((name_of(rung, styles), [_count(rung), *cells]))
    note = (
        "1 is perfect, 0 no better than assuming that nothing changes, below 0 worse. ± is a standard error where it "
        "reaches 0.005: over probe sets, for W and b over classes."
    )
    if beside:
        note += " The starred columns are not centred and flatter every rung: the global mean dominates them."
    return table("Horizon: skill of the prediction, pooled over the window", columns, rows, note, kind="wide")


def _score(rung: Rung, quantity: str) -> Any:
    skill = rung.get("skill") or {}
    return skill[quantity] if quantity in skill else (skill.get("uncentred") or {}).get(quantity)


def _count(rung: Rung) -> str:
    count = rung.get("constants")
    return cell("–") if count is None else f'<td class="n">{count:,}</td>'.replace(",", "\u202f")


def instantaneous_table(window: Mapping[str, Any], styles: Mapping[str, Style], meaning: str = "") -> str:
    """Cosine and relative error of the predicted change of the features at the start of the window."""
    rungs = [r for r in window["rungs"] if r.get("instantaneous") and not r.get("modifications")]
    if not rungs:
        return ""
    parts = [q for q in CHANGES if any(q[0] in r["instantaneous"] for r in rungs)]
    columns = ["rung", *(f"#{abbreviation(short, says)}" for _, short, says in parts)]
    rows = [(name_of(r, styles), [_change(r["instantaneous"].get(q)) for q, _, _ in parts]) for r in rungs]
    note = (
        "Cosine of the predicted with the observed change, then the relative error of the predicted change."
    )
    if meaning:
        note += f" Observed: {escape(meaning)}."
    return table("At one instant: dH/dt at the start of the window", columns, rows, note, kind="wide")


def _change(found: Mapping[str, Any] | None) -> str:
    if not found or found.get("cosine") is None:
        return score_cell(None)
    cosine = score_cell({"value": found["cosine"], "error": found.get("cosine_error")})
    error = f'<span class="pm"> / {number(found.get("error"), 2)}</span>'
    return cosine.replace("</td>", f"{error}</td>")


def attribution(window: Mapping[str, Any]) -> str:
    """Table and picture of what each assumption costs."""
    found = window.get("attribution") or []
    if not found:
        return ""
    titles = {rung_key(r): rung_title(r) for r in window["rungs"]}
    named = [{**row, **{end: _titled(str(row[end]), titles) for end in ("from", "to")}} for row in found]
    chain, aside = ([row for row in named if row.get("chain", True) is kind] for kind in (True, False))
    costliest = max(chain or named, key=lambda row: row.get("cost") or 0.0)
    bars = cost_bars(chain, f"What each assumption costs in skill; most: {costliest['assumption']}")
    pictures = figure("Skill lost to each assumption", bars) if bars else ""
    lead = f"<p>{typeset(str(window['sentence']))}</p>" if window.get("sentence") else ""
    listed = _costs("Successive rungs drop one assumption each; its cost is the skill gained", chain)
    beside = f'<div class="beside">{pictures}<div>{listed}</div></div>'
    apart = _costs("Not part of that chain: other assumptions, dropped alone", aside)
    return f"<h4>What broke the theory here</h4>{lead}{beside}{apart}"


def _titled(rung: str, titles: Mapping[str, str]) -> str:
    """A rung of the attribution in words; "NAME with MODIFICATIONS" keeps its ending."""
    name, between, extra = rung.partition(" with ")
    return titles.get(rung) or titles.get(name, name) + (f", with {extra}" if between else "")


def _costs(caption: str, rows: Sequence[Mapping[str, Any]]) -> str:
    columns = ["assumption", "from the rung", "to the rung", "on", "#skill lost to it"]
    return (
        table(caption, columns, [(escape(str(r["assumption"])), _cost_cells(r)) for r in rows])
        if rows
        else ""
    )


def _cost_cells(row: Mapping[str, Any]) -> list[str]:
    words = [cell(str(row["from"])), cell(str(row["to"])), cell(str(row.get("quantity", "M")))]
    return [*words, number_cell(row.get("cost"), row.get("error"), 3)]


def rates_table(window: Mapping[str, Any], styles: Mapping[str, Style]) -> str:
    """Predicted against fitted rates of decay."""
    rungs = [r for r in window["rungs"] if r.get("rates") and not r.get("refused")]
    if not rungs:
        return ""
    names = list(dict.fromkeys(name for r in rungs for name in r["rates"]))
    rows = [(name_of(r, styles), [_rate(r["rates"].get(name)) for name in names]) for r in rungs]
    columns = ["rung", *(f"#{escape(name.replace('_', ' '))}" for name in names)]
    note = (
        "Predicted rate, then the rate fitted to the observed decay with its interval; per unit of flow time."
    )
    return table("Rates of decay", columns, rows, note, kind="wide")


def _rate(found: Mapping[str, Any] | None) -> str:
    if not found or found.get("predicted") is None:
        return cell("–")
    low, high = (number(found.get(k), 3) for k in ("low", "high"))
    interval = f" [{low}, {high}]" if found.get("low") is not None else ""
    fitted = f'<span class="pm"> / {number(found.get("fitted"), 3)}{interval}</span>'
    return f'<td class="n">{number(found["predicted"], 3)}{fitted}</td>'


def invariant_table(window: Mapping[str, Any], styles: Mapping[str, Style]) -> str:
    """Change of what each rung conserves along the observed run and along its own prediction, in both measures."""
    rungs = [r for r in window["rungs"] if r.get("invariant") and not r.get("refused")]
    if not rungs:
        return ""
    columns = [
        "rung",
        "conserved",
        "#run: |ΔE| / |E(t₀)|",
        "#|ΔE| / sum of |Δ of its terms|",
        "#predicted: |ΔE| / |E(t₀)|",
        "#|ΔE| / sum of |Δ of its terms|",
    ]
    rows = [(name_of(r, styles), _conserved(r["invariant"])) for r in rungs]
    note = (
        "E(t₀) = [WᵀW − sym(Op⁻¹[H] Hᵀ)]/m with the operator Op of the rung, or that part of it which the rung conserves; "
        "first on the observed states, where it is 0 in the theory, then on the rung's own predicted states, where the "
        "flow keeps it and momentum, decay and steps move it. The ratio to E alone looks good wherever one "
        "term dominates; the ratio to the changes of the two terms says whether these cancel, and is 1 where they do not."
    )
    return table("The invariant", columns, rows, note, kind="wide tight")


def _conserved(found: Mapping[str, Any]) -> list[str]:
    if found.get("reason"):
        return [f'<td class="refused" colspan="5">{escape(str(found["reason"]))}</td>']
    keys = ("relative_to_E0", "relative_to_terms")
    values = [
        (found.get(of) or {}).get(key) if of else found.get(key) for of in ("", "predicted") for key in keys
    ]
    return [cell(str(found.get("of") or "E")), *(number_cell(value_of(v), None, 3) for v in values)]


def windows_table(
    windows: Sequence[Mapping[str, Any]], rungs: Sequence[Rung], styles: Mapping[str, Style]
) -> str:
    """Skill on M of every rung from every starting snapshot."""
    if len(windows) < 2:
        return ""
    columns = ["rung", *(f"#step {w['step']}" for w in windows)]
    rows = []
    for rung in rungs:
        found: list[Rung] = [
            next((r for r in w["rungs"] if rung_key(r) == rung_key(rung)), {}) for w in windows
        ]
        if any(r.get("skill") for r in found):
            rows.append((name_of(rung, styles), [score_cell((r.get("skill") or {}).get("M")) for r in found]))
    note = "Each column predicts from that snapshot, with the kernel measured there."
    return table("Skill on the centred class means M by starting snapshot", columns, rows, note, kind="wide")


def abbreviation(short: str, says: str) -> str:
    """A short name that explains itself."""
    return f'<abbr title="{escape(says)}">{short}</abbr>'

"""Tables and pictures of one window: scores, attribution, rates, invariant."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from html import escape

from ntkflow_validation.report.drawing.bars import cost_bars
from ntkflow_validation.report.drawing.overlays import figure
from ntkflow_validation.report.drawing.palette import Style
from ntkflow_validation.report.tables import cell, number, number_cell, score_cell, table
from ntkflow_validation.report.words import CHANGES, QUANTITIES, UNCENTRED, typeset
from ntkflow_validation.runs.compared import (
    NO_SKILL,
    ComparedRung,
    ComparedWindow,
    Conserved,
    Cost,
    Motion,
    Rates,
    Ratios,
    Skill,
)


def swatch(style: Style | None) -> str:
    """A short piece of a rung's line."""
    if style is None:
        return ""
    dash = f' stroke-dasharray="{style.dash}"' if style.dash else ""
    return (
        f'<svg class="swatch" viewBox="0 0 26 8" aria-hidden="true">'
        f'<line x1="0" y1="4" x2="26" y2="4" stroke="{style.colour}" stroke-width="3"{dash}/></svg>'
    )


def name_of(rung: ComparedRung, styles: Mapping[str, Style]) -> str:
    """Line and title of a rung."""
    return f"{swatch(styles.get(rung.key))}{escape(rung.words)}"


def horizon_table(window: ComparedWindow, styles: Mapping[str, Style]) -> str:
    """Skill of every rung against the assumption that nothing changes; uncentred ones after the centred ones."""
    scored = [rung.skill for rung in window.all_rungs if rung.skill]
    shown = [q for q in QUANTITIES if any(q[0] in skill.centred for skill in scored)]
    beside = [q for q in UNCENTRED if any(skill.on(q[0]) != NO_SKILL for skill in scored)]
    columns = [
        "rung",
        "#constants",
        *(f"#{abbreviation(short, says)}" for _, short, says in [*shown, *beside]),
    ]
    rows = []
    for rung in window.all_rungs:
        cells = [score_cell(rung.score(q)) for q, _, _ in [*shown, *beside]]
        if rung.refused:
            cells = [f'<td class="refused" colspan="{len(cells)}">{escape(rung.refused)}</td>']
        count = f'<td class="n">{rung.constants:,}</td>'.replace(",", "\u202f")
        rows.append((name_of(rung, styles), [count, *cells]))
    note = (
        "1 is perfect, 0 no better than assuming that nothing changes, below 0 worse. ± is a standard error where it "
        "reaches 0.005: over probe sets, for W and b over classes."
    )
    if window.baselines:
        note += (
            " The first rows know nothing of the kernel, or nothing of classes in it: a rung that predicts no better than "
            "these has been tested on nothing."
        )
    if beside:
        note += " The starred columns are not centred and flatter every rung: the global mean dominates them."
    return table("Horizon: skill of the prediction, pooled over the window", columns, rows, note, kind="wide")


def until_table(window: ComparedWindow, styles: Mapping[str, Style]) -> str:
    """Skill on centred means, outputs and residual down to each share of the class residual."""
    rungs = [(r, r.skill_until) for r in window.all_rungs if r.skill_until and not r.modifications]
    shares = [share for share in window.until or {} if all(share in found for _, found in rungs)]
    if not rungs or not shares:
        return ""
    wanted = [q for q in QUANTITIES if q[0] in ("M", "F_centred", "residual_class")]
    columns = [
        "rung",
        *(f"#{abbreviation(short, says)} to {share}" for share in shares for _, short, says in wanted),
    ]
    rows = [
        (
            name_of(r, styles),
            [score_cell(found[share].get(q, NO_SKILL)) for share in shares for q, _, _ in wanted],
        )
        for r, found in rungs
    ]
    note = "Pooled from the start until the squared class residual is at this share of where it started."
    return table("Skill while the classes are learnt", columns, rows, note, kind="wide tight")


def shape_note(window: ComparedWindow) -> str:
    """How far the kernel is from three constants, and which error that foretells."""
    shape = window.shape
    if shape is None:
        return ""
    names = {
        "block_residual": "residual of the blocks",
        "cv": "spread of the class contrasts' eigenvalues (cv)",
        "leak": "leak of contrasts into deviations within classes",
        "iso": "neurons that are not alike (iso)",
        "drift": "drift until the next measurement",
    }
    parts = ", ".join(f"{words} {number(getattr(shape, name), 2)}" for name, words in names.items())
    starts = {"lazy": "in the lazy regime", "small start": "from a small start"}
    told = " or ".join(
        f"{1 - error:.2f} {starts.get(start, start)}" for start, error in shape.foretold.items()
    )
    skills = (
        f" What the kernel's shape foretells for three constants: a skill on M of {shape.at_most}{told.replace('-', '−')}."
        if told
        else ""
    )
    missing = "".join(f" No {name}: {reason}." for name, reason in (shape.missing or {}).items())
    return f'<p class="note">The kernel at the start: {parts}.{escape(missing)}{skills}</p>'


def instantaneous_table(window: ComparedWindow, styles: Mapping[str, Style], meaning: str = "") -> str:
    """Cosine and relative error of the predicted change of the features at the start of the window."""
    # The start is the same for all modifications of a rung.
    found = [(r, r.instantaneous) for r in window.rungs if r.instantaneous and not r.modifications]
    if not found:
        return ""
    parts = [q for q in CHANGES if any(q[0] in motions for _, motions in found)]
    columns = ["rung", *(f"#{abbreviation(short, says)}" for _, short, says in parts)]
    rows = [(name_of(r, styles), [_change(motions.get(q)) for q, _, _ in parts]) for r, motions in found]
    note = (
        "Cosine of the predicted with the observed change, then the relative error of the predicted change."
    )
    if meaning:
        note += f" Observed: {escape(meaning)}."
    return table("At one instant: dH/dt at the start of the window", columns, rows, note, kind="wide")


def _change(found: Motion | None) -> str:
    if found is None or found.cosine is None:
        return score_cell(NO_SKILL)
    cosine = score_cell(Skill(found.cosine, found.cosine_error))
    return cosine.replace("</td>", f'<span class="pm"> / {number(found.error, 2)}</span></td>')


def attribution(window: ComparedWindow) -> str:
    """Table and picture of what each assumption costs."""
    if not window.attribution:
        return ""
    titles = {rung.key: rung.words for rung in window.rungs}
    named = [
        replace(c, start=_titled(c.start, titles), end=_titled(c.end, titles)) for c in window.attribution
    ]
    chain, aside = ([cost for cost in named if cost.chain is kind] for kind in (True, False))
    costliest = max(chain or named, key=lambda cost: cost.cost or 0.0)
    bars = cost_bars(chain, f"What each assumption costs in skill; most: {costliest.assumption}")
    pictures = figure("Skill lost to each assumption", bars) if bars else ""
    lead = f"<p>{typeset(window.sentence)}</p>" if window.sentence else ""
    listed = _costs("Successive rungs drop one assumption each; its cost is the skill gained", chain)
    beside = f'<div class="beside">{pictures}<div>{listed}</div></div>'
    # Only costs along one chain add up to the whole error; in one table with them these would be counted twice.
    apart = _costs("Not part of that chain: other assumptions, dropped alone", aside)
    return f"<h4>What broke the theory here</h4>{lead}{beside}{apart}"


def _titled(rung: str, titles: Mapping[str, str]) -> str:
    """A rung of the attribution in words; "NAME with MODIFICATIONS" keeps its ending."""
    name, between, extra = rung.partition(" with ")
    return titles.get(rung) or titles.get(name, name) + (f", with {extra}" if between else "")


def _costs(caption: str, costs: Sequence[Cost]) -> str:
    columns = ["assumption", "from the rung", "to the rung", "on", "#skill lost to it"]
    rows = [
        (
            escape(c.assumption),
            [*(cell(words) for words in (c.start, c.end, c.quantity)), number_cell(c.cost, c.error, 3)],
        )
        for c in costs
    ]
    return table(caption, columns, rows) if rows else ""


def rates_table(window: ComparedWindow, styles: Mapping[str, Style]) -> str:
    """Predicted against fitted rates of decay."""
    found = [(r, r.rates) for r in window.rungs if r.rates and not r.refused]
    if not found:
        return ""
    names = list(dict.fromkeys(name for _, rates in found for name in rates))
    rows = [(name_of(r, styles), [_rate(rates.get(name)) for name in names]) for r, rates in found]
    columns = ["rung", *(f"#{escape(name.replace('_', ' '))}" for name in names)]
    note = (
        "Predicted rate, then the rate fitted to the observed decay with its interval; per unit of flow time."
    )
    return table("Rates of decay", columns, rows, note, kind="wide")


def _rate(found: Rates | None) -> str:
    if found is None or found.predicted is None:
        return cell("–")
    interval = f" [{number(found.low, 3)}, {number(found.high, 3)}]" if found.low is not None else ""
    fitted = f'<span class="pm"> / {number(found.fitted, 3)}{interval}</span>'
    return f'<td class="n">{number(found.predicted, 3)}{fitted}</td>'


def invariant_table(window: ComparedWindow, styles: Mapping[str, Style]) -> str:
    """Change of what each rung conserves along the observed run and along its own prediction, in both measures."""
    rungs = [(r, r.invariant) for r in window.rungs if r.invariant and not r.refused]
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
    rows = [(name_of(r, styles), _conserved(found)) for r, found in rungs]
    note = (
        "E(t₀) = [WᵀW − sym(Op⁻¹[H] Hᵀ)]/m with the operator Op of the rung, or that part of it which the rung conserves; "
        "first on the observed states, where it is 0 in the theory, then on the rung's own predicted states, where the "
        "flow keeps it and momentum, decay and steps move it. The ratio to E alone looks good wherever one "
        "term dominates; the ratio to the changes of the two terms says whether these cancel, and is 1 where they do not."
    )
    return table("The invariant", columns, rows, note, kind="wide tight")


def _conserved(found: Conserved) -> list[str]:
    if found.reason:
        return [f'<td class="refused" colspan="5">{escape(found.reason)}</td>']
    both = (found.run, found.predicted or Ratios())
    values = [value for ratios in both for value in (ratios.relative_to_E0, ratios.relative_to_terms)]
    return [cell(found.of or "E"), *(number_cell(value, None, 3) for value in values)]


def windows_table(
    windows: Sequence[ComparedWindow], rungs: Sequence[ComparedRung], styles: Mapping[str, Style]
) -> str:
    """Skill on M of every rung from every starting snapshot."""
    if len(windows) < 2:
        return ""
    columns = ["rung", *(f"#step {w.step}" for w in windows)]
    rows = []
    for rung in rungs:
        found = [next((r for r in w.rungs if r.key == rung.key), None) for w in windows]
        if any(r and r.skill for r in found):
            rows.append((name_of(rung, styles), [score_cell(r.score() if r else NO_SKILL) for r in found]))
    note = "Each column predicts from that snapshot, with the kernel measured there."
    return table("Skill on the centred class means M by starting snapshot", columns, rows, note, kind="wide")


def abbreviation(short: str, says: str) -> str:
    """A short name that explains itself."""
    return f'<abbr title="{escape(says)}">{short}</abbr>'

"""The section on the known answer: does the pipeline find the theory where it holds exactly?"""

from collections.abc import Mapping
from html import escape
from typing import Any

from validation.report.overlays import figure
from validation.report.plots import Curve, Frame, pane
from validation.report.tables import cell, number_cell, score_cell, table
from validation.report.words import calibration_sentence

# series of departures: key, title, colour, what is varied
DEPARTURES = (
    ("noise", "noise on the inputs", "#0072B2"),
    ("bend", "nonlinear branch mixed in", "#D55E00"),
    ("width", "the branch made narrow", "#009E73"),
)


def calibration_section(calibration: Mapping[str, Any] | None, version: str) -> str:
    """Sentence, picture of skill against block residual, table."""
    lead = f"<p>{calibration_sentence(calibration, version)}</p>"
    rows = (calibration or {}).get("departures") or []
    body = ""
    if rows:
        body = (
            "<p>From that network on, the block structure is broken by degrees, and the same pipeline is run each "
            "time.</p>"
            f'<div class="panes">{calibration_picture(rows)}</div>{_table(rows)}'
        )
    return f'<section id="calibration"><h2>Calibration</h2>{lead}{body}</section>'


def calibration_picture(rows: list[dict[str, Any]]) -> str:
    """Skill of the block rung against the residual of the blocks, one line a kind of departure."""
    curves = []
    for key, title, colour in DEPARTURES:
        members = sorted((r for r in rows if r["departure"] == key), key=lambda r: r["residual"])
        x, y = [r["residual"] for r in members], [r["block_skill"] for r in members]
        if members:
            curves.append(Curve(title, x, y, colour, points=True))
    says = "Skill of the three-constant rung on the centred class means against the residual of the measured blocks"
    frame = Frame(says, "block residual |K − K_block| / |K| at the start", "skill on M", y_range=(-1.05, 1.05),
                  rules=((0.0, "no change"),))  # fmt: skip
    key = " ".join(
        f'<span class="key"><i style="background:{c.colour}"></i>{escape(c.label)}</span>' for c in curves
    )
    return figure("Skill against departure from blocks", pane(frame, curves), key)


def _table(rows: list[dict[str, Any]]) -> str:
    titles = {key: title for key, title, _ in DEPARTURES}
    listed = [
        (
            escape(titles.get(row["departure"], row["departure"])),
            [cell(f"{row['value']:g}"), number_cell(row["residual"], None, 3), score_cell(row["block_skill"]),
             score_cell(row.get("traced_skill")), score_cell(row.get("best_skill")), cell(str(row.get("blamed") or "–"))],
        )
        for row in rows
    ]  # fmt: skip
    columns = [
        "departure",
        "amount",
        "#block residual",
        "#three constants",
        "#traced kernel",
        "#best rung",
        "costs most",
    ]
    return table("Departures from the known answer, skill on M", columns, listed)

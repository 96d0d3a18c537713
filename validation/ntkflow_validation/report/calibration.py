"""The section on the known answer: does the pipeline find the theory where it holds exactly?"""

from collections.abc import Sequence
from html import escape

from ntkflow_validation.calibration.document import SCORES, Calibration, Departure
from ntkflow_validation.report.drawing.overlays import colour_key, figure
from ntkflow_validation.report.drawing.plots import Curve, Frame, pane
from ntkflow_validation.report.tables import cell, number_cell, score_cell, table
from ntkflow_validation.report.words import calibration_sentence

# kind of departure, title, colour
DEPARTURES = (
    ("noise", "noise on the inputs", "#0072B2"),
    ("bend", "nonlinear branch mixed in", "#D55E00"),
    ("width", "the branch made narrow", "#009E73"),
)
# key, symbol, what it is
QUANTITIES = (("M", "M", "centred class means"), ("H2", "H₂", "deviations from the class means"))


def calibration_section(calibration: Calibration | None, version: str) -> str:
    """Sentence, pictures of skill against block residual, table."""
    lead = f"<p>{calibration_sentence(calibration, version)}</p>"
    rows = calibration.departures if calibration else ()
    body = ""
    if rows:
        pictures = "".join(calibration_picture(rows, *quantity) for quantity in QUANTITIES)
        body = (
            "<p>From that network on, the theory's conditions are broken by degrees, and the same pipeline runs each "
            "time: noise takes the sample kernel off blocks; a nonlinear branch makes neurons differ and the "
            "kernel drift, the more the narrower it is.</p>"
            f'<div class="panes">{pictures}</div>{_table(rows)}'
        )
    return f'<section id="calibration"><h2>Calibration</h2>{lead}{body}</section>'


def calibration_picture(rows: Sequence[Departure], key: str, short: str, says: str) -> str:
    """Skill of three constants against the residual of the blocks, one line a kind of departure."""
    curves = []
    for kind, title, colour in DEPARTURES:
        members = sorted((r for r in rows if r.departure == kind), key=lambda r: r.block_residual)
        x, y = [r.block_residual for r in members], [r.scores[f"block_{key}"].value for r in members]
        if members:
            curves.append(Curve(title, x, y, colour, points=True))
    whole = f"Skill of three constants on {short}, {says}, against the residual of the measured blocks"
    axis = "residual |K − K_block| / |K| at the start"
    frame = Frame(whole, axis, f"skill on {short}", y_range=(-1.05, 1.05), rules=((0.0, "no change"),))
    return figure(f"Skill on {short} against departure from blocks", pane(frame, curves), colour_key(curves))


def _table(rows: Sequence[Departure]) -> str:
    titles = {key: title for key, title, _ in DEPARTURES}
    columns = ["departure", "#amount", "#block residual", "#three constants: M", "#H<sub>2</sub>", "#traced kernel: M",
               "#H<sub>2</sub>", "#best rung: M", "#H<sub>2</sub>", "costs most"]  # fmt: skip
    listed = [
        (
            escape(titles.get(row.departure, row.departure)),
            [
                f'<td class="n">{row.value:g}</td>',
                number_cell(row.block_residual, None, 3),
                *(score_cell(row.scores[name]) for name in SCORES),
                cell(next(iter(row.blamed), "–")),
            ],
        )
        for row in rows
    ]
    note = "± is the standard error over seeds. The last column names the assumption that the attribution blames most."
    return table("Departures from the known answer: skill", columns, listed, note, kind="tight")

"""What each assumption costs, as bars on one axis."""

from collections.abc import Sequence

from ntkflow_validation.report.drawing import svg
from ntkflow_validation.report.drawing.plots import FAINT, GRID, INK
from ntkflow_validation.report.drawing.scales import Axis, label, linear_ticks
from ntkflow_validation.runs.compared import Cost

WIDTH, ROW, TOP, BOTTOM = 360.0, 38.0, 6.0, 40.0
COSTS, SAVES = "#B84A00", "#0072B2"
# Costs beyond this are cut off, with their number beside the bar.
FARTHEST = 2.0


def cost_bars(attribution: Sequence[Cost], says: str) -> str:
    """One bar an assumption, with its standard error: to the right what it costs, to the left what it saves."""
    rows = [(c, c.cost) for c in attribution if c.cost is not None and c.chain]
    if not rows:
        return ""
    costs = [max(-FARTHEST, min(FARTHEST, whole)) for _, whole in rows]
    # A tenth at least, so that bars of a chain that costs nothing are not blown up to the width of the picture.
    low, high = min(0.0, *costs), max(0.1, *costs)
    x = Axis(low - 0.1 * (high - low), high + 0.16 * (high - low), 8.0, WIDTH - 8)
    height = TOP + ROW * len(rows) + BOTTOM
    parts = []
    for value in linear_ticks(x.low, x.high, 5):
        at = x(value)
        parts.append(svg.line(at, TOP, at, height - BOTTOM, stroke=FAINT if value == 0 else GRID))
        parts.append(svg.text(at, height - BOTTOM + 15, label(value), text_anchor="middle", class_="tick"))
    axis = "skill lost to the assumption"
    parts.append(svg.text(WIDTH / 2, height - 8, axis, text_anchor="middle", class_="axis"))
    parts += [
        _bar(row, whole, cost, x, TOP + ROW * i)
        for i, ((row, whole), cost) in enumerate(zip(rows, costs, strict=True))
    ]
    return svg.picture("".join(parts), WIDTH, height, says)


def _bar(row: Cost, whole: float, cost: float, x: Axis, top: float) -> str:
    left, right = sorted((x(0.0), x(cost)))
    colour = COSTS if cost > 0 else SAVES
    words = f"{row.assumption}: {row.start} to {row.end}, skill {whole:+.3f}"
    body = svg.text(10.0, top + 12, row.assumption, class_="bar")
    body += svg.element(
        "rect", x=left, y=top + 17, width=max(right - left, 1.0), height=14.0, fill=colour, rx=1.5
    )
    error = row.error
    if error:
        a, b = x(cost - error), x(cost + error)
        body += svg.line(a, top + 24, b, top + 24, stroke=INK, stroke_width=1.4)
        body += "".join(svg.line(e, top + 20, e, top + 28, stroke=INK, stroke_width=1.4) for e in (a, b))
    at = max(right, x(cost + (error or 0.0))) + 5
    body += svg.text(at, top + 28.5, f"{whole:.2f}".replace("-", "−"), class_="bar")
    return svg.group(body, words)

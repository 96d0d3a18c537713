"""A pane: curves, bands and points over one pair of axes."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from ntkflow_validation.report.drawing import svg
from ntkflow_validation.report.drawing.scales import Axis, value_range

WIDTH, HEIGHT = 360.0, 232.0
NARROW = 282.0
LEFT, RIGHT, TOP, BOTTOM = 50.0, 8.0, 8.0, 40.0
# Mean width of a letter of a label.
LETTER = 5.3
INK, FAINT, GRID = "#1b1f24", "#5a6570", "#e6e9ec"
Values = Sequence[float | None]


@dataclass(frozen=True)
class Curve:
    """One line, or one set of points, of a pane.

    Attributes:
        label: what it is; shown under the pointer.
        x, y: its points; None is a gap.
        colour: of everything it draws.
        key: class of its elements, by which it can be switched off.
        dash: SVG dash array.
        line, points: what is drawn.
        low, high: its band, or nothing.
        names: label written beside each point, or nothing.
        leads: whether the range of the axes must show all of it.
    """

    label: str
    x: Values
    y: Values
    colour: str = INK
    key: str | None = None
    dash: str | None = None
    line: bool = True
    points: bool = False
    low: Values = ()
    high: Values = ()
    names: Sequence[str] = ()
    leads: bool = False


@dataclass(frozen=True)
class Frame:
    """What a pane says of its axes.

    Attributes:
        says: the pane in one sentence, for readers who do not see it.
        x_label, y_label: names of the axes.
        log_x, log_y: logarithmic.
        y_range: fixed range, or None for that of the curves.
        rules: horizontal lines, value and label.
        width: of the pane, in pixels of the picture.
    """

    says: str
    x_label: str
    y_label: str = ""
    log_x: bool = False
    log_y: bool = False
    y_range: tuple[float, float] | None = None
    rules: Sequence[tuple[float, str]] = field(default_factory=tuple)
    width: float = WIDTH


def pane(frame: Frame, curves: Sequence[Curve]) -> str:
    """The picture."""
    leading = [c for c in curves if c.leads] or list(curves)
    xs = [x for c in leading for x in c.x]
    low, high = value_range(xs, log=frame.log_x)
    x = Axis(low, high, LEFT, frame.width - RIGHT, frame.log_x)
    seen = [v for c in leading for v in c.y]
    others = [v for c in curves if not c.leads for v in c.y]
    bottom, top = frame.y_range or value_range(seen, others, frame.log_y)
    y = Axis(bottom, top, HEIGHT - BOTTOM, TOP, frame.log_y)
    inside = "".join(_curve(c, x, y) for c in curves)
    drawn = svg.window(inside, LEFT, TOP, x.end - LEFT, y.start - TOP)
    names = _names(curves, x, y)
    return svg.picture(_axes(frame, x, y) + drawn + names, frame.width, HEIGHT, frame.says)


def _axes(frame: Frame, x: Axis, y: Axis) -> str:
    parts = []
    for value, words in y.ticks():
        at = y(value)
        parts.append(svg.line(LEFT, at, x.end, at, stroke=GRID))
        parts.append(svg.text(LEFT - 5, at + 3.5, words, text_anchor="end", class_="tick"))
    for value, words in x.ticks():
        at = x(value)
        parts.append(svg.line(at, HEIGHT - BOTTOM, at, HEIGHT - BOTTOM + 4, stroke=FAINT))
        # The last label ends where the picture does.
        anchor = "middle" if at + LETTER * len(words) / 2 < x.end + RIGHT else "end"
        parts.append(svg.text(at, HEIGHT - BOTTOM + 16, words, text_anchor=anchor, class_="tick"))
    for value, words in frame.rules:
        at = y(value)
        parts.append(svg.line(LEFT, at, x.end, at, stroke=FAINT, stroke_dasharray="4 3"))
        parts.append(svg.text(x.end - 2, at - 4, words, text_anchor="end", class_="tick"))
    parts.append(svg.line(LEFT, HEIGHT - BOTTOM, x.end, HEIGHT - BOTTOM, stroke=FAINT))
    middle = (LEFT + x.end) / 2
    parts.append(svg.text(middle, HEIGHT - 7, frame.x_label, text_anchor="middle", class_="axis"))
    if frame.y_label:
        at = (TOP + HEIGHT - BOTTOM) / 2
        turned = f"rotate(-90 11 {at:g})"
        parts.append(svg.text(11.0, at, frame.y_label, text_anchor="middle", class_="axis", transform=turned))
    return "".join(parts)


def _curve(curve: Curve, x: Axis, y: Axis) -> str:
    points = [_place(a, b, x, y) for a, b in zip(curve.x, curve.y, strict=True)]
    body = ""
    if curve.low and curve.high:
        body += _band(curve, x, y)
    if curve.line:
        body += svg.polyline(
            points,
            stroke=curve.colour,
            stroke_width=1.8,
            stroke_dasharray=curve.dash,
            stroke_linejoin="round",
        )
    if curve.points:
        body += "".join(svg.dot(p[0], p[1], 2.6, fill=curve.colour) for p in points if p is not None)
    return svg.group(body, curve.label, class_=curve.key)


def _band(curve: Curve, x: Axis, y: Axis) -> str:
    lower, upper = [], []
    for a, low, high in zip(curve.x, curve.low, curve.high, strict=True):
        below, above = _place(a, low, x, y), _place(a, high, x, y)
        if below is not None and above is not None:
            lower.append(below)
            upper.append(above)
    return (
        svg.polygon([*lower, *reversed(upper)], fill=curve.colour, fill_opacity=0.1) if len(lower) > 1 else ""
    )


def _place(a: float | None, b: float | None, x: Axis, y: Axis) -> svg.Point | None:
    if a is None or b is None or (x.log and a <= 0):
        return None
    # On a logarithmic axis what is not positive lies below the picture.
    return x(a), y(b)


def _names(curves: Sequence[Curve], x: Axis, y: Axis) -> str:
    """Labels above and left of their points, each moved up until it covers no other."""
    taken: list[tuple[float, float, float]] = []
    parts = []
    named = [(c, a, b, name) for c in curves for a, b, name in zip(c.x, c.y, c.names, strict=False)]
    for curve, a, b, name in sorted(named, key=lambda item: (item[1] or 0.0, item[2] or 0.0)):
        at = _place(a, b, x, y)
        if at is None:
            continue
        width = LETTER * len(name)
        left = max(LEFT + 2, at[0] - width)
        height = at[1] - 7
        while any(
            left < end and start < left + width and abs(height - other) < 11 for start, end, other in taken
        ):
            height -= 11
        taken.append((left, left + width, height))
        parts.append(svg.group(svg.text(left, height, name, class_="name"), class_=curve.key))
    return "".join(parts)

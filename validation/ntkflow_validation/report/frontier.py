"""Skill against the number of constants, and the rungs that no smaller one reaches."""

from collections.abc import Mapping, Sequence
from html import escape

from ntkflow_validation.report.drawing.overlays import figure
from ntkflow_validation.report.drawing.palette import Style
from ntkflow_validation.report.drawing.plots import INK, Curve, Frame, pane
from ntkflow_validation.report.tables import number
from ntkflow_validation.runs.compared import ComparedWindow, Point

# Skills below are drawn here: of what is worse than nothing nobody asks how much.
WORST = -1.0


def frontier(window: ComparedWindow, styles: Mapping[str, Style]) -> str:
    """The picture, with the rungs on the frontier by their numbers in it."""
    # No constants have no place on a logarithmic axis.
    points = [p for p in window.frontier if p.skill is not None and p.constants]
    if not points:
        return ""
    titles = {rung.name: rung.words for rung in window.rungs if not rung.modifications}
    best = on_frontier(points)
    curves = [_stairs(best, points), *(_dot(p, titles, styles, best) for p in points)]
    says = "Skill on the centred class means against the number of constants of each rung"
    rules = ((window.threshold, f"skill {window.threshold}"), (0.0, "no change"))
    frame = Frame(says, "constants of the description", "skill on M", True, False, (-1.08, 1.18), rules)
    listed = "".join(f"<li>{_entry(p, titles)}</li>" for p in best)
    note = "The stairs are the best skill that so many constants reach. Skills below −1 are drawn at −1."
    picture = figure("The cheapest rung that predicts", pane(frame, curves), note)
    key = f'<p class="note">Rungs that no smaller one reaches:</p><ol>{listed}</ol>'
    return f'<div class="beside">{picture}<div>{key}</div></div>'


def on_frontier(points: Sequence[Point]) -> list[Point]:
    """Those with a higher skill than all with as few constants."""
    found: list[Point] = []
    for p in sorted(points, key=lambda p: (p.constants, -_skill(p))):
        if not found or _skill(p) > _skill(found[-1]):
            found.append(p)
    return found


def _entry(found: Point, titles: Mapping[str, str]) -> str:
    count = f"{found.constants:,}".replace(",", "\u202f")
    sure = f" ± {number(found.error, 1)}" if found.error else ""
    shown = f"{_skill(found):.3f}".replace("-", "−")
    return f"{escape(titles.get(found.rung, found.rung))}: {count} constants, skill {shown}{sure}"


def _skill(found: Point) -> float:
    return found.skill or 0.0


def _dot(
    found: Point, titles: Mapping[str, str], styles: Mapping[str, Style], best: Sequence[Point]
) -> Curve:
    style = styles.get(found.rung)
    says = f"{titles.get(found.rung, found.rung)}: {found.constants} constants, skill {_skill(found):.3f}"
    names = [str(best.index(found) + 1)] if found in best else []
    x, y = [float(found.constants)], [max(WORST, _skill(found))]
    return Curve(says, x, y, style.colour if style else INK, line=False, points=True, names=names)


def _stairs(best: Sequence[Point], points: Sequence[Point]) -> Curve:
    x: list[float] = []
    y: list[float] = []
    for p in best:
        at, height = float(p.constants), max(WORST, _skill(p))
        x, y = ([*x, at, at], [*y, y[-1], height]) if y else ([at], [height])
    return Curve("best so far", [*x, max(float(p.constants) for p in points)], [*y, y[-1]], "#9aa4ad")

"""Drawing in SVG: elements, text, paths. Strings in, strings out."""

from collections.abc import Iterable, Sequence
from html import escape

Point = tuple[float, float]
# None leaves it out.
Attribute = str | float | None


def element(name: str, body: str = "", /, **attributes: Attribute) -> str:
    """One element; underscores in names of attributes become dashes, None leaves one out."""
    words = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(_plain(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    return f"<{name}{words}>{body}</{name}>" if body else f"<{name}{words}/>"


def text(x: float, y: float, words: str, **attributes: Attribute) -> str:
    """A line of text with its baseline at (x, y)."""
    return element("text", escape(words), x=x, y=y, **attributes)


def line(x1: float, y1: float, x2: float, y2: float, **attributes: Attribute) -> str:
    """A straight line."""
    return element("line", x1=x1, y1=y1, x2=x2, y2=y2, **attributes)


def polyline(points: Sequence[Point | None], **attributes: Attribute) -> str:
    """A line through points; None lifts the pen."""
    path = _pieces(points)
    return element("path", d=path, fill="none", **attributes) if path else ""


def polygon(points: Iterable[Point], **attributes: Attribute) -> str:
    """A filled area."""
    corners = " ".join(f"{_plain(x)} {_plain(y)}" for x, y in points)
    return element("path", d=f"M{corners}Z", **attributes) if corners else ""


def dot(x: float, y: float, r: float, **attributes: Attribute) -> str:
    """A filled circle."""
    return element("circle", cx=x, cy=y, r=r, **attributes)


def group(body: str, title: str = "", **attributes: Attribute) -> str:
    """Elements that belong together; `title` is what a pointer over them shows."""
    heading = element("title", escape(title)) if title else ""
    return element("g", heading + body, **attributes) if body else ""


def window(body: str, x: float, y: float, width: float, height: float) -> str:
    """What lies within a rectangle of the picture; the rest is cut off."""
    box = f"{_plain(x)} {_plain(y)} {_plain(width)} {_plain(height)}"
    return element("svg", body, x=x, y=y, width=width, height=height, viewBox=box, overflow="hidden")


def picture(body: str, width: float, height: float, says: str) -> str:
    """A whole picture, as wide as its place; `says` is what it shows, for readers who do not see it."""
    return element("svg", body, viewBox=f"0 0 {_plain(width)} {_plain(height)}", role="img", aria_label=says)


def _pieces(points: Sequence[Point | None]) -> str:
    words, down = [], False
    for point in points:
        if point is not None:
            words.append(f"{'L' if down else 'M'}{_plain(point[0])} {_plain(point[1])}")
        down = point is not None
    return "".join(words)


def _plain(value: object) -> str:
    """Tenths of a pixel are enough."""
    return f"{round(value, 1):g}" if isinstance(value, float) else str(value)

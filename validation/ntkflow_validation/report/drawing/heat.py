"""Heat maps of matrices: a small indexed PNG inside an SVG, with lines between the classes and a colour bar."""

import base64
import struct
import zlib
from collections.abc import Sequence

import numpy as np

from ntkflow_validation.report.drawing import svg
from ntkflow_validation.report.drawing.scales import label

# Anchors of a dark-to-light scale from blue to yellow, monotone in lightness for every kind of colour vision.
ANCHORS = (
    (8, 29, 68),
    (44, 62, 107),
    (88, 92, 112),
    (124, 123, 120),
    (165, 156, 116),
    (211, 193, 99),
    (255, 234, 90),
)
SHARE = 0.995
SIDE, BAR = 240.0, 34.0


def heat_map(matrix: np.ndarray, classes: int, says: str) -> str:
    """A square matrix whose rows and columns are sorted by class.

    The scale runs from 0, or the smallest entry if that is negative, to the 99.5 % quantile; larger entries have
    its last colour.

    Args:
        matrix: entries.
        classes: as many equal blocks; lines are drawn between them.
        says: the picture in one sentence.
    """
    values = np.asarray(matrix, dtype=np.float64)
    low, high = min(0.0, float(values.min())), float(np.quantile(values, SHARE))
    if not high > low:
        high = low + 1.0
    levels = np.clip(np.round(255 * (values - low) / (high - low)), 0, 255).astype(np.uint8)
    image = svg.element(
        "image",
        x=0,
        y=0,
        width=SIDE,
        height=SIDE,
        href=data_uri(levels),
        preserveAspectRatio="none",
        class_="heat",
    )
    cuts = [SIDE * c / classes for c in range(1, classes)]
    lines = "".join(
        svg.line(0, at, SIDE, at, stroke="#fff", stroke_width=0.6, stroke_opacity=0.7)
        + svg.line(at, 0, at, SIDE, stroke="#fff", stroke_width=0.6, stroke_opacity=0.7)
        for at in cuts
    )
    return svg.picture(image + lines + _bar(low, high), SIDE, SIDE + BAR, says)


def _bar(low: float, high: float) -> str:
    ramp = svg.element(
        "image",
        x=0,
        y=SIDE + 8,
        width=SIDE,
        height=9,
        href=data_uri(np.arange(256, dtype=np.uint8)[None]),
        preserveAspectRatio="none",
    )
    ends = ((0.0, low, "start"), (SIDE / 2, (low + high) / 2, "middle"), (SIDE, high, "end"))
    names = (
        svg.text(x, SIDE + 30, label(float(f"{v:.3g}")), text_anchor=a, class_="tick") for x, v, a in ends
    )
    return ramp + "".join(names)


def data_uri(levels: np.ndarray) -> str:
    """Levels 0 to 255 as a PNG of the colour scale, in the text of the page."""
    return "data:image/png;base64," + base64.b64encode(png(levels, palette())).decode()


def palette() -> np.ndarray:
    """256 colours, (256, 3)."""
    at, anchors = np.linspace(0, 255, len(ANCHORS)), np.array(ANCHORS, dtype=np.float64)
    channels = [np.interp(np.arange(256), at, anchors[:, k]) for k in range(3)]
    return np.round(np.stack(channels, axis=1)).astype(np.uint8)


def png(levels: np.ndarray, colours: np.ndarray) -> bytes:
    """An indexed PNG of one byte a pixel."""
    height, width = levels.shape
    rows = np.hstack([np.zeros((height, 1), np.uint8), levels])  # filter type 0 before every row
    header = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)
    chunks = (
        (b"IHDR", header),
        (b"PLTE", colours.tobytes()),
        (b"IDAT", zlib.compress(rows.tobytes(), 9)),
        (b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def thinned(matrix: np.ndarray, labels: Sequence[int] | np.ndarray, side: int = 120) -> np.ndarray:
    """The first samples of each class only, equally many, so that at most about `side` rows are left."""
    order = np.asarray(labels)
    classes = int(order.max()) + 1
    count = max(1, min(int(np.bincount(order).min()), side // classes))
    rows = np.concatenate([np.flatnonzero(order == c)[:count] for c in range(classes)])
    found: np.ndarray = np.asarray(matrix)[np.ix_(rows, rows)]
    return found

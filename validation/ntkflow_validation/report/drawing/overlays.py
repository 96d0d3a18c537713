"""Observed points under each rung's line: the panes of one window, and of the training itself."""

from collections.abc import Callable, Mapping, Sequence
from html import escape

from ntkflow_validation.report.drawing.palette import Style
from ntkflow_validation.report.drawing.plots import INK, NARROW, Curve, Frame, pane
from ntkflow_validation.runs.compared import ComparedRung, ComparedWindow
from ntkflow_validation.runs.documents import KernelRow, Line

# series, title, logarithmic
OBSERVED: Sequence[tuple[str, str, bool]] = (
    ("loss", "Loss", True),
    ("loss_class", "Loss: class part", True),
    ("loss_individual", "Loss: individual part", True),
    ("M_norm", "Class means, |M|", False),
    ("H2_norm", "Within classes, |H₂|", False),
    ("W_norm", "Weights, |W|", False),
    ("b_norm", "Biases, |b|", False),
    ("NC1", "NC1, variability within classes", True),
    ("NC2", "NC2, distance from a simplex", False),
    ("NC3", "NC3, distance of M from Wᵀ", False),
)
TRAINING: Sequence[tuple[str, bool, Sequence[tuple[str, str, str]]]] = (
    ("Loss and its parts", True, (
        ("loss", "all", INK), ("loss_class", "class", "#0072B2"), ("loss_individual", "individual", "#D55E00"))),
    ("Accuracy", False, (("accuracy_train", "train", INK), ("accuracy_test", "test", "#D55E00"))),
    ("Neural collapse", True, (("NC1", "NC1", INK), ("NC2", "NC2", "#0072B2"), ("NC3", "NC3", "#D55E00"))),
    # Not in lines of before, which then have no such pane.
    ("Variability within classes", True,
     (("variability_visible", "that the classifier sees", "#0072B2"),
      ("variability_invisible", "that it does not see", "#D55E00"))),
)  # fmt: skip
TIME = "flow time t of the sum loss"
# A time axis is logarithmic where it spans more than this.
SPAN = 30.0


def figure(title: str, picture: str, note: str = "") -> str:
    """A picture with its caption."""
    below = f'<p class="note">{note}</p>' if note else ""
    return f"<figure><figcaption>{title}</figcaption>{picture}{below}</figure>"


def colour_key(curves: Sequence[Curve]) -> str:
    """Colours and labels of the curves of a pane without a legend of its own."""
    return " ".join(
        f'<span class="key"><i style="background:{c.colour}"></i>{escape(c.label)}</span>' for c in curves
    )


def overlays(window: ComparedWindow, styles: Mapping[str, Style]) -> str:
    """One pane a quantity, and one for the skill on M over time."""
    panes, log = [], wide(window.times)
    for name, title, log_y in OBSERVED:
        seen = window.observed.get(name)
        if seen is None or not any(v is not None for v in seen):
            continue
        curves = [_line(rung, styles[rung.key], window.times, name) for rung in window.rungs]
        points = Curve("observed", window.times, seen, line=False, points=True, leads=True)
        frame = Frame(f"{title} over {TIME}: observed points, one line for each rung", TIME, "", log, log_y)
        panes.append(figure(title, pane(frame, [c for c in curves if c] + [points])))
    panes.append(_skill_pane(window, styles, log))
    return f'<div class="panes">{"".join(panes)}</div>'


def wide(times: Sequence[float]) -> bool:
    """Whether times want a logarithmic axis."""
    positive = [t for t in times if t > 0]
    return bool(positive) and max(positive) > SPAN * min(positive)


def _line(rung: ComparedRung, style: Style, times: Sequence[float], name: str) -> Curve | None:
    values = (rung.predicted or {}).get(name)
    if rung.refused or values is None:
        return None
    edges = rung.band.edges.get(name) if rung.band else None
    low, high = (edges.low, edges.high) if edges else ((), ())
    return Curve(rung.words, times, values, style.colour, style.key, style.dash, low=low, high=high)


def _skill_pane(window: ComparedWindow, styles: Mapping[str, Style], log: bool) -> str:
    curves = []
    for rung in window.rungs:
        values = (rung.skill_at or {}).get("M")
        if values is not None and not rung.refused:
            style = styles[rung.key]
            curves.append(Curve(rung.words, window.times, values, style.colour, style.key, style.dash))
    if not curves:
        return ""
    title = "Skill on M over time"
    rules = ((0.0, "no change"),)
    # Far below 0 all skills are equally useless; there the pane ends, so that what is between 0 and 1 can be read.
    frame = Frame(f"{title}: one line for each rung", TIME, "", log, False, (-1.05, 1.05), rules)
    return figure(title, pane(frame, curves))


def training_panes(metrics: Sequence[Line], kernels: Sequence[KernelRow]) -> str:
    """Loss, accuracy and collapse over the steps, and the block structure of the measured kernels."""
    steps = [line.step for line in metrics]
    panes = [
        _training_pane(title, log, curves, steps, lambda name: [line.get(name) for line in metrics])
        for title, log, curves in TRAINING
    ]
    lines = (
        ("alignment", "alignment with classes", INK),
        ("block_residual", "residual of the blocks", "#D55E00"),
    )
    if len(kernels) > 1:
        measured = [row.step for row in kernels]
        panes.append(
            _training_pane(
                "Kernel: block structure",
                False,
                lines,
                measured,
                lambda name: [getattr(row, name) for row in kernels],
                (0.0, 1.05),
            )
        )
    return f'<div class="panes four">{"".join(panes)}</div>'


def _training_pane(
    title: str,
    log: bool,
    lines: Sequence[tuple[str, str, str]],
    taken: Sequence[int],
    column: Callable[[str], list[float | None]],
    y_range: tuple[float, float] | None = None,
) -> str:
    # Step 0 has no place on a logarithmic axis; it stands where step 1/2 would.
    steps = [max(float(step), 0.5) for step in taken]
    found = [(label, column(name), colour) for name, label, colour in lines]
    curves = [
        Curve(label, steps, values, colour, points=len(steps) < 12)
        for label, values, colour in found
        if any(value is not None for value in values)
    ]
    if not curves:
        return ""
    names = ", ".join(c.label for c in curves)
    says = f"{title} over the steps of training: {names}"
    frame = Frame(says, "step", "", wide(steps), log, y_range, width=NARROW)
    return figure(title, pane(frame, curves), colour_key(curves))

"""Why a network collapsed, or what it did not forget: laws, imbalance, and the variability that the classifier sees."""

from html import escape

from ntkflow_validation.report.drawing.overlays import colour_key, figure
from ntkflow_validation.report.drawing.plots import Curve, Frame, pane
from ntkflow_validation.report.tables import number_cell, table
from ntkflow_validation.report.words import typeset
from ntkflow_validation.runs.followed import RunLaws

SEEN, UNSEEN, TOLD = "#0072B2", "#D55E00", "#009E73"


def laws_section(found: RunLaws | None) -> str:
    """The section; nothing before `ntkflow validate laws`."""
    if found is None:
        return ""
    return (
        "<h3>Why it collapsed, or what it did not forget</h3>"
        f"<p>{typeset(found.sentence)}</p>{_pictures(found)}{_families(found)}{_floors(found)}"
    )


def _pictures(found: RunLaws) -> str:
    steps = tuple(max(float(step), 0.5) for step in found.steps)
    curves = [
        Curve("seen by the classifier", steps, found.visible, colour=SEEN),
        Curve("not seen", steps, found.invisible, colour=UNSEEN),
    ]
    if found.imbalance is not None and any(value is not None for value in found.imbalance.foretold):
        told = Curve("foretold from Q at the start", steps, found.imbalance.foretold, colour=TOLD, dash="5 3")
        curves.append(told)
    title = "Variability within classes"
    picture = pane(Frame(f"{title} by whether the classifier sees it", "step", "", True, True), curves)
    note = f"{colour_key(curves)} Seen: in the row space of W, where it is the residual within classes."
    if found.no_imbalance:
        note += f" No Q: {escape(found.no_imbalance)}."
    return f'<div class="panes">{figure(title, picture, note)}{_errors(found, steps)}</div>'


def _errors(found: RunLaws, steps: tuple[float, ...]) -> str:
    """Laws against what they should be, along the training; nothing of a file of before, which has no such numbers."""
    known = found.series
    lines = (
        ("laws_moved", "all laws, if constant", UNSEEN, "2 3"),
        ("laws_error", "all laws, off their law", SEEN, ""),
        ("Q_error", "Q off its law, over |Q(0)|", TOLD, "5 3"),
    )
    curves = [
        Curve(words, steps, known[name], colour=colour, dash=dash or None)
        for name, words, colour, dash in lines
        if name in known
    ]
    if not curves:
        return ""
    title = "Laws against what they should be"
    picture = pane(Frame(title, "step", "", True, True), curves)
    return figure(title, picture, f"{colour_key(curves)} Relative to what is in a law.")


def _families(found: RunLaws) -> str:
    rows = [
        (
            escape(family.name),
            [
                number_cell(family.count),
                *(
                    number_cell(value, None, 2)
                    for value in (
                        family.error,
                        family.interpolated,
                        family.error_of_flow,
                        family.neglected,
                        family.error_if_constant,
                    )
                ),
            ],
        )
        for family in found.families
    ]
    columns = [
        "laws that tie",
        "#how many",
        "#off their law",
        "#interpolation",
        "#off the flow's",
        "#neglected there",
        "#off a constant",
    ]
    note = f"At the end, over the size of what is in the law; against {escape(found.how)}. "
    note += "The flow's law, on the optimiser's clock, is of leading order in the step and neglects what the law of the steps "
    note += "adds. "
    note += "No law is missing." if found.certified else "Not certified to be all."
    return table("What the training conserves", columns, rows, note) if rows else ""


def _floors(found: RunLaws) -> str:
    rows = [
        (f"step {floor.step}", [number_cell(floor.foretold, None, 3), number_cell(floor.observed, None, 3)])
        for floor in found.floors
    ]
    note = "Where decay lets the features rest under the kernel measured there; at the end of training the two agree."
    return table("Floor of NC1", ["from the kernel at", "#floor", "#NC1 there"], rows, note) if rows else ""

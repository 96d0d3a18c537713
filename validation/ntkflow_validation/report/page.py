"""One self-contained page: sections, styles, nothing from a network, no scripts."""

from collections.abc import Sequence
from html import escape
from importlib.resources import files
from pathlib import Path

from ntkflow import __version__
from ntkflow.runs.atomic import atomic
from ntkflow.runs.border.reading import reading
from ntkflow_validation.calibration.document import Calibration
from ntkflow_validation.report.calibration import calibration_section
from ntkflow_validation.report.gather import RunReport
from ntkflow_validation.report.sections import run_section
from ntkflow_validation.report.words import calibration_sentence, verdict, window_name

GLOSSARY = (
    ("flow time t", "time of gradient flow on the sum loss ½|WH + b1ᵀ − Y|²; the clock turns optimiser steps into it."),
    ("rung", "a description of the features' tangent kernel, from three constants to the full tensor; each predicts H, W "
             "and b forward from a snapshot, with the kernel measured there."),
    ("skill", "1 − |predicted − observed|² / |observed − start|²: 1 is perfect, 0 no better than assuming that nothing changes."),
    ("window", "the stretch of training that is predicted, from its snapshot on."),
    ("band", "around a rung's prediction, one standard error over probe sets or one standard deviation over draws of the "
             "batches, where one was computed."),
    ("E", "the matrix (WᵀW − H K⁻¹Hᵀ)/m, conserved by the flow under a constant sample kernel K; zero in Theorem 5.2."),
)  # fmt: skip


def page(reports: Sequence[RunReport], calibration: Calibration | None, version: str = __version__) -> str:
    """The whole page as HTML.

    Args:
        reports: runs in the order in which they are shown.
        calibration: of the version that makes the page, or None.
        version: that version.
    """
    anchors = [f"run{i + 1}" for i in range(len(reports))]
    title = "Predicted against observed: " + ", ".join(r.title for r in reports)
    words = "".join(f"<dt>{name}</dt><dd>{meaning}</dd>" for name, meaning in GLOSSARY)
    body = [
        _header(reports, anchors, calibration, version),
        *(run_section(report, anchor) for report, anchor in zip(reports, anchors, strict=True)),
        calibration_section(calibration, version),
        f'<section id="glossary"><h2>Words</h2><dl>{words}</dl></section>',
        f"<footer>Made by ntkflow {escape(version)}.</footer>",
    ]
    style = files("ntkflow_validation.report").joinpath("page.css").read_text(encoding="utf-8")
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<link rel="icon" href="data:,">'
        f"<title>{escape(title)}</title><style>{style}</style></head>"
        f"<body><main>{''.join(body)}</main></body></html>\n"
    )


def write_page(path: Path | str, reports: Sequence[RunReport], calibration: Calibration | None) -> Path:
    """Write the page under a temporary name, then rename it.

    Raises:
        InputError: the documents of the runs are not as a page needs them.
    """
    # Whatever numbers make the drawing stumble are the documents' fault: a loss of 1e308 has no axis.
    runs, place = ", ".join(report.title for report in reports) or "calibration", Path(path)
    with reading("report", runs, "what a page shows", "compare the runs again"):
        content = page(reports, calibration).encode()
    with atomic(place) as handle:
        handle.write(content)
    return place


def _header(
    reports: Sequence[RunReport], anchors: Sequence[str], calibration: Calibration | None, version: str
) -> str:
    entries = "".join(
        f'<li><a href="#{a}">{escape(r.title)}</a></li>' for a, r in zip(anchors, reports, strict=True)
    )
    links = f'{entries}<li><a href="#calibration">Calibration</a></li><li><a href="#glossary">Words</a></li>'
    said = "".join(_in_short(report) for report in reports)
    return (
        "<header><h1>Predicted against observed</h1>"
        '<p class="sub">How well each rung of the kernel ladder predicts the training of a real network, '
        "and which assumption costs most.</p>"
        f'<nav aria-label="Sections"><ul>{links}</ul></nav></header>'
        f'<section class="short"><h2>In short</h2>{said}<p>{calibration_sentence(calibration, version)}</p></section>'
    )


def _in_short(report: RunReport) -> str:
    windows = [w for w in report.windows if w.leading] or report.windows[:1]
    named = [w for w in report.windows if w.name in ("early", "late")]
    said = []
    for window in named or windows:
        sentences = " ".join(verdict(window))
        said.append(f"<p><b>{escape(window_name(window)).capitalize()}.</b> {sentences}</p>")
    return f'<div class="card"><h3>{escape(report.title)}</h3>{"".join(said)}</div>'

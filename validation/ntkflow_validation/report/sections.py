"""The sections of a page: what was trained, each window, the kernels, what the theory leaves out, the configuration."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from html import escape

from ntkflow_validation.config.recorded import RecordedConfig
from ntkflow_validation.report import scores
from ntkflow_validation.report.drawing.heat import heat_map
from ntkflow_validation.report.drawing.overlays import figure, overlays, training_panes
from ntkflow_validation.report.drawing.palette import Style, styles
from ntkflow_validation.report.frontier import frontier
from ntkflow_validation.report.gather import KernelPicture, RunReport
from ntkflow_validation.report.laws import laws_section
from ntkflow_validation.report.tables import number_cell, table
from ntkflow_validation.report.words import verdict, window_name
from ntkflow_validation.runs.compared import ComparedRung, ComparedWindow
from ntkflow_validation.runs.documents import KernelRow


def run_section(report: RunReport, anchor: str) -> str:
    """Everything about one run.

    Args:
        report: the run.
        anchor: identifier of the section; also keeps the switches of two runs apart.
    """
    wanted = {window.cheapest for window in report.windows if window.cheapest}
    # Two runs on one page have rungs of the same names, which are switched on and off apart.
    drawn = {
        key: replace(style, key=f"{anchor}-{style.key}")
        for key, style in styles(report.rungs, wanted).items()
    }
    meaning = report.comparison.meaning if report.comparison else {}
    parts = [
        f"<h2>{escape(report.title)}</h2><p>{escape(report.facts)}.</p>",
        training_panes(report.metrics, [kernel.row for kernel in report.kernels]),
        *(_window(window, drawn, anchor, meaning) for window in _shown(report.windows)),
        scores.windows_table(report.windows, report.rungs, drawn),
        _kernels(report),
        laws_section(report.laws),
        _deviations(report.deviations),
        _configuration(report),
    ]
    return f'<section id="{anchor}" class="run">{"".join(parts)}</section>'


def _shown(windows: Sequence[ComparedWindow]) -> list[ComparedWindow]:
    """The leading window and the named ones; all of them would say the same at greater length."""
    shown = [w for w in windows if w.leading or not w.name.startswith("step")]
    return shown or list(windows[:1])


def _window(
    window: ComparedWindow, drawn: Mapping[str, Style], anchor: str, meaning: Mapping[str, str]
) -> str:
    identifier = f"{anchor}-{window.step}"
    # Its own sentence comes with the attribution.
    said = "".join(f"<li>{sentence}</li>" for sentence in verdict(replace(window, sentence=None)))
    parts = [
        f"<ul>{said}</ul>",
        f"<h4>Observed and predicted</h4>{_legend(window.rungs, drawn, identifier)}",
        overlays(window, drawn),
        _bands(window),
        _pace(window.step_times_rate),
        scores.attribution(window),
        "<h4>Scores</h4>",
        scores.horizon_table(window, drawn),
        scores.until_table(window, drawn),
        scores.shape_note(window),
        scores.instantaneous_table(window, drawn, meaning.get("observed_motion", "")),
        frontier(window, drawn),
        f'<div class="pair"><div>{scores.rates_table(window, drawn)}</div>'
        f"<div>{scores.invariant_table(window, drawn)}</div></div>",
    ]
    switches = _switches(window.rungs, drawn, identifier)
    opened = " open" if window.leading else ""
    return (
        f'<details class="window" id="{identifier}"{opened}><summary><h3>Window: {escape(window_name(window))}</h3>'
        f"</summary>{''.join(parts)}{switches}</details>"
    )


def _bands(window: ComparedWindow) -> str:
    """What the bands of this window are taken over."""
    kinds = {rung.band.of for rung in window.rungs if rung.band and rung.band.of}
    if not kinds:
        return ""
    # Draws are whole runs of a rung, whose spread is shown; probe sets estimate one number.
    said = [f"standard {'deviation' if k.startswith('draws') else 'error'} over {k}" for k in sorted(kinds)]
    return f'<p class="note">Bands: one {escape(" or one ".join(said))}.</p>'


def _pace(rate: float | None) -> str:
    if rate is None:
        return ""
    return (
        f'<p class="note">Largest step times the fastest predicted rate: {rate:.3g}. Well below 1 gradient descent '
        "follows the flow; at 2 it becomes unstable.</p>"
    )


def _legend(rungs: Sequence[ComparedRung], drawn: Mapping[str, Style], identifier: str) -> str:
    """A switch for every rung that was run; works without scripts."""
    usable = [r for r in rungs if not r.refused]
    first = [r for r in usable if drawn[r.key].shown]
    others = [r for r in usable if not drawn[r.key].shown and not r.modifications]
    modified = [r for r in usable if r.modifications]
    words = '<span class="key"><i class="seen"></i>observed</span>'
    words += "".join(_switch(drawn[r.key], identifier) for r in first)
    for title, members in (
        ("Further rungs", others),
        ("With what the training did beyond the theory", modified),
    ):
        if members:
            switches = "".join(_switch(drawn[r.key], identifier) for r in members)
            words += f'<details><summary>{title}</summary><div class="switches">{switches}</div></details>'
    return f'<fieldset class="legend"><legend>Show</legend>{words}</fieldset>'


def _switch(style: Style, identifier: str) -> str:
    checked = " checked" if style.shown else ""
    return (
        f'<label><input type="checkbox" id="{identifier}-{style.key}"{checked}>'
        f"{scores.swatch(style)}{escape(style.title)}</label>"
    )


def _switches(rungs: Sequence[ComparedRung], drawn: Mapping[str, Style], identifier: str) -> str:
    rules = "".join(
        f"#{identifier}:has(#{identifier}-{key}:not(:checked)) .panes .{key}{{display:none}}"
        for key in (drawn[r.key].key for r in rungs if not r.refused)
    )
    return f"<style>{rules}</style>" if rules else ""


def _kernels(report: RunReport) -> str:
    kernels, C = report.kernels, report.config.data.classes
    if not kernels:
        return ""
    pictures = "".join(_kernel_picture(kernel, C) for kernel in kernels if kernel.matrix is not None)
    compared = report.comparison.kernels if report.comparison else ()
    shares = {kernel.row.step: kernel.off_neuron_share_of_means for kernel in compared}
    rows = [
        (f"step {k.row.step}", [*_constants(k.row), number_cell(shares.get(k.row.step), None, 2)])
        for k in kernels
    ]
    off = '#<abbr title="share of |Θ|² between different neurons, on class means">off-neuron share</abbr>'
    columns = [
        "snapshot",
        *(f"#κ<sub>{of}</sub>" for of in "dcn"),
        "#κ<sub>d</sub>−κ<sub>c</sub>",
        "#alignment",
        "#residual of the blocks",
        off,
    ]
    lead = (
        "<p>The features' tangent kernel, mean over neurons, samples sorted by class. A block kernel has one colour "
        "within the classes, one between them and one on the diagonal.</p>"
    )
    note = (
        "± is the standard error from measuring some neurons or samples only; none where all were measured."
    )
    listed = table("Block constants of the measured kernels", columns, rows, note)
    return f'<h3>Measured kernels</h3>{lead}<div class="heats">{pictures}</div>{listed}'


def _kernel_picture(kernel: KernelPicture, C: int) -> str:
    assert kernel.matrix is not None
    says = f"Kernel at step {kernel.row.step}: {C} classes of {len(kernel.matrix) // C} samples, brighter is larger"
    known = (kernel.row.alignment, kernel.row.block_residual)
    alignment, residual = ("–" if value is None else f"{value:.3f}" for value in known)
    note = f"alignment {alignment}, residual of the blocks {residual}"
    return figure(f"Step {kernel.row.step}", heat_map(kernel.matrix, C, says), note)


def _constants(row: KernelRow) -> list[str]:
    values = {
        "kappa_d": row.kappa_d,
        "kappa_c": row.kappa_c,
        "kappa_n": row.kappa_n,
        "mu_single": row.mu_single,
    }
    cells = [number_cell(value, row.errors.get(name) or None) for name, value in values.items()]
    return [*cells, number_cell(row.alignment, None, 3), number_cell(row.block_residual, None, 3)]


def _deviations(found: Sequence[str]) -> str:
    if not found:
        return ""
    return "<h3>Not in the theory</h3><ul>" + "".join(f"<li>{escape(line)}</li>" for line in found) + "</ul>"


def _configuration(report: RunReport) -> str:
    again = (
        "by the recorder"
        if isinstance(report.config, RecordedConfig)
        else "<code>ntkflow validate run --config config.toml</code> runs it again"
    )
    return (
        f"<h3>Configuration</h3><p>Written to <code>config.toml</code>; {again}.</p>"
        f"<details><summary>config.toml</summary><pre>{escape(report.toml)}</pre></details>"
    )

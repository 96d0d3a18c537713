"""The summary of a run as a table for people."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ntkflow._types import Document
from ntkflow.cli.printed import predicted as words
from ntkflow.cli.printed.output import number
from ntkflow.problem.kernels import KAPPAS
from ntkflow.problem.sizes import repeated
from ntkflow.runs.border.plain import SizesRow
from ntkflow.runs.laws import LEADING
from ntkflow.runs.pictures.curves import flat
from ntkflow.runs.saved.brought import BroughtRun
from ntkflow.runs.saved.ensembles import EnsembleSummary
from ntkflow.runs.summary import AgreementRow, BlockConstants, Summary

if TYPE_CHECKING:
    from ntkflow.runs.layered import LayeredSummary

Row = tuple[str, str, str]


def print_summary(summary: Summary, console: Console | None = None) -> None:
    """What was run, what happened, and what the theory predicts for it; on the terminal unless a console is given."""
    console = console or Console(highlight=False)
    for line in headlines(summary.sizes, summary.kernel, summary.constants):
        console.print(Text(line, style="bold"))
    grid = Table(show_header=True, header_style="bold", box=None, pad_edge=False)
    for name in ("", "start", "end"):
        grid.add_column(name, justify="left" if not name else "right", no_wrap=True)
    for label, start, end in _rows(summary):
        grid.add_row(label, start, end)
    console.print(grid)
    for title, pairs in (
        ("What the theory says of this run beforehand", _beforehand(summary)),
        ("How the run compares", _compared(summary)),
    ):
        if found := list(pairs):
            console.print(Text(f"\n{title}", style="bold"))
            print_pairs(console, found)
    solver = summary.solver
    for sentence in summary.warnings:
        console.print(Text(f"\nWARNING: {sentence}", style="bold red"))
    console.print(
        Text(
            f"\nStopped at t = {number(summary.t_end)}: {summary.stop_reason.sentence}.\n"
            f"{solver.engine} on the {solver.form} form: {solver.steps} steps in {solver.seconds:.2f} s; "
            f"{solver.because}."
        )
    )


@dataclass(frozen=True)
class Column:
    """A run in a table of several.

    Attributes:
        kind: of run.
        settings: that made it, by name.
        ends: numbers at its end, by what they are; of an ensemble medians.
        stopped: why it ended, in a word.
    """

    kind: str
    settings: Document
    ends: Mapping[str, object]
    stopped: str

    @classmethod
    def of_simulation(cls, summary: Summary) -> "Column":
        """Of one run."""
        nc = {name: summary.nc[name].final for name in METRICS}
        ends = (summary.loss.final, summary.invariant.drift, summary.invariant.alignment_final, summary.t_end)
        return cls("simulation", flat(summary.config), _ends(nc, *ends), summary.stop_reason.key)

    @classmethod
    def of_ensemble(cls, summary: EnsembleSummary) -> "Column":
        """Of many."""
        medians = {name: ends.final[1] for name, ends in summary.quantiles.items()}
        ends = (medians.get("loss"), summary.drift, medians.get("E_alignment"), summary.t_end)
        members = f"{summary.ensemble.members} members"
        return cls("simulation", flat(summary.config), _ends(medians, *ends), members)

    @classmethod
    def of_layers(cls, summary: "LayeredSummary") -> "Column":
        """Of linear layers, which have no E."""
        found = {name: ends.end for name, ends in summary.series.items()}
        settings = {"widths": repeated(summary.sizes.widths), **flat(summary.config)}
        ends = _ends(found, found["loss"], None, None, summary.t_end)
        return cls("linear layers", settings, ends, summary.stop_reason.key)

    @classmethod
    def of_brought(cls, run: BroughtRun) -> "Column":
        """Of another package."""
        found = run.ends()
        nc = {name: found["nc"][name]["final"] for name in METRICS}
        invariant = found["invariant"]
        ends = (found["loss"]["final"], invariant["drift"], invariant["alignment_final"], found["t_end"])
        return cls(found["kind"], run.settings, _ends(nc, *ends), str(found["stop_reason"]["key"]))


# NC4 is a share of right answers, which says little where runs are compared.
METRICS = ("NC1", "NC2", "NC3")


def _ends(nc: Document, loss: object, drift: object, alignment: object, t_end: object) -> dict[str, object]:
    return {
        "loss": loss,
        **{name: nc.get(name) for name in METRICS},
        "drift of E": drift,
        "alignment of E's terms": alignment,
        "flow time at the end": t_end,
    }


def print_several(names: Sequence[str], runs: Sequence[Column]) -> None:
    """Runs beside each other: the settings in which they differ, then where each ended; medians of an ensemble.

    Of different kinds, only settings that all have are compared.
    """
    console = Console(highlight=False)
    grid = Table(show_header=True, header_style="bold", box=None, pad_edge=False)
    for name in ("", *names):
        grid.add_column(Text(name), justify="right" if name else "left", no_wrap=True)
    mixed = len({run.kind for run in runs}) > 1
    if mixed:
        grid.add_row("kind", *(run.kind for run in runs))
    for name in dict.fromkeys(n for run in runs for n in run.settings):
        values = [number(run.settings.get(name)) for run in runs]
        absent = any(run.settings.get(name) is None for run in runs)
        if len(set(values)) > 1 and not (mixed and absent):
            grid.add_row(Text(name), *values)
    grid.add_section()
    for label in runs[0].ends:
        cells = [number(run.ends[label]) for run in runs]
        if set(cells) != {"-"}:
            grid.add_row(Text(label), *cells)
    grid.add_row("stopped", *(run.stopped for run in runs))
    console.print(grid)


def print_pairs(console: Console, pairs: Iterable[tuple[str, str]]) -> None:
    """Names on the left, sentences wrapped on the right."""
    grid = Table(show_header=False, box=None, pad_edge=False)
    grid.add_column(no_wrap=True)
    grid.add_column()
    for name, sentence in pairs:
        # As text: brackets of formulas are no markup.
        grid.add_row(Text(name), Text(sentence))
    console.print(grid)


def headlines(s: SizesRow, kernel: Document, constants: BlockConstants) -> Iterator[str]:
    """Sizes, kernel constants and eigenvalues, a line each."""
    mu = constants.eigenvalues
    m = repeated(s.m) if isinstance(s.m, list | tuple) else s.m
    yield f"C = {s.C} classes, m = {m} per class, n = {s.n} features, N = {s.N} samples"
    yield from _kernel(kernel)
    if mu is not None:
        yield ", ".join(
            f"{name} = {number(getattr(mu, name))}" for name in ("mu_single", "mu_class", "mu_global")
        )


def _kernel(kernel: Document) -> Iterator[str]:
    """The kernel's constants, what repeats summarised; of other rungs the name."""
    if kernel["rung"] == "block":
        yield ", ".join(f"{name} = {kernel[name]:.10g}" for name in KAPPAS)
    elif kernel["rung"] == "class-block":
        B, C = kernel["B"], len(kernel["B"])
        within = repeated([number(B[c][c]) for c in range(C)])
        between = [B[c][d] for c in range(C) for d in range(C) if c != d]
        spread = (
            number(min(between))
            if min(between) == max(between)
            else f"{number(min(between))} to {number(max(between))}"
        )
        kappa_d = repeated([number(value) for value in kernel["kappa_d"]])
        yield f"class-block kernel: kappa_d = {kappa_d}; kappa_c = {within}; kappa_n = {spread}"
    else:
        yield f"{kernel['rung']} kernel"


def _rows(summary: Summary) -> Iterator[Row]:
    loss, invariant, nc = summary.loss, summary.invariant, summary.nc
    yield "loss (sum over samples)", number(loss.initial), number(loss.final)
    yield "invariant |E|", number(invariant.norm_initial), number(invariant.norm_final)
    alignments = number(invariant.alignment_initial), number(invariant.alignment_final)
    yield "alignment of E's terms", *alignments
    moved = "drift of E" if invariant.constant else "motion of E"
    yield f"{moved}, relative to its terms", "", number(invariant.drift)
    if invariant.law_error is not None:
        yield "error of the exact law of that motion", "", number(invariant.law_error)
    meanings = {
        "NC1": "NC1 within-class deviation, feature by feature",
        "NC2": "NC2 distance from the simplex ETF",
        "NC3": "NC3 distance from self-duality",
        "NC4": "NC4 nearest-mean agreement",
    }
    for name, meaning in meanings.items():
        yield meaning, number(nc[name].initial), number(nc[name].final)


def _beforehand(summary: Summary) -> Iterator[tuple[str, str]]:
    """What was known before the run."""
    predicted = summary.predicted
    if predicted is None:
        return
    for part in (words.answers, words.limit, words.bounds, words.times):
        yield from part(predicted)
    yield from words.decay(predicted.decay)
    yield from words.optimiser(summary.optimiser, predicted)
    if not summary.agreement:
        yield from words.laws(predicted)


def _compared(summary: Summary) -> Iterator[tuple[str, str]]:
    """How the run agrees with it, and what it cannot be compared with."""
    for line in summary.agreement:
        yield line.quantity, f"{verdict(line)}: {line.sentence}"
    yield from ((line.quantity, line.sentence) for line in summary.waiting)


def verdict(line: AgreementRow) -> str:
    """How far a prediction and a run agree, in words."""
    error = number(line.error)
    if line.failed:
        broken = "BROKEN by" if line.bound else "FAILS, off by"
        return f"{broken} {error}, where integration and rounding explain {number(line.tolerance)}"
    if line.bound:
        return "held"
    if line.order == LEADING:
        neglected = line.neglected
        size = "" if neglected in (None, line.error) else f", which neglects about {number(neglected)}"
        return f"off by {error} as a leading order{size}"
    return f"agrees to {line.digits} digits" if line.digits > 0 else f"does not agree, off by {error}"

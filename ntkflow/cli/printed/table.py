"""The summary of a run as a table for people."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ntkflow._types import Document
from ntkflow.cli.printed import predicted as words
from ntkflow.cli.printed.output import number
from ntkflow.problem.kernels import KAPPAS
from ntkflow.problem.sizes import repeated
from ntkflow.runs.laws import LEADING

Row = tuple[str, str, str]


def print_summary(summary: Document, console: Console | None = None) -> None:
    """What was run, what happened, and what the theory predicts for it; on the terminal unless a console is given."""
    console = console or Console(highlight=False)
    for line in headlines(summary):
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
    solver = summary["solver"]
    for sentence in summary.get("warnings", ()):
        console.print(Text(f"\nWARNING: {sentence}", style="bold red"))
    console.print(
        Text(
            f"\nStopped at t = {number(summary['t_end'])}: {summary['stop_reason']['sentence']}.\n"
            f"{solver['engine']} on the {solver['form']} form: {solver['steps']} steps in {solver['seconds']:.2f} s; "
            f"{solver['because']}."
        )
    )


def print_several(names: Sequence[str], summaries: Sequence[Document]) -> None:
    """Runs beside each other: the settings in which they differ, then where each ended; medians of an ensemble.

    Of different kinds, only settings that all have are compared.
    """
    console = Console(highlight=False)
    grid = Table(show_header=True, header_style="bold", box=None, pad_edge=False)
    for name in ("", *names):
        grid.add_column(Text(name), justify="right" if name else "left", no_wrap=True)
    settings = [{n: v for table in (s["config"] or {}).values() for n, v in table.items()} for s in summaries]
    kinds = [str(summary.get("kind", "simulation")) for summary in summaries]
    mixed = len(set(kinds)) > 1
    if mixed:
        grid.add_row("kind", *kinds)
    for name in dict.fromkeys(n for known in settings for n in known):
        values = [number(known.get(name)) for known in settings]
        if len(set(values)) > 1 and not (mixed and any(known.get(name) is None for known in settings)):
            grid.add_row(Text(name), *values)
    grid.add_section()
    for label, of in _ENDS.items():
        cells = [number(_end(summary, *of)) for summary in summaries]
        if set(cells) != {"-"}:
            grid.add_row(Text(label), *cells)
    grid.add_row("stopped", *map(_stopped, summaries))
    console.print(grid)


_ENDS = {
    "loss": ("loss",),
    "NC1": ("nc", "NC1"),
    "NC2": ("nc", "NC2"),
    "NC3": ("nc", "NC3"),
    "drift of E": ("invariant", "drift"),
    "alignment of E's terms": ("invariant", "alignment_final"),
    "flow time at the end": ("t_end",),
}


def _stopped(summary: Document) -> str:
    if "quantiles" in summary:
        return f"{summary['ensemble']['members']} members"
    return str(summary["stop_reason"]["key"])


def _end(summary: Document, *path: str) -> object:
    """A number at the end of a run, or the median of an ensemble's."""
    if "quantiles" in summary:
        known = {"drift": summary["drift"], "t_end": summary["t_end"]}
        name = "E_alignment" if path[-1] == "alignment_final" else path[-1]
        ends = summary["quantiles"].get(name)
        return known.get(name, None if ends is None else ends["final"][1])
    found: Any = summary
    for key in path:
        found = None if found is None else found.get(key)
    return found.get("final") if isinstance(found, Mapping) else found


def print_pairs(console: Console, pairs: Iterable[tuple[str, str]]) -> None:
    """Names on the left, sentences wrapped on the right."""
    grid = Table(show_header=False, box=None, pad_edge=False)
    grid.add_column(no_wrap=True)
    grid.add_column()
    for name, sentence in pairs:
        # As text: brackets of formulas are no markup.
        grid.add_row(Text(name), Text(sentence))
    console.print(grid)


def headlines(summary: Document) -> Iterator[str]:
    """Sizes, kernel constants and eigenvalues, a line each."""
    s, kernel, mu = summary["sizes"], summary["kernel"], summary["eigenvalues"]
    m = repeated(s["m"]) if isinstance(s["m"], list) else s["m"]
    yield f"C = {s['C']} classes, m = {m} per class, n = {s['n']} features, N = {s['N']} samples"
    yield from _kernel(kernel)
    if mu is not None:
        yield ", ".join(f"{name} = {number(mu[name])}" for name in ("mu_single", "mu_class", "mu_global"))


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


def _rows(summary: Document) -> Iterator[Row]:
    loss, invariant, nc = summary["loss"], summary["invariant"], summary["nc"]
    yield "loss (sum over samples)", number(loss["initial"]), number(loss["final"])
    yield "invariant |E|", number(invariant["norm_initial"]), number(invariant["norm_final"])
    alignments = number(invariant["alignment_initial"]), number(invariant["alignment_final"])
    yield "alignment of E's terms", *alignments
    moved = "drift of E" if invariant["constant"] else "motion of E"
    yield f"{moved}, relative to its terms", "", number(invariant["drift"])
    if invariant["law_error"] is not None:
        yield "error of the exact law of that motion", "", number(invariant["law_error"])
    meanings = {
        "NC1": "NC1 within-class deviation, feature by feature",
        "NC2": "NC2 distance from the simplex ETF",
        "NC3": "NC3 distance from self-duality",
        "NC4": "NC4 nearest-mean agreement",
    }
    for name, meaning in meanings.items():
        yield meaning, number(nc[name]["initial"]), number(nc[name]["final"])


def _beforehand(summary: Document) -> Iterator[tuple[str, str]]:
    """What was known before the run."""
    predicted = summary["predicted"]
    if predicted is None:
        return
    for part in (words.answers, words.limit, words.bounds, words.times):
        yield from part(predicted)
    yield from words.decay(predicted.get("decay"))
    yield from words.optimiser(summary.get("optimiser"), predicted)
    if not summary["agreement"]:
        yield from words.laws(predicted)


def _compared(summary: Document) -> Iterator[tuple[str, str]]:
    """How the run agrees with it, and what it cannot be compared with."""
    for line in summary["agreement"]:
        yield line["quantity"], f"{verdict(line)}: {line['sentence']}"
    yield from ((line["quantity"], line["sentence"]) for line in summary.get("waiting", ()))


def verdict(line: Document) -> str:
    """How far a prediction and a run agree, in words."""
    error = number(line["error"])
    # Runs of earlier versions say less.
    if line.get("failed"):
        broken = "BROKEN by" if line["bound"] else "FAILS, off by"
        return f"{broken} {error}, where integration and rounding explain {number(line['tolerance'])}"
    if line["bound"]:
        return "held"
    if line.get("order") == LEADING:
        neglected = line["neglected"]
        size = "" if neglected in (None, line["error"]) else f", which neglects about {number(neglected)}"
        return f"off by {error} as a leading order{size}"
    return f"agrees to {line['digits']} digits" if line["digits"] > 0 else f"does not agree, off by {error}"

"""The summary of a run as a table for people."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ntkflow.runs.laws import LEADING

Row = tuple[str, str, str]


def print_summary(summary: Mapping[str, Any]) -> None:
    """What was run, what happened, and what the theory predicts for it."""
    console = Console(highlight=False)
    for line in headlines(summary):
        console.print(Text(line, style="bold"))
    grid = Table(show_header=True, header_style="bold", box=None, pad_edge=False)
    for name in ("", "start", "end"):
        grid.add_column(name, justify="left" if not name else "right", no_wrap=True)
    for label, start, end in _rows(summary):
        grid.add_row(label, start, end)
    console.print(grid)
    console.print(Text("\nWhat the theory says of this run", style="bold"))
    print_pairs(console, _predictions(summary))
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


def print_several(names: Sequence[str], summaries: Sequence[Mapping[str, Any]]) -> None:
    """Runs beside each other: the settings in which they differ, then where each ended; medians of an ensemble."""
    console = Console(highlight=False)
    grid = Table(show_header=True, header_style="bold", box=None, pad_edge=False)
    for name in ("", *names):
        grid.add_column(Text(name), justify="right" if name else "left", no_wrap=True)
    settings = [{n: v for table in (s["config"] or {}).values() for n, v in table.items()} for s in summaries]
    for name in dict.fromkeys(n for known in settings for n in known):
        values = [number(known.get(name)) for known in settings]
        if len(set(values)) > 1:
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


def _stopped(summary: Mapping[str, Any]) -> str:
    if "quantiles" in summary:
        return f"{summary['ensemble']['members']} members"
    return str(summary["stop_reason"]["key"])


def _end(summary: Mapping[str, Any], *path: str) -> object:
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


def number(value: object) -> str:
    """Four significant digits, or a dash where there is no value."""
    if value is None:
        return "-"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return str(value) if isinstance(value, int) else f"{value:.4g}"


def headlines(summary: Mapping[str, Any]) -> Iterator[str]:
    """Sizes, kernel constants and eigenvalues, a line each."""
    s, kernel, mu = summary["sizes"], summary["kernel"], summary["eigenvalues"]
    yield f"C = {s['C']} classes, m = {s['m']} per class, n = {s['n']} features, N = {s['N']} samples"
    if mu is not None:
        yield ", ".join(f"{name} = {kernel[name]:.10g}" for name in ("kappa_d", "kappa_c", "kappa_n"))
        yield ", ".join(f"{name} = {number(mu[name])}" for name in ("mu_single", "mu_class", "mu_global"))


def _rows(summary: Mapping[str, Any]) -> Iterator[Row]:
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


def _predictions(summary: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Pairs of a name and a sentence: what was known beforehand, and how the run compares."""
    predicted, lines = summary["predicted"], summary["agreement"]
    if predicted is not None:
        yield from prediction_lines(predicted, laws=not lines)
    for line in lines:
        yield line["quantity"], f"{verdict(line)}: {line['sentence']}"


def verdict(line: Mapping[str, Any]) -> str:
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


def prediction_lines(predicted: Mapping[str, Any], laws: bool = True) -> Iterator[tuple[str, str]]:
    """The part of a summary that is known before integrating, as pairs of a name and a sentence.

    Args:
        predicted: that part.
        laws: also the laws, which a finished run repeats beside how well they held.
    """
    for name, answer in predicted["conditions"].items():
        yield name, f"{answer['verdict']}: {answer['sentence']}"
    if "rates" in predicted:
        yield "rates", "; ".join(f"{mode['name']} {number(mode['rate'])}" for mode in predicted["rates"])
        e = predicted.get("rates_e", 0.0)
        where = "E = 0" if e == 0 else f"E = {number(e)} times a projector"
        yield (
            "",
            f"at neural collapse with {where}; fastest over slowest {number(predicted['stiffness_ratio'])}",
        )
        if not predicted["nc1_possible"]:
            yield "floor", f"tr S can never fall below {number(predicted['floor_tr_S'])}"
    if predicted.get("limit") is not None:
        yield "limit", predicted["limit"]["hypotheses"]
    if "bias_bounds" in predicted:
        bound = predicted["bias_bounds"]
        yield "bounds", f"|b - 1/C| <= {number(bound['b'])} and |g| <= {number(bound['g'])} for all time"
    if laws:
        yield from ((law["quantity"], law["sentence"]) for law in predicted.get("laws", ()))

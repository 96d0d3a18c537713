"""What every command on a run ends with: summary, figure and page are written, and the run is told in words."""

from collections.abc import Mapping
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

from ntkflow.cli.printed.output import attempted
from ntkflow_validation.cli.progress import progress

if TYPE_CHECKING:
    from ntkflow_validation.pipeline.summary import Summary, WindowSummary
    from ntkflow_validation.runs.results import Results
    from ntkflow_validation.runs.rundir import RunDirectory


def finish(
    run: "RunDirectory",
    json: bool,
    quiet: bool,
    results: "Results | None" = None,
) -> None:
    """Write what can be written so far, and print it as JSON or in words."""
    tell({run: written(run, json or quiet, results)}, json, quiet)


def written(
    run: "RunDirectory",
    silent: bool,
    results: "Results | None" = None,
) -> "Summary":
    """Write what can be written so far; the summary. What a step before has read or made is not read again."""
    from ntkflow_validation.report.write import finish as write

    with progress(silent) as bar:
        return write(run, bar, attempted, results)


def tell(summaries: "Mapping[RunDirectory, Summary]", json: bool, quiet: bool) -> None:
    """Print the summaries of runs, of several under their names."""
    from ntkflow.runs.border.records import document
    from ntkflow.runs.files import dump_json

    if json:
        several = {run.path.name: document(summary) for run, summary in summaries.items()}
        print(dump_json(several if len(several) != 1 else next(iter(several.values()))))
    elif not quiet:
        for run, summary in summaries.items():
            _print(run, summary)


def tell_complete(run: "RunDirectory", json: bool, quiet: bool) -> None:
    """Say that there is nothing left to do; the summary as JSON is what it was."""
    from ntkflow.runs.files import dump_json

    if json:
        print(dump_json(run.summary()))
    elif not quiet:
        print(f"{run.path} is already complete; --overwrite runs it again")


def print_next(path: Path) -> None:
    """What to look at after `ntkflow validate run`."""
    place = quote(str(path))
    print(
        f"next: ntkflow validate show {place}\n"
        f"      ntkflow validate frontier {place}\n"
        f"      ntkflow validate kernels {place} --figure"
    )


def _print(run: "RunDirectory", summary: "Summary") -> None:
    last = summary.training.last
    if not last:
        return
    time, loss = (_number(value, ".4g") for value in (last.time, last.loss))
    trained, tested = (_number(last.get(f"accuracy_{of}"), ".3f") for of in ("train", "test"))
    # Steps that are not those of gradient descent are in no flow time.
    at = "" if last.time is None else f"flow time {time}, "
    print(f"{run.path}: step {last.step}, {at}loss {loss}, ", end="")
    print(f"accuracy {trained} / {tested} (train / test)")
    for row in summary.kernels:
        values = {
            "kappa_d": row.kappa_d,
            "kappa_c": row.kappa_c,
            "kappa_n": row.kappa_n,
            "mu_single": row.mu_single,
            "alignment": row.alignment,
            "block_residual": row.block_residual,
        }
        said = (f"{name} {_number(value, '.4g')}" for name, value in values.items())
        print(f"  kernel at step {row.step:>7}: " + ", ".join(said))
    if summary.refused:
        print(f"  no prediction: {summary.refused}")
    for window in summary.windows:
        _print_window(window)
    for line in summary.deviations:
        print(f"  not in the theory: {line}")
    for what, name in (("figure", "figures/comparison.png"), ("report", "report.html")):
        if (run.path / name).exists():
            print(f"{what}: {run.path / name}")


def _print_window(window: "WindowSummary") -> None:
    """Skill on centred class means of every rung, the cheapest that predicts, and what costs most."""
    from ntkflow_validation.ladder.score.frontier import THRESHOLD

    first, last = (_number(value, ".4g") for value in (window.loss.first, window.loss.last))
    learnt = ""
    if window.accuracy is not None:
        ends = (_number(value, ".2f") for value in (window.accuracy.first, window.accuracy.last))
        learnt = f", train accuracy {' to '.join(ends)}"
    print(
        f"{window.name}: steps {window.step} to {window.last_step}, loss {first} to {last}{learnt}; "
        "skill on centred class means (1 perfect, 0 = no better than no change):"
    )
    skills = (f"{name} {_number(values.get('M'), '.2f')}" for name, values in window.skill.items())
    print("  " + ", ".join(skills))
    print(f"  {window.sentence}")
    if window.tests:
        print(f"  {window.tests}")
    print(f"  cheapest rung with skill {THRESHOLD}: {window.cheapest or 'none'}")


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)

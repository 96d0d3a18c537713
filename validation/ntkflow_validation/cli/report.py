"""`ntkflow validate calibrate` and `ntkflow validate report`."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from ntkflow.cli.ends import resumable
from ntkflow.cli.printed.output import attempted
from ntkflow_validation.cli import options
from ntkflow_validation.cli.finish import print_next
from ntkflow_validation.cli.progress import Bar, progress

if TYPE_CHECKING:
    from ntkflow_validation.calibration.document import Calibration
    from ntkflow_validation.runs.results import Results
    from ntkflow_validation.runs.rundir import RunDirectory
    from ntkflow_validation.training.train import Prepared

OUT = typer.Option(Path("calibration"), "--out", help="Directory of the calibration.")
BRIEF = typer.Option(False, "--brief", help="The known answer and two departures only; some seconds.")
SEEDS = typer.Option(3, "--seeds", min=1, help="Seeds of every departure.")
WORKERS = typer.Option(None, "--workers", min=1, help="Processes; by default one a core.")
OVERWRITE = typer.Option(False, "--overwrite", help="Run again what is there already.")
JSON = typer.Option(False, "--json", help="Print the document as JSON and nothing else.")
RUNS = typer.Argument(
    None,
    help="Run directories that were compared, or folders of them, in the order in which they are shown.  "
    f"[default: {options.RUN_OUT}]",
    show_default=False,
)
TO = typer.Option(None, "--to", help="The file; by default report.html of the first run or folder.")

# Exit code of a calibration that does not give the known answer.
EXIT_FAILED = 1


@resumable
def calibrate(
    out: Path = OUT,
    brief: bool = BRIEF,
    seeds: int = SEEDS,
    workers: int | None = WORKERS,
    overwrite: bool = OVERWRITE,
    json: bool = JSON,
    quiet: options.Quiet = False,
) -> None:
    """Run the known answer through the whole pipeline, then departures from it by degrees; goes on where it ended."""
    from ntkflow.runs.border.records import document
    from ntkflow.runs.files import dump_json
    from ntkflow_validation.calibration.cells import refuse_many
    from ntkflow_validation.calibration.run import calibrate as run
    from ntkflow_validation.calibration.run import make_place
    from ntkflow_validation.calibration.store import keep
    from ntkflow_validation.report.page import write_page

    refuse_many(seeds)
    make_place(out, overwrite)
    with progress(json or quiet) as bar:
        found = run(out, brief, seeds, workers, bar)
    keep(found)
    again = "the same command again makes it"
    figure = attempted(lambda: _draw(found, out), again)
    page = attempted(lambda: write_page(out / "report.html", [], found), again)
    if json:
        print(dump_json(document(found)))
    elif not quiet:
        _print(found)
        for what, path in (("figure", figure), ("report", page)):
            if path is not None:
                print(f"{what}: {path}")
    if not found.passed:
        raise SystemExit(EXIT_FAILED)


def report(runs: list[Path] | None = RUNS, to: Path | None = TO, quiet: options.Quiet = False) -> None:
    """Write the page of runs that were compared, one or several together."""
    from ntkflow_validation.report.write import PAGE, write_report
    from ntkflow_validation.runs.rundir import RunDirectory, run_paths

    places = runs or [options.RUN_OUT]
    opened = [RunDirectory.open(run) for path in places for run in run_paths(path)]
    with progress(quiet) as bar:
        page = write_report(opened, places[0] / PAGE if to is None else to, bar)
    if not quiet:
        print(f"report: {page}")


def default_run(
    out: Path,
    seed: int | None,
    per_class: int | None,
    data_dir: Path | None,
    overwrite: bool,
    json: bool,
    quiet: bool,
) -> None:
    """The calibration in brief, a network that the theory describes and one that it does not; one page."""
    from ntkflow.errors import InputError
    from ntkflow.runs.atomic import clean
    from ntkflow.runs.files import dump_json
    from ntkflow_validation.cli.showcase import PAGE, check_place, configurations, found_data, is_complete
    from ntkflow_validation.report.write import write_report

    if data_dir is not None:
        os.environ["NTKFLOW_DATA"] = str(data_dir)
        if found_data() != "fashion-mnist":
            raise InputError(
                "data-dir",
                data_dir,
                "holds no Fashion-MNIST",
                "give its folder, or leave this out for the digits",
            )
    check_place(out)
    wanted = configurations(found_data(), seed, per_class)
    complete = not overwrite and is_complete(out, wanted)
    made = [
        options.create(config, out / name, None, download=False, overwrite=overwrite, resume=not overwrite)
        for name, config in wanted.items()
    ]
    if overwrite:
        (out / PAGE).unlink(missing_ok=True)
    clean(out)
    with progress(json or quiet) as bar:
        results = {run: _part(run, prepared, bar) for run, prepared in made}
        again = "the same command again makes it"
        runs = list(results)
        page = (
            out / PAGE if complete else attempted(lambda: write_report(runs, out / PAGE, bar, results), again)
        )
    if json:
        print(dump_json({run.path.name: run.summary() for run in runs}))
    elif not quiet:
        if complete:
            print(f"{out} is already complete; --overwrite runs it again")
        for run in runs:
            print("\n".join(_lines(run, results[run])))
        if page is not None:
            print(f"report: {page}")
        print_next(out)


def _part(run: "RunDirectory", prepared: "Prepared | None", bar: Bar) -> "Results":
    """What is left of one of the runs, from its start, from where it was interrupted, or as it is when it is finished."""
    from ntkflow_validation.cli.showcase import RUNGS
    from ntkflow_validation.pipeline.pipeline import compare_run, measure_run, train_run
    from ntkflow_validation.report.write import finish
    from ntkflow_validation.runs.results import Results

    if run.summary():
        return Results.of(run)

    def named(what: str, done: float, total: float) -> None:
        bar(f"{run.path.name}: {what}", done, total)

    with run.locked():
        train_run(run, named, prepared=prepared)
        kernels = measure_run(run, None, bar, prepared)
        comparison = compare_run(run, None, named, RUNGS, kernels=kernels, prepared=prepared)
        results = Results.of(run, kernels, comparison)
        finish(run, attempt=attempted, results=results)
    return results


def _lines(run: "RunDirectory", results: "Results") -> list[str]:
    """A run in a few lines: what it is, and for each window how the plainest and the best rung do."""
    from ntkflow_validation.report.words import in_brief, run_facts, run_title

    windows = () if results.comparison is None else results.comparison.in_order
    said = f"{run_title(run.config)}: {run_facts(run.config, results.training)}"
    return [said, *(f"  {line}" for line in in_brief(windows))]


def _draw(found: "Calibration", out: Path) -> Path:
    from ntkflow.runs.atomic import atomic
    from ntkflow_validation.calibration.figure import calibration_figure

    final = out / "figures" / "calibration.png"
    final.parent.mkdir(exist_ok=True)
    with atomic(final) as handle:
        calibration_figure(found).savefig(handle, dpi=110, format="png")
    return final


def _print(found: "Calibration") -> None:
    verdict = "passed" if found.passed else "FAILED"
    lowest = "none" if found.block_skill is None else f"{found.block_skill:.6f}"
    print(f"known answer {verdict}: lowest skill of three constants {lowest}, ", end="")
    print(f"constants to {found.kappa_error:.1e}")
    if found.moving is not None:
        m = found.moving
        skills = ["none" if s is None else f"{s:.6f}" for s in (m.frozen, m.mean, m.weighted)]
        print(
            f"kernel that grows {m.growth:.3g}-fold: lowest skill of three constants of the start {skills[0]}, moving as "
            f"means over neurons {skills[1]}, as weighted by W {skills[2]}"
        )
    if found.departures:
        print(
            "departure    amount  residual  skill of three constants: M    H2    of the traced kernel: M    H2"
        )
    for row in found.departures:
        scores = [row.scores[name].value for name in ("block_M", "block_H2", "traced_M", "traced_H2")]
        words = ["  none" if s is None else f"{s:6.3f}" for s in scores]
        print(f"{row.departure:<12} {row.value:>6g}  {row.block_residual:>8.3f}", end="")
        print(f"{words[0]:>28}{words[1]:>8}{words[2]:>24}{words[3]:>8}")

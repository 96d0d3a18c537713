"""`ntkflow validate frontier`: skill against the number of constants, from a run that was compared."""

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from ntkflow_validation.cli import options

if TYPE_CHECKING:
    from ntkflow_validation.runs.compared import ComparedRun
    from ntkflow_validation.runs.rundir import RunDirectory

TO = typer.Option(None, "--to", help="Folder for NAME-ladder.json; NAME is the run directory's.")


def frontier(
    run: options.Run = None,
    to: Path | None = TO,
    quiet: options.Quiet = False,
    out: options.OldOut = None,
) -> None:
    """Print every rung of a compared run with its constants and skill; * marks the frontier."""
    from ntkflow_validation.ladder.export import table

    runs = options.runs_at(run, out)
    comparisons = [found.compared() for found in runs]
    for found, comparison in zip(runs, comparisons, strict=True):
        if not quiet:
            if len(runs) > 1:
                typer.echo(f"{found.path}:")
            typer.echo("\n".join(table(comparison.windows)))
        if to is not None:
            path = _written(found, comparison, to)
            if not quiet:
                typer.echo(f"written to {path}")


def _written(run: "RunDirectory", comparison: "ComparedRun", to: Path) -> Path:
    from ntkflow.runs.border.records import document
    from ntkflow.runs.files import write_json
    from ntkflow_validation.ladder.export import KeptFile, short

    to.mkdir(parents=True, exist_ok=True)
    name = run.path.resolve().name
    path = to / f"{name}-ladder.json"
    # What was refused everywhere would be run, whatever it costs, if the command named it.
    rungs = [rung for window in comparison.windows for rung in window.rungs]
    names = dict.fromkeys(rung.name for rung in rungs if not rung.refused)
    command = f"ntkflow validate compare {name} --rungs {','.join(names)}"
    write_json(path, document(KeptFile(command, run.config.to_dict(), run=short(comparison))))
    return path

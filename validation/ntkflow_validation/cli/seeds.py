"""`ntkflow validate seeds`: compared runs that differ in their seed, in one table."""

from pathlib import Path

import typer

from ntkflow_validation.cli import options

RUNS = typer.Argument(
    ..., help="Run directories that were compared, or the files of `frontier --to`; one a seed."
)
TO = typer.Option(None, "--to", help="Folder for NAME-seeds.json; NAME is that of the first run.")


def seeds(
    runs: list[Path] = RUNS,
    to: Path | None = TO,
    json: options.AsJson = False,
    quiet: options.Quiet = False,
) -> None:
    """Print every rung's scores over seeds, and the cheapest rung of each seed."""
    from ntkflow.runs.border.records import document
    from ntkflow.runs.files import atomic, dump_json
    from ntkflow_validation.ladder.export import compact
    from ntkflow_validation.ladder.seeds import over_seeds, read, table
    from ntkflow_validation.runs.rundir import run_paths

    found = over_seeds([read(path) for folder in runs for path in run_paths(folder)])
    text = dump_json(document(found))
    if json:
        typer.echo(text)
    elif not quiet:
        typer.echo("\n".join(table(found)))
    if to is not None:
        to.mkdir(parents=True, exist_ok=True)
        path = to / f"{found.runs[0]}-seeds.json"
        with atomic(path, "w") as handle:
            handle.write(compact(text) + "\n")
        if not (json or quiet):
            typer.echo(f"written to {path}")

"""`ntkflow validate seeds`: compared runs that differ in their seed, in one table."""

from pathlib import Path

import typer

from validation.cli import options

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
    from ntkflow.store import atomic, dump_json
    from validation.ladder.export import compact
    from validation.ladder.seeds import over_seeds, read, table
    from validation.rundir import run_paths

    document = over_seeds([read(path) for folder in runs for path in run_paths(folder)])
    document = {"command": f"ntkflow validate seeds {' '.join(document['runs'])}", **document}
    if json:
        typer.echo(dump_json(document))
    elif not quiet:
        typer.echo("\n".join(table(document)))
    if to is not None:
        to.mkdir(parents=True, exist_ok=True)
        path = to / f"{document['runs'][0]}-seeds.json"
        with atomic(path, "w") as handle:
            handle.write(compact(dump_json(document)) + "\n")
        if not (json or quiet):
            typer.echo(f"written to {path}")

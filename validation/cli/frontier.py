"""`ntkflow validate frontier`: skill against the number of constants, from a run that was compared."""

from pathlib import Path

import typer

from validation.cli import options

TO = typer.Option(None, "--to", help="Folder for NAME-ladder.json; NAME is the run directory's.")


def frontier(out: options.Out = options.RUN_OUT, to: Path | None = TO, quiet: options.Quiet = False) -> None:
    """Print every rung of a compared run with its constants and skill; * marks the frontier."""
    from ntkflow.errors import InputError
    from ntkflow.store import write_json
    from validation.ladder.export import short, table
    from validation.rundir import RunDirectory

    run = RunDirectory.open(out)
    comparison = run.read_json("comparison.json")
    if not comparison.get("windows"):
        raise InputError("out", out, "has no comparison", "run `ntkflow validate compare` first")
    if not quiet:
        typer.echo("\n".join(table(comparison)))
    if to is not None:
        to.mkdir(parents=True, exist_ok=True)
        path = to / f"{run.path.resolve().name}-ladder.json"
        # What was refused everywhere would be run, whatever it costs, if the command named it.
        rungs = [rung for window in comparison["windows"] for rung in window["rungs"]]
        names = dict.fromkeys(rung["name"] for rung in rungs if not rung["refused"])
        command = f"ntkflow validate compare --out {run.path.resolve().name} --rungs {','.join(names)}"
        write_json(path, {"command": command, "config": run.config.to_dict(), **short(comparison)})
        if not quiet:
            typer.echo(f"written to {path}")

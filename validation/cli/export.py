"""`ntkflow validate export`: a finished training as a small document."""

from pathlib import Path

import typer

from validation.cli import options

TO = typer.Option(Path(), "--to", help="Folder for NAME.json and NAME.toml; NAME is the run directory's.")


def export(out: options.Out = options.RUN_OUT, to: Path = TO, data_dir: options.DataDir = None) -> None:
    """Write a finished training's configuration, results and account of E, without arrays.

    Its configuration goes beside it, so that `ntkflow validate train --config NAME.toml` repeats the run.
    """
    from ntkflow.store import write_json, write_toml
    from validation.evidence import evidence
    from validation.rundir import RunDirectory

    run = RunDirectory.open(out)
    options.find_data(run.config, data_dir)
    name = run.path.resolve().name
    document = {"command": f"ntkflow validate train --config {name}.toml --out {name}", **evidence(run)}
    to.mkdir(parents=True, exist_ok=True)
    write_toml(to / f"{name}.toml", run.config.to_dict())
    write_json(to / f"{name}.json", document)
    typer.echo(f"written to {to / name}.json and .toml")

"""`ntkflow validate export`: a finished training as a small document."""

from pathlib import Path

import typer

OUT = typer.Option(Path("validate-run"), "--out", help="Run directory.")
TO = typer.Option(Path(), "--to", help="Folder for NAME.json and NAME.toml; NAME is the run directory's.")
DATA_DIR = typer.Option(
    None,
    "--data-dir",
    envvar="NTKFLOW_DATA",
    help="Folder with the data set's files, or of folders by its name.",
)


def export(out: Path = OUT, to: Path = TO, data_dir: Path | None = DATA_DIR) -> None:
    """Write a finished training's configuration, results and account of E, without arrays.

    Its configuration goes beside it, so that `ntkflow validate train --config NAME.toml` repeats the run.
    """
    from ntkflow.store import write_json, write_toml
    from validation import cli
    from validation.evidence import evidence
    from validation.rundir import RunDirectory

    run = RunDirectory.open(out)
    cli._find_data(run.config, data_dir)
    name = run.path.resolve().name
    document = {"command": f"ntkflow validate train --config {name}.toml --out {name}", **evidence(run)}
    to.mkdir(parents=True, exist_ok=True)
    write_toml(to / f"{name}.toml", run.config.to_dict())
    write_json(to / f"{name}.json", document)
    typer.echo(f"written to {to / name}.json and .toml")

"""`ntkflow validate export`: a finished training as a small document."""

from pathlib import Path

import typer

from ntkflow_validation.cli import options

TO = typer.Option(Path(), "--to", help="Folder for NAME.json and NAME.toml; NAME is the run directory's.")


def export(
    run: options.Run = None, to: Path = TO, data_dir: options.DataDir = None, out: options.OldOut = None
) -> None:
    """Write a finished training's configuration, results and account of E, without arrays.

    Its configuration goes beside it, so that `ntkflow validate train --config NAME.toml` repeats the run.
    """
    from ntkflow.runs.border.records import document
    from ntkflow.runs.files import write_json, write_toml
    from ntkflow_validation.evidence.evidence import evidence

    for found in options.runs_at(run, out):
        options.find_data(found.config, data_dir)
        name = found.path.resolve().name
        kept = document(evidence(found))
        to.mkdir(parents=True, exist_ok=True)
        write_toml(to / f"{name}.toml", found.config.to_dict())
        write_json(to / f"{name}.json", kept)
        typer.echo(f"written to {to / name}.json and .toml")

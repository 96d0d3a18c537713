"""`ntkflow validate laws`: what a training conserved, and what it did not forget."""

import typer

from ntkflow.cli.ends import resumable
from ntkflow_validation.cli import options
from ntkflow_validation.cli.progress import progress


@resumable
def laws(
    run: options.Run = None,
    data_dir: options.DataDir = None,
    json: options.AsJson = False,
    quiet: options.Quiet = False,
    out: options.OldOut = None,
) -> None:
    """Follow the conservation laws of a trained network, its imbalance Q and its invisible variability; writes laws.json."""
    from ntkflow.runs.border.records import document
    from ntkflow.runs.files import dump_json
    from ntkflow_validation.pipeline.laws import laws_of_run
    from ntkflow_validation.pipeline.laws_told import table

    found = {}
    for each in options.runs_at(run, out):
        options.find_data(each.config, data_dir)
        with each.locked(), progress(json or quiet) as bar:
            found[each.path] = laws_of_run(each, bar)
    if json:
        documents = [document(result) for result in found.values()]
        typer.echo(dump_json(documents[0] if len(documents) == 1 else documents))
    elif not quiet:
        for path, result in found.items():
            typer.echo("\n".join([*([f"{path}:"] if len(found) > 1 else []), *table(result)]))

"""What every command on a run ends with: summary, figure and page are written, and the run is told in words."""

from collections.abc import Mapping
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

from ntkflow.cli.printed.output import attempted
from ntkflow_validation.cli.progress import progress

if TYPE_CHECKING:
    from ntkflow_validation.runs.rundir import RunDirectory


def finish(run: "RunDirectory", json: bool, quiet: bool) -> None:
    """Write what can be written so far, and print it as JSON or in words."""
    tell({run: written(run, json or quiet)}, json, quiet)


def written(run: "RunDirectory", silent: bool) -> dict[str, Any]:
    """Write what can be written so far; the summary."""
    from ntkflow_validation.report.write import finish as write

    with progress(silent) as bar:
        return write(run, bar, attempted)


def tell(documents: "Mapping[RunDirectory, dict[str, Any]]", json: bool, quiet: bool) -> None:
    """Print the summaries of runs, of several under their names."""
    from ntkflow.runs.files import dump_json

    if json:
        several = {run.path.name: document for run, document in documents.items()}
        print(dump_json(several if len(several) != 1 else next(iter(several.values()))))
    elif not quiet:
        for run, document in documents.items():
            _print(run, document)


def tell_complete(run: "RunDirectory", json: bool, quiet: bool) -> None:
    """Say that there is nothing left to do; the summary as JSON is what it was."""
    if json:
        tell({run: run.read_json("summary.json")}, json, quiet)
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


def _print(run: "RunDirectory", document: dict[str, Any]) -> None:
    last = document["training"]["last"]
    if not last:
        return
    time = "" if last["time"] is None else f"flow time {last['time']:.4g}, "
    print(f"{run.path}: step {last['step']}, {time}loss {last['loss']:.4g}, ", end="")
    # Where all samples are trained on, none is left to test on.
    tested = "-" if last["accuracy_test"] is None else f"{last['accuracy_test']:.3f}"
    print(f"accuracy {last['accuracy_train']:.3f} / {tested} (train / test)")
    names = ("kappa_d", "kappa_c", "kappa_n", "mu_single", "alignment", "block_residual")
    for k in document["kernels"]:
        values = (f"{name} {'-' if k[name] is None else format(k[name], '.4g')}" for name in names)
        print(f"  kernel at step {k['step']:>7}: " + ", ".join(values))
    if document["refused"]:
        print(f"  no prediction: {document['refused']}")
    for w in document["windows"]:
        _print_window(w)
    for line in document["deviations"]:
        print(f"  not in the theory: {line}")
    for what, name in (("figure", "figures/comparison.png"), ("report", "report.html")):
        if (run.path / name).exists():
            print(f"{what}: {run.path / name}")


def _print_window(window: dict[str, Any]) -> None:
    """Skill on centred class means of every rung, the cheapest that predicts, and what costs most."""
    loss = window["loss"]
    print(
        f"{window['name']}: steps {window['step']} to {window['last_step']}, loss {loss['first']:.4g} to "
        f"{loss['last']:.4g}; skill on centred class means (1 perfect, 0 = no better than no change):"
    )
    skills = {name: values["M"] for name, values in window["skill"].items()}
    print("  " + ", ".join(f"{name} {'-' if v is None else f'{v:.2f}'}" for name, v in skills.items()))
    print(f"  {window['sentence']}")
    print(f"  cheapest rung with skill 0.8: {window['cheapest'] or 'none'}")

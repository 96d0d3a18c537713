"""Studies that were stated before they were run, `ntkflow validate experiment` and `regimes`: parse, call, print."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from ntkflow.checks import choice
from ntkflow.cli.ends import resumable
from ntkflow.cli.printed.output import attempted
from ntkflow_validation.cli import options
from ntkflow_validation.cli.progress import progress

Name = Annotated[str, typer.Argument(help="forgetting, rowspace, normalised or weighted.")]
Out = Annotated[Path, typer.Option("--out", help="Directory of the documents, shared by all experiments.")]
Seeds = Annotated[int, typer.Option("--seeds", min=1, max=100, help="Seeds of every setting.")]
Part = Annotated[
    str | None, typer.Option("--part", help="Of forgetting: mlp, resnet8 or resnet8-linear; by default all.")
]
Workers = Annotated[
    int, typer.Option("--workers", min=0, max=1024, help="Processes; 0: one run after the other in this one.")
]
Draw = Annotated[bool, typer.Option("--draw", help="Run nothing: judge and draw the runs that are there.")]

REGIMES_OUT = typer.Option(Path("regimes"), "--out", help="Directory of the study.")
REGIME_SEEDS = typer.Option(3, "--seeds", min=1, max=100, help="Seeds of every setting.")
REGIME_WORKERS = typer.Option(None, "--workers", min=1, help="Processes; by default one a core.")
RAW_ONLY = typer.Option(
    False, "--raw-only", help="Digits and Fashion-MNIST as they are, without the inputs that are made."
)
DRAW_ONLY = typer.Option(False, "--draw", help="Run nothing: tables and figures of the documents there are.")
REGIME_PART = typer.Option(
    None,
    "--part",
    help="convolutional: convolutional networks, which are not among the sixty, in OUT/convolutional.",
)
OVERWRITE = typer.Option(False, "--overwrite", help="Run again what is there already.")


@resumable
def experiment(
    name: Name,
    out: Out = Path("experiments"),
    seeds: Seeds = 3,
    part: Part = None,
    workers: Workers = 0,
    draw: Draw = False,
    quiet: options.Quiet = False,
) -> None:
    """Run an experiment that was stated before it was run, and judge each statement; goes on where it ended.

    A document is written to OUT as each run is done; a figure and tables follow, OUT/NAME.png and OUT/NAME.md;
    of one part they have its name too.
    """
    from ntkflow.errors import InputError
    from ntkflow_validation.studies.experiments import (
        EXPERIMENTS,
        NAMES,
        conduct,
        file_name,
        make_place,
        wanted,
    )
    from ntkflow_validation.studies.figures import draw as drawn
    from ntkflow_validation.studies.tables import tables

    choice("experiment", name, NAMES, "pick one of these")
    cells = wanted(name, seeds, part)
    if not cells:
        raise InputError("part", part, f"is no part of {name}", "leave it out")
    make_place(out)
    with progress(quiet) as bar:
        runs, verdicts = conduct(name, out, cells, draw, workers, bar)
    # What is said of other parts is not of this command.
    told = [v for v in verdicts if part is None or v.values]
    text = tables(told, runs, EXPERIMENTS[name].of_scores)
    file = out / file_name(name, part)
    Path(f"{file}.md").write_text(text)
    again = "the same command with --draw draws it"
    picture = attempted(lambda: drawn(name, runs, Path(f"{file}.png")), again) if runs else None
    if not quiet:
        print(text)
        if picture is not None:
            print(f"figure: {picture}")


@resumable
def regimes(
    out: Path = REGIMES_OUT,
    seeds: int = REGIME_SEEDS,
    workers: int | None = REGIME_WORKERS,
    part: str | None = REGIME_PART,
    raw_only: bool = RAW_ONLY,
    draw: bool = DRAW_ONLY,
    data_dir: options.DataDir = None,
    overwrite: bool = OVERWRITE,
    quiet: options.Quiet = False,
) -> None:
    """Train MLPs lazy and rich, narrow and wide, and say where three constants foretell them; goes on where it ended.

    Sixty runs, some twenty minutes on two free cores. Each leaves a document in OUT as it is done; tables and figures follow.
    """
    from ntkflow_validation.regimes import convolutional
    from ntkflow_validation.regimes.cells import BASE, RAW, Scale
    from ntkflow_validation.regimes.document import read_all
    from ntkflow_validation.regimes.figures import draw_all
    from ntkflow_validation.regimes.run import conduct, make_place, study
    from ntkflow_validation.regimes.tables import CONVOLUTIONAL, MLPS, tables

    if part is not None:
        choice("part", part, (convolutional.PART,), "leave it out")
        out = out / part
    make_place(out, overwrite and not draw)
    if draw:
        runs = read_all(out)
    else:
        for inputs in RAW if part is None else RAW[:1]:
            options.find_data(replace(BASE, data=replace(BASE.data, name=inputs)), data_dir)
        with progress(quiet) as bar:
            if part is None:
                scale = Scale(seeds=seeds, made=()) if raw_only else Scale(seeds=seeds)
                runs = study(out, scale, workers, bar)
            else:
                runs = conduct(out, convolutional.cells(seeds), workers, bar)
    told = MLPS if part is None else CONVOLUTIONAL
    text = tables(runs, told)
    (out / "tables.md").write_text(text)
    drawn = attempted(lambda: draw_all(runs, out / "figures", told), "the same command again draws them")
    if not quiet:
        print(text)
        for path in drawn or ():
            print(f"figure: {path}")

"""The options of `ntkflow sweep`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from ntkflow.cli.options import Quiet as Quiet
from ntkflow.cli.options import Yes as Yes
from ntkflow.sweep.axis import FORMS

GRID, FIGURE, RUNNING, OUTPUT = "Grid", "Figure", "Running", "Output"


def _option(panel: str, text: str, *names: str) -> Any:
    return typer.Option(*names, help=text, rich_help_panel=panel)


Over = Annotated[
    list[str] | None,
    _option(
        GRID,
        f"An axis: {FORMS}; may be given more than once. FIELD is any option of simulate in its config.toml; "
        "FIELD1,FIELD2=... move together.",
    ),
]
Seeds = Annotated[int | None, _option(GRID, "Run every cell with this many seeds; figures show quantiles.")]
Set = Annotated[
    list[str] | None, _option(GRID, "FIELD=VALUE for all cells; may be given more than once.", "--set")
]
Config = Annotated[Path | None, _option(GRID, "A config.toml of simulate, or a sweep.toml to replay.")]
Study = Annotated[
    str | None, _option(GRID, "A shipped sweep: negative-eigenvalues, equal-bias or weight-decay.")
]
X = Annotated[
    str | None,
    _option(
        FIGURE,
        "Quantity on the x axis: a field, or a dotted path into summary.json. Default: the first axis.",
    ),
]
Y = Annotated[
    list[str] | None,
    _option(FIGURE, "Quantity to draw, one pane each; may be given more than once. Default: nc.NC1.final."),
]
By = Annotated[str | None, _option(FIGURE, "Field or quantity that tells colours apart.")]
Theory = Annotated[
    list[str] | None,
    _option(FIGURE, "Quantity drawn as a dashed line over the pane of the same place, as theory.nc1_floor."),
]
LogX = Annotated[bool | None, _option(FIGURE, "Log scale on the x axis.", "--log-x")]
LogY = Annotated[
    bool | None, _option(FIGURE, "Log scale of the quantities, but for cosines and shares.", "--log-y")
]
Figures = Annotated[bool, _option(FIGURE, "Draw the figure.")]
Workers = Annotated[int | None, _option(RUNNING, "Local processes. Default: one a core.")]
Scheduler = Annotated[
    str | None, _option(RUNNING, "Address of a dask scheduler whose workers run the cells.")
]
Out = Annotated[
    Path | None,
    _option(OUTPUT, "Sweep directory. Default: runs/sweep- and the study's name or a hash."),
]
Overwrite = Annotated[
    bool,
    _option(
        OUTPUT,
        "Replace another sweep in the directory; finished cells that both share are kept.",
        "--overwrite",
    ),
]
AsJson = Annotated[
    bool, _option(OUTPUT, "Print counts and the table's main columns alone, as JSON.", "--json")
]

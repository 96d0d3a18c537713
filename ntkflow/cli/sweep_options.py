"""The options of `ntkflow sweep`."""

from pathlib import Path
from typing import Annotated

from ntkflow.cli.options import Quiet as Quiet
from ntkflow.cli.options import Yes as Yes
from ntkflow.cli.options import in_panel
from ntkflow.sweep.axis import FORMS

GRID, FIGURE, RUNNING, OUTPUT = "Grid", "Figure", "Running", "Output"


Over = Annotated[
    list[str] | None,
    in_panel(
        GRID,
        f"An axis: {FORMS}; may be given more than once. FIELD is any option of simulate in its config.toml; "
        "FIELD1,FIELD2=... move together; FIELD1/FIELD2=... sets the first to multiples of the second.",
    ),
]
Seeds = Annotated[int | None, in_panel(GRID, "Run every cell with this many seeds; figures show quantiles.")]
Set = Annotated[
    list[str] | None, in_panel(GRID, "FIELD=VALUE for all cells; may be given more than once.", "--set")
]
Config = Annotated[Path | None, in_panel(GRID, "A config.toml of simulate, or a sweep.toml to replay.")]
Study = Annotated[
    str | None, in_panel(GRID, "A shipped sweep: negative-eigenvalues, equal-bias or weight-decay.")
]
X = Annotated[
    str | None,
    in_panel(
        FIGURE,
        "Quantity on the x axis: a field, or a dotted path into summary.json. Default: the first axis.",
    ),
]
Y = Annotated[
    list[str] | None,
    in_panel(FIGURE, "Quantity to draw, one pane each; may be given more than once. Default: nc.NC1.final."),
]
By = Annotated[str | None, in_panel(FIGURE, "Field or quantity that tells colours apart.")]
Theory = Annotated[
    list[str] | None,
    in_panel(FIGURE, "Quantity drawn as a dashed line over the pane of the same place, as theory.nc1_floor."),
]
LogX = Annotated[bool | None, in_panel(FIGURE, "Log scale on the x axis.", "--log-x")]
LogY = Annotated[
    bool | None, in_panel(FIGURE, "Log scale of the quantities, but for cosines and shares.", "--log-y")
]
Vertical = Annotated[
    str | None,
    in_panel(FIGURE, "Quantity on the vertical axis of a heat map. Default: the second of two axes."),
]
Figures = Annotated[bool, in_panel(FIGURE, "Draw the figure.")]
Workers = Annotated[int | None, in_panel(RUNNING, "Local processes. Default: one a core.")]
Scheduler = Annotated[
    str | None, in_panel(RUNNING, "Address of a dask scheduler whose workers run the cells.")
]
Out = Annotated[
    Path | None,
    in_panel(OUTPUT, "Sweep directory. Default: runs/sweep- and the study's name or a hash."),
]
Column = Annotated[
    list[str] | None,
    in_panel(OUTPUT, "Column of the table beside those drawn; may be given more than once. Default: all."),
]
Parquet = Annotated[bool, in_panel(OUTPUT, "Write table.parquet too; needs pyarrow.", "--parquet")]
Overwrite = Annotated[
    bool,
    in_panel(
        OUTPUT,
        "Replace another sweep in the directory; finished cells that both share are kept.",
        "--overwrite",
    ),
]
AsJson = Annotated[
    bool, in_panel(OUTPUT, "Print counts and the table's main columns alone, as JSON.", "--json")
]

"""`ntkflow explore`: a page to play with."""

from pathlib import Path
from typing import Annotated

import typer

from ntkflow.explore import screen
from ntkflow.explore.page import write_page


def explore(
    out: Annotated[
        Path, typer.Option("--out", "-o", help="File of the page; folders above it are made.")
    ] = Path("explore.html"),
    open_: Annotated[bool, typer.Option("--open/--no-open", help="Open it where there is a screen.")] = True,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")] = False,
) -> None:
    """Write one page with sliders for sizes, kernel, start, layers, decay and loss: the flow is integrated in the page.

    It needs no network and nothing installed; send it to whoever has a browser. It is opened where there is a
    screen, never in continuous integration or over ssh. An older page at the same place is replaced, nothing else is.
    """
    path = write_page(out)
    opened = open_ and screen.has_screen() and screen.open_page(path)
    if not quiet:
        print(f"Page written to {path}" + ("" if opened else "; open it in any browser"))

"""Figures are pictures in a notebook, whose kernel never imports pyplot for them."""

import subprocess
import sys

from ntkflow.runs.pictures.shown import Shown

PNG = b"\x89PNG\r\n\x1a\n"


def test_a_figure_is_its_picture():
    figure = Shown(figsize=(2, 1))
    figure.subplots().plot([1, 2])
    assert figure._repr_png_().startswith(PNG)


def test_what_a_run_gives_is_one_without_pyplot():
    code = (
        "import sys, ntkflow as nf\n"
        "sizes, kernel = nf.Sizes(2, 2, 2), nf.BlockKernel(1.0, 0.5, 0.1)\n"
        "run = nf.solve(nf.Problem(sizes, kernel, nf.initial.make('balanced-contrast', sizes, kernel)), t_end=0.1)\n"
        f"assert run.figure()._repr_png_().startswith({PNG!r})\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)

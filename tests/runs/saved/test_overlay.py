"""Figures of chosen panes and size, of one run and of several."""

import numpy as np
import pytest
from matplotlib.figure import Figure

import ntkflow as nf
from ntkflow.cli.main import main
from ntkflow.runs.pictures import layout
from ntkflow.runs.pictures.layout import KEYS, Layout, chosen
from ntkflow.runs.saved import overlay

SIZES, KERNEL = nf.Sizes(3, 4, 5), nf.BlockKernel(1.0, 0.5, 0.1)


def solved(name, seed=0):
    state = nf.initial.make(name, SIZES, KERNEL, seed)
    return nf.solve(nf.Problem(SIZES, KERNEL, state), t_end=5.0)


ONE, TWO = solved("balanced"), solved("equal-bias")


def command(*words):
    with pytest.raises(SystemExit) as caught:
        main([str(word) for word in words])
    return caught.value.code or 0


def panes(figure):
    return [axes for axes in figure.axes if axes.get_visible()]


def test_one_run_has_the_eight_panes_or_those_asked_for():
    assert len(panes(ONE.figure())) == 8
    figure = ONE.figure(panes=["NC1", "E_drift"], size=(6.0, 2.5), style="paper")
    assert [axes.get_title() for axes in panes(figure)] == ["NC1: variability", "E_drift"]
    assert tuple(figure.get_size_inches()) == (6.0, 2.5)
    assert figure.get_suptitle() == ""


def test_several_runs_lie_over_each_other_in_a_colour_each_with_their_labels():
    figure = nf.figure(ONE, TWO, panes=["NC3"], labels=["one", "two"])
    (axes,) = panes(figure)
    np.testing.assert_array_equal(axes.lines[0].get_ydata(), ONE.series["NC3"][1:])
    np.testing.assert_array_equal(axes.lines[1].get_ydata(), TWO.series["NC3"][1:])
    assert axes.lines[0].get_color() != axes.lines[1].get_color()
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["one", "two"]


@pytest.mark.parametrize(("count", "last_row"), [(8, [1, 1, 1, 1]), (7, [1, 1, 2]), (6, [2, 2]), (5, [4])])
def test_no_place_of_a_figure_is_empty(count, last_row):
    grid = layout.filled(Figure(), count, 2, 4)
    spans = [axes.get_subplotspec() for axes in grid]
    assert [len(span.colspan) for span in spans] == [1, 1, 1, 1, *last_row]
    assert [span.rowspan.start for span in spans] == [0] * 4 + [1] * (count - 4)


def test_narrow_figures_have_fewer_panes_a_row_and_letters_that_can_be_read():
    figure = nf.figure(ONE, TWO, size=6.75, style="paper", labels=["a", "b"])
    figure.canvas.draw()
    boxes = [axes.get_position() for axes in panes(figure)]
    assert len({round(box.x0, 3) for box in boxes}) == 3
    letters = [
        t.get_fontsize()
        for axes in panes(figure)
        for t in (axes.title, axes.xaxis.label, *axes.get_xticklabels())
    ]
    assert min(letters) >= 7


def test_ensembles_are_medians_with_bands():
    members = tuple(overlay.ensembles.Member(k, nf.Reason.T_END, "e", 1, 0.0) for k in range(3))
    loss = np.array([[3.0, 2.0, 1.0], [6.0, 4.0, 2.0], [9.0, 6.0, 3.0]])
    figure = nf.Ensemble(np.array([0.0, 1.0, 2.0]), {"loss": loss}, members).figure(panes=["loss"])
    (axes,) = panes(figure)
    np.testing.assert_array_equal(axes.lines[0].get_ydata(), [4.0, 2.0])
    assert len(axes.collections) == 1


def test_an_invariant_of_rounding_is_zero_and_not_unknown():
    sizes, kernel = nf.Sizes(2, 3, 4), nf.BlockKernel(1.0, 0.5, 0.1)
    runs = [
        nf.solve(nf.Problem(sizes, kernel, nf.initial.make(name, sizes, kernel, 0)), t_end=1.0)
        for name in ("balanced", "gaussian")
    ]
    (axes,) = panes(nf.figure(runs, panes=["E"], labels=["balanced", "gaussian"]))
    assert [text.get_text() for text in axes.texts] == ["zero but for errors: balanced"]
    assert len(axes.lines) == 1


def test_who_has_no_line_is_named_with_the_reason():
    members = tuple(overlay.ensembles.Member(k, nf.Reason.T_END, "e", 1, 0.0) for k in range(2))
    t, loss = np.array([0.0, 1.0, 2.0]), np.ones((2, 3))
    series = ({"loss": loss}, {"loss": 1e-16 * loss}, {"NC1": loss}, {"loss": np.nan * loss})
    runs = [nf.Ensemble(t, found, members) for found in series]
    figure = nf.figure(runs, panes=["loss"], labels=["one", "zero", "other", "none"])
    (axes,) = panes(figure)
    assert [text.get_text() for text in axes.texts] == ["zero but for errors: zero\nnot known: other; none"]
    printed = nf.figure(runs, panes=["loss"], style="paper", labels=["one", "zero", "other", "none"])
    assert panes(printed)[0].texts[0].get_fontsize() >= 7


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"panes": ["NC9"]}, "panes = 'NC9': is neither one of E, alignment"),
        ({"panes": []}, "must name at least one"),
        ({"style": "poster"}, "style = 'poster': must be one of screen, paper"),
        ({"size": 0.1}, "size = 0.1: must be 1 to 60 inches"),
        ({"labels": ["a", "b"]}, "must be 1, one per run"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(nf.InputError, match=message):
        ONE.figure(**options)
    for nothing in ((), (KERNEL,)):
        with pytest.raises(nf.InputError):
            nf.figure(*nothing)


def test_every_pane_is_found_by_its_name():
    assert len(chosen(None, ())) == len(KEYS) == 8
    assert Layout.of(None, "screen", chosen(["NC1"], ())).columns == 1


def test_the_command_draws_and_shows_several_labelled_by_what_differs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name, init, scale in (("a", "balanced", 1), ("b", "equal-bias", 2)):
        words = ["--init", init, "--scale", scale, "--t-end", 2, "--no-figures", "-q", "--out", name]
        assert command("simulate", "-C", 3, "-m", 4, "-n", 5, *words) == 0
    runs = [overlay.curves(name) for name in "ab"]
    assert overlay.labelled(runs) == ["init = balanced, scale = 1", "init = equal-bias, scale = 2"]
    assert overlay.labelled([runs[0], runs[0]]) == ["a", "a"]
    assert (
        command("plot", "a", "b", "--panes", "NC1,NC3", "--width", 6.75, "--style", "paper", "-f", "pdf") == 0
    )
    assert (tmp_path / "plot-a-b.pdf").read_bytes()[:4] == b"%PDF"
    assert command("plot", "a", "--panes", "loss", "--out", "loss") == 0
    assert (tmp_path / "loss.png").is_file()
    assert command("show", "a", "b") == 0
    shown = capsys.readouterr().out
    assert "equal-bias" in shown
    assert "stopped" in shown
    assert command("plot", "a", "b", "--panes", "NC9") == 2
    assert command("plot", "a", "nowhere") == 2

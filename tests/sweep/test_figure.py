import numpy as np
import pytest
from matplotlib.colors import to_hex

from ntkflow.errors import InputError
from ntkflow.runs.pictures import figures
from ntkflow.sweep import noise
from ntkflow.sweep.columns.labels import axis_label, label, short
from ntkflow.sweep.figure import sweep_figure
from ntkflow.sweep.heat import medians
from ntkflow.sweep.plan import plan
from ntkflow.sweep.table import Table
from tests.sweep.grids import grid

Y = "nc.NC1.final"
OTHER = "loss.final"


def table_of(spec, y=None, failed=()):
    """A table without simulations: y is a function of the point."""
    points = list(spec.points())
    y = y or (lambda point: float(point.get("scale", 1)))
    columns = {name: np.array([p[name] for p in points]) for name in points[0]}
    columns["key"] = np.array([str(i) for i in range(len(points))])
    columns["status"] = np.array(["failed" if i in failed else "done" for i in range(len(points))])
    columns["error"] = np.array([""] * len(points))
    values = np.array([np.nan if i in failed else y(p) for i, p in enumerate(points)])
    return Table(tuple(points[0]), {**columns, Y: values, OTHER: values**2})


def lines(figure):
    return [line for line in figure.axes[0].lines if line.get_linestyle() == "-"]


def test_one_axis_gives_a_line_with_a_band_over_the_seeds(tmp_path):
    spec = grid("scale=0.1:10:3:log", seeds=5, log_y=True)
    figure = sweep_figure(spec, table_of(spec, lambda p: p["scale"] * (1 + p["seed"])), "title")
    axes = figure.axes[0]
    (line,) = lines(figure)
    np.testing.assert_allclose(line.get_xydata(), [[0.1, 0.3], [1, 3], [10, 30]])
    assert axes.get_xscale() == axes.get_yscale() == "log"
    band = axes.collections[0].get_paths()[0].vertices
    np.testing.assert_allclose([band[:, 1].min(), band[:, 1].max()], [0.14, 46])
    assert axes.get_xlabel() == "scale of the initial state"
    assert axes.get_ylabel() == "NC1 at the end"
    figures.save(figure, tmp_path / "one.png")
    assert (tmp_path / "one.png").read_bytes()[:4] == b"\x89PNG"


def test_two_axes_give_a_heat_map_with_every_value_in_its_place(tmp_path):
    spec = grid("scale=1:3:3", "kappa_d=1,2", seeds=3)
    table = table_of(spec, lambda p: p["scale"] + 10 * p["kappa_d"] + p["seed"], failed=(0, 1, 2))
    np.testing.assert_array_equal(medians(plan(spec, table), table, Y), [[np.nan, 13, 14], [22, 23, 24]])
    figure = sweep_figure(spec, table, "title")
    mesh = figure.axes[0].collections[0]
    np.testing.assert_array_equal(mesh.get_array().filled(0), [[0, 13, 14], [22, 23, 24]])
    assert figure.axes[1].get_ylabel() == "NC1 at the end"
    figures.save(figure, tmp_path / "two.png")


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        (Y, lambda p: 1e-15 * p["scale"], "zero but for rounding"),
        (Y, lambda p: 1 - 1e-9 * p["scale"], "1 in every cell"),
        ("invariant.drift", lambda p: 1e-10 * p["scale"], "errors of integration, at most 3e-10"),
        (Y, lambda p: 1 - 1e-3 * p["scale"], ""),
        ("invariant.drift", lambda p: 1e-3 * p["scale"], ""),
    ],
)
def test_rounding_is_no_landscape(name, value, words):
    spec = grid("scale=1:3:3", "kappa_d=1,2", y=(name,), log_y=True)
    table = table_of(spec, value)
    figure = sweep_figure(spec, Table(table.swept, {**table.columns, name: table.column(Y)}), "title")
    axes, colours = figure.axes[0], figure.axes[0].collections[0].get_array()
    assert axes.get_title() == (f"{label(name)}: {words}" if words else "")
    assert (len(np.unique(colours)) == 1) is bool(words)


def test_what_ended_at_its_target_is_told_as_the_target():
    """How far below it the last step fell is no landscape."""
    spec = grid("scale=1:3:3", "kappa_d=1,2", log_y=True)
    table = table_of(spec, lambda p: 1e-8 / p["scale"])
    ends = {"reason": np.array(6 * ["nc1"]), "config.stop.stop_nc1": np.full(6, 1e-8)}
    axes = sweep_figure(spec, Table(table.swept, {**table.columns, **ends}), "title").axes[0]
    assert axes.get_title() == "NC1 at the end: 1e-08 in every cell"
    # The other NC1 of the flow is that times the root of n: sqrt(tr S/C) for sqrt(tr S/(C n)).
    other = {"nc.NC1_frobenius.final": table.column("nc.NC1.final"), "sizes.n": np.full(6, 9.0)}
    told = noise.shown(Table(table.swept, {**table.columns, **ends, **other}), "nc.NC1_frobenius.final")
    np.testing.assert_allclose(told, 3e-8)


def test_lines_have_no_landscape_of_rounding_either():
    spec = grid("scale=1:3:3")
    axes = sweep_figure(spec, table_of(spec, lambda p: 1 + 1e-9 * p["scale"]), "title").axes[0]
    assert axes.get_title() == "NC1 at the end: 1 in every cell"
    assert np.ptp(axes.get_ylim()) == 1.0


def test_differences_below_the_tolerance_of_the_runs_are_none():
    spec = grid("scale=1:3:3", "kappa_d=1,2")
    table = table_of(spec, lambda p: 1 + 5e-7 * p["scale"])
    loose = Table(table.swept, {**table.columns, "solver.rtol": np.full(6, 1e-6)})
    assert [sweep_figure(spec, t, "t").axes[0].get_title() for t in (table, loose)] == [
        "",
        "NC1 at the end: 1 in every cell",
    ]


def test_a_map_over_ratios_has_every_cell_where_its_ratio_is_and_contours_of_the_theory():
    spec = grid(
        "kappa_c=0.2:0.6:3",
        "kappa_d=1,2",
        x="kappa_c/kappa_d",
        vertical="kappa_d",
        y=(Y, OTHER),
        theory=("", "possible"),
    )
    table = table_of(spec, lambda p: p["kappa_c"] + p["kappa_d"])
    possible = (table.columns["kappa_c"] > 0.3).astype(float)
    figure = sweep_figure(spec, Table(table.swept, {**table.columns, "possible": possible}), "title")
    first, second = figure.axes[:2]
    assert (first.get_xlabel(), first.get_ylabel()) == (r"$\kappa_c$ / $\kappa_d$", r"$\kappa_d$")
    corners = first.collections[0].get_coordinates()
    centres = (corners[1:, 1:] + corners[:-1, :-1] + corners[1:, :-1] + corners[:-1, 1:]) / 4
    np.testing.assert_allclose(centres[..., 0], [[0.2, 0.4, 0.6], [0.1, 0.2, 0.3]], atol=1e-12)
    assert second.get_title() == "lines: possible"
    assert any(line.get_paths() for line in second.collections[1:])


def test_the_axis_named_on_the_vertical_lies_there():
    spec = grid("scale=1:3:3", "kappa_d=1,2", vertical="scale")
    drawn = plan(spec, table_of(spec))
    assert (drawn.kind, drawn.x, drawn.vertical_name, drawn.derived) == (
        "heat map",
        "kappa_d",
        "scale",
        False,
    )
    assert plan(grid("scale=1,2", vertical="scale"), table_of(grid("scale=1,2"))) is None


def test_two_axes_with_x_give_one_line_per_value_of_the_other():
    spec = grid("scale=1:3:3", "kappa_d=1,2", x="kappa_d")
    figure = sweep_figure(spec, table_of(spec), "title")
    assert len(lines(figure)) == 3
    assert len({to_hex(line.get_color()) for line in lines(figure)}) == 3
    assert [text.get_text() for text in figure.legends[0].texts] == ["1", "2", "3"]


def test_many_values_get_colours_in_order():
    spec = grid("scale=1:3:9", "kappa_d=1,2", x="kappa_d")
    assert len({to_hex(line.get_color()) for line in lines(sweep_figure(spec, table_of(spec), "t"))}) == 9


def test_a_quantity_on_x_gives_a_scatter_with_the_theory_of_each_colour():
    spec = grid("scale=1:3:3", "kappa_d=1,2", x=OTHER, by="kappa_d", theory=(Y,))
    figure = sweep_figure(spec, table_of(spec), "t", mark=(2.0, "here"))
    points = [line for line in figure.axes[0].lines if line.get_marker() not in ("", "None", None)]
    assert [len(line.get_xdata()) for line in points] == [3, 3]
    np.testing.assert_allclose(points[0].get_xydata(), [[0.85, 1], [3.85, 2], [8.85, 3]])
    np.testing.assert_allclose(points[1].get_xydata(), [[1.15, 1], [4.15, 2], [9.15, 3]])
    assert sum(line.get_linestyle() == "--" for line in figure.axes[0].lines) == 2
    assert [text.get_text() for text in figure.axes[0].texts] == ["here"]


def test_several_values_of_the_theory_at_one_place_are_dashes_not_a_line():
    spec = grid("scale=1,2", seeds=2, x="features", theory=(Y,))
    table = table_of(spec)
    table = Table(table.swept, {**table.columns, "config.sizes.features": np.full(4, 3.0)})
    dashes = [line for line in sweep_figure(spec, table, "t").axes[0].lines if line.get_marker() == "_"]
    assert [list(line.get_ydata()) for line in dashes] == [[1, 1], [2, 2]]


def test_only_counts_stand_side_by_side():
    spec = grid("scale=0.5,1", "kappa_d=1,2", x=OTHER, by="kappa_d")
    points = sweep_figure(spec, table_of(spec), "t").axes[0].lines
    np.testing.assert_array_equal(points[0].get_xdata(), points[1].get_xdata())


def test_a_quantity_may_tell_colours_apart():
    spec = grid("scale=1:3:3", "kappa_d=1,2", x=OTHER, by=Y)
    assert len(plan(spec, table_of(spec)).groups) == 3
    wide = grid("scale=1:3:40", x=OTHER, by=Y)
    with pytest.raises(InputError, match="40 different values"):
        plan(wide, table_of(wide))


def test_texts_get_places_on_the_axis():
    spec = grid("init=gaussian,relu", seeds=2)
    figure = sweep_figure(spec, table_of(spec), "t")
    assert [tick.get_text() for tick in figure.axes[0].get_xticklabels()] == ["gaussian", "relu"]


def test_every_y_has_a_pane_and_cosines_are_never_logarithmic():
    name = "invariant.alignment_final"
    spec = grid("scale=1:3:3", y=(Y, name), log_y=True)
    table = table_of(spec)
    table = Table(table.swept, {**table.columns, name: table.column(Y)})
    assert [axes.get_yscale() for axes in sweep_figure(spec, table, "t").axes] == ["log", "linear"]


def test_values_that_a_log_axis_cannot_show_are_left_out():
    spec = grid("scale=1:3:3", log_y=True)
    (line,) = lines(sweep_figure(spec, table_of(spec, lambda p: p["scale"] - 1), "t"))
    np.testing.assert_array_equal(line.get_ydata(), [np.nan, 1, 2])


def test_three_axes_have_no_figure_but_two_quantities_do():
    spec = grid("scale=1,2", "kappa_d=1,2", "features=3,4")
    assert sweep_figure(spec, table_of(spec), "t") is None
    both = grid("scale=1,2", "kappa_d=1,2", "features=3,4", x=OTHER)
    assert plan(both, table_of(both)).kind == "scatter"


def test_a_quantity_that_does_not_exist_is_named():
    spec = grid("scale=1,2", y=("nc.NC9.final",))
    with pytest.raises(InputError, match=r"y = 'nc.NC9.final'"):
        sweep_figure(spec, table_of(spec), "t")


def test_labels_say_what_and_in_which_unit():
    assert label("nc.NC2_unit.final") == "NC2 unit at the end"
    assert "flow time" in axis_label(("decay_w", "decay_h"))
    assert axis_label(("decay_w", "decay_h")).startswith("decay rate of W and H")
    assert [short(v) for v in (1000.0, 0.06818, 3, "relu")] == ["1000", "0.0682", "3", "relu"]

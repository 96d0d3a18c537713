from dataclasses import replace

import pytest

import ntkflow as nf
from ntkflow.errors import InputError
from ntkflow.runs import files
from ntkflow.runs.config import SimulateConfig
from ntkflow.sweep import SweepSpec, View, parse_axis, spec_from_tables
from ntkflow.sweep.grid import Grid, key_of
from tests.sweep.grids import BASE, grid


def test_the_grid_is_the_product_with_the_seeds_last():
    spec = grid("scale=1,2", "init=gaussian,relu", base=replace(BASE, seed=5), seeds=2)
    points = list(spec.points())
    assert len(points) == len(spec) == 8
    assert points[:3] == [
        {"scale": 1.0, "init": "gaussian", "seed": 5},
        {"scale": 1.0, "init": "gaussian", "seed": 6},
        {"scale": 1.0, "init": "relu", "seed": 5},
    ]


def test_fields_that_move_together_have_one_value():
    points = list(grid("decay_w,decay_h=0,0.1").points())
    assert points == [{"decay_w": 0.0, "decay_h": 0.0}, {"decay_w": 0.1, "decay_h": 0.1}]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: grid(), "needs something to vary"),
        (lambda: grid("scale=1,2", "scale=3,4"), "is on two axes"),
        (lambda: grid("seed=1,2", seeds=2), "is on two axes"),
        (lambda: grid("scale=1,2", seeds=-1), "seeds = -1: must be at least 0"),
        (lambda: View(y=()), "at least one quantity"),
        (lambda: View(theory=("a", "b")), "has no pane"),
    ],
)
def test_bad_specifications_are_named(make, message):
    with pytest.raises(InputError, match=message):
        make()


def test_a_specification_survives_its_toml(tmp_path):
    spec = grid(
        "scale=0.1:1:3:log",
        "init=gaussian,relu",
        "decay_w,decay_h=0,0.1",
        "kappa_c/kappa_d=0.1,0.2",
        seeds=3,
        x="t_end",
        log_y=True,
        by="init",
    )
    files.write_toml(tmp_path / "sweep.toml", spec.tables())
    again = spec_from_tables(files.read_toml(tmp_path / "sweep.toml"), tmp_path)
    assert again == spec
    assert again.identity() == spec.identity()


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ({"sweep": {"overs": []}}, "is not one of"),
        ({"sweep": {"over": [{"fields": ["scale"]}]}}, "lacks sweep.over.0..values"),
        ({"sweep": {"seeds": "three"}}, "sweep.seeds is of another type"),
        ({"sweep": {"seeds": 2, "y": [1]}}, r"sweep.y.0. is of another type"),
        ({"sweep": {"over": [{"fields": ["scale"], "values": ["big"]}]}}, "must be a number for scale"),
    ],
)
def test_bad_files_are_named(tables, message, tmp_path):
    with pytest.raises(InputError, match=message):
        spec_from_tables(tables, tmp_path)


def test_the_view_is_no_part_of_the_identity_and_all_else_is():
    spec = grid("scale=1,2", seeds=2)
    assert replace(spec, view=View(y=("nc.NC2.final",), log_y=True)).identity() == spec.identity()
    others = [
        grid("scale=1,3", seeds=2),
        grid("scale=1,2", seeds=3),
        grid("kappa_d=1,2", seeds=2),
        grid("scale=1,2", base=replace(BASE, rtol=1e-7), seeds=2),
    ]
    assert len({other.identity() for other in [spec, *others]}) == 5


def test_a_state_file_counts_by_its_content(tmp_path):
    sizes, kernel = nf.Sizes(2, 2, 3), nf.BlockKernel(1, 0.5, 0.1)

    def identity(name, seed):
        path = tmp_path / name
        files.write_state(path, nf.initial.make("gaussian", sizes, kernel, seed), sizes.labels, kernel)
        return SweepSpec(SimulateConfig(state=path), (parse_axis("t_end=1,2"),)).identity()

    assert identity("a.npz", 0) == identity("b.npz", 0) != identity("a.npz", 1)


@pytest.mark.parametrize("given", [None, 2.0])
def test_a_ratio_sets_its_first_field_to_a_multiple_of_the_second_whatever_sets_that(given):
    base, kappa_d = replace(BASE, kappa_d=given), given or 1.0
    # The ratio that the other one builds on may come later.
    cells = Grid(grid("kappa_n/kappa_c=0.1,0.2", "kappa_c/kappa_d=0.25,0.5", base=base))
    for cell, (n, c) in zip(cells, [(0.1, 0.25), (0.1, 0.5), (0.2, 0.25), (0.2, 0.5)], strict=True):
        assert cell.point == {"kappa_n/kappa_c": n, "kappa_c/kappa_d": c}
        assert (cell.config.kappa_c, cell.config.kappa_n) == (c * kappa_d, n * (c * kappa_d))
        assert cell.key == key_of(cell.config)
    assert list(cells.keys()) == [cells[k].key for k in range(4)]
    # A cell is the same by whichever way it is asked for.
    assert (
        cells[1].key == Grid(grid("kappa_n=0.05", base=replace(base, kappa_c=0.5)))[0].key or kappa_d != 1.0
    )


def test_an_engine_for_ensembles_is_refused_before_a_cell_is_made():
    with pytest.raises(InputError, match="engine = 'jax': integrates ensembles, and cells"):
        grid("scale=1,2", base=replace(BASE, engine="jax"))
    with pytest.raises(InputError, match="engine = 'jax'"):
        grid("engine=auto,jax")
    # What an axis replaces is not asked for.
    assert len(grid("engine=auto,structured", base=replace(BASE, engine="jax"))) == 2


def test_ratios_that_nobody_can_work_out_are_refused():
    with pytest.raises(InputError, match="round in a circle"):
        Grid(grid("kappa_n/kappa_c=1,2", "kappa_c/kappa_n=1,2"))
    with pytest.raises(InputError, match="is divided by, and not given"):
        Grid(grid("beta/weight_decay=1,2"))
    with pytest.raises(InputError, match="on two axes"):
        grid("kappa_c/kappa_d=0.1,0.2", "kappa_c=1,2")

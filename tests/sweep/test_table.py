import csv

import numpy as np
import pytest

from ntkflow.errors import InputError
from ntkflow.runs import files
from ntkflow.runs.simulate import prepare, run
from ntkflow.runs.summary import summarise
from ntkflow.sweep.columns.rows import flat
from ntkflow.sweep.figure import axes_of
from ntkflow.sweep.grid import Grid
from ntkflow.sweep.table import Table
from tests.sweep.grids import grid, run_here


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    directory = tmp_path_factory.mktemp("table") / "sweep"
    # The last kernel breaks kappa_d >= kappa_c, so that its cells fail.
    spec = grid("init=gaussian,relu", "kappa_d=1,2,0.1", "t_end=0.25")
    return run_here(spec, directory), directory


def test_one_row_per_cell_in_grid_order(done):
    table, _ = done
    assert len(table) == 6
    assert list(table.columns["init"]) == ["gaussian"] * 3 + ["relu"] * 3
    assert list(table.columns["kappa_d"]) == [1, 2, 0.1] * 2
    assert list(table.columns["status"]) == ["done", "done", "failed"] * 2
    assert np.isnan(table.column("nc.NC1.final")[2])
    assert len(table.failed) == 2


def test_csv_and_npz_hold_the_same(done):
    table, directory = done
    arrays, header = files.read_arrays(directory / "table.npz")
    with (directory / "table.csv").open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert list(arrays) == list(rows[0]) == list(table.columns)
    assert header["swept"] == ["init", "kappa_d", "t_end"]
    for name, values in arrays.items():
        texts = [row[name] for row in rows]
        if values.dtype.kind == "f":
            np.testing.assert_array_equal([float(text or "nan") for text in texts], values)
        else:
            assert texts == list(values)


def test_the_numbers_are_those_of_the_cells(done):
    table, _ = done
    spec = grid("init=gaussian,relu", "kappa_d=1,2,0.1", "t_end=0.25")
    summary = summarise(run(prepare(Grid(spec)[0].config)), prepare(Grid(spec)[0].config))
    assert table.column("nc.NC1.final")[0] == pytest.approx(summary.nc["NC1"].final, rel=1e-5)
    signs = summary.invariant.eigen_signs
    assert table.column("invariant.eigen_signs.negative")[0] == signs.negative > 0
    assert table.column("reason").tolist()[:3] == ["t_end", "t_end", ""]


def test_columns_are_found_by_swept_field_path_or_configuration_field(done):
    table, _ = done
    np.testing.assert_array_equal(table.column("features")[:2], 3)
    np.testing.assert_array_equal(table.column("t_end"), 0.25)  # as swept; the time reached is summary.t_end
    np.testing.assert_allclose(table.column("summary.t_end")[:2], 0.25)


def test_columns_have_names_for_people_and_ratios(done):
    table, _ = done
    for name, column in (
        ("NC1", "nc.NC1.final"),
        ("loss", "loss.final"),
        ("mu_class", "eigenvalues.mu_class"),
    ):
        np.testing.assert_array_equal(table.column(name), table.columns[column])
    np.testing.assert_array_equal(table.column("kappa_c/kappa_d")[:2], 0.5 / table.columns["kappa_d"][:2])
    with pytest.raises(InputError, match="nonsense"):
        table.column("kappa_c/nonsense")


def test_a_wrong_quantity_names_those_that_are_near(done):
    with pytest.raises(InputError, match=r"did you mean nc.NC1.final"):
        done[0].column("NC1.fnal")


def test_entries_with_a_name_are_found_by_it_and_matrices_stay_out():
    value = {
        "rates": [{"name": "slow", "rate": 1}, {"quantity": "fast", "rate": 2}],
        "X": [[1.0]],
        "m": [3, 4],
    }
    assert flat(value) == {"rates.slow.rate": 1, "rates.fast.rate": 2, "m.0": 3, "m.1": 4}


def test_the_table_is_an_xarray_dataset_with_the_swept_fields_as_coordinates(done):
    xarray = pytest.importorskip("xarray")
    table, _ = done
    dataset = table.to_xarray()
    assert isinstance(dataset, xarray.Dataset)
    assert set(dataset.coords) == {"init", "kappa_d", "t_end"}
    cube = dataset.set_index(cell=["init", "kappa_d", "t_end"]).unstack("cell")
    chosen = cube["nc.NC1.final"].sel(init="relu", kappa_d=2.0).item()
    assert chosen == table.column("nc.NC1.final")[4]


def test_a_table_draws_the_picture_of_the_command_without_its_specification():
    names = {"scale": [0.1, 0.1, 1.0, 1.0, 10.0, 10.0], "decay_w": [0.0, 0.5] * 3, "decay_h": [0.0, 0.5] * 3}
    columns = {name: np.array(values) for name, values in names.items()}
    values = np.arange(6.0)
    table = Table(
        tuple(names),
        {**columns, "key": np.array(list("abcdef")), "status": np.array(["done"] * 6), "error": np.array([""] * 6),
         "nc.NC1.final": values, "loss.final": values**2},
    )  # fmt: skip
    scale, decay = axes_of(table)
    assert (scale.fields, scale.values, scale.log) == (("scale",), (0.1, 1.0, 10.0), True)
    assert (decay.fields, decay.values, decay.log) == (("decay_w", "decay_h"), (0.0, 0.5), False)
    mesh = table.figure().axes[0].collections[0]
    np.testing.assert_array_equal(mesh.get_array(), values.reshape(3, 2).T)
    assert len(table.figure(["loss.final", "nc.NC1.final"], x="decay_w", title="two").axes) == 2
    with pytest.raises(InputError, match="is not a number"):
        table.figure("nothing")


def test_more_fields_than_a_picture_shows_are_refused():
    grid = np.array(np.meshgrid([1.0, 2.0], [1.0, 2.0], [1.0, 2.0])).reshape(3, -1)
    names = ("scale", "kappa_d", "beta")
    facts = {"key": np.array(list("abcdefgh")), "status": np.array(["done"] * 8), "error": np.array([""] * 8)}
    table = Table(names, {**dict(zip(names, grid, strict=True)), **facts, "nc.NC1.final": np.arange(8.0)})
    with pytest.raises(InputError, match="too many for one picture"):
        table.figure()


def test_columns_that_say_the_same_are_written_as_those_that_do_not(tmp_path):
    numbers = np.array([0.1, np.nan, -0.0, 1e300])
    columns = {
        "key": np.array(list("abcd")), "status": np.array(["done"] * 4), "error": np.array(["", "x,y", "", ""]),
        "a": numbers, "b": numbers.copy(), "c": np.where(numbers == 0, 0.0, numbers), "d": np.array([1, 2, 3, 4]),
    }  # fmt: skip
    Table(("d",), columns).write(tmp_path)
    lines = (tmp_path / "table.csv").read_text().splitlines()
    assert lines == [
        "key,status,error,a,b,c,d",
        "a,done,,0.1,0.1,0.1,1",
        'b,done,"x,y",,,,2',
        "c,done,,-0.0,-0.0,0.0,3",
        "d,done,,1e+300,1e+300,1e+300,4",
    ]
    np.testing.assert_array_equal(Table.read(tmp_path).columns["b"], numbers)

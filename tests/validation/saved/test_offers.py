"""Whatever a user gets has a file and comes back from it, and has a figure, a data set, a frame and a short name."""

import numpy as np
import pytest

import ntkflow as nf
from ntkflow.fitting.estimate import Estimate
from ntkflow.runs.ensembles import Member

# A name and, where one of the panes needs something else than the thing itself, another pane.
PANES = {
    "solution": "NC1",
    "ensemble": "loss",
    "table": "nc.NC1.final",
    "fit": "constants",
    "measurement": "features",
    "training": "loss",
    "comparison": "NC1",
}


@pytest.fixture(scope="module")
def things(trained, solution, measurement):
    times, members = (
        np.array([0.0, 1.0, 2.0]),
        tuple(Member(k, nf.Reason.T_END, "bdf", 1, 0.0) for k in range(2)),
    )
    estimates = {"kappa_d": Estimate(1.0, 0.1), "kappa_n": Estimate(float("nan"), float("inf"))}
    fit = nf.Fit(
        "block", nf.BlockKernel(1.0, 0.5, 0.1), estimates, {"kappa_d": 0.9, "kappa_n": 0.0}, noise=0.1, misfit=0.2,
        condition=float("inf"), warnings=(), converged=True, evaluations=7,
    )  # fmt: skip
    table = nf.sweep.Table(
        ("scale",),
        {
            "scale": np.array([0.5, 1.0, 2.0]), "key": np.array(list("abc")), "status": np.array(["done"] * 3),
            "error": np.array([""] * 3), "nc.NC1.final": np.array([1.0, 0.1, np.nan]),
        },
    )  # fmt: skip
    training = nf.load(trained)
    return {
        "solution": solution,
        "ensemble": nf.Ensemble(times, {"loss": np.arange(1.0, 7.0).reshape(2, 3)}, members),
        "table": table,
        "fit": fit,
        "measurement": measurement,
        "training": training,
        "comparison": training.comparison,
    }


@pytest.fixture(params=PANES)
def named(request, things):
    return request.param, things[request.param]


def test_it_is_saved_and_comes_back_and_replaces_nothing_unasked(named, tmp_path):
    name, thing = named
    # The name tells a comparison from a fit; directories and archives say themselves what they are.
    place = tmp_path / ("comparison.json" if name == "comparison" else "kept")
    assert nf.save(thing, place) == place
    assert type(nf.load(place)) is type(thing)
    once = {path.relative_to(tmp_path) for path in tmp_path.rglob("*")}
    with pytest.raises(nf.InputError, match="exists"):
        thing.save(place)
    thing.save(place, overwrite=True)
    assert {path.relative_to(tmp_path) for path in tmp_path.rglob("*")} == once
    np.testing.assert_equal(nf.load(place).to_pandas().to_dict(), thing.to_pandas().to_dict())


def test_its_figure_has_the_panes_and_the_size_that_are_asked_for(named):
    name, thing = named
    figure = thing.figure(panes=[PANES[name]], size=(5.0, 3.0))
    assert figure.get_size_inches().tolist() == [5.0, 3.0]
    assert sum(axes.get_visible() and axes.get_label() != "<colorbar>" for axes in figure.axes) == 1
    for wrong in ({"panes": ["nonsense"]}, {"size": 0.1}):
        with pytest.raises(nf.InputError):
            thing.figure(**wrong)


def test_its_data_set_can_be_a_file_and_its_frame_has_columns(named):
    _, thing = named
    data = thing.to_xarray()
    assert len(data.data_vars) >= 1
    # What netCDF takes: numbers, texts, and lists of them.
    assert all(isinstance(value, str | int | float | list) for value in data.attrs.values())
    assert all(values.dtype.kind in "biufU" for values in {**data.data_vars, **data.coords}.values())
    assert len(thing.to_pandas().columns) >= 1


def test_data_sets_have_the_numbers(things):
    measured, fit = things["measurement"], things["fit"].to_xarray()
    data = measured.to_xarray()
    assert data["mean"].sel(constant="kappa_c").item() == measured.kappa_c.value
    np.testing.assert_array_equal(data["K"], measured.features.mean)
    np.testing.assert_array_equal(data["label"], measured.labels)
    assert (fit["estimate"].sel(constant="kappa_d"), fit["standard_error"].sel(constant="kappa_d")) == (
        1.0,
        0.1,
    )
    assert (fit.attrs["misfit"], fit.attrs["converged"]) == (0.2, 1)


def test_it_says_in_a_few_lines_what_it_is_and_is_a_table_in_a_notebook(named):
    _, thing = named
    assert type(thing).__name__ in repr(thing).split("(")[0]
    assert len(repr(thing)) < 800
    assert thing._repr_html_().startswith("<table>")

"""Whatever a user gets has a file and comes back from it, and has a figure, a data set, a frame and a short name."""

import numpy as np
import pytest

import ntkflow as nf
from ntkflow.cli.main import main
from ntkflow.fitting.spread import Estimate
from ntkflow.problem.layers import initial as layers
from ntkflow.runs.ensembles import Member
from tests.test_views import short
from tests.validation.saved.conftest import SIZES

# A name and, where one of the panes needs something else than the thing itself, another pane.
PANES = {
    "solution": "NC1",
    "layers": "NC1",
    "ensemble": "loss",
    "table": "nc.NC1.final",
    "fit": "constants",
    "measurement": "features",
    "training": "loss",
    "recorded": "NC1",
    "comparison": "NC1",
}
# What is laid over others of its kind and of other kinds, and told beside them.
RUNS = ("solution", "layers", "ensemble", "training", "recorded")
ALONE = ("table", "fit", "measurement", "comparison")


def layered():
    sizes, kernel = nf.Sizes(2, 2, 3), nf.BlockKernel(1.0, 0.5, 0.1)
    state = layers.make("balanced", sizes, (3, 3), kernel)
    return nf.solve_layers(nf.LayeredProblem(sizes, kernel, state), save_at=[0.1, 0.2], rtol=1e-6)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory, solution):
    clock = nf.Clock(0.1, "squared", "sum", samples=12, classes=3)
    with nf.Recorder(tmp_path_factory.mktemp("recorded") / "run", SIZES.labels, clock=clock) as recorder:
        for step in range(3):
            state = solution.state(step)
            recorder(step, state.H.T, state.W, state.b)
    return recorder.path


@pytest.fixture(scope="module")
def things(trained, recorded, solution, measurement):
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
        "layers": layered(),
        "ensemble": nf.Ensemble(times, {"loss": np.arange(1.0, 7.0).reshape(2, 3)}, members),
        "table": table,
        "fit": fit,
        "measurement": measurement,
        "training": training,
        "recorded": nf.load(recorded),
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
    short(thing)
    assert thing._repr_html_().startswith("<table>")


def drawn(figure):
    return [axes.get_title() for axes in figure.axes if axes.get_visible()]


def test_the_door_draws_it_and_what_lies_in_its_file(named, tmp_path):
    name, thing = named
    asked = {"panes": [PANES[name]], "size": (5.0, 3.0)}
    place = nf.save(thing, tmp_path / ("comparison.json" if name == "comparison" else "kept"))
    for given in (thing, place, str(place), [thing]):
        assert drawn(nf.figure(given, **asked)) == drawn(thing.figure(**asked))


def test_several_lie_over_each_other_or_are_refused_with_what_to_do(things):
    runs = [things[name] for name in RUNS]
    (axes,) = nf.figure(runs, panes=["loss"], labels=RUNS).axes
    assert len(axes.lines) == len(RUNS)
    for name in ALONE:
        with pytest.raises(nf.InputError, match="is not laid over others; draw it alone"):
            nf.figure(things[name], things["solution"])
        for option in ({"style": "paper"}, {"labels": ["one"]}, {"observed": 3}):
            if (name, *option) != ("fit", "observed"):
                with pytest.raises(nf.InputError, match=next(iter(option))):
                    nf.figure(things[name], **option)


@pytest.mark.parametrize(
    "wrong", [nf, nf.Solution, 3.0, nf.Sizes(2, 2, 2)], ids=["module", "class", "float", "sizes"]
)
def test_what_has_no_figure_is_refused(wrong):
    with pytest.raises(nf.InputError, match="has no figure; give a solution"):
        nf.figure(wrong)


def told(capsys, *words):
    with pytest.raises(SystemExit) as caught:
        main([str(word) for word in words])
    return caught.value.code or 0, capsys.readouterr()


def test_the_commands_show_and_draw_it(named, things, tmp_path, capsys):
    name, thing = named
    place = nf.save(thing, tmp_path / ("comparison.json" if name == "comparison" else "kept"))
    code, said = told(capsys, "show", place)
    assert code == 0
    if name in ALONE:
        assert said.out == f"{nf.load(place)!r}\n"
    code, said = told(capsys, "plot", place, "--panes", PANES[name], "--width", 5)
    assert code == 0
    assert (tmp_path / said.out.strip()).stat().st_size > 5_000
    flow = nf.save(things["solution"], tmp_path / "flow")
    for words in (
        ("show", place, flow),
        ("plot", place, flow, "--panes", "loss", "--out", tmp_path / "both"),
    ):
        code, said = told(capsys, *words)
        assert code == (2 if name in ALONE else 0)
        assert ("alone" in said.err) == (name in ALONE)
    code, said = told(capsys, "show", place, "--json")
    assert code == (2 if name in ALONE else 0)


def test_what_else_measures_and_records_says_it_in_a_few_lines(trained, recorded, measurement, tmp_path):
    inputs = np.random.default_rng(0).normal(size=(12, 6)).astype(np.float32)
    weights = {"a": np.ones((6, 4), np.float32), "b": np.ones((4, 3), np.float32)}

    laws = nf.conservation_laws(lambda p, x: (x @ p["a"]) @ p["b"], weights, inputs)
    clock = nf.Clock(0.1, "squared", "sum", samples=12, classes=3)
    head = np.random.default_rng(1).normal(size=(3, 5))
    whole = nf.measure(
        lambda A, x: x @ A, np.ones((6, 5), np.float32), inputs, SIZES.labels, head=(head, None),
        quantities=["outputs", "row-space", "rayleigh", "matrix", "tensor", "pair-norms", "class-kernels"],
    )  # fmt: skip
    parts = (whole.features, whole.head, whole.rayleigh, whole.matrix, whole.full, whole.pairs, whole.classes)
    recorder = nf.Recorder(tmp_path / "run", SIZES.labels, clock=clock)
    predicted = nf.predict(whole, None, clock, steps=[0, 1])
    for thing in (
        laws,
        *laws[:1],
        nf.RunConfig(),
        *parts,
        recorder,
        nf.load(trained).run,
        predicted,
    ):
        short(thing)
    recorder.close()
    assert repr(nf.load(recorded).config).startswith("RecordedConfig(data=RecordedData(name='own data'")

"""What things print is short whatever their size, and says what they are."""

import sys

import numpy as np
import pytest

import ntkflow as nf
from ntkflow import views
from ntkflow.problem.layers import initial as layers
from tests.problem.kernels import ladder

SIZES, BLOCK = nf.Sizes(4, 6, 12), nf.BlockKernel(2.0, 0.5, 0.1)
STATE = nf.initial.make("balanced", SIZES, BLOCK)
PROBLEM = nf.Problem(SIZES, BLOCK, STATE)
SOLUTION = nf.solve(PROBLEM, t_end=1.0)
SMALL = nf.Sizes(3, 4, 2)
CLOCK = nf.Clock(0.1, "squared", "sum", samples=24, classes=4)
LAYERED = nf.LayeredProblem(SIZES, BLOCK, layers.make("balanced", SIZES, (12, 12), BLOCK))
LAYERS = nf.solve_layers(LAYERED, t_end=0.1)


def test_a_state_says_its_sizes():
    assert repr(STATE) == "State(C=4, n=12, N=24)"


THINGS = {
    "problem": PROBLEM,
    "solution": SOLUTION,
    "thin state": SOLUTION.thin(0)[0],
    "frame": SOLUTION.thin(0)[1],
    "descent": nf.descend(PROBLEM, 5, 1e-3),
    "balance": nf.balance(PROBLEM, SOLUTION.times, [SOLUTION.state(i) for i in range(len(SOLUTION))]),
    "terms": nf.metrics.invariant_terms(STATE, SIZES, BLOCK),
    "conserved": nf.metrics.conserved(BLOCK, SIZES),
    "limit": nf.theory.limits.collapsed(SIZES, BLOCK),
    "spectrum": nf.theory.spectrum.at_collapse(SIZES, BLOCK),
    "prediction": nf.theory.prediction.predict_flow(PROBLEM),
    "observed": nf.Observed(np.array([0.0, 1.0]), (STATE, STATE), SIZES),
    **{f"kernel {name}": ladder.make(name, SMALL) for name in ladder.NAMES},
    "moving": nf.ScheduledKernel((0.0, 1.0), (BLOCK, BLOCK)),
    "flow": SOLUTION.flow,
    "law": nf.laws(PROBLEM)[0],
    "linear layers": LAYERED,
    "state of layers": LAYERED.state,
    "decay of layers": LAYERED.decay,
    "solution of layers": LAYERS,
    "flow of layers": LAYERS.flow,
    "clock": CLOCK,
    "scheduled clock": nf.Clock(None, "squared", "sum", samples=24, classes=4, schedule=np.sqrt),
    "smoothed": nf.Smoothed(nf.MSE(), 0.1),
    "own loss": nf.LossPair(lambda F, Y: 0.0, lambda F, Y: F, "mine"),
    "bar": nf.Bar(),
    "settings": nf.SimulateConfig(state="start.npz"),
    "stop": nf.Stop(),
    "decay": nf.Decay(0.1, 0.2, 0.0),
    "direction": nf.Direction(),
    "reason": nf.Reason.T_END,
}


@pytest.mark.parametrize("name", THINGS)
def test_what_holds_arrays_prints_in_a_few_lines(name):
    short(THINGS[name])


def short(thing):
    text = repr(thing)
    assert text.lstrip("<").startswith(type(thing).__name__)
    assert len(text) < 800
    assert text.count("\n") < 10
    for wrong in ("array(", " at 0x", "PosixPath"):
        assert wrong not in text


def test_a_descent_says_what_it_ran_with():
    told = repr(nf.descend(PROBLEM, 5, 1e-3, momentum=0.5, batch_per_class=1))
    assert told.startswith(
        "Descent(C=4, m=6, n=12, kernel=block, T=6, steps=5, eta=0.001, beta=0.5, batch_per_class=1, loss "
    )
    assert len(told) < 200


def test_settings_are_told_by_what_is_not_usual():
    assert repr(nf.SimulateConfig(classes=3)) == "SimulateConfig(classes=3)"


def test_values_are_told_by_their_size():
    assert views.brief(np.zeros((3, 4))) == "<3 x 4>"
    assert views.brief(np.array([1.0, 2.5])) == "[1, 2.5]"
    assert views.brief(dict.fromkeys(range(9))) == "<9 entries>"
    assert views.brief((1, 2)) == "[1, 2]"
    assert views.brief(None) == "-"
    assert len(views.brief("x" * 500)) < 120


def test_tables_are_aligned_and_escaped():
    assert (
        views.text_table(("", "value"), [("a", 1.0), ("long", 22.5)])
        == "      value\na         1\nlong   22.5"
    )
    assert "&lt;b&gt;" in views.html_table("<b>", ("",), [])
    assert SOLUTION._repr_html_().count("<tr>") == 1 + len(SOLUTION.series)


def test_data_sets_and_frames_have_the_numbers_and_their_meanings():
    data, frame = SOLUTION.to_xarray(), SOLUTION.to_pandas()
    np.testing.assert_array_equal(data["NC1"].values, SOLUTION.series["NC1"])
    np.testing.assert_array_equal(frame["NC1"].to_numpy(), SOLUTION.series["NC1"])
    assert data["loss"].dims == ("t",)
    assert "eq. 4" in data["loss"].attrs["description"]
    assert list(frame.index) == list(SOLUTION.times)
    grid = nf.Ensemble(
        np.array([0.0, 1.0]), {"loss": np.arange(6.0).reshape(3, 2)}, tuple(member(k) for k in range(3))
    )
    assert grid.to_xarray()["loss"].dims == ("seed", "t")
    assert grid.to_pandas().query("seed == 2 and t == 1").loss.item() == 5.0
    assert "3 members" in repr(grid)


def member(k):
    from ntkflow.runs.ensembles import Member

    return Member(k, nf.Reason.T_END, "structured", 1, 0.0)


@pytest.mark.parametrize("package", ["pandas", "xarray"])
def test_a_package_that_is_not_there_is_named_with_what_installs_it(package, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(
        nf.InputError, match=rf"to_{package} = {package}: is not installed.*ntkflow\[{package}\]"
    ):
        getattr(SOLUTION, f"to_{package}")()


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_short_floats_are_widened_with_a_word(dtype):
    H = np.random.default_rng(0).normal(size=(4, 6)).astype(dtype)
    with pytest.warns(nf.PrecisionWarning, match=f"H is a {np.dtype(dtype)} array, widened to float64"):
        state = nf.State(H, np.zeros((2, 4)), np.zeros(2))
    assert state.H.dtype == np.float64
    np.testing.assert_array_equal(state.H, H.astype(np.float64))

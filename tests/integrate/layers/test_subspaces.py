"""Runs in the subspaces that are never left: chosen where they are worth it, and the same as of all features."""

import numpy as np
import pytest

import ntkflow as nf
from ntkflow.dynamics.layers import LayeredFlow
from ntkflow.dynamics.layers_subspace import Reduced, worthwhile
from ntkflow.problem.layers import initial
from tests.linear_layers import Network, distance

KERNEL = nf.BlockKernel(1.0, 0.4, 0.15)
SIZES = nf.Sizes(3, 3, 14)
TIMES = [0.0, 0.4, 1.2]
RTOL = 1e-7


def start(name, widths, beside=0.0, biases=False, scale=0.8):
    """A start of an initial state's name, with something beside that the classifier never sees."""
    state = initial.make(name, SIZES, widths, KERNEL, 0, scale)
    rng = np.random.default_rng(0)
    H, V = state.H, list(state.V)
    if beside:
        # Deviations and a chain of layers outside of what the rest spans, in the columns and in the rows.
        below = unseen(np.hstack([H, *(layer.T for layer in V[:1])]), rng)
        H = H + beside * np.outer(below, unseen(np.hstack([H.T, SIZES.Y.T]), rng))
        for l, layer in enumerate(V):
            above = unseen(np.hstack([layer, state.W.T if layer is V[-1] else V[-1].T]), rng)
            V[l], below = layer + beside * np.outer(above, below), above
    c = tuple(np.zeros(n) for n in widths) if biases else ()
    return nf.LayeredState(H, tuple(V), state.W, state.b, c)


def unseen(A, rng):
    v = rng.standard_normal(len(A))
    v -= A @ np.linalg.pinv(A) @ v
    return v / np.linalg.norm(v)


CASES = {
    "balanced": ("balanced", (16, 14), 0.0, {}),
    "contrasts, three layers": ("balanced-contrast", (13, 15, 14), 0.0, {}),
    "aligned": ("aligned", (16, 14), 0.0, {}),
    "spectators and decay": (
        "balanced-centred",
        (16, 14),
        0.3,
        {"decay": nf.LayerDecay((0.1, 0.3), 0.1, 0.05)},
    ),
    "biases of layers": ("balanced", (16, 14), 0.2, {"biases": True}),
    "cross-entropy": ("balanced-contrast", (16, 14), 0.0, {"loss": nf.CrossEntropy()}),
}


def problem_of(name):
    init, widths, beside, details = CASES[name]
    details = dict(details)
    state = start(init, widths, beside, details.pop("biases", False))
    return nf.LayeredProblem(SIZES, KERNEL, state, **details)


@pytest.mark.parametrize("name", CASES)
def test_they_are_chosen_and_give_what_all_features_give(name):
    problem = problem_of(name)
    found = nf.solve_layers(problem, save_at=TIMES, rtol=RTOL)
    form = "thin" if problem.squared_error else "raw"
    whole = nf.solve_layers(problem, save_at=TIMES, rtol=RTOL, form=form)
    assert found.stats.unknowns < whole.stats.unknowns / 2
    assert "in subspaces of" in found.stats.because
    assert "subspaces" not in whole.stats.because
    assert found.stats.form == whole.stats.form
    for i in range(len(TIMES)):
        assert distance(found.state(i), whole.state(i)) < RTOL
    assert found.gaps.max() < RTOL
    for series in ("loss", "loss_reg", "NC1", "kappa_d", "mu_class_W", "Q_norm_layer1"):
        if series in whole.series:
            np.testing.assert_allclose(found.series[series], whole.series[series], rtol=1e-6, atol=1e-9)
    # As a saved run is read.
    again = LayeredFlow.build(problem, found.stats.form)
    assert distance(again.state(found.packed[-1]), found.final) < 1e-12


def test_the_network_written_out_agrees():
    problem = problem_of("spectators and decay")
    network = Network(problem)
    found = nf.solve_layers(problem, save_at=[1.2], rtol=1e-9)
    assert distance(found.final, network.state(network.integrate([1.2])[0])) < 1e-8


@pytest.mark.parametrize("name", ["spectators and decay", "cross-entropy"])
def test_sizes_and_speeds_count_what_lies_outside(name):
    problem, t = problem_of(name), 0.7
    flow = LayeredFlow.build(problem)
    reduced = Reduced(flow, worthwhile(problem))
    y = reduced.flow.start * 1.1
    whole = reduced.lift(t, y)
    assert reduced.within_rms(t, y) == pytest.approx(flow.within_rms(whole), rel=1e-12)
    size, speed = reduced.norms(t, y, reduced.flow.field(t, y))
    assert size == pytest.approx(np.linalg.norm(whole), rel=1e-12)
    assert speed == pytest.approx(np.linalg.norm(flow.field(t, whole)), rel=1e-12)
    np.testing.assert_allclose(reduced.lift(0.0, reduced.flow.start), flow.start, atol=1e-13)


def test_generic_starts_are_integrated_as_they_are():
    problem = nf.LayeredProblem(SIZES, KERNEL, start("gaussian", (16, 14)))
    assert "subspaces" not in nf.solve_layers(problem, save_at=[0.01]).stats.because


@pytest.mark.parametrize(
    ("name", "stop"),
    [
        ("balanced", nf.Stop(nc1=0.01, stationarity=None)),
        ("spectators and decay", nf.Stop(nc1=0.02, stationarity=None)),
        ("spectators and decay", nf.Stop(nc1=None, stationarity=0.05)),
        ("balanced", nf.Stop(nc1=None, stationarity=None, loss=0.3)),
    ],
    ids=["nc1", "nc1 with decay", "rest with decay", "loss"],
)
def test_runs_end_where_those_of_all_features_end(name, stop):
    problem = problem_of(name)
    ends = [
        nf.solve_layers(problem, stop=stop, t_end=60.0, rtol=1e-5, form=form) for form in ("auto", "thin")
    ]
    assert ends[0].reason is ends[1].reason is not nf.Reason.T_END
    # A step more or less.
    assert ends[0].times[-1] == pytest.approx(ends[1].times[-1], rel=0.1)

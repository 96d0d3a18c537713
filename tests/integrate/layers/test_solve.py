"""Linear layers: against the network written out, against one layer of the plain flow, and their laws."""

import numpy as np
import pytest

import ntkflow as nf
from ntkflow.dynamics.layers import LayeredFlow
from ntkflow.integrate.layers import march
from ntkflow.integrate.layers.solve import NAMES
from ntkflow.problem.layers import initial
from tests.linear_layers import Network, distance

SIZES = nf.Sizes(3, 3, 4)
KERNEL = nf.BlockKernel(1.0, 0.4, 0.15)
WIDTHS = {1: (4,), 2: (5, 4), 3: (3, 5, 4)}
DECAY = {1: (0.1,), 2: (0.1, 0.02), 3: (0.1, 0.02, 0.05)}
TIMES = [0.2, 1.5]


def start(L, scale=0.8, biases=False, sizes=SIZES, kernel=KERNEL, seed=0):
    state = initial.make("gaussian", sizes, WIDTHS[L], kernel, seed, scale)
    if not biases:
        return state
    rng = np.random.default_rng(seed)
    return nf.LayeredState(
        state.H, state.V, state.W, state.b, tuple(0.3 * rng.standard_normal(n) for n in WIDTHS[L])
    )


@pytest.mark.parametrize(
    ("form", "L", "biases"),
    [("thin", 1, True), ("thin", 2, False), ("thin", 3, True), ("raw", 1, False), ("raw", 2, True)],
)
def test_the_flow_is_that_of_the_network_written_out(form, L, biases):
    decay = nf.LayerDecay(DECAY[L], W=0.07, b=0.03, c=0.04 if biases else 0.0)
    problem = nf.LayeredProblem(SIZES, KERNEL, start(L, biases=biases), decay=decay)
    network = Network(problem)
    solution = nf.solve_layers(problem, save_at=TIMES, rtol=1e-9, form=form)
    for i, y in enumerate(network.integrate(TIMES)):
        assert distance(solution.state(i), network.state(y)) < 1e-8
    assert solution.stats.form == form
    assert solution.stats.unknowns < len(problem.state.pack()) or form == "raw" or L == 1 or biases


@pytest.mark.parametrize("loss", [nf.MSE(), nf.CrossEntropy()])
@pytest.mark.parametrize("name", ["class-block", "sample"])
def test_any_positive_kernel_and_loss_will_do(loss, name):
    rng = np.random.default_rng(3)
    sizes = nf.Sizes(3, (2, 4, 3), 4)
    X = rng.standard_normal((12, sizes.N))
    B = np.array([[0.5, 0.1, -0.05], [0.1, 0.4, 0.2], [-0.05, 0.2, 0.6]])
    kernel = nf.SampleKernel(X.T @ X) if name == "sample" else nf.ClassBlockKernel([1.0, 0.9, 1.3], B)
    problem = nf.LayeredProblem(sizes, kernel, start(2, 0.6, sizes=sizes, kernel=kernel), loss)
    network = Network(problem)
    solution = nf.solve_layers(problem, save_at=[0.1, 0.5], rtol=1e-9)
    for i, y in enumerate(network.integrate([0.1, 0.5])):
        assert distance(solution.state(i), network.state(y)) < 1e-8
    assert solution.gaps.max() < 1e-10
    assert "kappa_d" not in solution.series


def test_one_layer_is_the_plain_flow():
    state = initial.make("gaussian", SIZES, (4,), KERNEL, 1, 1.0)
    plain = nf.solve(
        nf.Problem(SIZES, KERNEL, nf.State(state.H, state.W, state.b)), save_at=TIMES, rtol=1e-10
    )
    layered = nf.solve_layers(nf.LayeredProblem(SIZES, KERNEL, state), save_at=TIMES, rtol=1e-10)
    for i in range(2):
        for name in ("H", "W", "b"):
            np.testing.assert_allclose(
                getattr(layered.state(i), name), getattr(plain.state(i), name), atol=1e-9
            )
    for name in ("loss", "NC1", "NC2", "NC3", "NC4", "V"):
        np.testing.assert_allclose(layered.series[name], plain.series[name], rtol=1e-6, atol=1e-9)
    # Q_1 = m E (18.3), and the kernel stays where it is.
    E = nf.metrics.invariant.terms(plain.state(0), SIZES, KERNEL).E
    np.testing.assert_allclose(layered.invariants(0)[0], 3 * E, atol=1e-9)
    for kind in ("", "_W"):
        for name, value in zip(("kappa_d", "kappa_c", "kappa_n"), KERNEL.kappas, strict=True):
            np.testing.assert_allclose(layered.series[name + kind], value, rtol=1e-12)
    assert layered.series["off_neuron"].max() < 1e-12
    assert layered.series["block_residual"].max() < 1e-12


def test_one_layer_goes_to_the_structured_engine_with_the_same_numbers():
    # Where explicit steps would take minutes.
    sizes = nf.Sizes(3, 300, 4)
    state = initial.make("balanced-centred", sizes, (4,), KERNEL, 0, 0.5)
    problem = nf.LayeredProblem(sizes, KERNEL, state)
    found = nf.solve_layers(problem, t_end=1e4)
    assert found.stats.engine == "structured"
    assert found.gaps.max() < 1e-8
    assert not found.reason.failed
    plain = nf.solve(nf.Problem(sizes, KERNEL, nf.State(state.H, state.W, state.b)), t_end=1e4)
    np.testing.assert_allclose(found.final.W, plain.final.W, atol=1e-12)
    np.testing.assert_allclose(found.final.H, plain.final.H, atol=1e-12)
    np.testing.assert_allclose(found.flow.pack(found.final), found.packed[-1], atol=1e-12)
    # The same packed system as from the problem alone, which is what a saved run is read with.
    alone = LayeredFlow.build(problem)
    np.testing.assert_allclose(alone.state(found.packed[-1]).H, found.final.H, atol=1e-12)


@pytest.mark.parametrize("rates", [(0.1, 0.1), (0.0, 0.2)])
def test_one_layer_under_decay_too_and_its_law_is_followed(rates):
    sizes = nf.Sizes(3, 100, 4)
    state = initial.make("balanced-centred", sizes, (4,), KERNEL, 0, 0.5)
    decay = nf.LayerDecay(*rates, 0.05)
    problem = nf.LayeredProblem(sizes, KERNEL, state, decay=decay)
    found = nf.solve_layers(problem, save_at=[0.0, 2.0])
    assert found.stats.engine == "structured"
    slow = nf.solve_layers(problem, save_at=[0.0, 2.0], engine="DOP853")
    assert distance(found.final, slow.final) < 1e-6
    assert found.gaps[0] == 0
    assert 0 < found.gaps[1] < 1e-8
    # The law of the layers themselves, by its exact end where rates are equal.
    if rates[0] == rates[1]:
        first, last = (found.invariants(i)[0] for i in (0, 1))
        np.testing.assert_allclose(last, np.exp(-0.4) * first, atol=1e-6)


@pytest.mark.parametrize("engine", NAMES)
def test_every_engine_gives_the_same_trajectory(engine):
    problem = nf.LayeredProblem(SIZES, KERNEL, start(2))
    expected = Network(problem).integrate(TIMES)
    solution = nf.solve_layers(problem, save_at=TIMES, rtol=1e-6, engine=engine)
    assert distance(solution.state(1), Network(problem).state(expected[1])) < 1e-5


def test_the_invariants_stay_and_follow_their_law_under_decay():
    problem = nf.LayeredProblem(SIZES, KERNEL, start(3, biases=True))
    solution = nf.solve_layers(problem, t_end=1.0)
    assert solution.gaps.max() < 1e-10
    for first, last in zip(solution.invariants(0), solution.invariants(-1), strict=True):
        np.testing.assert_allclose(last, first, atol=1e-9)
    assert np.all(np.diff(solution.series["V"][:5]) < 0)
    equal = nf.LayerDecay(0.2, 0.2, 0.0, 0.2)
    decayed = nf.solve_layers(
        nf.LayeredProblem(SIZES, KERNEL, problem.state, decay=equal), save_at=[0.0, 1.0]
    )
    # Equal rates, the layers' biases included: Q_l = exp(-2 l t) Q_l(0).
    for first, last in zip(decayed.invariants(0), decayed.invariants(-1), strict=True):
        np.testing.assert_allclose(last, np.exp(-0.4) * first, atol=1e-9)
    unequal = nf.LayerDecay((0.3, 0.0, 0.1), 0.5)
    moved = nf.solve_layers(nf.LayeredProblem(SIZES, KERNEL, problem.state, decay=unequal), t_end=1.0)
    assert moved.gaps.max() < 1e-9
    assert np.linalg.norm(moved.invariants(-1)[0] - moved.invariants(0)[0]) > 0.1
    assert np.all(np.diff(moved.series["loss_reg"]) < 1e-9)


def test_a_law_that_is_broken_is_seen():
    problem = nf.LayeredProblem(SIZES, KERNEL, start(2))
    loose = nf.solve_layers(problem, t_end=5.0, rtol=1e-2, engine="RK45")
    assert loose.gaps.max() > 1e-8


@pytest.mark.parametrize("L", [2, 3])
def test_within_class_images_of_the_first_layer_shrink_and_the_balanced_end_is_collapse_in_every_layer(L):
    # 18.4: X = x P, G[l] = (mu_c/m) x^l P at collapse.
    state = initial.make("balanced-contrast", SIZES, WIDTHS[L], KERNEL, 2, 0.8)
    problem = nf.LayeredProblem(SIZES, KERNEL, state)
    solution = nf.solve_layers(problem, rtol=1e-9)
    P = np.eye(3) - 1 / 3
    mu_c = KERNEL.eigenvalues(SIZES).mu_class
    x = (3 / mu_c) ** (1 / (L + 1))
    end = solution.final
    np.testing.assert_allclose(end.W @ end.W.T, x * P, atol=1e-6)
    for l, H in enumerate(end.layers, 1):
        means = H.reshape(len(H), 3, 3).mean(axis=2)
        np.testing.assert_allclose(means.T @ means, mu_c / 3 * x**l * P, atol=1e-6)
        assert np.abs(H - np.repeat(means, 3, axis=1)).max() < 1e-6
        assert solution.series[f"NC2_layer{l}"][-1] < 1e-6
        assert solution.series[f"NC3_layer{l}"][-1] < 1e-6
    spreads = [np.linalg.eigvalsh(s.H.T @ s.H) for s in (solution.state(0), end)]
    assert np.all(spreads[1][:6] <= spreads[0][:6] + 1e-9)


@pytest.mark.slow
def test_steps_that_get_nowhere_end_the_run(monkeypatch):
    """Products of layers of size 1e30 leave steps of no length: the step limit would be hours away."""
    monkeypatch.setattr(march, "STALL_STEPS", 100)
    problem = nf.LayeredProblem(SIZES, KERNEL, start(2, scale=1e30))
    found = nf.solve_layers(problem, t_end=1.0, rtol=1e-3, engine="DOP853", throw=False)
    assert found.reason is nf.Reason.STALLED
    assert found.stats.steps < 2000
    # A run that gets there is none of these, however many steps it takes.
    monkeypatch.setattr(march, "STALL_STEPS", 1)
    found = nf.solve_layers(nf.LayeredProblem(SIZES, KERNEL, start(2)), t_end=1.0, rtol=1e-6)
    assert found.reason is nf.Reason.T_END


def test_refusals():
    state = start(2)
    for change, words in (
        ({"kernel": nf.ScheduledKernel((0.0,), (KERNEL,))}, "act between samples only"),
        ({"decay": nf.LayerDecay((0.1,) * 3)}, "one rate for each of 2 layers"),
        ({"decay": nf.LayerDecay(c=0.1)}, "layers without biases"),
        ({"sizes": nf.Sizes(3, 3, 5)}, "W"),
        ({"kernel": nf.BlockKernel(1.0, 0.1, 0.9)}, "mu_class > 0"),
    ):
        fields = {"sizes": SIZES, "kernel": KERNEL, "state": state, **change}
        with pytest.raises(nf.InputError, match=words):
            nf.LayeredProblem(**fields)
    problem = nf.LayeredProblem(SIZES, KERNEL, state)
    for options, words in (
        ({"engine": "structured"}, "engine"),
        ({"rtol": 1.0}, "rtol"),
        ({"t_end": 0.0}, "t_end"),
        ({"save_at": [0.0, 2.0], "t_end": 1.0}, "lies after"),
    ):
        with pytest.raises(nf.InputError, match=words):
            nf.solve_layers(problem, **options)
    with pytest.raises(nf.InputError, match="needs the squared error"):
        nf.solve_layers(nf.LayeredProblem(SIZES, KERNEL, state, nf.CrossEntropy()), form="thin")

"""The inputs' kernel comes back from the states of linear layers alone."""

import numpy as np
import pytest

import ntkflow as nf
from ntkflow.fitting.family import family
from ntkflow.fitting.layers import _from_integrals, _from_invariant, _Simulator
from ntkflow.problem.layers import initial

SIZES, KERNEL = nf.Sizes(3, 3, 4), nf.BlockKernel(1.4, 0.6, -0.1)
NAMES = ("mu_single", "mu_class", "mu_global")


def flow(kernel=KERNEL, times=(0.0, 0.1, 0.4), init="gaussian", biases=False, **details):
    state = initial.make(init, SIZES, (5, 4), kernel, 0, 0.8)
    if biases:
        rng = np.random.default_rng(0)
        c = tuple(0.3 * rng.standard_normal(n) for n in (5, 4))
        state = nf.LayeredState(state.H, state.V, state.W, state.b, c)
    problem = nf.LayeredProblem(SIZES, kernel, state, **details)
    solution = nf.solve_layers(problem, save_at=np.array(times), rtol=1e-9)
    return [solution.state(i) for i in range(len(times))], np.array(times)


@pytest.fixture(scope="module")
def observed():
    return flow()


def test_the_kernel_that_moved_them_is_found(observed):
    found = nf.fit_layers(*observed, SIZES)
    np.testing.assert_allclose(found.kernel.kappas, KERNEL.kappas, rtol=1e-7)
    assert found.misfit < 1e-7
    assert found.converged
    assert found.warnings == ()
    assert found.estimates["kappa_n"].value == pytest.approx(-0.1, rel=1e-6)


@pytest.mark.parametrize(
    ("kernel", "details"),
    [
        # Kernels of real networks are large, and their mean far larger than the rest: no guess is asked for.
        (nf.BlockKernel(23.0, 20.0, 19.0), {}),
        (KERNEL, {"decay": nf.LayerDecay((0.1, 0.05), 0.2, 0.1), "loss": nf.CrossEntropy()}),
        (KERNEL, {"decay": nf.LayerDecay(0.1, 0.2, 0.0, 0.3), "biases": True}),
    ],
    ids=["large", "cross-entropy with decay", "biases with decay"],
)
def test_of_any_flow(kernel, details):
    states, times = flow(kernel, **details)
    flow_of = {name: value for name, value in details.items() if name != "biases"}
    found = nf.fit_layers(states, times, SIZES, **flow_of)
    np.testing.assert_allclose(found.kernel.kappas, kernel.kappas, rtol=1e-5)


@pytest.mark.parametrize("details", [{}, {"decay": nf.LayerDecay((0.1, 0.05), 0.2), "biases": True}])
def test_both_linear_starts_are_the_kernel_where_times_are_dense(details):
    states, times = flow(times=np.linspace(0, 0.4, 81), **details)
    decay = details.get("decay", nf.LayerDecay())
    simulator = _Simulator(states, times, SIZES, family("block", SIZES), nf.MSE(), decay, 1e-7)
    values = KERNEL.eigenvalues(SIZES)
    for start in (_from_integrals(simulator), _from_invariant(simulator)):
        np.testing.assert_allclose(start, [getattr(values, name) for name in NAMES], rtol=1e-4)


def test_the_law_of_q_1_does_not_mind_sparse_times(observed):
    simulator = _Simulator(*observed, SIZES, family("block", SIZES), nf.MSE(), nf.LayerDecay(), 1e-7)
    values = KERNEL.eigenvalues(SIZES)
    np.testing.assert_allclose(
        _from_invariant(simulator), [getattr(values, name) for name in NAMES], rtol=1e-7
    )


def test_what_moves_nothing_is_said_to_be_unknown():
    # Balanced contrasts: nothing within classes, no mean, is seen by the classifier.
    states, times = flow(init="aligned")
    found = nf.fit_layers(states, times, SIZES)
    assert np.isinf(found.estimates["mu_single"].error)
    # Nothing is tried along what moves nothing, where the flow would be as stiff as one likes.
    assert abs(np.log(found.kernel.eigenvalues(SIZES).mu_single / found.start["mu_single"])) < 1e-9
    assert np.isnan(found.estimates["kappa_d"].value)
    assert found.estimates["mu_class"].value == pytest.approx(KERNEL.eigenvalues(SIZES).mu_class, rel=1e-6)
    assert any("mu_single is not identifiable" in sentence for sentence in found.warnings)


@pytest.mark.slow
def test_noise_is_told_by_the_errors_and_the_truth_respects_them(observed):
    states, times = observed
    truth = KERNEL.eigenvalues(SIZES)
    off = []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        noisy = [states[0]]
        for s in states[1:]:
            parts = [part + 0.01 * rng.standard_normal(part.shape) for part in (s.H, s.V[0], s.W, s.b)]
            noisy.append(nf.LayeredState(parts[0], (parts[1],), parts[2], parts[3]))
        rough = nf.fit_layers(noisy, times, SIZES)
        assert rough.noise == pytest.approx(0.01, rel=0.3)
        off += [(rough.estimates[n].value - getattr(truth, n)) / rough.estimates[n].error for n in NAMES]
    assert np.max(np.abs(off)) < 4
    assert 0.5 < np.sqrt(np.mean(np.square(off))) < 1.7


def test_it_is_kept_as_any_fit(observed, tmp_path):
    found = nf.fit_layers(*observed, SIZES)
    back = nf.load(nf.save(found, tmp_path / "fit.json"))
    assert back.kind == "layers"
    assert back.estimates == found.estimates
    found.figure()
    plain = nf.Observed(observed[1], tuple(nf.State(s.layers[-1], s.W, s.b) for s in observed[0]), SIZES)
    with pytest.raises(nf.InputError, match="of linear layers"):
        found.figure(plain)


def test_what_cannot_be_fitted_is_refused(observed):
    states, times = observed
    for changed, words in (
        ({"states": states[:1], "times": times[:1]}, "two at least"),
        ({"states": [states[0]] * 3}, "must move"),
        ({"sizes": nf.Sizes(3, (4, 3, 2), 4)}, "equal classes"),
        ({"rtol": 0.1}, "rtol"),
    ):
        with pytest.raises(nf.InputError, match=words):
            nf.fit_layers(**{"states": states, "times": times, "sizes": SIZES, **changed})

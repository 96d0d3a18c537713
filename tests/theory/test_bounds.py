import numpy as np
import pytest
from hypothesis import given

import ntkflow as nf
from ntkflow.metrics import invariant
from ntkflow.problem.thin import decompose
from ntkflow.theory import bounds
from tests import oracle, strategies
from tests.theory.test_rates import collapse_point

SIZES, KERNEL = nf.Sizes(3, 4, 7), nf.BlockKernel(1.3, 0.5, 0.1)
TIMES = np.array([0.1, 0.5, 2.0, 6.0])


def covariance(state, sizes):
    """S of a state, written out."""
    means = state.H.reshape(sizes.n, sizes.C, sizes.m).mean(axis=2)
    deviations = state.H - np.repeat(means, sizes.m, axis=1)
    return deviations @ deviations.T / sizes.m


def run(sizes, kernel, state, times=TIMES):
    return [state, *oracle.integrate_raw(nf.Problem(sizes, kernel, state), times, rtol=1e-11)]


@given(strategies.problems())
def test_the_floor_lies_under_S_for_any_state(problem):
    # E does not depend on time, so every state is a state at some later time of a run with the same E.
    sizes, kernel = problem.sizes, problem.kernel
    terms = invariant.terms(problem.state, sizes, kernel)
    lower = bounds.floor_eigenvalues(terms.E, sizes, kernel)
    values = np.sort(np.linalg.eigvalsh(covariance(problem.state, sizes)))[::-1]
    assert lower.shape == (max(0, sizes.n - sizes.C),)
    assert np.all(values[: lower.size] >= lower - 1e-11 * (1 + values[0]))
    assert bounds.floor(terms.E, sizes, kernel) == pytest.approx(lower.sum())


def test_the_floor_is_attained_by_frozen_features():
    # Class means large in three directions, spread in the four others, which W never sees.
    rng = np.random.default_rng(0)
    H = np.zeros((7, 12))
    H[:3] = 20 * np.repeat(np.eye(3), 4, axis=1)
    spread = rng.standard_normal((4, 3, 4))
    H[3:] = (spread - spread.mean(axis=2, keepdims=True)).reshape(4, 12)
    W = np.hstack([0.1 * rng.standard_normal((3, 3)), np.zeros((3, 4))])
    state = nf.State(H, W, np.zeros(3))
    E = invariant.terms(state, SIZES, KERNEL).E
    end = run(SIZES, KERNEL, state, np.array([1.0]))[-1]
    assert bounds.floor(E, SIZES, KERNEL) == pytest.approx(np.trace(covariance(end, SIZES)), rel=1e-10)


def test_the_floor_stays_under_a_wide_random_state_to_its_end():
    state = nf.initial.make("gaussian", SIZES, KERNEL, seed=3)
    terms = invariant.terms(state, SIZES, KERNEL)
    floor = bounds.floor(terms.E, SIZES, KERNEL)
    traces = [np.trace(covariance(s, SIZES)) for s in run(SIZES, KERNEL, state, np.array([1.0, 40.0]))]
    assert 0.1 * traces[0] < floor < traces[-1] < traces[1] < traces[0]
    signs = bounds.inertia(terms.E, bounds.rounding(terms.E.shape[0], terms.scale))
    assert bounds.nc1_impossible(signs, SIZES)
    assert signs.negative >= 4
    assert signs.positive <= 3


@pytest.mark.parametrize("name", ["balanced", "balanced-contrast"])
def test_the_ceiling_lies_above_S_when_E_vanishes(name):
    state = nf.initial.make(name, SIZES, KERNEL, seed=1)
    ceiling = bounds.guarantee(state, SIZES, KERNEL)
    assert ceiling.rank <= SIZES.C
    for t, now in zip([0.0, *TIMES], run(SIZES, KERNEL, state), strict=True):
        values = np.linalg.eigvalsh(covariance(now, SIZES))
        assert values.sum() <= ceiling.trace_at(np.array([t]))[0] * (1 + 1e-9)
        assert values[-1] <= ceiling.largest_at(np.array([t]))[0] * (1 + 1e-9)


def test_the_ceiling_is_attained_by_the_slow_direction():
    # w^2 = (m/mu_single) s^2 along one direction off the class means: d s^2/dt = -2m s^4 exactly.
    ceiling = bounds.Ceiling(trace=0.4, largest=0.4, rank=1, m=3)
    t = np.array([0.0, 1.0, 10.0])
    np.testing.assert_allclose(ceiling.trace_at(t), 1 / (1 / 0.4 + 6 * t))
    np.testing.assert_allclose(ceiling.largest_at(t), ceiling.trace_at(t))


def test_the_ceiling_exists_for_positive_E_and_is_refused_otherwise():
    state = nf.initial.make("balanced", SIZES, KERNEL, seed=1)
    half = nf.State(0.5 * state.H, state.W, state.b)
    ceiling = bounds.guarantee(half, SIZES, KERNEL)
    traces = [np.trace(covariance(s, SIZES)) for s in run(SIZES, KERNEL, half)]
    assert np.all(np.array(traces[1:]) <= ceiling.trace_at(TIMES))
    with pytest.raises(nf.InputError, match="3 negative eigenvalues"):
        bounds.guarantee(nf.State(2 * state.H, state.W, state.b), SIZES, KERNEL)
    # An inaccurate state counts as E = 0 when its accuracy is told.
    rough = nf.State(state.H * (1 + 1e-9), state.W, state.b)
    with pytest.raises(nf.InputError, match="negative"):
        bounds.guarantee(rough, SIZES, KERNEL)
    assert bounds.guarantee(rough, SIZES, KERNEL, relative=1e-8).rank == ceiling.rank


def test_one_sample_per_class_has_nothing_to_bound():
    sizes = nf.Sizes(3, 1, 4)
    state = nf.initial.make("balanced", sizes, KERNEL)
    ceiling = bounds.guarantee(state, sizes, KERNEL)
    assert (ceiling.trace, ceiling.largest, ceiling.rank) == (0, 0, 0)
    assert ceiling.trace_at(np.array([1.0]))[0] == 0


@given(strategies.problems())
def test_inertia_counts_every_eigenvalue_and_finds_at_most_C_positive(problem):
    terms = invariant.terms(problem.state, problem.sizes, problem.kernel)
    signs = bounds.inertia(terms.E, bounds.rounding(terms.E.shape[0], terms.scale))
    assert signs.positive + signs.negative + signs.zero == problem.sizes.n
    assert signs.positive <= problem.sizes.C
    rank = np.linalg.matrix_rank(np.hstack([problem.state.W.T, problem.state.H]))
    assert signs.zero >= problem.sizes.n - rank


@pytest.mark.parametrize("m", [1, 3, 40])
@pytest.mark.parametrize(
    "kernel", [KERNEL, nf.BlockKernel(0.5 + 1e-6, 0.5, 0.1), nf.BlockKernel(1.0, 0.2, 0.2)]
)
def test_balanced_states_have_no_sign_at_all(m, kernel):
    sizes = nf.Sizes(4, m, 12)
    state = nf.initial.make("balanced", sizes, kernel, seed=m)
    terms = invariant.terms(state, sizes, kernel)
    signs = bounds.inertia(terms.E, bounds.rounding(terms.E.shape[0], terms.scale))
    assert (signs.positive, signs.negative, signs.zero) == (0, 0, 12)
    assert signs.semidefinite


@pytest.mark.parametrize("m", [1, 3, 40])
def test_signs_well_above_the_rounding_of_E_are_seen(m):
    """E of a balanced state whose features are off by so little is that share of its terms, all negative."""
    sizes = nf.Sizes(4, m, 12)
    state = nf.initial.make("balanced", sizes, KERNEL, seed=m)
    for off, positive, negative in ((2e-12, 0, 4), (-2e-12, 4, 0)):
        terms = invariant.terms(nf.State(state.H * (1 + off), state.W, state.b), sizes, KERNEL)
        signs = bounds.inertia(terms.E, bounds.rounding(sizes.n, terms.scale))
        assert (signs.positive, signs.negative) == (positive, negative)


@pytest.mark.parametrize("name", ["gaussian", "relu", "balanced"])
def test_biases_and_global_mean_stay_within_their_bounds(name):
    state = nf.initial.make(name, SIZES, KERNEL, seed=2)
    limits = bounds.bias_bounds(state, SIZES, KERNEL)
    previous = limits.V
    for now in run(SIZES, KERNEL, state)[1:]:
        later = bounds.bias_bounds(now, SIZES, KERNEL)
        assert previous * (1 + 1e-9) >= later.V
        previous = later.V
        assert np.linalg.norm(now.b - 1 / 3) <= limits.b
        assert np.linalg.norm(now.H.mean(axis=1)) <= limits.g
    assert previous < limits.V * (1 - 1e-6)


def test_V_falls_at_the_rate_of_the_mean_residual():
    state = nf.initial.make("relu", SIZES, KERNEL, seed=2)
    h = 1e-4
    _, early, now, late = run(SIZES, KERNEL, state, np.array([0.1 - h, 0.1, 0.1 + h]))
    mean = (now.logits - np.repeat(np.eye(3), 4, axis=1)).mean(axis=1)
    slope = (bounds.bias_bounds(late, SIZES, KERNEL).V - bounds.bias_bounds(early, SIZES, KERNEL).V) / (2 * h)
    assert slope == pytest.approx(-2 * SIZES.N * np.sum(mean**2), rel=1e-5)


def test_centred_states_have_V_zero():
    state = nf.initial.make("balanced-centred", SIZES, KERNEL)
    limits = bounds.bias_bounds(state, SIZES, KERNEL)
    assert limits.V < 1e-30
    assert max(limits.b, limits.g) < 1e-14


def test_the_thin_form_is_not_needed_to_be_full_rank():
    sizes = nf.Sizes(2, 3, 5)
    state = nf.State(np.zeros((5, 6)), np.zeros((2, 5)), np.zeros(2))
    assert decompose(state, sizes)[0].L.shape[1] == 0
    assert bounds.guarantee(state, sizes, KERNEL) == bounds.Ceiling(0, 0, 0, 3)


@strategies.costly(10)
@given(strategies.problems(least_m=2))
def test_floors_hold_in_every_published_measure_along_the_flow(problem):
    sizes, kernel = problem.sizes, problem.kernel
    least = bounds.floor(invariant.terms(problem.state, sizes, kernel).E, sizes, kernel)
    floors = bounds.nc1_floors(least, problem.state, sizes, kernel)
    assert set(floors) == {"NC1", "NC1_frobenius", "NC1_tirer", "NC1_galanti"}
    ceiling = bounds.means_ceiling(problem.state, sizes, kernel)
    run = nf.solve(problem, save_at=[0.0, 0.05, 0.4, 3.0], rtol=1e-7)
    for name, value in floors.items():
        assert np.all(run.series[name] >= value * (1 - 1e-6)), name
    for i in range(len(run)):
        H1 = run.thin(i)[0].H1
        assert np.sum((H1 - H1.mean(axis=1, keepdims=True)) ** 2) <= ceiling * (1 + 1e-6)


def test_the_ceiling_of_the_means_is_nearly_attained_at_collapse():
    """It loses tr X <= sqrt(C) |X|_F alone, where X has C - 1 equal eigenvalues."""
    state = collapse_point(SIZES, KERNEL)
    means = state.H[:, :: SIZES.m]
    truth = np.sum((means - means.mean(axis=1, keepdims=True)) ** 2)
    found = bounds.means_ceiling(state, SIZES, KERNEL)
    assert found == pytest.approx(truth * np.sqrt(SIZES.C / (SIZES.C - 1)), rel=1e-10)


def test_the_ceiling_of_the_means_counts_what_deviations_bring_to_the_outputs():
    """E = 0 with W W^T = x I and no class means: W^T W = L L^T / mu_single holds all of X."""
    kernel, x = nf.BlockKernel(0.5 + 1e-8, 0.5, 0.1), 1e6
    W = np.sqrt(x) * np.eye(3, 7)
    signs = np.kron(np.eye(3), [1.0, -1.0, 0.0, 0.0]) / np.sqrt(2)
    mu = kernel.eigenvalues(SIZES)
    state = nf.State(np.sqrt(mu.mu_single) * W.T @ signs, W, np.full(3, 1 / 3))
    assert np.linalg.norm(invariant.terms(state, SIZES, kernel).E) < 1e-6 * x
    found = bounds.means_ceiling(state, SIZES, kernel)
    assert found == pytest.approx(mu.mu_class / SIZES.m * 3 * x, rel=1e-2)


@strategies.costly(10)
@given(strategies.problems(least_m=2))
def test_floors_are_those_of_the_measures_where_tr_S_and_the_means_are_known(problem):
    """Of a state with its own tr S and |M|^2 they are below its measures; with two classes the quotients are met."""
    sizes, state = problem.sizes, problem.state
    means = state.H.reshape(sizes.n, sizes.C, sizes.m).mean(axis=2)
    squares = np.sum((means - means.mean(axis=1, keepdims=True)) ** 2)
    floors = bounds.nc1_floors(np.trace(covariance(state, sizes)), state, sizes, problem.kernel)
    share = bounds.means_ceiling(state, sizes, problem.kernel) / squares
    measured = nf.metrics.nc(state, sizes)
    assert floors["NC1_frobenius"] == pytest.approx(measured["NC1_frobenius"], rel=1e-10)
    assert floors["NC1_tirer"] * share == pytest.approx(measured["NC1_tirer"], rel=1e-9)
    assert floors["NC1_galanti"] * share <= measured["NC1_galanti"] * (1 + 1e-9)
    if sizes.C == 2:
        assert floors["NC1_galanti"] * share == pytest.approx(measured["NC1_galanti"], rel=1e-9)


def test_floors_are_of_the_right_size():
    sizes = nf.Sizes(10, 12, 64)
    kernel = nf.BlockKernel(1.0, 0.5, 0.1)
    state = nf.initial.make("gaussian", sizes, None, 0)
    floors = bounds.nc1_floors(371.3, state, sizes, kernel)
    assert floors["NC1_frobenius"] == pytest.approx(6.093, rel=1e-3)
    # A mean of C n deviations each at most the largest one at the start: within six of the truth, .92 at the end.
    assert 0.15 < floors["NC1"] < 0.92
    assert bounds.deviation(state, sizes) == pytest.approx(
        nf.metrics.nc(state, sizes)["NC1_frobenius"], rel=1e-12
    )

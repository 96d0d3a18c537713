"""Known constants come back; error bars have the right size; what can't be known is said."""

import inspect

import numpy as np
import pytest

import ntkflow as nf
from ntkflow.fitting import Observed, fit
from ntkflow.fitting.family import family
from ntkflow.fitting.observed import Data
from ntkflow.fitting.refine import Optimum
from ntkflow.fitting.spread import Spread
from ntkflow.fitting.start import from_integrals, from_invariant
from tests.fitting.trajectories import BLOCK, KNOTS, SCHEDULE, drawn, noisy, simulated

SIZES = nf.Sizes(3, 4, 5)
KERNEL = nf.BlockKernel(**BLOCK)
TIMES = np.linspace(0.0, 1.0, 8)


def said(found, words):
    return any(words in warning for warning in found.warnings)


def test_exact_data_give_six_digits():
    found = fit(simulated(SIZES, KERNEL, TIMES + 0.0))
    for name, value in BLOCK.items():
        assert abs(found.estimates[name].value - value) < 1e-6 * value
        assert found.estimates[name].error < 1e-6
    for name in BLOCK:
        # The kernel is put together from its eigenvalues, each estimate from their exact sum.
        assert getattr(found.kernel, name) == pytest.approx(found.estimates[name].value, rel=1e-14)
    np.testing.assert_allclose(
        found.estimates["mu_global"].value, KERNEL.eigenvalues(SIZES).mu_global, rtol=1e-6
    )
    assert found.warnings == ()
    assert found.converged
    assert found.misfit < 1e-6


def test_noise_and_errors_are_those_of_least_squares():
    """Few residuals beside the parameters, so that the degrees of freedom count."""
    rng = np.random.default_rng(0)
    J, r = rng.standard_normal((2, 4, 3)), rng.standard_normal((2, 4))
    spread = Spread.build(Optimum(np.zeros(3), r, J, True, 1), (0.0, 0.0))
    variance = np.sum(r**2) / (8 - 3)
    flat = J.reshape(8, 3)
    assert spread.noise == pytest.approx(np.sqrt(variance), rel=1e-12)
    np.testing.assert_allclose(spread.covariance, variance * np.linalg.inv(flat.T @ flat), rtol=1e-10)
    assert spread.of(np.ones(3), np.arange(3.0)).error == pytest.approx(np.sqrt(spread.covariance.sum()))


@pytest.mark.parametrize(
    ("exact_start", "initial"), [pytest.param(False, "noisy", marks=pytest.mark.slow), (True, "exact")]
)
def test_error_bars_are_right_on_average(exact_start, initial):
    clean, z, noises = simulated(nf.Sizes(2, 3, 4), KERNEL, [0.0, 0.2, 0.4, 0.7, 1.0]), [], []
    for seed in range(16):
        found = fit(noisy(clean, 0.02, seed, exact_start), initial=initial, rtol=1e-4)
        z.append([(found.estimates[n].value - v) / found.estimates[n].error for n, v in BLOCK.items()])
        noises.append(found.noise)
    # 48 correlated values: their rms lies within 0.75 .. 1.3 of one; an error bar wrong by 2 gives 0.5 or 2.
    assert 0.7 < np.sqrt(np.mean(np.square(z))) < 1.4
    assert np.mean(np.abs(z) < 3) > 0.95
    np.testing.assert_allclose(np.mean(noises), 0.02, rtol=0.05)


def test_noise_of_the_first_state_counts():
    observed = noisy(simulated(SIZES, KERNEL, TIMES), 0.02, 0)
    both = {initial: fit(observed, initial=initial, rtol=1e-4) for initial in ("noisy", "exact")}
    for name in BLOCK:
        assert both["noisy"].estimates[name].error > 1.05 * both["exact"].estimates[name].error
        assert both["noisy"].estimates[name].value == both["exact"].estimates[name].value


def test_a_schedule_is_recovered():
    kernel = nf.ScheduledKernel(KNOTS, tuple(nf.BlockKernel(*row) for row in SCHEDULE))
    observed = simulated(SIZES, kernel, np.linspace(0.0, 1.0, 12))
    shifted = Observed(observed.times + 3.0, observed.states, SIZES)
    found = fit(shifted, "schedule", knots=[t + 3.0 for t in KNOTS])
    assert isinstance(found.kernel, nf.ScheduledKernel)
    assert found.kernel.times == (3.0, 3.4, 4.0)
    rows = [(k.kappa_d, k.kappa_c, k.kappa_n) for k in found.kernel.kernels]
    np.testing.assert_allclose(rows, SCHEDULE, rtol=2e-6)
    np.testing.assert_allclose(found.estimates["kappa_c at 3.4"].value, 0.8, rtol=2e-6)


def test_class_dependent_constants_are_recovered_from_imbalanced_classes():
    sizes = nf.Sizes(3, (2, 4, 5), 6)
    kappa_d, B = np.array([1.5, 1.2, 1.0]), np.array([[0.6, 0.1, 0.2], [0.1, 0.5, 0.15], [0.2, 0.15, 0.4]])
    found = fit(simulated(sizes, nf.ClassBlockKernel(kappa_d, B), TIMES), "class-block")
    np.testing.assert_allclose(found.kernel.B, B, rtol=1e-6)
    np.testing.assert_allclose(found.kernel.kappa_d, kappa_d, rtol=1e-6)
    np.testing.assert_allclose(found.estimates["kappa_d[2]"].value, 1.0, rtol=1e-6)


def test_two_states_are_enough():
    observed = simulated(SIZES, KERNEL, [0.0, 2.0])
    found = fit(observed)
    np.testing.assert_allclose([found.estimates[name].value for name in BLOCK], [*BLOCK.values()], rtol=1e-6)
    # Far from the truth with one window; the invariant does not mind.
    assert abs(found.start["mu_class"] - 2.3) > 1.0


def test_the_linear_starts():
    chosen = family("block", SIZES)
    mu = KERNEL.eigenvalues(SIZES)
    truth = [mu.mu_single, mu.mu_class / 4, mu.mu_global / 12]
    dense = Data.build(simulated(SIZES, KERNEL, np.linspace(0.0, 1.0, 60)), chosen)
    np.testing.assert_allclose(from_integrals(dense, chosen), truth, rtol=5e-3)
    sparse = Data.build(simulated(SIZES, KERNEL, [0.0, 0.1, 2.0]), chosen)
    np.testing.assert_allclose(from_invariant(sparse, np.ones(3)), truth, rtol=1e-5)


@pytest.mark.parametrize("width", [1e-4, 1e-8])
def test_the_linear_start_integrates_from_knot_to_knot(width):
    """A peak narrower than the spacing of the observations, and of the nodes between them."""
    knots = (0.0, 0.41, 0.41 + width / 2, 0.41 + width, 1.0)
    rows = np.outer((1.0, 1.0, 1.0 + 0.004 / width, 1.0, 1.0), SCHEDULE[0])
    kernel = nf.ScheduledKernel(knots, tuple(nf.BlockKernel(*row) for row in rows))
    chosen = family("schedule", SIZES, knots)
    data = Data.build(simulated(SIZES, kernel, np.linspace(0.0, 1.0, 60)), chosen)
    found = chosen.make(from_integrals(data, chosen))
    peak = [getattr(found.kernels[2], name) for name in BLOCK]
    # Only a start value for the fit. What is missing is the interpolation of the residual's pull across the peak's jump.
    np.testing.assert_allclose(peak, rows[2], rtol=0.2)


def test_without_within_class_part_mu_single_is_unknown():
    state = drawn(SIZES)
    flat = nf.State(np.repeat(state.H[:, ::4], 4, axis=1), state.W, state.b)
    found = fit(simulated(SIZES, KERNEL, TIMES, flat))
    assert said(found, "mu_single is not identifiable")
    assert np.isinf(found.estimates["kappa_d"].error)
    assert np.isnan(found.estimates["kappa_d"].value)
    np.testing.assert_allclose(found.estimates["kappa_n"].value, 0.2, rtol=1e-6)
    np.testing.assert_allclose(found.estimates["mu_class"].value, 2.3, rtol=1e-6)


def test_where_the_mean_residual_vanished_mu_global_is_unknown():
    state = nf.initial.make("balanced-centred", SIZES, KERNEL, 0, 1.0)
    found = fit(simulated(SIZES, KERNEL, TIMES, state))
    assert said(found, "mu_global is not identifiable")
    assert np.isinf(found.estimates["kappa_n"].error)
    np.testing.assert_allclose(found.estimates["mu_single"].value, 0.7, rtol=1e-6)


@pytest.mark.parametrize("kappas", [(1.0, 0.5, -0.05), (1.0, 0.1, 0.15)])
@pytest.mark.parametrize("m", [4, (4, 3, 5)])
def test_kernels_of_any_order_come_back(kappas, m):
    sizes = nf.Sizes(3, m, 5)
    found = fit(simulated(sizes, nf.BlockKernel(*kappas), TIMES))
    assert found.warnings == ()
    np.testing.assert_allclose(found.kernel.kappas, kappas, atol=1e-6)


def test_an_active_bound_is_said():
    # Deviations that grow apart by a force of their own: mu_single would be negative.
    clean = simulated(SIZES, nf.BlockKernel(0.5 + 1e-9, 0.5, 0.2), TIMES)
    grown = [
        nf.State(
            s.H + 1e-3 * t * (clean.states[0].H - np.repeat(clean.states[0].H[:, ::4], 4, axis=1)), s.W, s.b
        )
        for t, s in zip(clean.times, clean.states, strict=True)
    ]
    found = fit(Observed(clean.times, tuple(grown), SIZES))
    assert found.kernel.kappa_d == pytest.approx(found.kernel.kappa_c, abs=1e-6)
    assert said(found, "mu_single >= 0 is active")


def test_a_wrong_model_is_said():
    wild = nf.ClassBlockKernel([3.0, 1.2, 0.9], [[1.5, 0.1, 0.2], [0.1, 0.5, 0.15], [0.2, 0.15, 0.2]])
    observed = simulated(SIZES, wild, TIMES)
    assert said(fit(observed), "the model and not noise")
    assert not said(fit(noisy(simulated(SIZES, KERNEL, TIMES), 0.05, 0)), "the model and not noise")


def test_constants_lost_in_noise_are_said():
    found = fit(noisy(simulated(SIZES, KERNEL, [0.0, 0.01, 0.02]), 0.1, 3), rtol=1e-4)
    assert said(found, "is not determined") or said(found, "is active")


def test_refusals():
    observed = simulated(SIZES, KERNEL, [0.0, 1.0])
    for options, words in (
        ({"kind": "tensor"}, "kind"),
        ({"initial": "known"}, "initial"),
        ({"kind": "block", "knots": [0.0, 1.0]}, "knots"),
        ({"kind": "schedule", "knots": [1.0, 0.0]}, "must increase"),
        ({"rtol": 1.0}, "rtol"),
    ):
        with pytest.raises(nf.InputError, match=words):
            fit(observed, **options)
    with pytest.raises(nf.InputError, match=r"observed = tuple: must be states at times, nf\.Observed; give"):
        inspect.unwrap(fit)(observed.states)  # before types are checked, as they are for no user
    with pytest.raises(nf.InputError, match="at least two"):
        Observed(np.array([0.0]), observed.states[:1], SIZES)
    with pytest.raises(nf.InputError, match="increase"):
        Observed(np.array([1.0, 0.0]), observed.states, SIZES)
    still = Observed(np.array([0.0, 1.0]), (observed.states[0],) * 2, SIZES)
    with pytest.raises(nf.InputError, match="must move"):
        fit(still)
    with pytest.raises(nf.InputError, match="times in front"):
        Observed.from_arrays(
            [0.0, 1.0], np.zeros((3, 5, 12)), np.zeros((2, 3, 5)), np.zeros((2, 3)), SIZES.labels
        )


def test_biases_that_are_held_are_fitted_by_their_own_flow(tmp_path):
    observed = simulated(SIZES, KERNEL, TIMES, train_bias=False)
    with pytest.raises(nf.InputError, match=r"observed.b .* must be trained.*train_bias=False"):
        fit(observed)
    found = fit(observed, train_bias=False)
    for name, value in BLOCK.items():
        assert found.estimates[name].value == pytest.approx(value, rel=1e-6)
    assert (found.misfit < 1e-6, found.converged, found.warnings) == (True, True, ())
    assert nf.load(found.save(tmp_path / "fit.json")).train_bias is False
    with pytest.raises(nf.InputError, match=r"observed.b = moves by .* where the biases are held"):
        fit(simulated(SIZES, KERNEL, TIMES), train_bias=False)


@pytest.mark.slow
def test_the_noise_of_held_biases_is_that_of_what_is_noisy():
    clean = simulated(nf.Sizes(2, 3, 4), KERNEL, [0.0, 0.2, 0.4, 0.7, 1.0], train_bias=False)
    noises, z = [], []
    for seed in range(6):
        found = fit(noisy(clean, 0.02, seed, of_b=False), rtol=1e-4, train_bias=False)
        noises.append(found.noise)
        z += [(found.estimates[n].value - v) / found.estimates[n].error for n, v in BLOCK.items()]
    np.testing.assert_allclose(np.mean(noises), 0.02, rtol=0.08)
    assert 0.4 < np.sqrt(np.mean(np.square(z))) < 1.8


@pytest.mark.slow
def test_a_wrong_clock_is_hinted_at_where_b_is_held():
    sizes = nf.Sizes(3, 2, 4)
    seen = simulated(sizes, KERNEL, np.linspace(0.0, 1.0, 9), train_bias=False)
    observed = Observed(seen.times / 2, seen.states, sizes)
    found = fit(observed, train_bias=False)
    assert said(found, "multiplied by 2 ")
    assert len(found.figure(observed).axes) == 2


def test_biases_that_rest_by_themselves_are_not_taken_for_held():
    state = nf.initial.make("balanced-centred", SIZES, KERNEL, seed=0)
    run = nf.solve(nf.Problem(SIZES, KERNEL, state), save_at=[0.0, 0.1, 0.3])
    states = tuple(nf.State(run.state(i).H, run.state(i).W, state.b) for i in range(3))
    assert fit(Observed(run.times, states, SIZES)).misfit < 1e-5

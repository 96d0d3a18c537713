import numpy as np
import pytest
from ntkflow_validation.ladder.score import rates
from ntkflow_validation.ladder.score.rates import fitted
from ntkflow_validation.ladder.score.scores import CENTRED, horizon, instantaneous, jackknife, keep
from ntkflow_validation.runs.compared import Motion
from scipy.stats import linregress

import ntkflow as nf

SIZES = nf.Sizes(C=3, m=10, n=5)


def state(seed):
    rng = np.random.default_rng(seed)
    return nf.State(rng.normal(size=(5, 30)), rng.normal(size=(3, 5)), rng.normal(size=3))


A, B, C = (state(seed) for seed in range(3))


def test_a_perfect_prediction_has_skill_one_and_no_change_has_none():
    perfect, constant = horizon([A, B, C], [A, B, C], SIZES), horizon([A, B, C], [A, A, A], SIZES)
    for name in CENTRED:
        assert perfect.skill(name).value == 1
        assert constant.skill(name).value == pytest.approx(0)
        assert np.isnan(perfect.skill_at(name)[0])
        assert perfect.skill(name).error == pytest.approx(0)


def test_the_jackknife_of_a_mean_is_its_standard_error():
    values = np.random.default_rng(0).normal(size=7)
    left = [np.delete(values, i).mean() for i in range(7)]
    assert jackknife([values.mean(), *left]).error == pytest.approx(values.std(ddof=1) / np.sqrt(7))
    assert jackknife([1.0]).error is None


def test_groups_take_a_fifth_of_every_class_and_leave_nothing_out_twice():
    whole, *left = keep(SIZES)
    assert len(whole) == 30
    assert [len(kept) for kept in left] == [24] * 5
    missing = np.concatenate([np.setdiff1d(whole, kept) for kept in left])
    np.testing.assert_array_equal(np.sort(missing), whole)
    assert len(keep(nf.Sizes(C=3, m=2, n=5))) == 1


def test_the_error_covers_other_samples():
    # Skills of M on independent draws of the samples scatter as the jackknife of one draw says.
    rng = np.random.default_rng(0)
    move, found = rng.normal(size=(5, 3)), []
    for _ in range(60):
        H, noise = rng.normal(size=(2, 5, 30))
        seen = nf.State(H + np.repeat(move, 10, axis=1) + noise, A.W, A.b)
        told = nf.State(H + 0.7 * np.repeat(move, 10, axis=1), A.W, A.b)
        found.append(horizon([nf.State(H, A.W, A.b), seen], [nf.State(H, A.W, A.b), told], SIZES).skill("M"))
    spread, errors = np.std([s.value for s in found]), np.mean([s.error for s in found])
    assert 0.6 < errors / spread < 1.6


def test_the_error_of_weights_covers_other_classes():
    # Skills of W and b whose rows are independent draws scatter as the jackknife over rows of one draw says.
    rng = np.random.default_rng(0)
    sizes, found = nf.Sizes(C=8, m=2, n=5), {"W": [], "b": []}
    start = nf.State(np.zeros((5, 16)), np.zeros((8, 5)), np.zeros(8))
    for _ in range(200):
        W, b = rng.normal(size=(8, 5)), rng.normal(size=8)
        told = nf.State(start.H, W * rng.uniform(0, 2, size=(8, 1)), b * rng.uniform(0, 2, size=8))
        scores = horizon([start, nf.State(start.H, W, b)], [start, told], sizes)
        for name, of in found.items():
            of.append(scores.skill(name))
    for name, of in found.items():
        spread, errors = np.std([s.value for s in of]), np.sqrt(np.mean([s.error**2 for s in of]))
        assert 0.7 < errors / spread < 1.4, name


def test_parts_of_a_motion_are_scored_apart():
    basis = np.eye(5)[:2]
    rng = np.random.default_rng(0)
    means, within = np.repeat(rng.normal(size=(5, 3)), 10, axis=1), rng.normal(size=(5, 3, 10))
    within = (within - within.mean(axis=2, keepdims=True)).reshape(5, 30)
    scores = instantaneous(2 * means - within, means + within, basis, SIZES)
    assert scores["M"].cosine == pytest.approx(1)
    assert scores["M"].error == pytest.approx(1)
    assert scores["within"].cosine == pytest.approx(-1)
    assert scores["within"].error == pytest.approx(2)
    assert [scores[k].cosine for k in ("dH_means", "global")] == pytest.approx([1, 1])
    inside = instantaneous(basis.T @ basis @ (means + within), means + within, basis, SIZES)
    assert inside["row_space"].error == pytest.approx(0, abs=1e-12)
    assert inside["off_row_space"].error == pytest.approx(1)
    assert inside["off_row_space"].cosine is None
    # Half of the samples have no means of their own, so errors exist.
    assert scores["within"].error_error < 0.1


def test_a_cosine_with_rounding_is_none():
    # A predicted dH in the row space but for rounding: what is left outside of it points nowhere.
    rng = np.random.default_rng(1)
    basis = np.linalg.qr(rng.normal(size=(5, 2)))[0].T
    predicted, observed = basis.T @ rng.normal(size=(2, 30)), rng.normal(size=(5, 30))
    noise = 1e-14 * rng.normal(size=(5, 30))
    scores = instantaneous(predicted + noise, observed, basis, SIZES)
    assert scores["off_row_space"].cosine is None
    assert scores["off_row_space"].cosine_error is None
    assert scores["off_row_space"].error == pytest.approx(1)
    assert scores["row_space"].cosine is not None
    # Nor is there anything to be predicted where the observed is rounding.
    assert instantaneous(observed, predicted + noise, basis, SIZES)["off_row_space"].error is None


def test_a_part_that_is_small_but_no_rounding_has_a_cosine():
    rng = np.random.default_rng(1)
    basis = np.linalg.qr(rng.normal(size=(5, 2)))[0].T
    inside, small = basis.T @ rng.normal(size=(2, 30)), 1e-8 * rng.normal(size=(5, 30))
    scores = instantaneous(inside + 2 * small, inside + small, basis, SIZES)["off_row_space"]
    assert (scores.cosine, scores.error) == (pytest.approx(1), pytest.approx(1, rel=1e-5))


def test_what_does_not_move_has_no_score():
    scores = instantaneous(np.ones((5, 30)), np.zeros((5, 30)), np.eye(5)[:2], SIZES)
    assert scores["M"] == Motion(None, None)


def test_a_rate_is_found_with_its_range():
    times = np.linspace(0, 3, 40)
    noise = np.random.default_rng(0).normal(size=40)
    rate = fitted(times, np.exp(-1.7 * times + 0.05 * noise))
    assert rate.low < 1.7 < rate.high
    assert rate.high - rate.low < 0.1
    assert fitted(times, np.exp(-1.7 * times)).value == pytest.approx(1.7)
    assert fitted(times[:2], np.ones(2)) is None
    assert fitted(times, 0 * times) is None


def test_the_range_of_a_rate_is_two_standard_errors_wide():
    rng = np.random.default_rng(0)
    times = np.array([0.0, 0.3, 0.5, 1.1, 1.2])
    norms = np.exp(-1.7 * times + 0.05 * rng.standard_normal(5))
    line, rate = linregress(times, np.log(norms)), rates.fitted(times, norms)
    assert rate.value == pytest.approx(-line.slope, rel=1e-12)
    assert [rate.low, rate.high] == pytest.approx(
        [-line.slope - 2 * line.stderr, -line.slope + 2 * line.stderr], rel=1e-10
    )


def test_errors_of_predictions_that_run_away_are_numbers_or_none():
    # Squares of these leave double precision.
    error = jackknife([-1e200, *(k * 1e200 for k in (1.0, 2.0, 3.0))]).error
    assert error == pytest.approx(1e200 * jackknife([0.0, 1.0, 2.0, 3.0]).error)
    assert jackknife([0.0, 5.0, 5.0]).error == 0
    assert jackknife([0.0, 1.5e308, -1.5e308, 1.5e308, -1.5e308]).error is None

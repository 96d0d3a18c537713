"""Answers for NC1-NC4 under decay, against runs."""

import numpy as np
import pytest

import ntkflow as nf
from ntkflow.problem.decay import Decay
from ntkflow.runs.predicted import DecayRow
from ntkflow.theory import decay_conditions

SIZES, KERNEL = nf.Sizes(4, 3, 6), nf.BlockKernel(1.5, 0.7, 0.2)
NAMES = ("NC1", "NC2", "NC3", "NC4")


def problem(decay, init="gaussian", sizes=SIZES, **changes):
    return nf.Problem(sizes, KERNEL, nf.initial.make(init, sizes, KERNEL, 3), decay=decay, **changes)


def verdicts(*arguments, **changes):
    answers = decay_conditions.predict_decayed(problem(*arguments, **changes)).conditions
    return {name: answers[name].verdict for name in NAMES}


def series(*arguments, times, **changes):
    return nf.solve(problem(*arguments, **changes), save_at=times).series


def test_every_problem_with_decay_gets_four_answers_with_reasons():
    sizes = nf.Sizes(4, (3, 1, 2, 5), 6)
    for decay in (
        Decay(0.1, 0.2),
        Decay(W=0.1),
        Decay(H=0.1),
        Decay(b=0.1),
        Decay(0.1, 0.0, 0.1),
        Decay.equal(9.0),
    ):
        for changes in ({}, {"sizes": sizes}, {"loss": nf.CrossEntropy()}, {"sizes": nf.Sizes(4, 3, 2)}):
            found = decay_conditions.predict_decayed(problem(decay, **changes))
            assert tuple(found.conditions) == NAMES
            assert all(len(answer.sentence) > 20 for answer in found.conditions.values())
            DecayRow.of(found, problem(decay, **changes))


def test_decay_of_H_takes_the_spread_away_at_least_like_its_exponential():
    times = np.linspace(0, 4, 9)
    for decay in (Decay(0.0, 0.4), Decay(0.3, 0.4), Decay(0.3, 0.4, 0.5)):
        answer = decay_conditions.predict_decayed(problem(decay)).conditions["NC1"]
        assert (answer.verdict, answer.numbers) == ("yes", {"rate": 0.8})
        tr_S = series(decay, times=times)["tr_S"]
        assert np.all(tr_S <= np.exp(-0.8 * times) * tr_S[0] * (1 + 1e-6))


def test_decay_of_W_and_H_makes_everything_collapse_or_die():
    assert set(verdicts(Decay(0.4, 0.2)).values()) == {"yes"}
    assert verdicts(Decay(4.0, 5.0)) == {"NC1": "yes", "NC2": "no", "NC3": "no", "NC4": "no"}
    answer = decay_conditions.predict_decayed(problem(Decay(4.0, 5.0))).conditions["NC2"]
    assert "rho" in answer.sentence
    assert answer.numbers["rho"] > 1
    # 11.1: with the decay of b beyond lb/(N + lb) = sqrt(lw lh/(m mu_global)) W keeps a part along 1.
    assert verdicts(Decay(0.5, 0.3, 2.0)) == {"NC1": "yes", "NC2": "yes", "NC3": "no", "NC4": "yes"}
    assert set(verdicts(Decay(0.5, 0.9, 0.1)).values()) == {"yes"}


@pytest.mark.parametrize("decay", [Decay(W=1.0), Decay(H=1.0)])
@pytest.mark.parametrize("n", [3, 6])
def test_decay_of_one_alone_collapses_slowly(decay, n):
    sizes = nf.Sizes(4, 3, n)
    found = verdicts(decay, sizes=sizes)
    open_spread = decay.H == 0 and n > 3
    assert found == {
        "NC1": "no" if open_spread else "yes",
        "NC2": "yes",
        "NC3": "yes",
        "NC4": "yes",
    }
    run = series(decay, sizes=sizes, times=np.array([100.0, 1e3, 1e4]))
    # NC2 falls like 1/t with corrections that fade slowly, and what W and H1 do not share at least like t^(-1/4).
    assert run["NC2"][2] == pytest.approx(run["NC2"][1] / 10, rel=0.2)
    assert run["NC3"][2] < 0.7 * run["NC3"][1]
    assert run["NC4"][2] == 1
    if open_spread:
        assert run["NC1"][2] > 0.5 * run["NC1"][0]
        assert run["NC1_tirer"][2] == pytest.approx(run["NC1_tirer"][1] / np.sqrt(10), rel=0.1)
    else:
        assert run["NC1"][1] < 1e-6


def test_decay_of_the_biases_alone_keeps_what_E_decides():
    floor = decay_conditions.predict_decayed(problem(Decay(b=0.5), sizes=nf.Sizes(3, 4, 9))).conditions["NC1"]
    assert floor.verdict == "no"
    run = series(Decay(b=0.5), sizes=nf.Sizes(3, 4, 9), times=np.array([0.0, 1.0, 40.0]))
    assert run["tr_S"].min() > floor.numbers["floor"]
    # E = 0: the biases end at zero, W keeps a part along 1, and NC3 has the value of equal biases 0.
    answers = decay_conditions.predict_decayed(problem(Decay(b=0.5), "balanced")).conditions
    assert [answers[name].verdict for name in NAMES] == ["yes", "yes", "no", "yes"]
    run = series(Decay(b=0.5), "balanced", times=np.array([0.0, 300.0]))
    assert run["NC3"][-1] == pytest.approx(answers["NC3"].numbers["NC3"], rel=1e-3)
    assert max(run["NC1"][-1], run["NC2"][-1]) < 1e-3
    # Where g = 0, W^T 1 = 0 and the biases are equal they decay by themselves.
    assert set(verdicts(Decay(b=0.5), "balanced-contrast").values()) == {"yes"}
    run = series(Decay(b=0.5), "balanced-contrast", times=np.array([0.0, 60.0]))
    assert max(run[name][-1] for name in ("NC1", "NC2", "NC3")) < 1e-6


def test_biases_that_decay_exclude_self_duality_for_any_E():
    assert verdicts(Decay(b=2.0))["NC3"] == "no"
    assert series(Decay(b=2.0), times=np.array([0.0, 200.0]))["NC3"][-1] > 0.05


def test_nothing_moves_from_zero_weights_and_means():
    still = nf.State(np.zeros((6, 12)), np.zeros((4, 6)), np.zeros(4))
    for decay in (Decay(0.1, 0.3), Decay(W=0.1), Decay(b=0.1)):
        found = decay_conditions.predict_decayed(nf.Problem(SIZES, KERNEL, still, decay=decay)).conditions
        assert found["NC2"].verdict == found["NC3"].verdict == found["NC4"].verdict == "no"


def test_too_few_features_are_said():
    assert verdicts(Decay(0.3, 0.2), sizes=nf.Sizes(4, 3, 2)) == {
        "NC1": "yes", "NC2": "no", "NC3": "yes", "NC4": "undetermined",
    }  # fmt: skip
    assert verdicts(Decay(H=0.2), sizes=nf.Sizes(4, 3, 2))["NC2"] == "no"
    assert verdicts(Decay(W=0.2), sizes=nf.Sizes(4, 3, 2))["NC2"] == "no"


def test_E_is_forgotten_at_the_exact_rate_or_that_of_the_end():
    assert decay_conditions.predict_decayed(problem(Decay(0.3, 0.3))).forgotten == (0.6, True)
    rate, exact = decay_conditions.predict_decayed(problem(Decay(0.3, 0.5))).forgotten
    assert not exact
    assert 0 < rate < 0.5
    assert decay_conditions.predict_decayed(problem(Decay(W=0.3))).forgotten is None


def test_the_decay_is_told_in_the_units_of_the_mean_loss():
    given = problem(Decay(0.48, 0.24))
    told = DecayRow.of(decay_conditions.predict_decayed(given), given)
    assert told.of_the_mean_loss == {"W": pytest.approx(0.01), "H": pytest.approx(0.005), "b": 0}


def test_merged_classes_are_named_in_few_words():
    assert decay_conditions.number_of(((2, 3),)) == "classes 3, 4"
    assert decay_conditions.number_of((tuple(range(5, 90)),)) == "classes 6 .. 90"
    assert decay_conditions.number_of(((0, 2, 4, 6, 8, 10, 12, 14, 16, 18),)).endswith("15 and 2 more")


def test_decay_of_W_alone_never_lifts_the_floor_that_E_sets():
    # n > 2 C: E has more than C negative eigenvalues, and W that decays only adds to what is negative. Any loss.
    sizes, times = nf.Sizes(3, 4, 9), np.linspace(0.0, 30.0, 31)
    for changes in ({}, {"loss": nf.CrossEntropy()}):
        for decay in (Decay(W=0.5), Decay(0.5, 0.0, 0.3)):
            answer = decay_conditions.predict_decayed(problem(decay, sizes=sizes, **changes)).conditions[
                "NC1"
            ]
            assert answer.verdict == "no"
            assert "decay of W only lowers it" in answer.sentence
            run = series(decay, sizes=sizes, times=times, **changes)
            assert run["NC1_frobenius"].min() >= answer.numbers["NC1_frobenius"] > 0.05
    uneven = nf.Sizes(3, (5, 2, 4), 9)
    answer = decay_conditions.predict_decayed(problem(Decay(W=0.5), sizes=uneven)).conditions["NC1"]
    run = series(Decay(W=0.5), sizes=uneven, times=times)
    assert run["NC1_frobenius"].min() >= answer.numbers["NC1_frobenius"] > 0.05


def test_decay_of_H_may_lift_that_floor():
    assert verdicts(Decay(H=0.5), sizes=nf.Sizes(3, 4, 9))["NC1"] == "yes"


@pytest.mark.parametrize("init", ["gaussian", "balanced"])
def test_under_decay_of_W_alone_all_but_C_minus_1_directions_of_the_deviations_stay(init):
    sizes = nf.Sizes(4, 3, 5)
    answer = decay_conditions.predict_decayed(problem(Decay(W=1.0), init, sizes)).conditions["NC1"]
    assert answer.verdict == "no"
    run = nf.solve(
        problem(Decay(W=1.0), init, sizes), save_at=[0.0, 1e3, 1e5], stop=nf.Stop(None, None, None)
    )
    first, second, end = (
        np.linalg.svd((H := run.state(i).H) - np.repeat(H.reshape(5, 4, 3).mean(axis=2), 3, axis=1))[1]
        for i in range(3)
    )
    kept = int(answer.numbers["rank"]) - (sizes.C - 1)
    np.testing.assert_allclose(end[:kept], second[:kept], rtol=1e-3)
    assert end[kept - 1] > 1e-3 * first[kept - 1]
    assert np.all(end[kept:] < 1e-6 * first[0])


def test_deviations_along_the_class_means_alone_are_left_open_or_vanish():
    # Two classes, deviations along one line in a plane: as many directions as W acts on for ever.
    sizes, kernel, rng = nf.Sizes(2, 3, 4), KERNEL, np.random.default_rng(0)
    deviations = np.outer(rng.normal(size=4), np.tile([1.0, -2.0, 1.0], 2))
    H = np.repeat(rng.normal(size=(4, 2)), 3, axis=1) + deviations
    given = nf.Problem(sizes, kernel, nf.State(H, rng.normal(size=(2, 4)), np.zeros(2)), decay=Decay(W=0.5))
    answer = decay_conditions.predict_decayed(given).conditions["NC1"]
    assert (answer.verdict, answer.numbers["rank"]) == ("undetermined", 1.0)
    assert "from a generic start some stay" in answer.sentence
    assert nf.solve(given, save_at=[0.0, 1e3]).series["tr_S"][-1] > 1e-3

import numpy as np
import pytest
from hypothesis import given

import ntkflow as nf
from ntkflow.metrics.neural_collapse import centring
from ntkflow.theory import conditions, limits
from ntkflow.theory.exact.sector import Sector
from ntkflow.theory.initial_facts import facts
from ntkflow.theory.prediction import predict_flow
from tests import oracle, strategies
from tests.theory.test_limits import projector_state

SIZES, KERNEL = nf.Sizes(4, 3, 6), nf.BlockKernel(5.0, 1.1, 0.4)


def outcome(sizes, kernel, state, t=30.0):
    end = oracle.integrate_raw(nf.Problem(sizes, kernel, state), np.array([t]), rtol=1e-11)[0]
    return nf.metrics.nc(end, sizes)


def verdicts(sizes, kernel, state, **options):
    return {name: c.verdict for name, c in conditions.assess(sizes, kernel, state, **options).items()}


def gaussian(sizes, seed=0, h=1.0):
    rng = np.random.default_rng(seed)
    W = rng.standard_normal((sizes.C, sizes.n)) / np.sqrt(sizes.n)
    return nf.State(h * rng.standard_normal((sizes.n, sizes.N)), W, np.zeros(sizes.C))


def test_collapse_is_promised_where_theorem_5_2_holds_and_comes():
    state = nf.initial.make("balanced-contrast", SIZES, KERNEL)
    answers = conditions.assess(SIZES, KERNEL, state)
    assert {c.verdict for c in answers.values()} == {"yes"}
    assert "exponentially" in answers["NC1"].sentence
    assert "loss tends to 0" in answers["NC3"].sentence
    end = outcome(SIZES, KERNEL, state)
    assert max(end["NC1"], end["NC2"], end["NC3"]) < 1e-6


def test_the_algebraic_tail_is_announced_and_seen():
    state = nf.initial.make("balanced-centred", SIZES, KERNEL)
    answers = conditions.assess(SIZES, KERNEL, state)
    assert {c.verdict for c in answers.values()} == {"yes"}
    assert "1/(2mt)" in answers["NC1"].sentence
    assert outcome(SIZES, KERNEL, state)["NC3"] > 1e-2


def test_a_wide_random_state_cannot_collapse_and_does_not():
    sizes, kernel = nf.Sizes(3, 4, 9), nf.BlockKernel(1.3, 0.5, 0.1)
    answers = conditions.assess(sizes, kernel, gaussian(sizes))
    assert answers["NC1"].verdict == "no"
    assert "more than C = 3" in answers["NC1"].sentence
    assert answers["NC1"].numbers["floor"] > 0.1
    assert (
        outcome(sizes, kernel, gaussian(sizes), 10.0)["NC1_frobenius"] ** 2 * 3
        > answers["NC1"].numbers["floor"]
    )
    assert answers["NC3"].verdict == answers["NC2"].verdict == answers["NC4"].verdict == "undetermined"


def test_directions_that_nothing_sees_stay_frozen():
    # Two features with spread, no weights and no class means: fewer than C, so that the floor alone is silent.
    state = nf.initial.make("balanced", nf.Sizes(4, 3, 4), KERNEL)
    # Their spread must be orthogonal over samples to that of the features that W sees.
    blocks = np.kron(np.eye(4), np.ones(3))
    taken = np.linalg.svd(np.vstack([blocks, state.H]))[2][8:]
    extra = np.random.default_rng(1).standard_normal((2, 4)) @ taken
    wide = nf.State(np.vstack([state.H, extra]), np.hstack([state.W, np.zeros((4, 2))]), state.b)
    answer = conditions.assess(SIZES, KERNEL, wide)["NC1"]
    assert answer.verdict == "no"
    assert "never reach" in answer.sentence
    assert answer.numbers["floor"] == pytest.approx(np.sum(extra**2) / 3, rel=1e-10)
    end = outcome(SIZES, KERNEL, wide, 20.0)
    assert end["NC1_frobenius"] ** 2 * 4 >= answer.numbers["floor"] * (1 - 1e-9)


def test_positive_E_forces_NC1_and_excludes_NC3():
    state = nf.initial.make("balanced", SIZES, KERNEL)
    state = nf.State(0.6 * state.H, state.W, np.array([-0.5, -0.4, -0.2, -0.3]))
    answers = conditions.assess(SIZES, KERNEL, state)
    assert (answers["NC1"].verdict, answers["NC3"].verdict, answers["NC4"].verdict) == ("yes", "no", "yes")
    end = outcome(SIZES, KERNEL, state)
    assert end["NC1"] < 1e-3
    assert end["NC3"] > 0.05
    assert end["NC4"] == 1


@pytest.mark.parametrize(
    ("e", "d", "expected"),
    [
        (0.4, 2, {"NC1": "yes", "NC2": "yes", "NC3": "yes", "NC4": "yes"}),
        (-0.4, 2, {"NC1": "yes", "NC2": "yes", "NC3": "yes", "NC4": "yes"}),
        (0.4, 3, {"NC1": "yes", "NC2": "yes", "NC3": "no", "NC4": "yes"}),
        (-0.4, 3, {"NC1": "no", "NC2": "yes", "NC3": "yes", "NC4": "yes"}),
    ],
)
def test_balanced_by_a_projector_is_recognised_and_its_answers_come_true(e, d, expected):
    sizes = nf.Sizes(3, 3, 5)
    state = projector_state(sizes, KERNEL, e, d, np.random.default_rng(5))
    known = conditions.facts(sizes, KERNEL, state)
    assert known.projector == (pytest.approx(e, rel=1e-10), d)
    assert verdicts(sizes, KERNEL, state) == expected
    end = outcome(sizes, KERNEL, state, 20.0)
    small = {
        "NC1": end["NC1"] < 1e-6,
        "NC2": end["NC2"] < 1e-6,
        "NC3": end["NC3"] < 1e-6,
        "NC4": end["NC4"] == 1,
    }
    assert small == {name: verdict == "yes" for name, verdict in expected.items()}


def test_symmetric_states_form_the_frame_at_all_times():
    state = nf.initial.make("equal-bias", SIZES, KERNEL)
    answers = conditions.assess(SIZES, KERNEL, state)
    assert answers["NC2"].verdict == "yes"
    assert "symmetric" in answers["NC2"].sentence
    assert (answers["NC1"].verdict, answers["NC3"].verdict, answers["NC4"].verdict) == (
        "yes",
        "undetermined",
        "yes",
    )
    assert outcome(SIZES, KERNEL, state, 0.4)["NC2"] < 1e-9
    skew = nf.State(state.H * np.linspace(1, 1.1, 6)[:, None], state.W, state.b)
    assert not conditions.facts(SIZES, KERNEL, skew).symmetric


def test_symmetric_states_without_spread_end_away_from_duality():
    C, n = 4, 6
    frame = np.linalg.qr(np.random.default_rng(0).standard_normal((n, C)))[0]
    P = centring(C)
    J, mu = np.eye(C) - P, KERNEL.eigenvalues(SIZES)
    H1 = frame @ (np.sqrt(mu.mu_class / 3) * P + np.sqrt(mu.mu_global / 3) * J)
    state = nf.State(np.repeat(H1, 3, axis=1), frame.T.copy(), np.full(C, -0.3))
    answers = conditions.assess(SIZES, KERNEL, state)
    assert answers["NC3"].verdict == "no"
    assert outcome(SIZES, KERNEL, state, 5.0)["NC3"] > 1e-2


def test_equal_biases_without_column_sums_end_at_one_over_C():
    state = nf.initial.make("balanced-contrast", SIZES, KERNEL)
    state = nf.State(state.H, state.W, np.full(4, -0.7))
    assert conditions.facts(SIZES, KERNEL, state).centred
    assert set(verdicts(SIZES, KERNEL, state).values()) == {"yes"}
    end = outcome(SIZES, KERNEL, state)
    assert max(end["NC1"], end["NC2"], end["NC3"]) < 1e-6
    tilted = nf.initial.make("balanced-centred", SIZES, KERNEL)
    assert not conditions.facts(SIZES, KERNEL, nf.State(tilted.H, tilted.W, np.full(4, -0.7))).centred


def test_the_path_into_the_saddle_is_recognised():
    sizes = nf.Sizes(3, 2, 4)
    W = centring(3) @ np.random.default_rng(0).standard_normal((3, 4))
    x = limits.x_star(sizes, KERNEL)
    state = nf.State(np.repeat(-W.T / x, 2, axis=1), W, np.full(3, 1 / 3))
    answers = conditions.assess(sizes, KERNEL, state)
    assert [c.verdict for c in answers.values()] == ["yes", "no", "no", "no"]
    assert "saddle" in answers["NC3"].sentence
    end = oracle.integrate_raw(nf.Problem(sizes, KERNEL, state), np.array([1.5]))[0]
    assert np.linalg.norm(end.W) < 0.1 * np.linalg.norm(W)
    plus = nf.State(np.repeat(W.T / x, 2, axis=1), W, np.full(3, 1 / 3))
    assert set(verdicts(sizes, KERNEL, plus).values()) == {"yes"}


def test_zero_weights_and_zero_means_never_move():
    sizes = nf.Sizes(3, 2, 4)
    answers = verdicts(sizes, KERNEL, nf.State(np.zeros((4, 6)), np.zeros((3, 4)), np.zeros(3)))
    assert answers == {"NC1": "yes", "NC2": "no", "NC3": "no", "NC4": "no"}


def test_one_sample_per_class_makes_NC1_vacuous():
    sizes = nf.Sizes(3, 1, 5)
    answers = conditions.assess(sizes, nf.BlockKernel(1.0, 1.0, 0.2), gaussian(sizes))
    assert answers["NC1"].verdict == answers["NC4"].verdict == "yes"
    assert "vacuous" in answers["NC1"].sentence


def test_two_classes_make_NC2_vacuous():
    sizes = nf.Sizes(2, 2, 9)
    answers = conditions.assess(sizes, KERNEL, gaussian(sizes))
    assert answers["NC2"].verdict == "yes"
    assert "vacuous" in answers["NC2"].sentence
    assert outcome(sizes, KERNEL, gaussian(sizes), 1.0)["NC2"] < 1e-12


def test_too_few_features_exclude_the_frame():
    sizes = nf.Sizes(5, 3, 3)
    answers = conditions.assess(sizes, KERNEL, gaussian(sizes))
    assert answers["NC2"].verdict == "no"
    assert answers["NC3"].verdict == answers["NC4"].verdict == "undetermined"
    assert answers["NC2"].numbers["dimensions"] == 3
    assert outcome(sizes, KERNEL, gaussian(sizes), 10.0)["NC2"] > 0.1


def test_C_minus_one_features_collapse_if_the_classes_are_fitted():
    sizes, kernel = nf.Sizes(4, 3, 3), nf.BlockKernel(5.0, 1.1, 0.4)
    state = gaussian(sizes, h=2.0)
    answer = conditions.assess(sizes, kernel, state)["NC1"]
    assert answer.verdict == "yes"
    assert "C - 1 dimensions" in answer.sentence
    assert outcome(sizes, kernel, state, 120.0)["NC1"] < 1e-4


def test_duplicates_from_the_start_stay_duplicates():
    state = gaussian(SIZES)
    H = np.repeat(state.H[:, :4], 3, axis=1)
    assert conditions.assess(SIZES, KERNEL, nf.State(H, state.W, state.b))["NC1"].numbers["trace_S"] == 0


def test_accuracy_of_the_state_decides_what_counts_as_zero():
    state = nf.initial.make("balanced-contrast", SIZES, KERNEL)
    rng = np.random.default_rng(0)
    rough = nf.State(state.H * (1 + 1e-7 * rng.standard_normal(state.H.shape)), state.W, state.b)
    assert not conditions.facts(SIZES, KERNEL, rough).zero_E
    assert conditions.facts(SIZES, KERNEL, rough, relative=1e-6).limit is not None


def test_the_floor_is_lowered_by_what_the_state_is_not_known_to():
    """Every eigenvalue that it counts by the tolerance, never the other way."""
    sizes, kernel = nf.Sizes(3, 4, 12), nf.BlockKernel(1.3, 0.5, 0.1)
    state = nf.initial.make("gaussian", sizes, kernel, 0)
    exact, rough = (facts(sizes, kernel, state, relative) for relative in (0.0, 1e-4))
    counted = exact.signs.negative - 3
    expected = exact.floor - kernel.eigenvalues(sizes).mu_single * counted * rough.signs.tolerance
    assert rough.floor == pytest.approx(expected, rel=1e-9)
    assert rough.floor < exact.floor * (1 - 1e-5)


@given(strategies.problems())
def test_no_state_is_refused_and_a_no_is_never_broken(problem):
    answers = conditions.assess(problem.sizes, problem.kernel, problem.state)
    assert set(answers) == {"NC1", "NC2", "NC3", "NC4"}
    for answer in answers.values():
        assert answer.verdict in conditions.VERDICTS
        assert all(np.isfinite(value) for value in answer.numbers.values())
    if answers["NC1"].verdict == "no":
        end = oracle.integrate_raw(problem, np.array([0.3]), rtol=1e-8)[0]
        trace = nf.metrics.nc(end, problem.sizes)["NC1_frobenius"] ** 2 * problem.sizes.C
        assert trace >= answers["NC1"].numbers["floor"] * (1 - 1e-6) > 0


def test_an_unknown_verdict_is_refused():
    with pytest.raises(nf.InputError, match="must be one of"):
        conditions.Condition("maybe", "no reason")


def test_what_only_resembles_a_projector_is_not_taken_for_one():
    # E >= 0 of rank C with row(W) as its range, but unequal eigenvalues.
    state = nf.initial.make("balanced-centred", SIZES, KERNEL)
    known = conditions.facts(SIZES, KERNEL, nf.State(0.6 * state.H, state.W, state.b))
    assert known.signs.positive == 4
    assert known.projector is None
    # E = e times a projector of rank C - 1, but W also acts on one balanced direction beside it.
    sizes, rng, e = nf.Sizes(3, 3, 5), np.random.default_rng(5), -0.4
    V, T = np.linalg.qr(rng.standard_normal((5, 3)))[0], rng.standard_normal((3, 3))
    values, vectors = np.linalg.eigh(T.T @ T - 3 * np.diag([e, e, 0.0]))
    Z = rng.standard_normal((9, 3))
    Z = np.linalg.qr(Z - Z.mean(axis=0))[0].T
    kvalues, kvectors = np.linalg.eigh(KERNEL.matrix(sizes))
    H = V @ (vectors * np.sqrt(values)) @ vectors.T @ Z @ (kvectors * np.sqrt(kvalues)) @ kvectors.T
    known = conditions.facts(sizes, KERNEL, nf.State(H, T @ V.T, np.full(3, 1 / 3)))
    assert known.centred
    assert (known.signs.negative, known.signs.zero) == (2, 3)
    assert known.projector is None


def test_unequal_biases_break_the_symmetry():
    state = nf.initial.make("equal-bias", SIZES, KERNEL)
    assert conditions.facts(SIZES, KERNEL, state).symmetric
    tilted = nf.State(state.H, state.W, np.array([0.0, 0.0, 0.1, 0.0]))
    assert not conditions.facts(SIZES, KERNEL, tilted).symmetric
    assert conditions.assess(SIZES, KERNEL, tilted)["NC2"].verdict == "undetermined"


@pytest.mark.parametrize("e", [0.4, -0.4])
def test_a_projector_of_rank_C_minus_one_needs_no_centred_weights(e):
    # At zero loss the class means span V, so that 1^T W vanishes there whatever it was.
    sizes = nf.Sizes(3, 3, 5)
    state = projector_state(sizes, KERNEL, e, 2, np.random.default_rng(5), centred=False)
    assert conditions.facts(sizes, KERNEL, state).column_sums > 0.1
    assert set(verdicts(sizes, KERNEL, state).values()) == {"yes"}
    end = outcome(sizes, KERNEL, state, 40.0)
    assert max(end["NC1"], end["NC2"], end["NC3"]) < 1e-6


@pytest.mark.parametrize("start", ["sector", "projector"])
def test_the_time_of_collapse_without_self_duality_is_that_of_the_run(start):
    """In the sector without sJ all deviations lie along the contrasts; about a projector of rank C also where W keeps m e."""
    sizes, kernel = nf.Sizes(3, 4, 6), nf.BlockKernel(2.0, 0.8, 0.2)
    if start == "projector":
        state = projector_state(sizes, kernel, 0.1, 3, np.random.default_rng(5))
    else:
        frame = np.linalg.qr(np.random.default_rng(0).standard_normal((6, 3)))[0]
        state = Sector(sizes, kernel, wP=1.0, hP=0.5, sP=0.2, wJ=0.3, hJ=0.1, sJ=0.0, beta=0.1).state(frame)
    given = nf.Problem(sizes, kernel, state)
    told = predict_flow(given)
    assert told.limit.NC3 > 0.1
    early, late = told.collapse_time, 1.2 * told.collapse_time
    run = nf.solve(given, save_at=[early, late], stop=nf.Stop(None, None, None), rtol=1e-8)
    fell = np.log(run.series["NC1"][0] / run.series["NC1"][1])
    assert fell / (late - early) == pytest.approx(np.log(1e6) / told.collapse_time, rel=1e-3)

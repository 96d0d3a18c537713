"""Will it collapse, lose rank or die: what is certain is proved right by runs, and each reason has its start."""

import numpy as np
import pytest

import ntkflow as nf
from ntkflow.dynamics.layers import LayeredFlow
from ntkflow.integrate.layers.outcome import outcome_of
from ntkflow.problem.layers import initial
from ntkflow.theory.layers.decay import decayed, thresholds
from ntkflow.theory.layers.verdict import aligned_sizes, verdict_of

SIZES, KERNEL = nf.Sizes(3, 2, 4), nf.BlockKernel(1.0, 0.5, 0.1)


def problem_of(state, rate=0.0):
    return nf.LayeredProblem(SIZES, KERNEL, state, decay=nf.LayerDecay(rate, rate))


def aligned(sizes, L=2):
    """Contrasts of given sizes in all layers, in one frame."""
    P = np.linalg.qr(np.eye(3)[:, 1:] - 1 / 3)[0]
    s = np.asarray(sizes, dtype=float)
    W = np.zeros((3, 4))
    W[:, :2] = P * np.sign(s) * np.abs(s)
    V = np.zeros((4, 4))
    V[:2, :2] = np.diag(np.abs(s))
    mu = KERNEL.eigenvalues(SIZES).mu_class
    H1 = np.zeros((4, 3))
    H1[:2] = np.sqrt(mu / 2) * np.abs(s)[:, None] * P.T
    return nf.LayeredState(np.repeat(H1, 2, axis=1), (V,) * (L - 1), W, np.full(3, 1 / 3))


def ran(problem, t_end):
    verdict = verdict_of(problem)
    solution = nf.solve_layers(problem, save_at=[0.0, t_end / 2, t_end], rtol=1e-6)
    return verdict, outcome_of(solution, verdict.as_dict())


@pytest.mark.parametrize("L", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_each_aligned_contrast_is_decided_by_the_barrier(L):
    rate = 0.5 * thresholds(SIZES, KERNEL, L)[1]
    barrier = decayed(problem_of(aligned([1.0, 1.0], L), rate)).barrier
    for sizes, outcome, rank in (
        ([1.03, 1.3], "collapses", 2),
        ([0.97, 1.3], "loses rank", 1),
        ([0.97, 0.5], "dies", 0),
    ):
        problem = problem_of(aligned(np.array(sizes) * barrier, L), rate)
        verdict, found = ran(problem, 30 / rate)
        assert (verdict.outcome, verdict.certain, verdict.rank) == (outcome, True, rank)
        assert found == {"outcome": outcome, "contrasts": rank, "agrees": True}
        assert f"{barrier:.4g}" in verdict.sentence


def test_sizes_of_aligned_contrasts_are_read_off_and_others_have_none():
    flow = LayeredFlow.build(problem_of(aligned([0.3, -0.2], 3)))
    np.testing.assert_allclose(sorted(aligned_sizes(flow)), [-0.2, 0.3], rtol=1e-12)
    spectators = initial.make("aligned", SIZES, (5, 4), KERNEL, 0, 0.4, 0.2)
    np.testing.assert_allclose(
        aligned_sizes(LayeredFlow.build(problem_of(spectators))), [0.4, 0.4], rtol=1e-10
    )
    for name in ("gaussian", "balanced", "balanced-contrast"):
        state = initial.make(name, SIZES, (5, 4), KERNEL, 0, 0.4)
        assert aligned_sizes(LayeredFlow.build(problem_of(state))) is None


def test_a_run_at_rest_keeps_what_deviations_it_has():
    # The class means grew in the second half of the run, and NC1 fell by their growth alone.
    spectators = problem_of(initial.make("aligned", SIZES, (5, 4), KERNEL, 0, 0.1, 0.4))
    solution = nf.solve_layers(spectators, t_end=30.0, rtol=1e-6)
    assert solution.reason is nf.Reason.STATIONARY
    assert solution.at("NC1_tirer", solution.times[-1] / 2) > 2 * solution.ends["NC1_tirer"][-1]
    foretold = verdict_of(spectators).as_dict()
    assert outcome_of(solution, foretold) == {"outcome": "keeps deviations", "contrasts": 2, "agrees": True}


def test_where_decay_has_no_closed_form_a_contrast_is_fitted_as_far_as_it_can_be():
    state = aligned([1.0, 1.0])
    biased = nf.LayeredState(state.H, state.V, state.W, state.b, (np.zeros(4), np.zeros(4)))
    problem = problem_of(biased, 0.05)
    assert decayed(problem) is None
    solution = nf.solve_layers(problem, t_end=2.0, rtol=1e-6)
    assert solution.ends["p_least"][-1] < 0.99
    foretold = verdict_of(problem).as_dict()
    assert outcome_of(solution, foretold) == {"outcome": "unfinished", "contrasts": 2, "agrees": None}


def test_without_decay_signs_spectators_and_rank_decide():
    # A contrast whose p is negative ends at the saddle.
    verdict, _ = ran(problem_of(aligned([0.5, -0.3])), 1.0)
    assert (verdict.outcome, verdict.certain, verdict.rank) == ("loses rank", True, 1)
    spectators = initial.make("aligned", SIZES, (5, 4), KERNEL, 0, 0.6, 0.3)
    verdict, found = ran(problem_of(spectators), 40.0)
    assert (verdict.outcome, verdict.certain, found["agrees"]) == ("keeps deviations", True, True)
    assert verdict_of(problem_of(aligned([0.5, 0.3]))).outcome == "collapses"
    assert "times as late" in verdict_of(problem_of(aligned([0.1, 0.02]))).sentence
    low = verdict_of(problem_of(aligned([0.5, 0.0])))
    assert (low.outcome, low.certain, low.rank) == ("loses rank", True, 1)
    gaussian = verdict_of(problem_of(initial.make("gaussian", SIZES, (5, 4), KERNEL, 0)))
    assert (gaussian.outcome, gaussian.certain) == ("keeps deviations", False)
    balanced = verdict_of(problem_of(initial.make("balanced-contrast", SIZES, (5, 4), KERNEL, 0)))
    assert balanced.outcome == "collapses"
    assert "one at a time" in balanced.sentence


def test_narrow_layers_two_zero_factors_and_what_is_not_known():
    narrow = initial.make("gaussian", SIZES, (1, 4), KERNEL, 0)
    assert verdict_of(problem_of(narrow)).sentence.startswith("loses rank for certain: a layer of 1 features")
    state = initial.make("gaussian", SIZES, (4, 4), KERNEL, 0)
    resting = nf.LayeredState(0 * state.H, state.V, 0 * state.W, state.b)
    assert verdict_of(problem_of(resting)).outcome == "dies"
    other = nf.LayeredProblem(SIZES, KERNEL, state, nf.CrossEntropy())
    assert verdict_of(other).outcome == "undecided"
    partly = nf.LayeredProblem(SIZES, KERNEL, state, decay=nf.LayerDecay(0.1))
    assert verdict_of(partly).outcome == "undecided"


def test_a_small_start_dies_for_certain_and_a_low_loss_keeps_its_contrasts():
    L = 2
    node, least = thresholds(SIZES, KERNEL, L)
    for scale, certain in ((0.03, True), (0.3, False)):
        state = initial.make("gaussian", SIZES, (5, 4), KERNEL, 1, scale)
        verdict, found = ran(problem_of(state, 0.4 * least), 20 / least)
        assert (verdict.certain, verdict.outcome == "dies") == (certain, certain)
        assert found["agrees"] or not certain
    # A start on the fitted branch has less energy than any state with a contrast missing.
    rate = 0.4 * least
    near = aligned(np.full(2, 0.95))
    tilted = nf.LayeredState(near.H + 0.02, near.V, near.W, near.b)
    verdict, found = ran(problem_of(tilted, rate), 10 / rate)
    assert (verdict.outcome, verdict.certain, verdict.at_least) == ("collapses", True, 2)
    assert found["agrees"]
    dead = problem_of(initial.make("gaussian", SIZES, (5, 4), KERNEL, 0), 1.1 * node)
    verdict, found = ran(dead, 20 / node)
    assert (verdict.outcome, verdict.certain, found["agrees"]) == ("dies", True, True)


def test_what_is_on_its_way_is_not_held_against_anything():
    problem = problem_of(initial.make("gaussian", SIZES, (5, 4), KERNEL, 0, 0.1))
    _, found = ran(problem, 0.1)
    assert found["outcome"] == "unfinished"
    assert found["agrees"] is None

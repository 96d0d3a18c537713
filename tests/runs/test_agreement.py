import json

import numpy as np
import pytest

import ntkflow as nf
from ntkflow.runs.agreement import _arrived, compare, waiting
from ntkflow.runs.laws import laws
from ntkflow.theory import decay_conditions
from ntkflow.theory.prediction import predict_flow, predictable, sample_conditions
from tests.cli.test_simulate import run
from tests.problem.kernels import ladder

SIZES, KERNEL = nf.Sizes(4, 5, 9), nf.BlockKernel(1.3, 0.5, 0.1)


def solved(init, **options):
    problem = nf.Problem(SIZES, KERNEL, nf.initial.make(init, SIZES, KERNEL, 1))
    return nf.solve(problem, **options), predict_flow(problem)


def lines(init, **options):
    solution, prediction = solved(init, **options)
    return {line.quantity: line for line in compare(solution, prediction)}


def test_collapse_agrees_with_the_limit_known_beforehand_and_the_rate():
    found = lines("balanced-contrast")
    assert found["W W^T"].digits > 9
    assert found["H1^T H1"].digits > 9
    assert found["decay rate of NC1"].digits > 4


def test_equal_biases_agree_with_the_limit_for_their_final_biases():
    found = lines("equal-bias")
    assert "final biases" in found["W W^T"].sentence
    assert found["W W^T"].digits > 9


def test_the_algebraic_tail_is_compared_as_a_slope():
    found = lines("balanced-centred")
    assert found["tail of tr S"].digits > 3
    assert "decay rate of NC1" not in found


def test_bounds_hold_and_say_so():
    wide = lines("gaussian")
    assert wide["floor of tr S"].bound
    assert wide["floor of tr S"].error == 0
    assert lines("balanced")["ceiling of tr S"].error <= 1e-9


def test_bounds_that_are_broken_say_by_how_much():
    for init, quantity, change in (
        ("gaussian", "floor of tr S", lambda low, _, t: np.where(t > 0, 0.75, 2.0) * low),
        ("balanced", "ceiling of tr S", lambda _, high, t: np.where(t > 0, 1.25, 0.5) * high),
    ):
        solution, prediction = solved(init, t_end=5.0)
        high = prediction.ceiling.trace_at(solution.times) if prediction.ceiling else None
        broken = change(prediction.floor_tr_S, high, solution.times)
        solution.__dict__["series"] = {**solution.series, "tr_S": broken}
        found = {line.quantity: line for line in compare(solution, prediction)}[quantity]
        assert found.bound
        assert found.error == pytest.approx(0.25, rel=1e-9)


def test_a_wrong_kernel_shows_as_lost_digits():
    # The comparison must be able to fail: predictions of another kernel agree with nothing.
    solution, _ = solved("balanced-contrast")
    other = nf.Problem(
        SIZES, nf.BlockKernel(1.3, 0.9, 0.1), nf.initial.make("balanced-contrast", SIZES, KERNEL, 1)
    )
    found = {line.quantity: line for line in compare(solution, predict_flow(other))}
    assert "W W^T" not in found or found["W W^T"].digits < 2


def test_a_run_that_stopped_early_is_not_compared_with_the_limit():
    found = lines("balanced-contrast", t_end=0.05)
    assert "W W^T" not in found
    # Nor has NC1 fallen far enough for a rate.
    assert "decay rate of NC1" not in found


def test_only_the_papers_flow_is_predicted():
    from ntkflow.problem.decay import Decay
    from ntkflow.problem.losses import CrossEntropy

    state = nf.initial.make("gaussian", SIZES)
    assert predictable(nf.Problem(SIZES, KERNEL, state))
    assert not predictable(nf.Problem(SIZES, KERNEL, state, decay=Decay.equal(0.1)))
    assert not predictable(nf.Problem(SIZES, KERNEL, state, loss=CrossEntropy()))


def test_theory_prints_what_simulate_will_be_compared_with(capsys):
    run("theory", "-C", 4, "-m", 5, "-n", 9)
    text = capsys.readouterr().out
    for word in (
        "NC1",
        "Rates of the residual",
        "Rates near W = H = 0",
        "x*",
        "tr S(t) <=",
        "stable at collapse",
    ):
        assert word in text
    run("theory", "-C", 4, "-m", 5, "-n", 9, "--json")
    report = json.loads(capsys.readouterr().out)
    X = np.array(report["predicted"]["limit"]["X"])
    mu = nf.BlockKernel(1, 0.5, 0.1).eigenvalues(SIZES)
    np.testing.assert_allclose(X, np.sqrt(5 / mu.mu_class) * (np.eye(4) - 0.25), atol=1e-14)


def test_theory_says_of_kernels_on_features_what_they_conserve(tmp_path, capsys):
    rng = np.random.default_rng(0)
    A, B = (M @ M.T + np.eye(5) for M in rng.standard_normal((2, 5, 5)))
    for name, A_c, count in (("equal", A, 5), ("generic", B, 1)):
        np.savez(tmp_path / f"{name}.npz", A_d=A, A_c=A_c, A_n=np.zeros((5, 5)))
        run("theory", "-C", 3, "-m", 2, "-n", 5, "--kernel-file", tmp_path / f"{name}.npz", "--json")
        predicted = json.loads(capsys.readouterr().out)["predicted"]
        assert predicted["nc1_possible"] is None
        assert predicted["laws"][0]["sentence"].startswith(f"{count} number")
    run("theory", "-C", 3, "-m", 2, "-n", 5, "--kernel-file", tmp_path / "generic.npz")
    assert "1 number is constant" in capsys.readouterr().out


def test_theory_knows_the_limit_that_decay_enforces(capsys):
    run("theory", "-C", 3, "-m", 4, "-n", 5, "--decay-w", 0.1, "--decay-h", 0.2, "--json")
    predicted = json.loads(capsys.readouterr().out)["predicted"]
    limit = nf.theory.exact.regularised_limit(
        nf.Sizes(3, 4, 5), nf.BlockKernel(1, 0.5, 0.1), nf.Decay(0.1, 0.2)
    )
    np.testing.assert_array_equal(predicted["limit"]["X"], limit.X)
    assert predicted["laws"][0]["quantity"] == "motion of E"


def solved_as(sizes=SIZES, kernel=KERNEL, init="gaussian", t_end=None, **changes):
    problem = nf.Problem(sizes, kernel, nf.initial.make(init, sizes, kernel, 1), **changes)
    solution = nf.solve(problem, t_end=t_end, stop=nf.Stop(None, None, 1e-12))
    return {
        line.quantity: line
        for line in compare(solution, predict_flow(problem) if predictable(problem) else None)
    }


@pytest.mark.parametrize("name", ladder.NAMES)
def test_every_rung_is_compared_with_its_own_laws(name):
    sizes = nf.Sizes(3, 3, 4)
    problem = nf.Problem(sizes, ladder.make(name, sizes), nf.initial.make("gaussian", sizes, None, 1))
    solution = nf.solve(problem, t_end=400.0, stop=nf.Stop(None, None, 1e-13))
    found = {
        a.quantity: a for a in compare(solution, predict_flow(problem) if predictable(problem) else None)
    }
    assert found["invariant"].digits > 8
    assert found["loss"].error < 1e-15
    assert found["decay rate of the loss"].digits > 1
    if name in ("block", "class-block", "sample"):
        assert found["X = W W^T"].digits > 6
        assert found["class means"].digits > 6


def test_a_loss_that_rises_and_an_invariant_that_moves_are_noticed():
    solution, prediction = solved("gaussian", t_end=5.0)
    wrong = dict(solution.series)
    wrong["loss"] = wrong["loss"] + 2 * np.linspace(0, 1, len(solution)) * wrong["loss"][0]
    wrong["V"] = wrong["V"][::-1]
    wrong["tr_S"] = wrong["tr_S"] * np.linspace(1, 1.1, len(solution))
    wrong["E_drift"] = wrong["E_drift"] + 1e-3
    solution.__dict__["series"] = wrong
    found = {line.quantity: line for line in compare(solution, prediction)}
    for quantity in ("loss", "V of biases and mean", "spread within classes"):
        assert found[quantity].bound
        assert found[quantity].error > 1e-3
    assert found["invariant"].digits < 3.1


def test_a_limit_enforced_by_decay_is_reached_and_E_shrinks_exactly():
    # In sizes where decay has forgotten the start before the run ends.
    found = solved_as(decay=nf.Decay(0.3, 0.3), t_end=80.0)
    assert found["W W^T"].digits > 8
    assert found["motion of E"].digits > 8
    assert "W W^T" not in solved_as(decay=nf.Decay(0.3, 0.3), t_end=8.0)
    assert solved_as(decay=nf.Decay(0.3, 0.1), t_end=250.0)["W W^T"].digits > 8


def test_decay_of_W_alone_moves_the_fitted_state_as_the_law_says():
    found = solved_as(init="balanced-contrast", decay=nf.Decay(W=0.01), t_end=40.0)
    assert found["drift of W W^T"].digits > 2
    # Linear in the decay: ten times less of it leaves ten times less error.
    slower = solved_as(init="balanced-contrast", decay=nf.Decay(W=0.001), t_end=40.0)
    assert slower["drift of W W^T"].error < 0.3 * found["drift of W W^T"].error


def test_decay_of_the_biases_alone_leaves_E_where_it_is():
    problem = nf.Problem(SIZES, KERNEL, nf.initial.make("gaussian", SIZES, KERNEL, 1), decay=nf.Decay(b=0.2))
    solution = nf.solve(problem, t_end=5.0)
    assert solution.gap_to_law is None
    assert not solution.E_moves
    found = {line.quantity: line for line in compare(solution, None)}
    assert found["invariant"].digits > 8
    moving = nf.solve(nf.Problem(SIZES, KERNEL, problem.state, decay=nf.Decay(H=0.2)), t_end=0.1)
    assert moving.E_moves
    assert moving.is_flow
    assert not moving.has_momentum


def test_softmax_keeps_the_column_sums():
    found = solved_as(loss=nf.CrossEntropy(), t_end=20.0)
    assert found["W^T 1"].digits > 8
    assert found["invariant"].digits > 8


@pytest.mark.parametrize("part", ["W", "b"])
def test_softmax_that_moves_a_column_sum_is_noticed(part):
    state = nf.initial.make("gaussian", SIZES, KERNEL, 1)
    moved = {name: getattr(state, name) + (0.1 if name == part else 0.0) for name in ("H", "W", "b")}

    class Run(list):
        def state(self, i):
            return self[i]

    problem = nf.Problem(SIZES, KERNEL, state, loss=nf.CrossEntropy())
    (law,) = (law for law in laws(problem) if law.quantity == "W^T 1")
    assert law.error(Run([state, state])) == 0
    assert law.error(Run([state, nf.State(**moved)])) > 0.01


def test_all_three_tails_have_their_universal_constants():
    found = lines("balanced-centred")
    for name in ("tail of tr S", "tail of the loss", "tail of NC3"):
        assert found[name].digits > 3


def test_no_tail_is_announced_where_W_has_rank_C_minus_one():
    # n = C - 1 features: W^T 1 != 0 at the start, yet every direction of row(W) carries class means.
    sizes = nf.Sizes(4, 5, 3)
    state = nf.initial.make("balanced-centred", sizes, KERNEL, 1)
    prediction = predict_flow(nf.Problem(sizes, KERNEL, state))
    assert not prediction.algebraic
    assert "exponentially" in prediction.conditions["NC1"].sentence
    solution = nf.solve(nf.Problem(sizes, KERNEL, state))
    found = {line.quantity: line for line in compare(solution, prediction)}
    assert solution.series["NC1"][-1] < 1e-8
    assert found["decay rate of NC1"].digits > 4


def test_a_loss_small_only_beside_a_huge_start_is_not_taken_for_zero():
    # Four classes in one dimension cannot be fitted: the loss stays near 3, from 1e6.
    sizes = nf.Sizes(4, 3, 1)
    problem = nf.Problem(sizes, KERNEL, nf.initial.make("balanced-contrast", sizes, KERNEL, 5, 40.0))
    solution = nf.solve(problem)
    assert solution.series["loss"][-1] < 1e-4 * solution.series["loss"][0]
    assert "W W^T" not in {line.quantity for line in compare(solution, predict_flow(problem))}


@pytest.mark.parametrize(("n", "verdict"), [(12, "no"), (2, "undetermined")])
def test_E_decides_about_collapse_without_blocks_too(n, verdict, capsys):
    run("theory", "-C", 3, "-m", "4,3,5", "-n", n, "--init", "gaussian")
    assert verdict in capsys.readouterr().out


def test_a_positive_E_collapses_the_features_of_a_kernel_without_blocks():
    # 5.6: with E_K >= 0 the features end class-constant, here for an imbalanced random kernel.
    sizes = nf.Sizes(3, (2, 4, 3), 5)
    rng = np.random.default_rng(3)
    X = rng.standard_normal((20, sizes.N))
    kernel = nf.SampleKernel(X.T @ X / 20)
    values, vectors = np.linalg.eigh(kernel.K)
    W = rng.standard_normal((3, 5))
    Z = np.linalg.qr(rng.standard_normal((sizes.N, 3)))[0].T
    state = nf.State(W.T @ Z @ (vectors * np.sqrt(values)) @ vectors.T, W, np.zeros(3))
    problem = nf.Problem(sizes, kernel, state)
    assert sample_conditions(problem)["NC1"].verdict == "yes"
    solution = nf.solve(problem, t_end=2000.0)
    assert solution.series["NC1"][-1] < 1e-4 * solution.series["NC1"][0]


@pytest.mark.parametrize("command", ["simulate", "theory", "sweep", "fit", "prove", "plot", "show"])
def test_every_command_has_help_with_its_defaults(command, capsys):
    run(command, "--help")
    text = capsys.readouterr().out
    assert "Usage: ntkflow" in text
    if command == "simulate":
        assert "(default: 10)" in " ".join(text.split())


def test_a_limit_that_the_run_is_on_its_way_to_is_not_compared_but_named():
    # sqrt(lw lh) is near its threshold, so that the end is approached seven times as slowly as E is forgotten.
    sizes, kernel = nf.Sizes(3, 4, 6), nf.BlockKernel(1.0, 0.5, 0.1)
    problem = nf.Problem(sizes, kernel, nf.initial.make("gaussian", sizes, None, 1), decay=nf.Decay(2.7, 2.7))
    short, long = (nf.solve(problem, t_end=t, stop=nf.Stop(None, None, None)) for t in (4.0, 60.0))
    assert "W W^T" not in {line.quantity for line in compare(short, None)}
    end = decay_conditions.predict_decayed(problem).end
    (left,) = waiting(short, None, end)
    assert left.quantity == "W W^T"
    assert "exp(-0.397 t), which takes about t = 34.8" in left.sentence
    # Time enough for the slowest mode, as it seems, and still on the way.
    later = nf.solve(problem, t_end=16.0, stop=nf.Stop(None, None, None))
    assert "W W^T" not in {line.quantity for line in compare(later, None)}
    found = {line.quantity: line for line in compare(long, None)}
    assert found["W W^T"].digits > 8
    assert found["loss"].digits > 8
    assert waiting(long, None, end) == []


def test_a_wrong_limit_under_decay_would_be_seen():
    problem = nf.Problem(
        SIZES, KERNEL, nf.initial.make("gaussian", SIZES, KERNEL, 1), decay=nf.Decay(0.3, 0.3)
    )
    other = nf.Problem(SIZES, KERNEL, problem.state, decay=nf.Decay(0.3, 0.4))
    found = {
        line.quantity: line
        for line in compare(nf.solve(problem), None, decay_conditions.predict_decayed(other).end)
    }
    assert found["W W^T"].digits < 2
    assert found["loss"].digits < 2


def test_zero_loss_limits_are_not_compared_before_the_state_rests():
    # The loss is small, but W still moves: the run was stopped by it.
    solution, prediction = solved("balanced-contrast", stop=nf.Stop(None, 2e-4, None))
    assert solution.series["loss"][-1] < 1e-4 * solution.series["loss"][0]
    assert "W W^T" not in {line.quantity for line in compare(solution, prediction)}
    assert (
        "still" in waiting(solution, prediction)[0].sentence
        or "approached" in waiting(solution, prediction)[0].sentence
    )
    early, prediction = solved("balanced-contrast", t_end=0.05)
    assert "the limit is one of zero loss" in waiting(early, prediction)[0].sentence


def test_beside_an_algebraic_tail_the_contrasts_are_compared():
    found = lines("balanced-centred")
    assert found["P W W^T P"].digits > 9
    assert "W W^T" not in found


@pytest.mark.parametrize("rates", [nf.Decay(W=0.003), nf.Decay(H=0.003)])
def test_the_drift_of_one_decay_alone_is_compared(rates):
    found = solved_as(init="balanced-contrast", decay=rates, t_end=40.0)
    assert found["drift of W W^T"].digits > 2


def test_kernels_without_equal_blocks_get_a_floor_in_units_of_NC1():
    for sizes, name in ((nf.Sizes(3, (2, 4, 5), 12), "class-block"), (nf.Sizes(3, 4, 12), "sample")):
        problem = nf.Problem(sizes, ladder.make(name, sizes), nf.initial.make("gaussian", sizes, None, 2))
        answer = sample_conditions(problem)["NC1"]
        assert answer.verdict == "no"
        floor = answer.numbers["NC1_frobenius"]
        final = nf.solve(problem, t_end=50.0).series["NC1_frobenius"]
        assert 0.05 * final[-1] < floor <= final.min()
    # Equal class blocks are scalar blocks, which have a floor by another way.
    sizes, block = nf.Sizes(3, 4, 12), nf.BlockKernel(1.0, 0.5, 0.1)
    problem = nf.Problem(
        sizes, nf.ClassBlockKernel.from_block(block, 3), nf.initial.make("gaussian", sizes, None, 2)
    )
    expected = np.sqrt(nf.theory.conditions.facts(sizes, block, problem.state).floor / 3)
    assert sample_conditions(problem)["NC1"].numbers["NC1_frobenius"] == pytest.approx(expected, rel=1e-9)


def test_a_state_that_rests_early_has_not_arrived():
    """At a saddle nothing moves either: so many time constants must have passed."""
    state = nf.State(np.zeros((9, 20)), np.zeros((4, 9)), np.full(4, 0.25))
    solution = nf.solve(
        nf.Problem(SIZES, KERNEL, state), save_at=[0.0, 1.0], stop=nf.Stop(None, None, None), throw=False
    )
    assert solution.times[-1] == 1
    assert [_arrived(solution, slowest) for slowest in (4.0, 6.0)] == [False, True]

import numpy as np
import pytest

import ntkflow as nf
from ntkflow.agreement import compare
from ntkflow.prediction import predict, predictable, sample_conditions
from tests.cli.test_simulate import run

SIZES, KERNEL = nf.Sizes(4, 5, 9), nf.BlockKernel(1.3, 0.5, 0.1)


def solved(init, **options):
    problem = nf.Problem(SIZES, KERNEL, nf.initial.make(init, SIZES, KERNEL, 1))
    return nf.solve(problem, **options), predict(problem)


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


def test_a_wrong_kernel_shows_as_lost_digits():
    # The comparison must be able to fail: predictions of another kernel agree with nothing.
    solution, _ = solved("balanced-contrast")
    other = nf.Problem(
        SIZES, nf.BlockKernel(1.3, 0.9, 0.1), nf.initial.make("balanced-contrast", SIZES, KERNEL, 1)
    )
    found = {line.quantity: line for line in compare(solution, predict(other))}
    assert "W W^T" not in found or found["W W^T"].digits < 2


def test_a_run_that_stopped_early_is_not_compared_with_the_limit():
    assert "W W^T" not in lines("balanced-contrast", t_end=0.05)


def test_only_the_papers_flow_is_predicted():
    from ntkflow.decay import Decay
    from ntkflow.losses import CrossEntropy

    state = nf.initial.make("gaussian", SIZES)
    assert predictable(nf.Problem(SIZES, KERNEL, state))
    assert not predictable(nf.Problem(SIZES, KERNEL, state, decay=Decay.equal(0.1)))
    assert not predictable(nf.Problem(SIZES, KERNEL, state, loss=CrossEntropy()))


def test_theory_prints_what_simulate_will_be_compared_with(capsys):
    run("theory", "-C", 4, "-m", 5, "-n", 9)
    text = capsys.readouterr().out
    for word in ("NC1", "rates", "origin", "x*", "ceiling", "stable at collapse"):
        assert word in text
    run("theory", "-C", 4, "-m", 5, "-n", 9, "--json")
    import json

    report = json.loads(capsys.readouterr().out)
    X = np.array(report["predicted"]["limit"]["X"])
    mu = nf.BlockKernel(1, 0.5, 0.1).eigenvalues(SIZES)
    np.testing.assert_allclose(X, np.sqrt(5 / mu.mu_class) * (np.eye(4) - 0.25), atol=1e-14)


def test_theory_refuses_what_it_knows_nothing_of(tmp_path, capsys):
    np.savez(tmp_path / "k.npz", A_d=np.eye(5), A_c=np.eye(5), A_n=np.zeros((5, 5)))
    run("theory", "-C", 3, "-m", 2, "-n", 5, "--kernel-file", tmp_path / "k.npz", expect=2)
    assert "has no known conditions" in capsys.readouterr().err


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

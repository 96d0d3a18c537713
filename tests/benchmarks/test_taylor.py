"""The extended-precision reference against closed forms and itself, and every engine against the reference."""

import numpy as np
import pytest

import ntkflow as nf
from benchmarks import taylor
from ntkflow.integrate.engines import choose
from ntkflow.metrics.neural_collapse import centring
from ntkflow.theory.exact import aligned_state
from tests.metrics.test_quantities import random_state
from tests.problem.kernels import ladder

EXTENDED = np.finfo(taylor.EXTENDED).eps < 1e-18
TOLERANCES = (1e-6, 1e-7, 1e-8, 1e-9, 1e-10, 1e-11)


def start(init, C=3, m=4, n=5, kappa=(1.3, 0.5, 0.1)):
    sizes, kernel = nf.Sizes(C, m, n), nf.BlockKernel(*kappa)
    return nf.Problem(sizes, kernel, nf.initial.make(init, sizes, kernel, 0))


def rung(name, sizes):
    return nf.Problem(sizes, ladder.make(name, sizes), random_state(sizes))


# A problem, its end time; among them the kernel of a real network with its large mean.
PROBLEMS = {
    "block": (start("gaussian"), 2.0),
    "zero invariant": (start("balanced"), 2.0),
    "ReLU state": (start("relu", kappa=(23.2, 20.2, 19.1)), 0.5),
    "class-dependent": (rung("class-block", nf.Sizes(3, (1, 4, 2), 4)), 1.0),
    "sample": (rung("sample", nf.Sizes(3, 3, 5)), 1.0),
}


@pytest.fixture(scope="module")
def references():
    return {name: taylor.integrate(problem, [end])[0] for name, (problem, end) in PROBLEMS.items()}


def gap(state, exact):
    """Largest Frobenius distance of H, W and b, each over its norm."""
    pairs = ((getattr(state, part), getattr(exact, part)) for part in "HWb")
    return max(
        float(np.linalg.norm((x - y).astype(float)) / np.linalg.norm(x.astype(float))) for x, y in pairs
    )


@pytest.mark.skipif(not EXTENDED, reason="this platform's long double is no longer than a double")
def test_two_orders_agree_beyond_double_precision(references):
    for name, (problem, end) in PROBLEMS.items():
        other = taylor.integrate(problem, [end / 3, end], order=18)[1]
        assert 0 < gap(other, references[name]) < 1e-17


def test_the_aligned_solution_is_met():
    """H = W^T Y / x* has a closed form for all times (theory 4.6)."""
    sizes, kernel = nf.Sizes(3, 2, 4), nf.BlockKernel(1.3, 0.5, 0.1)
    W = centring(3) @ np.random.default_rng(0).standard_normal((3, 4))
    problem = nf.Problem(sizes, kernel, aligned_state(sizes, kernel, W, 0.0))
    assert gap(aligned_state(sizes, kernel, W, 0.7), taylor.integrate(problem, [0.7])[0]) < 1e-14


def test_the_invariant_stays_to_the_last_bit_of_its_precision(references):
    problem, _ = PROBLEMS["block"]
    now, before = references["block"], problem.state
    inverse = np.linalg.inv(problem.kernel.matrix(problem.sizes))
    E = [s.W.T @ s.W - s.H @ inverse @ s.H.T for s in (now, before)]
    # The inverse itself is only good to double precision, but it is the same one twice.
    assert float(np.abs(E[0] - E[1]).max()) < 1e-14


@pytest.mark.parametrize("name", PROBLEMS)
def test_drift_is_below_rtol_and_the_final_state_within_30_rtol_of_extended_precision(name, references):
    problem, end = PROBLEMS[name]
    errors = []
    for rtol in TOLERANCES:
        solution = nf.solve(problem, save_at=[0.0, end], rtol=rtol, engine="structured")
        assert solution.series["E_drift"][-1] <= rtol
        errors.append(gap(solution.final, references[name]))
        assert errors[-1] < 30 * rtol
    slope = np.polyfit(np.log(TOLERANCES), np.log(errors), 1)[0]
    assert 0.7 < slope < 1.2


@pytest.mark.parametrize("name", ["block", "sample"])
@pytest.mark.parametrize(
    "engine", [engine for engine in choose.NAMES if engine not in ("auto", "structured", "diffrax")]
)
def test_so_do_the_other_engines(engine, name, references):
    problem, end = PROBLEMS[name]
    for rtol in (1e-6,) if engine == "Radau" else (1e-6, 1e-9):
        solution = nf.solve(problem, save_at=[0.0, end], rtol=rtol, engine=engine)
        assert solution.series["E_drift"][-1] <= rtol
        assert gap(solution.final, references[name]) < 30 * rtol


def test_other_problems_and_times_are_refused():
    problem, _ = PROBLEMS["block"]
    with pytest.raises(nf.InputError, match="plain flow"):
        taylor.integrate(nf.Problem(problem.sizes, problem.kernel, problem.state, nf.CrossEntropy()), [1.0])
    for times, rule in (
        ([], "list of finite times"),
        ([0.0], "positive and increase"),
        ([1.0, 1.0], "increase"),
    ):
        with pytest.raises(nf.InputError, match=rule):
            taylor.integrate(problem, times)

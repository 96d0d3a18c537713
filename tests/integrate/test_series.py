"""Series of all saved times at once are those of each state by itself, in all n coordinates."""

import dataclasses

import numpy as np
import pytest

import ntkflow as nf
from ntkflow.integrate import stack
from ntkflow.integrate.series import Narrow, evaluate
from ntkflow.integrate.solution import Solution
from ntkflow.metrics import invariant, neural_collapse
from ntkflow.problem.kernels import ClassBlockKernel
from ntkflow.problem.sizes import Sizes

TIMES = [0.0, 0.01, 0.1, 1.0]
BLOCK = nf.BlockKernel(1.0, 0.5, 0.1)
MOVING = nf.ScheduledKernel((0.0, 0.5), (BLOCK, nf.BlockKernel(1.4, 0.5, 0.2)))
CLASSES = ClassBlockKernel.from_block(BLOCK, 3)


def solved(kernel=BLOCK, sizes=Sizes(3, 4, 9), init="gaussian", scale=1.0, **options):  # noqa: B008
    state = nf.initial.make(init, sizes, BLOCK, seed=1, scale=scale)
    return nf.solve(nf.Problem(sizes, kernel, state), save_at=TIMES, rtol=1e-6, **options)


SOLUTIONS = {
    "fewer-coordinates": lambda: solved(init="balanced"),
    "raw": lambda: solved(form="raw"),
    "imbalanced": lambda: solved(sizes=Sizes(3, (2, 5, 3), 6)),
    "one-sample": lambda: solved(sizes=Sizes(3, 1, 6)),
    "moving": lambda: solved(MOVING),
    "by-class": lambda: solved(CLASSES),
    "tiny": lambda: solved(scale=1e-100),
}


@pytest.mark.parametrize("name", SOLUTIONS)
def test_each_state_has_the_numbers_that_it_has_alone(name, monkeypatch):
    solution = SOLUTIONS[name]()
    # Two states at a time: the last stack is shorter.
    one = 8 * 20 * solution.problem.sizes.N * solution.problem.sizes.n
    monkeypatch.setattr(stack, "BYTES", one)
    series, problem = evaluate(solution), solution.problem
    first = None
    for i, t in enumerate(solution.times):
        state = solution.state(i)
        for metric, value in neural_collapse.measure(state, problem.sizes).items():
            np.testing.assert_allclose(series[metric][i], value, rtol=1e-7, atol=1e-12)
        terms = invariant.terms(state, problem.sizes, problem.kernel, float(t))
        first = terms if first is None else first
        expected = {
            "E_weights": np.linalg.norm(terms.weights),
            "E_features": np.linalg.norm(terms.features),
            "E_global_mean": np.linalg.norm(terms.global_mean),
            "E_alignment": terms.alignment,
            "E_drift": invariant.drift(first, terms),
        }
        for quantity, value in expected.items():
            np.testing.assert_allclose(series[quantity][i], value, rtol=1e-7, atol=1e-12)
    assert list(series)[:4] == ["loss", "loss_global", "loss_class", "loss_individual"]


def test_two_ends_and_narrow_series_are_parts_of_the_whole():
    solution = solved(init="balanced")
    whole = evaluate(solution)
    narrow, alone = Narrow(solution), solved(init="balanced")
    assert {"loss", "tr_S", "V", "E_drift", "NC1_frobenius"} <= set(narrow) < set(whole) - {"NC3"}
    for name, values in narrow.items():
        np.testing.assert_array_equal(values, whole[name])
    for name, values in alone.narrowed().ends.items():
        np.testing.assert_allclose(values, whole[name][[0, -1]], rtol=1e-9, atol=1e-15)
    np.testing.assert_array_equal(narrow["NC3"], whole["NC3"])
    assert set(narrow) == set(whole)


@pytest.mark.parametrize("init", ["gaussian", "balanced"])
def test_ends_and_laws_of_a_crowd_have_the_digits_that_each_has_alone(init, monkeypatch):
    sizes, kernels = Sizes(3, 4, 9), [nf.BlockKernel(1.0, 0.5, 0.1 * k) for k in range(3)]
    problems = [nf.Problem(sizes, k, nf.initial.make(init, sizes, k, seed=s)) for s, k in enumerate(kernels)]
    # Another shape, a system that is not alike at all, and a state of which everything is zero.
    nothing = nf.State(np.zeros((9, 12)), np.zeros((3, 9)), np.zeros(3))
    others = [solved(MOVING), solved(sizes=Sizes(2, 3, 5)), solved(form="raw")]
    solutions = [nf.solve(p, save_at=TIMES[: 3 + k], rtol=1e-4) for k, p in enumerate(problems)] + others
    solutions.append(nf.solve(nf.Problem(sizes, BLOCK, nothing), save_at=TIMES, rtol=1e-4))
    Solution.look_at_ends(solutions)
    known = [solution.__dict__.get("ends") is not None for solution in solutions]
    assert known == [True, True, True, False, True, False, True]
    for solution in solutions:
        alone = dataclasses.replace(solution)
        np.testing.assert_equal(dict(solution.ends), evaluate(alone, only=[0, len(alone) - 1]))
        with monkeypatch.context() as patch:
            # What is known is not worked out again.
            if isinstance(solution.__dict__.get("series"), Narrow):
                patch.setattr("ntkflow.integrate.solution.Narrow", None)
            narrow, expected = solution.narrowed().series, Narrow(alone)
        np.testing.assert_equal(dict(narrow), dict(expected))
        # What it lacks is found along its own trajectory.
        np.testing.assert_array_equal(narrow["NC2"], alone.series["NC2"])

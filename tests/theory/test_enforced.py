"""Where decay is said to lead, against integrations of the raw flow from random starts."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import ntkflow as nf
from ntkflow.problem.decay import Decay
from ntkflow.theory import decay_conditions
from ntkflow.theory.enforced import enforced
from tests import strategies

rates = st.floats(0.3, 3.0)


def end_of(problem, slowest):
    solution = nf.solve(problem, t_end=min(400.0, 45 / slowest), stop=nf.Stop(None, None, 1e-12))
    return solution, nf.metrics.nc(solution.final, problem.sizes)


@st.composite
def decayed(draw):
    """Imbalanced or balanced classes, blocks equal or not, and more features than the classes need."""
    C = draw(st.integers(2, 4))
    m = draw(st.one_of(st.integers(1, 4), st.tuples(*[st.integers(1, 9)] * C)))
    sizes = nf.Sizes(C, m, C + 1)
    kernel = draw(strategies.kernels())
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    if draw(st.booleans()):
        blocks = nf.ClassBlockKernel.from_block(kernel, C)
        kernel = nf.ClassBlockKernel(blocks.kappa_d * rng.uniform(1, 1.5, C), blocks.B)
    state = nf.initial.make("gaussian", sizes, None, int(rng.integers(1000)))
    decay = Decay(draw(rates), draw(rates), draw(st.sampled_from([0.0, 0.0, 1.0])))
    return nf.Problem(sizes, kernel, state, decay=decay)


@strategies.costly(8)
@given(decayed())
def test_a_random_start_ends_there(problem):
    end = enforced(problem, problem.sizes.n)
    assume(end is not None and end.slowest is not None and end.slowest > 0.12)
    solution, metrics = end_of(problem, end.slowest)
    assert solution.series["loss"][-1] == pytest.approx(end.loss, rel=1e-6)
    assert metrics["NC1_frobenius"] < 1e-6
    thin, _ = solution.thin(-1)
    if end.limit is None:
        M = thin.H1 - thin.H1.mean(axis=1, keepdims=True)
        assert np.linalg.norm(M) < 1e-4
        return
    scale = float(np.trace(end.limit.X))
    assert np.linalg.norm(thin.W @ thin.W.T - end.limit.X) < 1e-5 * scale + 1e-7
    assert np.linalg.norm(thin.b - end.limit.b) < 1e-5
    if scale > 0.1:
        assert metrics["NC2"] == pytest.approx(end.NC2, abs=1e-3)
        assert metrics["NC3"] == pytest.approx(end.NC3, abs=1e-3)
    for group in end.merged:
        assert np.ptp(thin.H1[:, list(group)], axis=1).max() < 1e-4


def test_a_distance_near_self_duality_has_its_digits():
    # Some millionths: of a cosine's distance from 1 half the digits would be left, and others for the classes in another order.
    X = np.random.default_rng(3).standard_normal((8, 4))
    near = np.eye(4) + 3e-4 * X.T @ X
    found = []
    for order in ([0, 1, 2, 3], [3, 2, 0, 1]):
        sizes = nf.Sizes(2, 2, 2)
        kernel = nf.SampleKernel(near[np.ix_(order, order)])
        state = nf.initial.make("gaussian", sizes, None, 1)
        found.append(enforced(nf.Problem(sizes, kernel, state, decay=Decay(0.2, 0.05, 0.1)), 2).limit.NC3)
    assert 1e-7 < found[0] < 1e-4
    assert found[1] == pytest.approx(found[0], abs=1e-12)


@pytest.mark.parametrize(("counts", "rate"), [((1, 9), 0.3), (5, np.sqrt(0.05 * 5))])
def test_a_decay_at_the_threshold_of_a_direction_has_no_rate(counts, rate):
    # sqrt(lw lh) is the singular value of the class contrast, found by the property above among unequal classes.
    sizes = nf.Sizes(2, counts, 3)
    problem = nf.Problem(
        sizes,
        nf.BlockKernel(0.05, 0.0, 0.0),
        nf.initial.make("gaussian", sizes, None, 1),
        decay=Decay(rate, rate),
    )
    end = enforced(problem, 3)
    assert (end.rank, end.slowest) == (0, None)
    losses = nf.solve(problem, t_end=200.0, stop=nf.Stop(None, None, None)).series["loss"]
    # Still on the way, where exp(-0.3 t) would have been there long ago.
    assert 1e-3 < abs(losses[-1] - end.loss) < 0.1
    for factor in (0.9, 1.1):
        near = enforced(
            nf.Problem(sizes, problem.kernel, problem.state, decay=Decay(factor * rate, factor * rate)), 3
        )
        assert 0 < near.slowest < 0.1


@pytest.mark.parametrize(
    "rates",
    [(0.5, 0.3, 0.0), (0.5, 0.3, 0.01), (0.5, 0.3, 2.0), (0.2, 0.9, 9.0), (1.5, 1.0, 30.0), (4.0, 5.0, 3.0)],
    ids=str,
)
def test_the_closed_form_for_equal_classes_is_the_minimum_of_the_convex_problem(rates):
    """A kernel of constants class by class, all the same, takes the other way to the same end."""
    sizes, kernel = nf.Sizes(4, 3, 6), nf.BlockKernel(1.5, 0.7, 0.2)
    state = nf.initial.make("gaussian", sizes, None, 1)
    closed, found = (
        enforced(nf.Problem(sizes, k, state, decay=Decay(*rates)), 6)
        for k in (kernel, nf.ClassBlockKernel.from_block(kernel, 4))
    )
    assert (closed.rank, closed.merged, closed.NC4) == (found.rank, found.merged, found.NC4)
    assert closed.loss == pytest.approx(found.loss, rel=1e-10)
    assert closed.slowest == pytest.approx(found.slowest, rel=1e-9)
    if found.limit is not None:
        assert pytest.approx(found.NC2, abs=1e-12) == closed.NC2
        assert pytest.approx(found.NC3, abs=1e-9) == closed.NC3
        for name in ("X", "G", "b"):
            np.testing.assert_allclose(getattr(closed.limit, name), getattr(found.limit, name), atol=1e-10)


@pytest.mark.parametrize(("C", "n", "b"), [(5, 2, 0.0), (4, 1, 0.0), (5, 3, 0.5)])
def test_too_few_features_keep_as_many_contrasts_as_there_are_features(C, n, b):
    kernel, decay = nf.BlockKernel(1.5, 0.7, 0.2), Decay(0.5, 0.3, b)
    problem = nf.Problem(
        nf.Sizes(C, 2, n), kernel, nf.initial.make("gaussian", nf.Sizes(C, 2, n), None, 3), decay=decay
    )
    end = enforced(problem, n)
    solution, metrics = end_of(problem, 0.2)
    assert end.rank == n
    assert end.limit is None
    assert solution.series["loss"][-1] == pytest.approx(end.loss, rel=1e-9)
    assert metrics["NC2"] == pytest.approx(end.NC2, abs=1e-8)
    assert metrics["NC3"] < 1e-6


def test_softmax_ends_with_the_margin_that_decay_leaves():
    sizes, kernel = nf.Sizes(3, 2, 4), nf.BlockKernel(1.5, 0.7, 0.2)
    state = nf.initial.make("gaussian", sizes, None, 3)
    for decay in (Decay(0.5, 0.8), Decay(4.0, 6.0)):
        problem = nf.Problem(sizes, kernel, state, nf.CrossEntropy(), decay)
        end = enforced(problem, 4)
        solution = nf.solve(problem, t_end=60.0, stop=nf.Stop(None, None, 1e-12))
        assert solution.series["loss"][-1] == pytest.approx(end.loss, rel=1e-9)
        if end.limit is not None:
            W = solution.final.W
            np.testing.assert_allclose(W @ W.T, end.limit.X, atol=1e-7)
            np.testing.assert_allclose(solution.final.b, end.limit.b, atol=1e-7)
            assert (end.NC1, end.NC2 < 1e-9, end.NC3 < 1e-7, end.NC4) == (0, True, True, True)
    assert end.rho > 1
    assert end.limit is None
    assert enforced(nf.Problem(sizes, kernel, state, nf.CrossEntropy(), Decay(0.5, 0.3)), 1) is None


def test_a_kernel_that_differs_within_classes_keeps_a_spread():
    sizes, rng = nf.Sizes(3, 4, 6), np.random.default_rng(0)
    X = rng.standard_normal((30, 12))
    problem = nf.Problem(
        sizes,
        nf.SampleKernel(X.T @ X / 30),
        nf.initial.make("gaussian", sizes, None, 1),
        decay=Decay(0.3, 0.2),
    )
    end = enforced(problem, 6)
    _, metrics = end_of(problem, end.slowest)
    assert end.NC1 > 0.01
    assert metrics["NC1_frobenius"] == pytest.approx(end.NC1, rel=1e-6)
    assert metrics["NC2"] == pytest.approx(end.NC2, rel=1e-6)
    assert metrics["NC3"] == pytest.approx(end.NC3, rel=1e-5)
    answers = decay_conditions.predict_decayed(problem).conditions
    assert [answers[name].verdict for name in ("NC1", "NC2", "NC3", "NC4")] == [
        "no",
        "no",
        "no",
        "undetermined",
    ]


def test_minority_classes_merge_beyond_their_threshold():
    # Two classes of 5 samples: sqrt(5 * 2.5) = 3.54.
    sizes, kernel = nf.Sizes(4, (20, 10, 5, 5), 6), nf.BlockKernel(1.0, 0.5, 0.1)
    state = nf.initial.make("gaussian", sizes, None, 1)
    for rate, merged in ((3.4, ()), (3.7, ((2, 3),))):
        problem = nf.Problem(sizes, kernel, state, decay=Decay.equal(rate))
        found = decay_conditions.predict_decayed(problem)
        assert found.end.merged == merged
        assert decay_conditions.thresholds(problem) == [(5, 2, pytest.approx(np.sqrt(12.5)))]
        assert found.conditions["NC4"].verdict == ("no" if merged else "yes")


def test_classes_that_do_not_see_each_other_die_at_a_threshold_each():
    from ntkflow.theory.exact import separate_classes

    sizes, kernel = nf.Sizes(3, (9, 6, 3), 6), nf.BlockKernel(1.0, 0.5, 0.0)
    state = nf.initial.make("gaussian", sizes, None, 1)
    held = nf.State(state.H, state.W, np.zeros(3))
    for rate in (2.4, 2.5, 4.6, 4.7):
        problem = nf.Problem(sizes, kernel, held, decay=Decay(rate, rate, 0.0), train_bias=False)
        lives = [rate < limit for _, _, limit in decay_conditions.thresholds(problem)]
        assert lives == list(separate_classes(sizes, kernel, rate, rate) > 0)
        assert "by the thresholds" in decay_conditions.predict_decayed(problem).conditions["NC2"].sentence
    trained = nf.Problem(sizes, kernel, held, decay=Decay(2.4, 2.4, 0.0))
    assert decay_conditions.thresholds(trained) == []


def test_what_no_result_covers_is_left_open():
    sizes = nf.Sizes(3, 2, 4)
    state = nf.initial.make("gaussian", sizes, None, 1)
    kernel = nf.BlockKernel(1.0, 0.5, 0.1)
    assert enforced(nf.Problem(sizes, kernel, state, decay=Decay(0.1)), 4) is None
    kronecker = nf.KroneckerKernel(kernel, np.diag([1.0, 2.0, 1.0, 1.0]))
    assert enforced(nf.Problem(sizes, kronecker, state, decay=Decay.equal(0.1)), 4) is None
    # Biases so decayed that W takes over their part needs one more dimension.
    assert enforced(nf.Problem(sizes, kernel, state, decay=Decay(0.1, 0.1, 9.0)), 2) is None

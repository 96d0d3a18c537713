from dataclasses import replace

import numpy as np
import pytest

import ntkflow as nf
from ntkflow.problem.kernels import SampleKernel
from ntkflow.theory import decay_conditions, limits, spectrum
from ntkflow.theory.enforced import enforced
from ntkflow.theory.held_biases import held_conditions, held_limit
from ntkflow.theory.prediction import predict_flow, predictable, sample_conditions

SIZES, BLOCK = nf.Sizes(3, 2, 5), nf.BlockKernel(1.3, 0.6, 0.2)


def balanced(seed=0, kernel=BLOCK, sizes=SIZES, **changes):
    return nf.Problem(
        sizes, kernel, nf.initial.make("balanced", sizes, kernel, seed=seed), train_bias=False, **changes
    )


def test_without_a_bias_the_limit_is_in_closed_form_and_runs_end_there():
    problem, mu, m, P = balanced(), BLOCK.eigenvalues(SIZES), 2, np.eye(3) - 1 / 3
    J = np.eye(3) - P
    limit = held_limit(problem)
    np.testing.assert_allclose(
        limit.X, np.sqrt(m) * (P / np.sqrt(mu.mu_class) + J / np.sqrt(mu.mu_global)), atol=1e-12
    )
    np.testing.assert_allclose(
        limit.G, (np.sqrt(mu.mu_class) * P + np.sqrt(mu.mu_global) * J) / np.sqrt(m), atol=1e-12
    )
    assert pytest.approx(limits.equal_bias(SIZES, BLOCK, 0.0).NC3, rel=1e-10) == limit.NC3
    run = nf.solve(problem)
    thin, _ = run.thin(-1)
    np.testing.assert_allclose(thin.W @ thin.W.T, limit.X, atol=1e-8)
    np.testing.assert_allclose(thin.H1.T @ thin.H1, limit.G, atol=1e-8)
    assert run.series["NC1"][-1] < 1e-7
    assert run.series["NC3"][-1] == pytest.approx(limit.NC3, rel=1e-6)


def test_unequal_biases_and_kernels_without_blocks():
    """E = 0 by hand: W^T W = H K^{-1} H^T for H = W^T O K^{1/2}, O with orthonormal rows."""
    rng = np.random.default_rng(3)
    A = rng.standard_normal((6, 6))
    K = A @ A.T / 6 + np.eye(6)
    values, vectors = np.linalg.eigh(K)
    W = rng.standard_normal((3, 5))
    O = np.linalg.qr(rng.standard_normal((6, 3)))[0].T
    H = W.T @ O @ (vectors * np.sqrt(values)) @ vectors.T
    problem = nf.Problem(SIZES, SampleKernel(K), nf.State(H, W, np.array([0.2, -0.1, 0.4])), train_bias=False)
    limit = held_limit(problem)
    run = nf.solve(problem, t_end=200.0)
    np.testing.assert_allclose(run.final.W @ run.final.W.T, limit.X, atol=1e-6)


@pytest.mark.parametrize("m", [2, 1])
def test_rates_at_the_limit_are_those_of_the_table(m):
    sizes, C = nf.Sizes(3, m, 5), 3
    mu, N = BLOCK.eigenvalues(sizes), 3 * m
    limit = held_limit(balanced(sizes=sizes))
    values, vectors = np.linalg.eigh(limit.X)
    W = np.hstack([(vectors * np.sqrt(values)) @ vectors.T, np.zeros((C, 2))])
    H = np.repeat(np.linalg.pinv(W), m, axis=1)
    a, c = np.sqrt(m * mu.mu_class), np.sqrt(m * mu.mu_global)
    table = (
        (2 * a, (C - 1) ** 2),
        (c + c * np.sqrt(mu.mu_global / mu.mu_class), C - 1),
        (a + a * np.sqrt(mu.mu_class / mu.mu_global), C - 1),
        (2 * c, 1),
        (mu.mu_single * np.sqrt(m / mu.mu_class), (C - 1) * (N - C)),
        (mu.mu_single * np.sqrt(m / mu.mu_global), N - C),
    )
    expected = np.sort(np.concatenate([np.full(count, rate) for rate, count in table]))[::-1]
    for kernel in (BLOCK, SampleKernel(BLOCK.matrix(sizes))):
        found = spectrum.at_zero_loss(sizes, kernel, H, W, train_bias=False).all
        np.testing.assert_allclose(found, expected, atol=1e-9)


def test_the_answers_are_those_of_the_limit():
    answers = sample_conditions(balanced())
    assert [answers[f"NC{i}"].verdict for i in (1, 2, 3, 4)] == ["yes", "yes", "no", "yes"]
    assert answers["NC3"].numbers["NC3"] == pytest.approx(limits.equal_bias(SIZES, BLOCK, 0.0).NC3, rel=1e-10)
    free = held_conditions(limits.collapsed(SIZES, BLOCK))
    assert free["NC3"].verdict == "yes"


def test_where_the_limit_is_not_known_nothing_is_said():
    problem = balanced()
    generic = replace(problem, state=nf.initial.make("gaussian", SIZES, seed=0))
    narrow = nf.Sizes(3, 2, 2)
    assert not predictable(problem)
    with pytest.raises(nf.InputError, match="not what these closed forms are for"):
        predict_flow(problem)
    assert held_limit(replace(problem, train_bias=True)) is None
    assert held_limit(generic) is None
    assert "held" in sample_conditions(generic)["NC2"].sentence
    assert held_limit(balanced(sizes=narrow)) is None
    assert held_limit(balanced(decay=nf.Decay(W=0.1))) is None


def test_no_end_under_decay_is_made_up():
    problem = balanced(decay=nf.Decay(W=0.1, H=0.1))
    found = decay_conditions.predict_decayed(problem)
    assert enforced(problem, 3) is None
    assert found.end is None
    assert found.conditions["NC1"].verdict == "yes"
    assert "held" in found.conditions["NC3"].sentence
    assert not decay_conditions.drifts(replace(problem, decay=nf.Decay(W=0.1)))

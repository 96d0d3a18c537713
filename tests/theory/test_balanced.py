import numpy as np
import pytest
from scipy.integrate import solve_ivp

import ntkflow as nf
from ntkflow.problem.state import class_means
from ntkflow.problem.thin import decompose
from ntkflow.theory.balanced import Balanced
from tests import oracle

KERNEL = nf.BlockKernel(1.3, 0.6, 0.2)


@pytest.mark.parametrize(("C", "m", "n"), [(2, 1, 2), (3, 4, 3), (4, 3, 9)])
def test_the_reduced_flow_is_the_flow(C, m, n):
    sizes = nf.Sizes(C, m, n)
    state = nf.initial.make("balanced", sizes, KERNEL, 3)
    start = Balanced.of(state, sizes, KERNEL)
    assert start.pack().shape == (2 * C * C + C,)
    times = np.array([0.05, 0.6, 3.0])
    run = solve_ivp(
        lambda t, y: np.concatenate([part.ravel() for part in start.unpack(y).field()]),
        (0, 3.0), start.pack(), method="DOP853", t_eval=times, rtol=1e-12, atol=1e-14,
    )  # fmt: skip
    for y, end in zip(run.y.T, oracle.integrate_raw(nf.Problem(sizes, KERNEL, state), times), strict=True):
        found, thin = start.unpack(y), decompose(end, sizes, subspace=False)[0]
        np.testing.assert_allclose(found.X, end.W @ end.W.T, atol=1e-10)
        np.testing.assert_allclose(found.G, thin.H1.T @ thin.H1, atol=1e-10)
        np.testing.assert_allclose(found.b, end.b, atol=1e-10)
        assert found.trace_S == pytest.approx(float(np.sum(thin.L**2)) / m, abs=1e-10)
        assert found.loss == pytest.approx(
            0.5 * np.sum((end.logits - np.eye(C)[:, sizes.labels]) ** 2), abs=1e-10
        )
        np.testing.assert_allclose(found.R1, end.W @ thin.H1 + end.b[:, None] - np.eye(C), atol=1e-10)


def test_a_later_state_is_reduced_to_what_the_reduced_flow_gives():
    sizes = nf.Sizes(3, 4, 5)
    problem = nf.Problem(sizes, KERNEL, nf.initial.make("balanced", sizes, KERNEL, 3))
    end = oracle.integrate_raw(problem, np.array([0.5]), rtol=1e-13)[0]
    later = Balanced.of(end, sizes, KERNEL, relative=1e-10)
    np.testing.assert_allclose(
        later.X @ later.Z1, end.W @ class_means(end.H, sizes) @ _inverse_root(sizes), atol=1e-10
    )
    assert np.linalg.norm(later.Z1, 2) <= 1 + 1e-9


def _inverse_root(sizes):
    values, vectors = np.linalg.eigh(KERNEL.class_kernel(sizes))
    return np.sqrt(sizes.m) * (vectors / np.sqrt(values)) @ vectors.T


@pytest.mark.parametrize(
    ("init", "message"), [("gaussian", "must be balanced"), ("balanced-contrast", "rank below C")]
)
def test_other_states_are_refused(init, message):
    sizes = nf.Sizes(3, 4, 5)
    with pytest.raises(nf.InputError, match=message):
        Balanced.of(nf.initial.make(init, sizes, KERNEL), sizes, KERNEL)

import numpy as np
import pytest
from ntkflow_validation.metrics.probe import (
    batch_refused,
    batch_terms,
    invariant_metrics,
    invariant_terms,
    probe_kernel,
)

from ntkflow.integrate.solve import solve
from ntkflow.metrics import invariant
from ntkflow.problem.kernels import BlockKernel
from ntkflow.problem.problem import Problem
from ntkflow.problem.sizes import Sizes
from ntkflow.problem.state import State

KERNEL = BlockKernel(2.0, 0.8, 0.3)
C, n, s, copies = 3, 5, 4, 6
m = s * copies
SMALL, WHOLE = Sizes(C=C, m=s, n=n), Sizes(C=C, m=m, n=n)


@pytest.fixture
def states():
    """A state of s samples of each class, and one of m whose samples are `copies` copies of these."""
    rng = np.random.default_rng(0)
    H, W, b = rng.normal(size=(n, C * s)), 0.3 * rng.normal(size=(C, n)), rng.normal(size=C)
    blocks = H.reshape(n, C, s)
    return State(H, W, b), State(np.tile(blocks, (1, 1, copies)).reshape(n, C * m), W, b)


def test_a_probe_moves_as_the_data_set_does_in_its_own_clock(states):
    small, whole = states
    times = np.array([0.0, 0.01, 0.05])
    all_samples = solve(Problem(WHOLE, KERNEL, whole), save_at=times, rtol=1e-10)
    probe = solve(Problem(SMALL, probe_kernel(KERNEL, s, m), small), save_at=times * m / s, rtol=1e-10)
    for i in (1, 2):
        np.testing.assert_allclose(probe.state(i).W, all_samples.state(i).W, atol=1e-7)
        np.testing.assert_allclose(probe.state(i).b, all_samples.state(i).b, atol=1e-7)
        features = all_samples.state(i).H.reshape(n, C, copies, s)[:, :, 0]
        np.testing.assert_allclose(probe.state(i).H.reshape(n, C, s), features, atol=1e-7)


def test_the_invariant_of_the_data_set_from_a_probe_of_it(states):
    small, whole = states
    exact = invariant.terms(whole, WHOLE, KERNEL)
    for name in ("weights", "means", "global_mean", "within", "E"):
        found = getattr(invariant_terms(small, SMALL, KERNEL, m), name)
        np.testing.assert_allclose(found, getattr(exact, name), atol=1e-12)
    assert np.abs(batch_terms(small, SMALL, KERNEL, s).E - exact.E).max() > 0.1


def test_classes_of_different_sizes_have_an_invariant_of_their_own():
    sizes = Sizes(C=3, m=(4, 8, 6), n=n)
    rng = np.random.default_rng(1)
    start = State(rng.normal(size=(n, 18)), 0.3 * rng.normal(size=(3, n)), rng.normal(size=3))
    end = solve(Problem(sizes, KERNEL, start), save_at=[0.0, 0.3], rtol=1e-11).final
    first, last = (invariant_terms(state, sizes, KERNEL, 6) for state in (start, end))
    np.testing.assert_allclose(first.E, last.E, atol=1e-8)
    assert np.abs(first.weights - last.weights).max() > 1e-2
    K = KERNEL.matrix(sizes)
    np.testing.assert_allclose(
        6 * first.E, start.W.T @ start.W - start.H @ np.linalg.solve(K, start.H.T), atol=1e-9
    )
    row = invariant_metrics(start, sizes, KERNEL, 6, 3)
    assert row["invariant_norm"] == pytest.approx(np.linalg.norm(first.E))
    # 2, 4 and 3 of each.
    rows = [0, 1, 4, 5, 6, 7, 12, 13, 14]
    batch = State(start.H[:, rows], start.W, start.b)
    expected = invariant.terms(batch, Sizes(C=3, m=(2, 4, 3), n=n), KERNEL)
    assert row["invariant_batch_norm"] == pytest.approx(np.linalg.norm(expected.E))
    of_full = invariant_metrics(start, sizes, KERNEL, 6, 0)
    assert "invariant_batch_norm" not in of_full
    assert "differ in size" in batch_refused(of_full)
    assert batch_refused(row) is batch_refused({}) is None


def test_metrics_name_the_batch_version_and_take_its_size(states):
    small, _ = states
    row = invariant_metrics(small, SMALL, KERNEL, m, batch_per_class=2)
    assert row["invariant_batch_per_class"] == 2
    kept = np.arange(C * s).reshape(C, s)[:, :2].ravel()
    batch = State(small.H[:, kept], small.W, small.b)
    expected = invariant.terms(batch, Sizes(C=C, m=2, n=n), KERNEL)
    assert row["invariant_batch_norm"] == pytest.approx(np.linalg.norm(expected.E))
    assert row["invariant_batch_alignment"] == pytest.approx(expected.alignment)
    assert row["invariant_norm"] == pytest.approx(np.linalg.norm(invariant_terms(small, SMALL, KERNEL, m).E))
    assert invariant_metrics(small, SMALL, KERNEL, m, 0)["invariant_batch_per_class"] == s


def test_the_invariant_in_honest_units(states):
    _, whole = states
    row = invariant_metrics(whole, WHOLE, KERNEL, m, 0)
    terms = invariant.terms(whole, WHOLE, KERNEL)
    mu_class = KERNEL.eigenvalues(WHOLE)[1]
    assert row["invariant_dimensionless"] == pytest.approx(np.sqrt(m * mu_class) * np.linalg.norm(terms.E))
    weights = np.linalg.norm(whole.W.T @ whole.W) / m
    assert row["invariant_over_weights"] == pytest.approx(np.linalg.norm(terms.E) / weights)
    assert row["invariant_negative"] == np.sum(np.linalg.eigvalsh(terms.E) < 0)
    # Time, and with it kernel and features, in other units: |e^| is none of them.
    c = 4.0
    scaled = State(c * whole.H, whole.W / c, whole.b)
    kernel = BlockKernel(*(c**4 * k for k in (KERNEL.kappa_d, KERNEL.kappa_c, KERNEL.kappa_n)))
    again = invariant_metrics(scaled, WHOLE, kernel, m, 0)
    assert again["invariant_dimensionless"] == pytest.approx(row["invariant_dimensionless"])

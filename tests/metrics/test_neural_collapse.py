import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.linalg import block_diag

import ntkflow as nf
from ntkflow.metrics import neural_collapse
from ntkflow.problem.state import ThinState
from ntkflow.problem.thin import decompose
from tests import strategies


def naive(H, W, b, labels):
    """Every definition as its source prints it, in loops over samples."""
    C, classes = W.shape[0], range(W.shape[0])
    means = [H[:, labels == c].mean(axis=1) for c in classes]
    g = np.mean(means, axis=0)
    M = np.stack([mean - g for mean in means], axis=1)
    deviations = H - np.stack([means[c] for c in labels], axis=1)
    S_W, S_B = deviations @ deviations.T / H.shape[1], M @ M.T / C
    variance = [np.mean(np.sum((H[:, labels == c].T - means[c]) ** 2, axis=1)) for c in classes]
    pairs = [(c, d) for c in classes for d in classes if c != d]
    unit = M / np.linalg.norm(M, axis=0)
    P = np.eye(C) - 1 / C
    norms = np.linalg.norm(M, axis=0)
    predicted = (W @ H + b[:, None]).argmax(axis=0)
    nearest = [np.argmin([np.sum((h - mean) ** 2) for mean in means]) for h in H.T]
    G = M.T @ M
    return {
        "NC1": np.mean([H[:, labels == c].std(axis=1) for c in classes]),
        "NC1_frobenius": np.sqrt(np.trace(S_W)),
        "NC1_papyan": np.trace(S_W @ np.linalg.pinv(S_B, rcond=1e-10)) / C,
        "NC1_tirer": np.trace(S_W) / np.trace(S_B),
        "NC1_galanti": np.mean(
            [(variance[c] + variance[d]) / (2 * np.sum((means[c] - means[d]) ** 2)) for c, d in pairs]
        ),
        "NC2": np.linalg.norm(G / np.linalg.norm(G) - P / np.linalg.norm(P)),
        "NC2_unit": np.linalg.norm(unit.T @ unit - C / (C - 1) * P),
        "NC2_equinorm": norms.std() / norms.mean(),
        "NC2_equiangular": np.mean([abs(unit[:, c] @ unit[:, d] + 1 / (C - 1)) for c, d in pairs]),
        "NC3": np.linalg.norm(M / np.linalg.norm(M) - W.T / np.linalg.norm(W)),
        "NC3_unit": np.linalg.norm(unit / np.linalg.norm(unit) - W.T / np.linalg.norm(W)),
        "NC4": np.mean(predicted == np.array(nearest)),
    }


@given(strategies.problems(least_m=2))
def test_every_metric_is_its_printed_definition(problem):
    state, sizes = problem.state, problem.sizes
    expected = naive(state.H, state.W, state.b, sizes.labels)
    got = neural_collapse.measure(state, sizes)
    assert tuple(got) == neural_collapse.NAMES
    for name, value in expected.items():
        assert got[name] == pytest.approx(value, rel=1e-6, abs=1e-9), name


def test_imbalanced_classes_are_measured_class_by_class():
    sizes = nf.Sizes(3, (2, 5, 3), 6)
    state = nf.initial.gaussian(sizes, np.random.default_rng(3))
    expected = naive(state.H, state.W, state.b, sizes.labels)
    for name, value in neural_collapse.measure(state, sizes).items():
        assert value == pytest.approx(expected[name], rel=1e-8, abs=1e-12), name


def test_a_collapsed_state_has_all_metrics_at_their_ideal():
    sizes = nf.Sizes(4, 3, 6)
    frame = np.linalg.qr(np.random.default_rng(0).standard_normal((6, 4)))[0]
    M = frame @ neural_collapse.centring(4)
    state = nf.State(np.repeat(M, 3, axis=1), 2 * M.T, np.full(4, 0.25))
    metrics = neural_collapse.measure(state, sizes)
    assert metrics.pop("NC4") == 1.0
    assert max(abs(value) for value in metrics.values()) < 1e-7


def test_metrics_without_meaning_are_nan():
    state = nf.State(np.ones((3, 4)), np.ones((2, 3)), np.zeros(2))
    metrics = neural_collapse.measure(state, nf.Sizes(2, 2, 3))
    assert np.isnan(metrics["NC2"])
    assert np.isnan(metrics["NC3"])
    assert metrics["NC1"] == 0.0


def test_rotating_the_features_changes_only_the_metric_per_feature():
    sizes = nf.Sizes(3, 4, 5)
    state = nf.initial.gaussian(sizes, np.random.default_rng(0))
    rotation = block_diag(np.linalg.qr(np.random.default_rng(1).standard_normal((3, 3)))[0], np.eye(2))
    rotated = nf.State(rotation @ state.H, state.W @ rotation.T, state.b)
    before, after = neural_collapse.measure(state, sizes), neural_collapse.measure(rotated, sizes)
    assert before.pop("NC1") != pytest.approx(after.pop("NC1"), rel=1e-6)
    assert before == pytest.approx(after, rel=1e-9)


@given(strategies.problems(least_m=2), st.integers(-150, 150), st.integers(-140, 0))
def test_metrics_see_no_units(problem, of_features, of_deviations):
    thin, frame = decompose(problem.state, problem.sizes, subspace=False)
    c, d = 10.0**of_features, 10.0**of_deviations
    # The head undoes the features' unit, so that the outputs are the same.
    expected = neural_collapse.measure_thin(ThinState(thin.H1, thin.L, thin.W, thin.b), frame)
    scaled = neural_collapse.measure_thin(ThinState(c * thin.H1, c * thin.L, thin.W / c, thin.b), frame)
    for name, value in expected.items():
        factor = c if name in ("NC1", "NC1_frobenius") else 1.0
        assert scaled[name] == pytest.approx(factor * value, rel=1e-6, abs=1e-12 * factor), name
    smaller = neural_collapse.measure_thin(ThinState(thin.H1, d * thin.L, thin.W, thin.b), frame)
    for name in neural_collapse.NC1_NAMES:
        factor = d if name in ("NC1", "NC1_frobenius") else d**2
        assert smaller[name] == pytest.approx(factor * expected[name], rel=1e-6, abs=0), name


@pytest.mark.parametrize("thin", [1e-2, 1e-4])
def test_papyan_weighs_directions_in_which_the_means_hardly_differ(thin):
    # Class means along two axes, the second a share `thin` of the first, and deviations along the second alone.
    sizes = nf.Sizes(3, 2, 2)
    means = np.array([[1.0, -1.0, 0.0], [thin, thin, -2 * thin]])
    spread = 0.1 * thin * np.array([[0.0, 0.0], [1.0, -1.0]])
    H = np.repeat(means, 2, axis=1) + np.tile(spread, 3)
    found = neural_collapse.measure(nf.State(H, np.ones((3, 2)), np.zeros(3)), sizes)
    # S_W = (0.1 thin)^2 and S_B = 6 thin^2/3 on the second axis: their ratio over C is 0.01/2/3.
    assert found["NC1_papyan"] == pytest.approx(0.01 / 6, rel=1e-5)


def test_the_pseudo_inverse_of_centred_means_is_that_of_all_their_ranks():
    C = 5
    M = np.random.default_rng(0).standard_normal((6, 7, C)) * 10.0 ** np.arange(-3, 3)[:, None, None]
    # Merged classes, classes that nearly are, and no class means at all have fewer directions than C - 1.
    M[1, :, 1] = M[1, :, 0]
    M[2, :, 1] = M[2, :, 0] * (1 + 1e-6)
    M[3] = M[3, :, :1] @ M[3, :1]
    M -= M.mean(axis=2, keepdims=True)
    gram = np.swapaxes(M, 1, 2) @ M
    for rows in ([0, 2, 4, 5], [0, 1, 2, 3, 4, 5]):
        expected = np.linalg.pinv(gram[rows], rtol=1e-12, hermitian=True)
        for found, want in zip(neural_collapse.pseudo_inverse(gram[rows]), expected, strict=True):
            np.testing.assert_allclose(found, want, rtol=1e-6, atol=1e-9 * np.abs(want).max())
    assert not np.any(neural_collapse.pseudo_inverse(np.zeros((2, C, C))))


def test_a_singular_matrix_changes_no_digit_of_its_neighbours():
    M = centred_means(5, 3)
    gram = M.T @ M
    alone = neural_collapse.pseudo_inverse(gram[None])[0]
    # The means of merged classes: not even with the direction of their sum filled in is there an inverse.
    found = neural_collapse.pseudo_inverse(np.stack([gram, np.zeros((3, 3)), 2 * gram]))
    np.testing.assert_array_equal(found[0], alone)
    np.testing.assert_array_equal(found[1], np.zeros((3, 3)))


def centred_means(n, C):
    M = np.random.default_rng(0).standard_normal((n, C))
    return M - M.mean(axis=1, keepdims=True)

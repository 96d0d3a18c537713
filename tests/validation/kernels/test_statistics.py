"""Block constants of known kernels, with the spreads and errors that textbooks have."""

import numpy as np
import pytest
from ntkflow_validation.kernels import statistics
from ntkflow_validation.kernels.statistics import from_gram, sampling_error, stack
from ntkflow_validation.kernels.summary import Summary

from ntkflow.problem.kernels import BlockKernel
from ntkflow.problem.sizes import Sizes

NAMES = ("d", "c", "n", "mu_single")
SIZES = Sizes(C=3, m=4, n=2)


def sums_of(gram, labels):
    def within(block):
        s = len(block)
        return (np.trace(block) - block.sum() / s) / max(s - 1, 1)

    values = [within(gram[np.ix_(labels == c, labels == c)]) for c in range(labels.max() + 1)]
    return from_gram(gram, labels, np.array(values))


def summary_of(grams, labels, n=None, m=None):
    sums, mean = stack([sums_of(gram, labels) for gram in grams]), np.mean(grams, axis=0)
    counts, n = np.bincount(labels), n or len(grams)
    totals = counts if m is None else np.full_like(counts, m)
    constants = statistics.constants(sums, mean, labels, totals, n)
    return Summary.of(constants, sums, mean, labels, None, n)


def noisy(seed, labels, strength=0.1):
    rng = np.random.default_rng(seed)
    B = rng.normal(size=(len(labels), len(labels)))
    Y = labels[:, None] == labels[None, :]
    return 0.8 * np.eye(len(labels)) + 0.5 * Y + 0.4 + strength * (B + B.T)


def test_an_exact_block_kernel_comes_back():
    kernel = BlockKernel(2.0, 0.7, 0.3)
    result = summary_of([kernel.matrix(SIZES)], SIZES.labels)
    assert [result.constants[name].value for name in NAMES] == pytest.approx([2.0, 0.7, 0.3, 1.3], rel=1e-12)
    assert [result.constants[name].spread_entries for name in NAMES[:3]] == pytest.approx([0] * 3, abs=1e-12)
    assert result.constants["mu_single"].spread_classes == pytest.approx(0, abs=1e-12)
    assert result.block_residual == pytest.approx(0, abs=1e-12)
    # The paper's half of the samples.
    k, C = SIZES.m // 2, SIZES.C
    assert result.alignment_k == k
    expected = (2.0 + (k - 1) * 0.7) / np.sqrt(k * (4.0 + (k - 1) * 0.49 + k * (C - 1) * 0.09))
    assert result.alignment == pytest.approx(expected, rel=1e-12)


def test_the_order_of_samples_does_not_matter():
    labels, order = SIZES.labels, np.random.default_rng(1).permutation(SIZES.N)
    gram = noisy(0, labels)
    sorted_, shuffled = summary_of([gram], labels), summary_of([gram[np.ix_(order, order)]], labels[order])
    for name in NAMES:
        assert shuffled.constants[name].value == pytest.approx(sorted_.constants[name].value, rel=1e-12)
    assert shuffled.block_residual == pytest.approx(sorted_.block_residual, rel=1e-12)


def test_constants_are_means_over_neurons_and_spread_is_theirs():
    grams = [BlockKernel(d, 0.5, 0.25).matrix(SIZES) for d in (1.0, 3.0)]
    result = summary_of(grams, SIZES.labels)
    assert result.constants["d"].value == pytest.approx(2.0)
    assert result.constants["d"].spread_neurons == pytest.approx(1.0)
    assert result.constants["c"].spread_neurons == pytest.approx(0.0, abs=1e-12)


def test_the_residual_is_what_no_block_kernel_explains():
    gram = noisy(3, SIZES.labels)
    result = summary_of([gram], SIZES.labels)
    best = min(
        np.linalg.norm(gram - BlockKernel(kd, kc, kn).matrix(SIZES))
        for kd, kc, kn in [(result.constants["d"].value + a, result.constants["c"].value + b, result.constants["n"].value + c)
                           for a in (-1e-3, 0, 1e-3) for b in (-1e-3, 0, 1e-3) for c in (-1e-3, 0, 1e-3)]
    )  # fmt: skip
    assert result.block_residual == pytest.approx(best / np.linalg.norm(gram), rel=1e-12)


def test_standard_errors_vanish_only_when_everything_was_measured():
    gram = noisy(4, SIZES.labels)
    whole, part = summary_of([gram], SIZES.labels), summary_of([gram], SIZES.labels, m=8)
    assert whole.constants["n"].standard_error == 0
    assert part.constants["n"].standard_error > 0
    neurons = summary_of([gram, 2 * gram], SIZES.labels, n=8)
    # two of eight neurons whose values differ by d: d/sqrt(2) / sqrt(2) * sqrt(1 - 2/8)
    d = summary_of([gram], SIZES.labels).constants["d"].value
    assert neurons.constants["d"].standard_error == pytest.approx(d / 2 * np.sqrt(0.75), rel=1e-12)


def test_sampling_errors_have_the_size_of_the_actual_errors():
    population = np.repeat(np.arange(3), 60)
    gram = noisy(5, population, strength=0.0)
    rng = np.random.default_rng(6)
    features = rng.normal(size=(180, 40)) / np.sqrt(40)
    gram = gram + features @ features.T
    truth = summary_of([gram], population)
    scaled = []
    for _ in range(60):
        rows = np.concatenate([60 * c + rng.choice(60, 10, replace=False) for c in range(3)])
        part = summary_of([gram[np.ix_(rows, rows)]], population[rows], m=60)
        scaled.append(
            [
                (part.constants[k].value - truth.constants[k].value) / part.constants[k].standard_error
                for k in NAMES
            ]
        )
    rms = np.sqrt(np.mean(np.square(scaled), axis=0))
    assert np.all((rms > 0.6) & (rms < 1.6)), rms


def test_the_jackknife_of_a_mean_is_its_standard_error():
    """kappa_d is a mean over samples drawn class by class, whose standard error every textbook has."""
    rng = np.random.default_rng(0)
    labels, totals = np.repeat([0, 1, 2], (4, 7, 5)), np.array([40.0, 9.0, 5.0])
    K = rng.standard_normal((16, 16))
    K += K.T
    counts, diagonal = np.bincount(labels), np.diag(K)
    variances = [np.var(diagonal[labels == c], ddof=1) for c in range(3)]
    expected = np.sqrt(np.sum((counts / 16) ** 2 * (1 - counts / totals) * variances / counts))
    assert sampling_error(K, labels, totals)[0] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("constants", "rule"),
    [
        ((1.0, 1.2, 0.1), "mu_single > 0"),
        ((1.0, 0.1, 0.9), "mu_class > 0"),
        ((1.0, 0.5, -0.9), "mu_global > 0"),
    ],
)
def test_a_broken_order_is_said_and_refused(constants, rule):
    kd, kc, kn = constants
    Y = SIZES.labels[:, None] == SIZES.labels[None, :]
    result = summary_of([(kd - kc) * np.eye(SIZES.N) + (kc - kn) * Y + kn], SIZES.labels)
    assert rule in result.broken_order(np.array(SIZES.counts))


def test_alignment_and_block_residual_are_one_number_wherever_they_are_reported():
    labels = SIZES.labels
    gram = noisy(3, labels)
    result = summary_of([gram], labels)
    assert result.alignment == result.alignment_on(result.alignment_k) == statistics.alignment(gram, labels)
    assert result.alignment != result.alignment_on(SIZES.m)
    assert result.block_residual == statistics.block_residual(gram, labels)
    written = result.to_dict("kappa")
    assert (written["alignment"], written["alignment_k"]) == (result.alignment, result.alignment_k)
    order = np.random.default_rng(1).permutation(SIZES.N)
    assert result.reordered(order).alignment == result.alignment


def test_the_spread_of_mu_single_is_over_classes():
    """Each class has its own kappa_d - kappa_c here, and all entries of a kind are equal."""
    labels = SIZES.labels
    own = np.array([1.0, 2.0, 4.0])
    result = summary_of([np.diag(own[labels]) + 0.3], labels).constants["mu_single"]
    assert (result.value, result.spread_entries) == (pytest.approx(own.mean()), None)
    assert result.spread_classes == pytest.approx(own.std())


def uneven(seed=0):
    labels = np.repeat([0, 1, 2], (5, 3, 4))
    K = np.random.default_rng(seed).standard_normal((12, 12))
    return K + K.T, labels


def naive(K, labels):
    """kappa_d, kappa_c, kappa_n and mu_single as means over entries, one kind after the other."""
    same, eye = labels[:, None] == labels[None, :], np.eye(len(K), dtype=bool)
    d, c, n = (K[mask].mean() for mask in (eye, same & ~eye, ~same))
    return [d, c, n, d - c]


def test_constants_of_uneven_classes_are_means_over_entries_and_quotients_over_contrasts():
    K, labels = uneven()
    found = summary_of([K], labels).constants
    indicators = (labels[:, None] == np.arange(3)) / np.sqrt(np.bincount(labels))
    ones = np.full(12, 1 / np.sqrt(12))
    contrasts = indicators @ indicators.T - np.outer(ones, ones)
    expected = [*naive(K, labels), np.trace(contrasts @ K) / 2, ones @ K @ ones]
    assert [found[name].value for name in statistics.NAMES] == pytest.approx(expected, rel=1e-12)


def test_spreads_over_uneven_classes_are_those_of_their_own_constants():
    K, labels = uneven()
    found = summary_of([K], labels).constants
    blocks = [K[np.ix_(labels == c, labels == c)] for c in range(3)]
    d = [np.diag(B).mean() for B in blocks]
    c = [B[~np.eye(len(B), dtype=bool)].mean() for B in blocks]
    n = [K[np.ix_(labels == i, labels == j)].mean() for i in range(3) for j in range(i)]
    expected = [np.std(d), np.std(c), np.std(n), np.std(np.subtract(d, c))]
    assert [found[name].spread_classes for name in NAMES] == pytest.approx(expected, rel=1e-12)


def test_leaving_a_sample_out_is_measuring_without_it():
    K, labels = uneven(1)
    left = statistics._leave_one_out(K, labels)
    for i in range(12):
        rest = np.delete(np.arange(12), i)
        np.testing.assert_allclose(left[i], naive(K[np.ix_(rest, rest)], labels[rest]), rtol=1e-11)

import numpy as np
import pytest

from ntkflow.errors import InputError
from ntkflow.kernels import BlockKernel
from ntkflow.sizes import Sizes
from validation.blocks import NAMES, BlockFit, KernelSample, fit
from validation.kernels import statistics
from validation.kernels.statistics import from_gram, sampling_error, stack
from validation.kernels.summary import Summary

SIZES = Sizes(C=3, m=4, n=2)


def sums_of(gram, labels):
    def within(block):
        s = len(block)
        return (np.trace(block) - block.sum() / s) / max(s - 1, 1)

    values = [within(gram[np.ix_(labels == c, labels == c)]) for c in range(labels.max() + 1)]
    return from_gram(gram, labels, np.array(values))


def fit_of(grams, labels, n=None, m=None):
    constants = stack([sums_of(gram, labels) for gram in grams]).constants[:, :4]
    total = m or int(np.bincount(labels)[0])
    return fit(KernelSample(labels, np.mean(grams, axis=0), constants, n or len(grams), total))


def noisy(seed, labels, strength=0.1):
    rng = np.random.default_rng(seed)
    B = rng.normal(size=(len(labels), len(labels)))
    Y = labels[:, None] == labels[None, :]
    return 0.8 * np.eye(len(labels)) + 0.5 * Y + 0.4 + strength * (B + B.T)


def test_an_exact_block_kernel_comes_back():
    kernel = BlockKernel(2.0, 0.7, 0.3)
    result = fit_of([kernel.matrix(SIZES)], SIZES.labels)
    assert [getattr(result, name).value for name in NAMES] == pytest.approx([2.0, 0.7, 0.3, 1.3], rel=1e-12)
    assert [getattr(result, name).spread_entries for name in NAMES] == pytest.approx([0] * 4, abs=1e-12)
    assert result.block_residual == pytest.approx(0, abs=1e-12)
    assert result.kernel().eigenvalues(SIZES) == pytest.approx(kernel.eigenvalues(SIZES), rel=1e-12)
    # The paper's half of the samples.
    k, C = SIZES.m // 2, SIZES.C
    assert result.alignment_k == k
    expected = (2.0 + (k - 1) * 0.7) / np.sqrt(k * (4.0 + (k - 1) * 0.49 + k * (C - 1) * 0.09))
    assert result.alignment == pytest.approx(expected, rel=1e-12)


def test_the_order_of_samples_does_not_matter():
    labels, order = SIZES.labels, np.random.default_rng(1).permutation(SIZES.N)
    gram = noisy(0, labels)
    sorted_fit, shuffled = fit_of([gram], labels), fit_of([gram[np.ix_(order, order)]], labels[order])
    for name in NAMES:
        assert getattr(shuffled, name).value == pytest.approx(getattr(sorted_fit, name).value, rel=1e-12)
    assert shuffled.block_residual == pytest.approx(sorted_fit.block_residual, rel=1e-12)


def test_constants_are_means_over_neurons_and_spread_is_theirs():
    grams = [BlockKernel(d, 0.5, 0.25).matrix(SIZES) for d in (1.0, 3.0)]
    result = fit_of(grams, SIZES.labels)
    assert result.kappa_d.value == pytest.approx(2.0)
    assert result.kappa_d.spread_neurons == pytest.approx(1.0)
    assert result.kappa_c.spread_neurons == pytest.approx(0.0, abs=1e-12)


def test_the_residual_is_what_no_block_kernel_explains():
    gram = noisy(3, SIZES.labels)
    result = fit_of([gram], SIZES.labels)
    best = min(
        np.linalg.norm(gram - BlockKernel(kd, kc, kn).matrix(SIZES))
        for kd, kc, kn in [(result.kappa_d.value + a, result.kappa_c.value + b, result.kappa_n.value + c)
                           for a in (-1e-3, 0, 1e-3) for b in (-1e-3, 0, 1e-3) for c in (-1e-3, 0, 1e-3)]
    )  # fmt: skip
    assert result.block_residual == pytest.approx(best / np.linalg.norm(gram), rel=1e-12)


def test_standard_errors_vanish_only_when_everything_was_measured():
    gram = noisy(4, SIZES.labels)
    whole, part = fit_of([gram], SIZES.labels), fit_of([gram], SIZES.labels, m=8)
    assert whole.kappa_n.standard_error == 0
    assert part.kappa_n.standard_error > 0
    neurons = fit_of([gram, 2 * gram], SIZES.labels, n=8)
    # two of eight neurons whose values differ by d: d/sqrt(2) / sqrt(2) * sqrt(1 - 2/8)
    d = fit_of([gram], SIZES.labels).kappa_d.value
    assert neurons.kappa_d.standard_error == pytest.approx(d / 2 * np.sqrt(0.75), rel=1e-12)


def test_sampling_errors_have_the_size_of_the_actual_errors():
    population = np.repeat(np.arange(3), 60)
    gram = noisy(5, population, strength=0.0)
    rng = np.random.default_rng(6)
    features = rng.normal(size=(180, 40)) / np.sqrt(40)
    gram = gram + features @ features.T
    truth = fit_of([gram], population)
    scaled = []
    for _ in range(60):
        rows = np.concatenate([60 * c + rng.choice(60, 10, replace=False) for c in range(3)])
        part = fit_of([gram[np.ix_(rows, rows)]], population[rows], m=60)
        scaled.append(
            [
                (getattr(part, k).value - getattr(truth, k).value) / getattr(part, k).standard_error
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
    ("labels", "rule"), [([0, 0, 1], "equally many"), ([0, 1], "two samples"), ([0, 0, 2, 2], "equally many")]
)
def test_sets_that_do_not_determine_the_constants_are_refused(labels, rule):
    labels = np.array(labels)
    with pytest.raises(InputError, match=rule):
        fit(KernelSample(labels, np.eye(len(labels)), np.ones((1, 4)), 1, 4))


@pytest.mark.parametrize(
    ("constants", "rule"),
    [
        ((1.0, 1.2, 0.1), "kappa_d > kappa_c"),
        ((1.0, 0.1, 0.2), "kappa_c >= kappa_n"),
        ((1.0, 0.5, -0.1), "kappa_n >= 0"),
    ],
)
def test_a_broken_order_is_said_and_refused(constants, rule):
    kd, kc, kn = constants
    Y = SIZES.labels[:, None] == SIZES.labels[None, :]
    result = fit_of([(kd - kc) * np.eye(SIZES.N) + (kc - kn) * Y + kn], SIZES.labels)
    assert rule in result.broken_order
    with pytest.raises(InputError, match="order of a block kernel"):
        result.kernel()


def test_a_fit_survives_its_dictionary():
    result = fit_of([noisy(7, SIZES.labels)], SIZES.labels)
    values = {k: v for k, v in result.to_dict().items() if k != "broken_order"}
    assert BlockFit.from_dict(values) == result


def test_alignment_and_block_residual_are_one_number_wherever_they_are_reported():
    labels = SIZES.labels
    gram = noisy(3, labels)
    result, sums = fit_of([gram], labels), sums_of(gram, labels)
    summary = Summary({}, sums, gram, labels, None, 1)
    assert result.alignment == summary.alignment() == statistics.alignment(gram, labels)
    assert result.alignment != statistics.alignment(gram, labels, SIZES.m)
    assert result.block_residual == summary.block_residual
    written = summary.to_dict("kappa")
    assert (written["alignment"], written["alignment_k"]) == (result.alignment, result.alignment_k)
    assert BlockFit.from_dict(result.to_dict()) == result


def test_files_of_earlier_versions_say_on_how_many_samples_their_alignment_was_taken():
    found = fit_of([noisy(3, SIZES.labels)], SIZES.labels).to_dict()
    earlier = {name: value for name, value in found.items() if name not in ("alignment_k", "block_residual")}
    read = BlockFit.from_dict({**earlier, "residual": 0.25})
    assert (read.alignment_k, read.block_residual) == (SIZES.m, 0.25)

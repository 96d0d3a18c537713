import pickle

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import ntkflow as nf
from ntkflow.problem import kernels
from tests.problem.kernels import ladder

SIZES = [nf.Sizes(3, 4, 5), nf.Sizes(2, 1, 3), nf.Sizes(4, 3, 2), nf.Sizes(3, (1, 4, 2), 4)]
RUNGS = [
    (name, sizes)
    for name in ladder.NAMES
    for sizes in SIZES
    if sizes.balanced or name not in ladder.BALANCED_ONLY
]


def close(got, want, rtol=1e-12):
    np.testing.assert_allclose(got, want, atol=rtol * max(1.0, np.abs(want).max()))


@pytest.mark.parametrize(("name", "sizes"), RUNGS)
def test_every_rung_applies_and_solves_as_its_written_out_operator(name, sizes):
    kernel = ladder.make(name, sizes)
    kernel.check(sizes)
    G = np.random.default_rng(1).standard_normal((sizes.n, sizes.N))
    image = (ladder.dense(kernel, sizes) @ G.ravel()).reshape(G.shape)
    close(kernel.apply(G, sizes), image)
    close(kernel.solve(image, sizes), G, 1e-11)
    assert kernel.at(3.0) is kernel
    assert kernel.as_dict()["rung"] == name


@pytest.mark.parametrize("name", ladder.NAMES)
def test_what_a_rung_is_good_for_is_asked_by_its_properties(name):
    sizes = SIZES[0]
    kernel = ladder.make(name, sizes)
    moving = kernels.ScheduledKernel((0.0, 1.0), (kernel, kernel))
    assert kernel.on_samples is (name in ("block", "class-block", "sample"))
    assert kernel.kappas == ((1.3, 0.5, 0.1) if name == "block" else None)
    assert kernel.sample_matrix is (kernel.K if name == "sample" else None)
    assert (kernel.moves, kernel.knots, kernel.at_knots) == (False, (), (kernel,))
    assert (moving.moves, moving.knots, moving.at_knots) == (True, (0.0, 1.0), (kernel, kernel))
    assert (moving.on_samples, moving.kappas, moving.sample_matrix) == (False, None, None)
    G = np.ones((sizes.n, sizes.N))
    np.testing.assert_array_equal(kernel.slope(0.5, G, sizes), 0 * G)
    assert kernel.rests == [(0.0, np.inf, kernel)]


@pytest.mark.parametrize("name", ["block", "class-block", "sample"])
def test_the_sample_rungs_write_out_their_matrix(name):
    sizes = SIZES[3]
    kernel = ladder.make(name, sizes)
    close(np.kron(np.eye(sizes.n), kernel.matrix(sizes)), ladder.dense(kernel, sizes))


@given(st.integers(2, 4), st.integers(1, 4), st.integers(1, 4), st.integers(0, 10**6))
def test_each_rung_contains_the_one_below(C, m, n, seed):
    sizes = nf.Sizes(C, m, n)
    rng = np.random.default_rng(seed)
    G = rng.standard_normal((n, sizes.N))
    block = nf.BlockKernel(1.3, 0.5, 0.1)
    want = block.apply(G, sizes)
    K, In = block.matrix(sizes), np.eye(n)
    promoted = [
        kernels.ClassBlockKernel.from_block(block, C),
        kernels.SampleKernel(K),
        kernels.KroneckerKernel(block, In),
        kernels.KroneckerKernel(K, In),
        kernels.MatrixBlockKernel(0.8 * In, 0.4 * In, 0.1 * In),
        kernels.MatrixBlockKernel.from_values(1.3 * In, 0.5 * In, 0.1 * In),
        kernels.TensorKernel(np.kron(In, K)),
    ]
    for kernel in promoted:
        close(kernel.apply(G, sizes), want)
    A = ladder.spd(n, rng)
    kronecker = kernels.KroneckerKernel(block, A)
    close(kernels.TensorKernel(np.einsum("ij,sr->isjr", A, K)).apply(G, sizes), kronecker.apply(G, sizes))
    close(kernels.MatrixBlockKernel(0.8 * A, 0.4 * A, 0.1 * A).apply(G, sizes), kronecker.apply(G, sizes))


@given(st.lists(st.integers(1, 4), min_size=2, max_size=4), st.integers(0, 10**6))
def test_imbalanced_blocks_are_class_blocks_with_equal_constants(counts, seed):
    sizes = nf.Sizes(len(counts), tuple(counts), 3)
    block = nf.BlockKernel(1.3, 0.5, 0.1)
    promoted = kernels.ClassBlockKernel.from_block(block, sizes.C)
    G = np.random.default_rng(seed).standard_normal((3, sizes.N))
    close(block.apply(G, sizes), promoted.apply(G, sizes))
    close(block.thin(sizes).class_kernel, promoted.thin(sizes).class_kernel)
    close(block.thin(sizes).within, promoted.thin(sizes).within)


@pytest.mark.parametrize("name", ["block", "class-block"])
@pytest.mark.parametrize("sizes", SIZES)
def test_class_means_see_the_class_kernel_and_deviations_their_own_rate(name, sizes):
    kernel = ladder.make(name, sizes)
    thin = kernel.thin(sizes)
    means = np.random.default_rng(2).standard_normal((2, sizes.C))
    Y = np.eye(sizes.C)[:, sizes.labels]
    close(kernel.apply(means @ Y, nf.Sizes(sizes.C, sizes.m, 2)), means @ thin.class_kernel @ Y)
    deviation = np.zeros((1, sizes.N))
    start = sizes.starts[-1]
    if sizes.counts[-1] > 1:
        deviation[0, start : start + 2] = 1, -1
        close(kernel.apply(deviation, nf.Sizes(sizes.C, sizes.m, 1)), thin.within[-1] * deviation)


@pytest.mark.parametrize("name", ["sample", "kronecker", "matrix-block", "tensor"])
def test_rungs_without_blocks_have_no_thin_form(name):
    sizes = SIZES[0]
    assert ladder.make(name, sizes).thin(sizes) is None


@given(st.integers(2, 5), st.integers(1, 5), *[st.floats(-2, 2)] * 3)
def test_blocks_are_accepted_where_all_eigenvalues_are_positive_and_only_there(C, m, own, within, between):
    sizes = nf.Sizes(C, m, 2)
    kernel = nf.BlockKernel(within + abs(own), within, between)
    # With one sample per class there are no deviations for mu_single to act on.
    least = min(kernel.eigenvalues(sizes)[0 if m > 1 else 1 :])
    assume(abs(least) > 1e-12 * abs(max(kernel.kappas, key=abs)))
    np.testing.assert_allclose(least, np.linalg.eigvalsh(kernel.matrix(sizes))[0], atol=1e-12)
    assert (kernel.broken(sizes) is None) == (least > 0)
    unequal = nf.Sizes(C, (m + 1, *[m] * (C - 1)), 2)
    least = np.linalg.eigvalsh(kernel.matrix(unequal))[0]
    assume(abs(least) > 1e-12)
    assert (kernel.broken(unequal) is None) == (least > 0)
    for these in (sizes, unequal):
        if kernel.broken(these) is not None:
            with pytest.raises(nf.InputError, match=r"kappa_[dn] = "):
                kernel.check(these)


@pytest.mark.parametrize(
    ("kappas", "m", "words"),
    [
        ((1.0, 0.1, 0.6), 2, r"mu_class > 0 .* = -0.1 for m = 2\)"),
        ((1.0, 0.4, -0.4), 2, r"mu_global > 0 .* = -0.2 for N = 6\): .*give kappa_n between -0.35 and 0.7"),
        ((1.0, 0.1, 0.9), (2, 3, 4), "bring kappa_n nearer to 0"),
        ((0.0, 0.0, 0.0), 2, "must be > 0"),
        ((1.0, 1.0, 1.0), 1, "mu_class > 0"),
    ],
)
def test_a_kernel_that_is_not_positive_is_refused_with_the_eigenvalue(kappas, m, words):
    with pytest.raises(nf.InputError, match=words):
        nf.BlockKernel(*kappas).check(nf.Sizes(3, m, 2))


EYE = np.eye(3)
SKEW = EYE + np.array([[0, 1, 0], [0, 0, 0], [0, 0, 0]])
FLAT = np.diag([1.0, 1.0, 0.0])
MIXED = np.diag([1.0, 1.0, -1.0])
THREE = nf.Sizes(3, 1, 3)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: kernels.SampleKernel(SKEW), r"K = matrix with .* must be symmetric"),
        (lambda: kernels.SampleKernel(np.ones((2, 3))), r"K = array of shape \(2, 3\): must be square"),
        (lambda: kernels.SampleKernel(EYE * np.nan), "K = array with 9 NaN"),
        (lambda: kernels.SampleKernel("x"), "must hold real numbers, not text"),
        (lambda: kernels.SampleKernel(FLAT).check(THREE), "K is singular: 1 of 3 directions would be frozen"),
        (
            lambda: kernels.SampleKernel(MIXED).check(THREE),
            "K is indefinite: 1 of 3 eigenvalues are negative",
        ),
        (
            lambda: kernels.SampleKernel(EYE).check(nf.Sizes(3, 2, 3)),
            r"must have shape \(6, 6\), one row per",
        ),
        (lambda: kernels.KroneckerKernel(EYE, FLAT).check(THREE), "A is singular"),
        (lambda: kernels.KroneckerKernel(EYE, np.eye(2)).check(THREE), r"A = .* must have shape \(3, 3\)"),
        (
            lambda: kernels.KroneckerKernel(kernels.TensorKernel(EYE), EYE),
            "K = tensor kernel: must act on samples",
        ),
        (lambda: kernels.MatrixBlockKernel(EYE, EYE, np.eye(2)), r"A_n = array of shape \(2, 2\)"),
        (lambda: kernels.MatrixBlockKernel(MIXED, EYE, EYE).check(nf.Sizes(3, 2, 3)), "A_d is indefinite"),
        (lambda: kernels.MatrixBlockKernel(EYE, -EYE, EYE).check(THREE), r"A_d \+ m A_c is singular"),
        (
            lambda: kernels.MatrixBlockKernel(EYE, EYE, EYE).check(nf.Sizes(2, (1, 2), 3)),
            r"m = \[1, 2\]: must be eq",
        ),
        (lambda: kernels.TensorKernel(np.ones((2, 3, 3, 2))), r"must have shape \(n, N, n, N\)"),
        (lambda: kernels.TensorKernel(np.eye(9) - 1).check(THREE), "Theta is indefinite"),
        (
            lambda: kernels.ClassBlockKernel([1.0, 1.0], EYE),
            r"B = array of shape \(3, 3\): must have shape \(2, 2\)",
        ),
        (
            lambda: kernels.ClassBlockKernel([2.0, 2, 1], EYE).check(nf.Sizes(3, 2, 3)),
            r"kappa_d\[2\] = 1.0: must exc",
        ),
        (lambda: kernels.ClassBlockKernel([2.0, 2, 2], EYE - 2).check(nf.Sizes(3, 9, 3)), "is indefinite"),
        (lambda: kernels.ClassBlockKernel([2.0, 2, 2], EYE).check(nf.Sizes(2, 2, 3)), "one value per class"),
        (lambda: nf.BlockKernel(0.5, 0.5, 0.1).check(nf.Sizes(2, (1, 2), 3)), "equals kappa_c"),
    ],
)
def test_kernels_that_do_not_fit_are_refused_with_the_reason(build, message):
    with pytest.raises(nf.InputError, match=message):
        build()


def test_a_class_of_one_sample_may_have_any_within_rate():
    sizes = nf.Sizes(2, (1, 2), 2)
    kernel = kernels.ClassBlockKernel([1.0, 2.0], [[1.0, 0.1], [0.1, 0.8]])
    kernel.check(sizes)
    G = np.random.default_rng(0).standard_normal((2, 3))
    close(kernel.solve(kernel.apply(G, sizes), sizes), G)


def test_asymmetry_of_rounding_size_is_averaged_away():
    noisy = EYE.copy()
    noisy[0, 1] = 1e-13
    kernel = kernels.SampleKernel(noisy)
    np.testing.assert_array_equal(kernel.K, kernel.K.T)


def test_a_measured_kernel_is_regularised_in_its_own_eigenvectors():
    sizes = nf.Sizes(2, 2, 3)
    V = np.linalg.qr(np.random.default_rng(0).standard_normal((4, 4)))[0]
    kernel = kernels.SampleKernel.regularised((V * [2.0, 1.0, 0.0, -1e-6]) @ V.T, ridge=1e-3)
    kernel.check(sizes)
    close(kernel.K, (V * [2.0, 1.0, 2e-3, 2e-3]) @ V.T)
    fine = kernels.SampleKernel(ladder.spd(4, np.random.default_rng(1)))
    close(kernels.SampleKernel.regularised(fine.K).K, fine.K)
    with pytest.raises(nf.InputError, match=r"largest eigenvalue -1: must be positive"):
        kernels.SampleKernel.regularised(-np.eye(4))
    with pytest.raises(nf.InputError, match=r"ridge = 0: must lie"):
        kernels.SampleKernel.regularised(np.eye(4), ridge=0)


def test_what_is_known_of_a_kernel_on_some_sizes_is_not_taken_for_others():
    kernel, good, bad = nf.BlockKernel(1.0, 0.5, -0.1), nf.Sizes(2, 2, 3), nf.Sizes(9, 2, 3)
    for _ in range(2):
        kernel.check(good)
        assert kernel.eigenvalues(good) == (0.5, 0.5 + 2 * 0.6, 0.5 + 2 * 0.6 - 4 * 0.1)
        with pytest.raises(nf.InputError, match="mu_global > 0"):
            kernel.check(bad)
        assert kernel.eigenvalues(bad).mu_global == pytest.approx(1.7 - 1.8)
    # It travels and is compared by its constants alone.
    assert pickle.loads(pickle.dumps(kernel)) == kernel == nf.BlockKernel(1.0, 0.5, -0.1)
    assert vars(pickle.loads(pickle.dumps(kernel))) == {"kappa_d": 1.0, "kappa_c": 0.5, "kappa_n": -0.1}

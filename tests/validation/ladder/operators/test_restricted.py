import numpy as np
import pytest
from ntkflow_validation.kernels.methods.class_kernels import ClassKernels
from ntkflow_validation.kernels.methods.components import split
from ntkflow_validation.ladder.operators import restricted
from ntkflow_validation.ladder.operators.base import ClassOperator, nystrom

from ntkflow.problem.kernels import BlockKernel, ClassBlockKernel
from ntkflow.problem.sizes import Sizes

SIZES = Sizes(C=3, m=4, n=5)
ALL = np.eye(5)


def kernels(seed=0):
    rng = np.random.default_rng(seed)
    J = rng.normal(size=(15, 20))
    Z = rng.normal(size=(3, 5, 8))
    return ClassKernels((J @ J.T).reshape(5, 3, 5, 3), Z @ Z.transpose(0, 2, 1), 0.1, SIZES)


def matrix(operator):
    basis = np.eye(60).reshape(60, 5, 12)
    return np.stack([operator.act(G).reshape(-1) for G in basis], axis=1)


BASIS = restricted.row_basis(np.random.default_rng(1).normal(size=(3, 5)))
FOUND = kernels()
SUMS = np.random.default_rng(2).normal(size=(5, 3))


def krylov(k, sums=SUMS):
    """On the first k directions of T from `sums`, scalar blocks elsewhere."""
    T = FOUND.T.reshape(15, 15)
    Z, images = restricted.explored(lambda z: (T @ z.reshape(-1)).reshape(5, 3), sums, k)
    return restricted.krylov(Z, images, restricted.scalar_blocks(FOUND, BASIS))


MADE = {
    "scalar blocks": restricted.scalar_blocks(FOUND, BASIS),
    "scalar classes": restricted.scalar_classes(FOUND, BASIS),
    "matrix blocks": restricted.matrix_blocks(FOUND),
    "matrix blocks in the row space": restricted.matrix_blocks(FOUND, BASIS),
    "class matrices": restricted.class_matrices(FOUND),
    "class matrices in the row space": restricted.class_matrices(FOUND, BASIS),
    "neurons": restricted.independent_neurons(FOUND),
    "product": restricted.product(FOUND, BASIS),
    "modes": restricted.leading_modes(FOUND, 2, BASIS),
    "krylov": krylov(3),
    "quotients": restricted.quotients({"within": 0.5, "contrast": float("nan"), "mean": 3.0}, SIZES),
}


@pytest.mark.parametrize("name", MADE)
def test_every_description_is_symmetric_and_positive(name):
    found = matrix(MADE[name])
    np.testing.assert_allclose(found, found.T, atol=1e-9 * np.abs(found).max())
    values = np.linalg.eigvalsh(found)
    assert values[0] > -1e-9 * values[-1]
    assert MADE[name].gain == pytest.approx(values[-1], rel=0.05)


def test_restrictions_to_all_directions_change_nothing():
    whole = matrix(restricted.class_matrices(FOUND))
    np.testing.assert_allclose(matrix(restricted.class_matrices(FOUND, ALL)), whole, atol=1e-10)
    np.testing.assert_allclose(
        matrix(restricted.leading_modes(FOUND, 15, ALL)) @ _means(), whole @ _means(), atol=1e-9
    )


def _means():
    """Projector on matrices whose columns are the same within a class."""
    same = np.repeat(np.eye(3), 4, axis=1)
    return np.kron(np.eye(5), same.T @ same / 4)


def test_what_is_in_the_row_space_stays_exact_there():
    projector = np.kron(BASIS.T @ BASIS, np.eye(12))
    whole, small = matrix(restricted.class_matrices(FOUND)), matrix(MADE["class matrices in the row space"])
    np.testing.assert_allclose(small, projector @ whole @ projector, atol=1e-9)


def test_krylov_is_exact_on_what_it_explored_and_blocks_elsewhere():
    T = FOUND.T.reshape(15, 15)
    found = MADE["krylov"].T.reshape(15, 15)
    for power in range(3):
        z = np.linalg.matrix_power(T, power) @ SUMS.reshape(-1)
        np.testing.assert_allclose(found @ z, T @ z, rtol=1e-8)
    none = krylov(3, np.zeros((5, 3)))
    np.testing.assert_allclose(none.T, MADE["scalar blocks"].T, atol=1e-12)
    full = krylov(15)
    np.testing.assert_allclose(full.T, FOUND.T, atol=1e-3 * np.abs(FOUND.T).max())


def test_a_product_is_found_exactly():
    rng = np.random.default_rng(3)
    A, B = (np.cov(rng.normal(size=(k, 9))) for k in (5, 3))
    T = np.einsum("pq,cd->pcqd", A, B)
    found = restricted.product(ClassKernels(T, FOUND.D, None, SIZES), ALL)
    np.testing.assert_allclose(found.T, T, atol=1e-12)


def test_averages_are_projections():
    T = restricted.scalar_blocks(FOUND, ALL)
    again = restricted.scalar_blocks(ClassKernels(T.T, np.einsum("c,pq->cpq", T.D, ALL), None, SIZES), ALL)
    np.testing.assert_allclose(again.T, T.T, atol=1e-12)
    np.testing.assert_allclose(again.D, T.D, atol=1e-12)


def test_nystrom_is_exact_on_its_directions():
    operator = ClassOperator(FOUND.T, FOUND.D, SIZES)
    Z = np.random.default_rng(4).normal(size=(3, 5, 12))
    images = np.stack([operator.act(z) for z in Z])
    found = nystrom(np.concatenate([Z, Z[:1]]), np.concatenate([images, images[:1]]), SIZES)
    for z, image in zip(Z, images, strict=True):
        np.testing.assert_allclose(found.act(z), image, atol=1e-8)


def test_the_clock_of_a_probe_keeps_the_class_means_and_slows_deviations():
    block = 0.4 * np.eye(3) + 0.3
    T = restricted.isotropic(block + 2.0 / 4 * np.eye(3), SIZES)
    D = np.repeat(2.0 * ALL[None], 3, axis=0)
    probe = ClassKernels(T, D, None, SIZES).for_data_set(40)
    np.testing.assert_allclose(probe.T, restricted.isotropic(block + 2.0 / 40 * np.eye(3), SIZES), atol=1e-12)
    np.testing.assert_allclose(probe.D, D / 10)


def test_a_zero_head_has_all_directions():
    np.testing.assert_array_equal(restricted.row_basis(np.zeros((3, 5))), ALL)
    assert len(BASIS) == 3


UNEQUAL = Sizes(C=3, m=(4, 7, 2), n=5)
BLOCK = BlockKernel(1.5, 0.9, 0.2)
# What the residual sees of it is told from what it is by projections: the three eigenvalues of other operators.
THREE = {"within": 0.6, "contrast": 2.0, "mean": 5.0}


def of_blocks(kernel, kd, sizes):
    """T and D of a kernel of blocks: mean gradients of m_c samples hold 1/m_c of their covariance."""
    mu = kd - np.diag(kernel)
    T = np.einsum("cd,pq->pcqd", kernel + np.diag(mu / sizes.masses), ALL)
    return ClassKernels(T, np.einsum("c,pq->cpq", mu, ALL), None, sizes)


@pytest.mark.parametrize("sizes", [SIZES, UNEQUAL], ids=["equal", "unequal"])
def test_a_block_kernel_is_kept_by_every_description_whatever_the_class_sizes(sizes):
    G = np.random.default_rng(3).normal(size=(5, sizes.N))
    found = of_blocks(0.2 + 0.7 * np.eye(3), np.full(3, 1.5), sizes)
    exact = BLOCK.apply(G, sizes)
    for made in (
        restricted.scalar_blocks(found, BASIS), restricted.scalar_classes(found, BASIS), restricted.matrix_blocks(found),
        restricted.class_matrices(found), restricted.independent_neurons(found),
    ):  # fmt: skip
        np.testing.assert_allclose(made.act(G), exact, atol=1e-12)
    B, kd = np.array([[0.9, 0.1, 0.2], [0.1, 0.5, 0.0], [0.2, 0.0, 0.8]]), np.array([1.5, 1.0, 2.0])
    own = restricted.scalar_classes(of_blocks(B, kd, sizes), ALL).act(G)
    np.testing.assert_allclose(own, ClassBlockKernel(kd, B).apply(G, sizes), atol=1e-12)


def test_quotients_are_eigenvalues_on_the_three_parts_whatever_the_class_sizes():
    operator = restricted.quotients(THREE, UNEQUAL)
    parts = split(np.random.default_rng(4).normal(size=(5, UNEQUAL.N)), UNEQUAL.labels)
    for part, value in zip(parts, THREE.values(), strict=True):
        np.testing.assert_allclose(operator.act(part), value * part, atol=1e-12)

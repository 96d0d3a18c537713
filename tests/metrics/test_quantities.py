import numpy as np
import pytest
from scipy.integrate import solve_ivp

import ntkflow as nf
from ntkflow.metrics import invariant
from ntkflow.metrics.quantities import conserved
from ntkflow.metrics.symmetries import commutant
from ntkflow.problem import kernels
from tests.problem.kernels import ladder

SIZES = nf.Sizes(3, 3, 4)
CASES = [
    (name, sizes)
    for name in ladder.NAMES
    for sizes in (SIZES, nf.Sizes(2, 1, 3), nf.Sizes(4, 2, 2), nf.Sizes(3, (1, 4, 2), 4))
    if sizes.balanced or name not in ladder.BALANCED_ONLY
]


def random_state(sizes, seed=0):
    rng = np.random.default_rng(seed)
    return nf.State(
        rng.standard_normal((sizes.n, sizes.N)),
        rng.standard_normal((sizes.C, sizes.n)),
        rng.standard_normal(sizes.C),
    )


def integrate(operator, sizes, state, t_end=1.5, loss="mse"):
    """Independent integration of the raw field with the operator written out."""
    Y = np.eye(sizes.C)[:, sizes.labels]
    cuts = np.cumsum([state.H.size, state.W.size])

    def split(y):
        H, W, b = np.split(y, cuts)
        return H.reshape(state.H.shape), W.reshape(state.W.shape), b

    def field(_, y):
        H, W, b = split(y)
        F = W @ H + b[:, None]
        R = F - Y if loss == "mse" else np.exp(F) / np.exp(F).sum(axis=0) - Y
        return np.concatenate([-operator @ (W.T @ R).ravel(), -(R @ H.T).ravel(), -R.sum(axis=1)])

    y0 = np.concatenate([state.H.ravel(), state.W.ravel(), state.b])
    result = solve_ivp(field, (0, t_end), y0, "DOP853", rtol=1e-13, atol=1e-14)
    assert result.success
    H, W, b = split(result.y[:, -1])
    assert np.linalg.norm(H - state.H) > 0.1
    return nf.State(H.copy(), W.copy(), b.copy())


@pytest.mark.parametrize("loss", ["mse", "cross-entropy"])
@pytest.mark.parametrize(("name", "sizes"), CASES)
def test_every_invariant_of_every_rung_is_conserved_to_1e_10(name, sizes, loss):
    kernel, state = ladder.make(name, sizes), random_state(sizes)
    invariants = conserved(kernel, sizes)
    final = integrate(ladder.dense(kernel, sizes), sizes, state, loss=loss)
    change = np.abs(invariants.values(final) - invariants.values(state))
    assert change.max() < 1e-10 * invariants.scale(state)
    assert invariants.drift(state, final) < 1e-10


@pytest.mark.parametrize("name", ladder.NAMES)
def test_mutated_invariants_are_not_conserved(name):
    kernel, state = ladder.make(name, SIZES), random_state(SIZES)
    final = integrate(ladder.dense(kernel, SIZES), SIZES, state)
    invariants = conserved(kernel, SIZES)

    def mutated(s):
        weights, features = invariants.terms(s)
        return invariants.symmetries.project(weights - 1.01 * features)

    assert np.linalg.norm(mutated(final) - mutated(state)) > 1e-4 * invariants.scale(state)
    other = conserved(
        ladder.make("block", SIZES) if name != "block" else ladder.make("class-block", SIZES), SIZES
    )
    assert other.drift(state, final) > 1e-3


@pytest.mark.parametrize(
    ("name", "count"),
    [("block", 10), ("class-block", 10), ("sample", 10), ("kronecker", 4), ("matrix-block", 1)],
)
def test_generic_kernels_conserve_as_many_numbers_as_the_theory_says(name, count):
    invariants = conserved(ladder.make(name, SIZES), SIZES)
    assert len(invariants.names) == len(invariants.values(random_state(SIZES))) == count


def test_the_full_tensor_conserves_one_number():
    assert conserved(ladder.make("tensor", SIZES), SIZES).names == ("tr E",)


def test_commuting_matrix_blocks_with_simple_spectrum_conserve_n_numbers():
    V = np.linalg.qr(np.random.default_rng(3).standard_normal((4, 4)))[0]
    values = np.random.default_rng(4).uniform(0.5, 2, (3, 4))
    kernel = kernels.MatrixBlockKernel(*((V * row) @ V.T for row in values))
    invariants = conserved(kernel, SIZES)
    assert len(invariants.names) == 4
    state = random_state(SIZES)
    final = integrate(ladder.dense(kernel, SIZES), SIZES, state)
    assert invariants.drift(state, final) < 1e-10
    # As written in terms of the three levels: I_x = tr x[W^T W/m - B_c^-1 H1 P H1^T - C B_g^-1 g g^T - B_d^-1 S].
    B_d, B_c, B_g = kernel.levels(SIZES)
    H1 = state.H.reshape(4, 3, 3).mean(axis=2)
    g = H1.mean(axis=1)
    H2 = state.H - np.repeat(H1, 3, axis=1)
    F = state.W.T @ state.W / 3 - np.linalg.solve(B_c, (H1 - g[:, None]) @ H1.T)
    F -= 3 * np.linalg.solve(B_g, np.outer(g, g)) + np.linalg.solve(B_d, H2 @ H2.T / 3)
    np.testing.assert_allclose(np.sort(np.diag(V.T @ F @ V)), np.sort(invariants.values(state)), atol=1e-11)


def test_a_repeated_eigenvalue_of_A_conserves_a_matrix():
    A = np.diag([1.0, 2.0, 2.0, 3.0])
    kernel = kernels.KroneckerKernel(ladder.make("sample", SIZES), A)
    invariants = conserved(kernel, SIZES)
    assert invariants.names == ("E_0[0,0]", "E_1[0,0]", "E_1[0,1]", "E_1[1,1]", "E_2[0,0]")
    state = random_state(SIZES)
    assert invariants.drift(state, integrate(ladder.dense(kernel, SIZES), SIZES, state)) < 1e-10


def test_copies_of_a_generic_pair_conserve_the_matrices_that_mix_the_copies():
    # A_d = a (x) I_2 and A_c = c (x) I_2 with generic a, c: x = I_2 (x) s for symmetric 2 x 2 matrices s.
    rng = np.random.default_rng(7)
    blocks = [np.kron(ladder.spd(2, rng), np.eye(2)) for _ in range(3)]
    kernel = kernels.MatrixBlockKernel(*blocks)
    invariants = conserved(kernel, SIZES)
    assert len(invariants.names) == 3
    state = random_state(SIZES)
    assert invariants.drift(state, integrate(ladder.dense(kernel, SIZES), SIZES, state)) < 1e-10
    for s in invariants.symmetries.blocks[0].symmetries:
        for A in blocks:
            x = invariants.symmetries.blocks[0].U @ s @ invariants.symmetries.blocks[0].U.T
            np.testing.assert_allclose(x @ A, A @ x, atol=1e-10)


def test_a_tensor_made_of_two_factors_keeps_the_factors_invariants():
    kronecker = ladder.make("kronecker", SIZES)
    tensor = kernels.TensorKernel(ladder.dense(kronecker, SIZES))
    state = random_state(SIZES)
    got, want = conserved(tensor, SIZES), conserved(kronecker, SIZES)
    np.testing.assert_allclose(np.sort(got.values(state)), np.sort(want.values(state)), atol=1e-10)


def test_the_sample_rungs_agree_with_eq_26():
    kernel, state = ladder.make("block", SIZES), random_state(SIZES)
    E = invariant.terms(state, SIZES, kernel).E[np.triu_indices(4)]
    for same in (
        kernel,
        kernels.ClassBlockKernel.from_block(kernel, 3),
        kernels.SampleKernel(kernel.matrix(SIZES)),
        kernels.KroneckerKernel(kernel, np.eye(4)),
    ):
        np.testing.assert_allclose(conserved(same, SIZES).values(state), E, atol=1e-12)


@pytest.mark.parametrize("name", ["block", "class-block"])
def test_imbalanced_classes_agree_with_the_thin_invariant(name):
    sizes = nf.Sizes(3, (1, 4, 2), 4)
    kernel, state = ladder.make(name, sizes), random_state(sizes)
    E = invariant.terms(state, sizes, kernel).E[np.triu_indices(4)]
    np.testing.assert_allclose(conserved(kernel, sizes).values(state), E, atol=1e-12)


def test_no_family_leaves_every_symmetric_matrix():
    assert len(commutant((), 5).names) == 15


def test_a_singular_kernel_is_refused():
    with pytest.raises(nf.InputError, match="K is singular"):
        conserved(kernels.SampleKernel(np.ones((9, 9))), SIZES)


@pytest.mark.parametrize("sizes", [nf.Sizes(2, 1, 3), nf.Sizes(2, 3, 1), nf.Sizes(3, 2, 4)], ids=str)
@pytest.mark.parametrize(
    "constants", [(1.3, 0.4, 0.4), (1.3, 0.4, 0.0), (0.9, 0.0, 0.0), (0.6, 0.5999, 0.1)], ids=str
)
def test_degenerate_block_constants_conserve_E_too(constants, sizes):
    kernel, state = nf.BlockKernel(*constants), random_state(sizes)
    final = integrate(ladder.dense(kernel, sizes), sizes, state)
    assert conserved(kernel, sizes).drift(state, final) < 1e-10


def test_the_norm_is_that_of_the_projection_on_what_is_conserved():
    """For copies of a generic pair the projection is I (x) s with s the mean of the copies' blocks."""
    rng = np.random.default_rng(7)
    kernel = kernels.MatrixBlockKernel(*(np.kron(ladder.spd(2, rng), np.eye(2)) for _ in range(3)))
    F = rng.standard_normal((4, 4))
    F += F.T
    s = np.einsum("ikil->kl", F.reshape(2, 2, 2, 2)) / 2
    symmetries = conserved(kernel, SIZES).symmetries
    assert symmetries.norm(symmetries.project(F)) == pytest.approx(np.sqrt(2) * np.linalg.norm(s), rel=1e-12)
    assert np.linalg.norm(symmetries.coordinates(F)) == pytest.approx(
        np.sqrt(2) * np.linalg.norm(s), rel=1e-12
    )


def test_the_rounding_of_E_is_that_of_an_ill_conditioned_kernel():
    rng = np.random.default_rng(5)
    V = np.linalg.qr(rng.standard_normal((9, 9)))[0]
    K = (V * np.geomspace(1, 1e-6, 9)) @ V.T
    K = (K + K.T) / 2
    state, size = random_state(SIZES), 1e-12
    given = conserved(kernels.SampleKernel(K), SIZES)
    noise = rng.uniform(-1, 1, K.shape)
    other = conserved(kernels.SampleKernel(K * (1 + size * (noise + noise.T) / 2)), SIZES)
    change = given.norm(other.values(state) - given.values(state)) / given.scale(state)
    told = given.rounding(state) / np.finfo(float).eps
    assert 0.1 * change / size < told < 10 * change / size
    assert told > 1e3

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ntkflow.dynamics.fields import ThinSystem, thin_jacobian
from ntkflow.errors import InputError
from ntkflow.integrate.engines.structured import projection
from ntkflow.integrate.engines.structured.coordinates import Coordinates
from ntkflow.integrate.engines.structured.corrector import BlockNorm, Corrector, Formula, Work
from ntkflow.integrate.engines.structured.newton_system import OWN_INVERSES, NewtonSystem, _knots
from ntkflow.integrate.engines.structured.products import definite_inverse

# (C, n, r): below and above the size where rows share inverses, n below and above C, no within-class part.
SIZES = [(2, 1, 1), (3, 5, 4), (4, 3, 3), (5, 6, 0), (4, 30, 7)]
NO_DECAY = (0.0, 0.0, 0.0)


def random_system(C, n, r, seed=0, decay=NO_DECAY):
    """Imbalanced masses, class-dependent blocks, a rate for each column."""
    rng = np.random.default_rng(seed)
    masses = rng.integers(2, 9, size=C).astype(float)
    root = rng.standard_normal((C, C))
    kernel = np.diag(rng.uniform(0.3, 2.0, size=C)) + masses[:, None] * (root @ root.T / C)
    system = ThinSystem(masses, kernel, rng.uniform(0.3, 2.0, size=r), n, decay)
    return system, 0.4 * rng.standard_normal(system.size)


def moving_system(seed=0):
    first, y = random_system(3, 5, 4, seed)
    second, _ = random_system(3, 5, 4, seed + 1)
    last = ThinSystem(first.masses, first.class_kernel + 0.3 * np.diag(first.masses), second.rates, first.n)
    schedule = ((0.0, first), (0.2, last))
    return ThinSystem(first.masses, first.class_kernel, first.rates, first.n, NO_DECAY, schedule), y


def jacobian(system, y):
    """The dense Jacobian of the constant part, with decay on its diagonal."""
    lw, lh, lb = system.decay
    C, n, r = system.C, system.n, len(system.rates)
    plain = ThinSystem(system.masses, system.class_kernel, system.rates, n)
    decay = np.concatenate([np.full(n * (C + r), lh), np.full(C * n, lw), np.full(C, lb)])
    return thin_jacobian(plain, plain.unpack(y)) - np.diag(decay)


def enter_direction(coordinates, x):
    """A direction in the internal coordinates: the constant row does not move."""
    z = coordinates.enter(x)
    coordinates.blocks(z)[0][coordinates.n] = 0.0
    return z


@pytest.mark.parametrize("shape", SIZES)
@pytest.mark.parametrize("decay", [NO_DECAY, (0.3, 0.2, 0.1)])
def test_coordinates_are_exact_and_the_field_is_that_of_the_system(shape, decay):
    system, y = random_system(*shape, decay=decay)
    coordinates = Coordinates.build(system)
    z = coordinates.enter(y)
    np.testing.assert_allclose(coordinates.leave(z), y, rtol=0, atol=1e-14)
    slope = coordinates.leave(coordinates.field(0.0, z, np.zeros_like(z)))
    expected = system.flat_field(0.0, y)
    np.testing.assert_allclose(slope, expected, rtol=0, atol=1e-13 * np.abs(expected).max())


@pytest.mark.parametrize("t", [0.0, 0.07, 0.2])
def test_field_of_a_moving_kernel(t):
    system, y = moving_system()
    coordinates = Coordinates.build(system, 0.0, 0.2)
    z = coordinates.enter(y)
    slope = coordinates.leave(coordinates.field(t, z, np.zeros_like(z)))
    np.testing.assert_allclose(slope, system.flat_field(t, y), rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("shape", SIZES)
@pytest.mark.parametrize("decay", [NO_DECAY, (0.3, 0.2, 0.1)])
@pytest.mark.parametrize("above", [0.05, 1.0, 1e4])
def test_elimination_solves_the_dense_newton_system(shape, decay, above):
    system, y = random_system(*shape, decay=decay)
    coordinates = Coordinates.build(system)
    J = jacobian(system, y)
    sigma = max(0.0, np.linalg.eigvals(J).real.max()) + above
    g = np.random.default_rng(1).standard_normal(y.size)
    expected = np.linalg.solve(sigma * np.eye(y.size) - J, g)
    matrix = NewtonSystem(coordinates, 0.0, coordinates.enter(y), sigma, tolerance=1e-13)
    found = coordinates.leave(matrix.solve(enter_direction(coordinates, g)))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9 * np.abs(expected).max())


def test_an_indefinite_matrix_is_reported_and_not_solved():
    system, y = random_system(3, 5, 4)
    coordinates = Coordinates.build(system)
    largest = np.linalg.eigvals(jacobian(system, y)).real.max()
    assert largest > 0
    matrix = NewtonSystem(coordinates, 0.0, coordinates.enter(y), 0.5 * largest, tolerance=1e-12)
    assert matrix.solve(enter_direction(coordinates, np.ones(y.size))) is None


def test_at_zero_residual_the_preconditioner_is_the_inverse():
    system, y = random_system(3, 5, 0)
    s = system.unpack(y)
    W = np.random.default_rng(3).standard_normal(s.W.shape)
    fitted = np.concatenate([np.linalg.pinv(W).ravel(), W.ravel(), np.zeros(3)])
    coordinates = Coordinates.build(system)
    matrix = NewtonSystem(coordinates, 0.0, coordinates.enter(fitted), 0.1)
    X = np.random.default_rng(4).standard_normal((3, 6))
    np.testing.assert_allclose(matrix._precondition(matrix._apply(X)), X, rtol=0, atol=1e-10)


def test_rows_that_share_an_inverse_lose_nothing_when_they_are_alike():
    """More than 20 features: one inverse for each cluster of eigenvalues of W W^T, here {1, 1} and {9, 9}."""
    system, _ = random_system(4, 30, 3)
    rng = np.random.default_rng(6)
    W = np.linalg.qr(rng.standard_normal((30, 4)))[0].T * np.array([[1.0], [1.0], [3.0], [3.0]])
    L = rng.standard_normal((30, 3))
    L -= np.linalg.pinv(W) @ (W @ L)
    fitted = np.concatenate([np.linalg.pinv(W).ravel(), L.ravel(), W.ravel(), np.zeros(4)])
    coordinates = Coordinates.build(system)
    matrix = NewtonSystem(coordinates, 0.0, coordinates.enter(fitted), 0.1)
    assert len(matrix.inverses) == 2
    X = rng.standard_normal((4, 31))
    np.testing.assert_allclose(matrix._precondition(matrix._apply(X)), X, rtol=0, atol=1e-10)


def test_rows_between_two_knots_are_nearly_their_own_inverse():
    """Eigenvalues of W W^T from 1 to 2.5, too far apart for one inverse: what linear shares leave is a few per cent."""
    system, _ = random_system(4, 30, 3)
    rng = np.random.default_rng(6)
    scales = np.sqrt([[1.0], [1.4], [1.9], [2.5]])
    W = np.linalg.qr(rng.standard_normal((30, 4)))[0].T * scales
    L = rng.standard_normal((30, 3))
    L -= np.linalg.pinv(W) @ (W @ L)
    fitted = np.concatenate([np.linalg.pinv(W).ravel(), L.ravel(), W.ravel(), np.zeros(4)])
    coordinates = Coordinates.build(system)
    matrix = NewtonSystem(coordinates, 0.0, coordinates.enter(fitted), 1.0)
    assert len(matrix.inverses) == 2
    X = rng.standard_normal((4, 31))
    off = np.linalg.norm(matrix._precondition(matrix._apply(X)) - X) / np.linalg.norm(X)
    assert 1e-6 < off < 0.05


@given(
    w=st.lists(
        st.sampled_from([0.0, 1e-14, 0.3, 0.5, 0.51, 0.9, 1.0, 2.7, 40.0, 1e3]), min_size=1, max_size=9
    ),
    size=st.sampled_from([5, 30, 300]),
)
def test_shares_of_inverses_are_shares(w, size):
    values = np.sort(np.array(w))
    knots, shares = _knots(values, size)
    if size <= OWN_INVERSES:
        assert shares is None
        np.testing.assert_array_equal(knots, values)
        return
    assert shares.min() >= 0
    np.testing.assert_allclose(shares.sum(axis=1), 1.0)
    between = (shares > 0).sum(axis=1) == 2
    np.testing.assert_allclose((shares @ knots)[between], values[between])
    # One inverse stands for rows at most so far from it.
    alone = ~between & (values > 1e-12 * values[-1])
    ratio = np.maximum((shares @ knots)[alone] / values[alone], values[alone] / (shares @ knots)[alone])
    assert np.all(ratio <= 1.8)


def test_an_unsymmetrisable_class_kernel_is_refused():
    system, _ = random_system(3, 5, 4)
    kernel = system.class_kernel + np.triu(np.ones((3, 3)), 1)
    with pytest.raises(InputError, match="symmetric B"):
        Coordinates.build(ThinSystem(system.masses, kernel, system.rates, system.n))


def test_restoring_the_leaf_is_quadratic_and_keeps_the_outputs():
    system, y = random_system(3, 5, 4)
    coordinates = Coordinates.build(system)
    z = coordinates.enter(y)
    target = projection.leaf(coordinates, z)
    direction = enter_direction(coordinates, np.random.default_rng(2).standard_normal(y.size))

    def after(eps):
        moved = z + eps * direction
        B, A = coordinates.blocks(moved.copy())
        outputs = A @ B
        projection.restore(coordinates, moved, target)
        B, A = coordinates.blocks(moved)
        gap = np.linalg.norm(projection.leaf(coordinates, moved) - target)
        return gap, np.linalg.norm(A @ B - outputs)

    coarse, fine = after(1e-3), after(1e-4)
    assert coarse[0] < 1e-3
    for k in range(2):
        assert 50 < coarse[k] / fine[k] < 200


def test_a_state_that_is_near_enough_to_the_leaf_stays_where_it_is():
    system, y = random_system(3, 5, 4)
    coordinates = Coordinates.build(system)
    z = coordinates.enter(y)
    weights, features = projection._terms(coordinates, z)
    size = np.linalg.norm(weights) + np.linalg.norm(features)
    gap = 1e-4 * np.eye(5)
    share = np.linalg.norm(gap) / size
    for allowed, moves in ((1.01 * share, False), (0.99 * share, True), (0.0, True)):
        moved = z.copy()
        projection.restore(coordinates, moved, projection.leaf(coordinates, z) + gap, allowed)
        assert np.array_equal(moved, z) != moves


@pytest.mark.parametrize("shape", SIZES)
@pytest.mark.parametrize("scales", [(1.0, 1.0, 1.0, 1.0), (2.0, 1e-3, 5.0, 0.1), (1e-200, 1.0, 1e-200, 1.0)])
def test_the_norm_is_the_mean_over_entries_in_units_of_their_block(shape, scales):
    system, y = random_system(*shape)
    coordinates = Coordinates.build(system)
    pieces = [scale * piece for scale, piece in zip(scales, coordinates.cut(y), strict=True)]
    z = coordinates.enter(np.concatenate(pieces))
    rtol, atol = 1e-4, np.array([1e-220, 2e-9, 3e-220, 4e-9])
    norm = BlockNorm(coordinates, rtol, atol)
    norm.update(z)
    e = np.random.default_rng(1).standard_normal(z.size)
    coordinates.blocks(e)[0][coordinates.n] = 7.0  # the row of e weighs nothing
    total, count = 0.0, 0
    for k, (block, part) in enumerate(zip(coordinates.parts(z), coordinates.parts(e), strict=True)):
        size = np.sqrt(np.mean(block**2)) if block.size else 0.0
        if size == 0.0:
            # Squares of 1e-200 vanish: there the largest entry is the size.
            size = np.abs(block).max(initial=0.0)
            part *= 1e-200
        unit = atol[k] * (np.sqrt(np.mean(coordinates.s**2)) if k == 0 else 1.0) + rtol * size
        total, count = total + np.sum((part / unit) ** 2), count + part.size
    assert norm(e) == pytest.approx(np.sqrt(total / count), rel=1e-12)


@pytest.mark.parametrize("size", [1, 40, 41, 83, 170])
def test_inverses_by_halves_are_inverses(size):
    root = np.random.default_rng(size).standard_normal((2, size, size + 5))
    A = root @ root.swapaxes(-1, -2) + 0.1 * np.eye(size)
    found = definite_inverse(A)
    np.testing.assert_allclose(found @ A, np.broadcast_to(np.eye(size), A.shape), rtol=0, atol=1e-9)
    np.testing.assert_allclose(definite_inverse(A[1]), found[1], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e200])
def test_a_predicted_state_that_overflows_has_no_correction(bad):
    system, y = random_system(3, 5, 4)
    coordinates = Coordinates.build(system)
    z = coordinates.enter(y)
    norm = BlockNorm(coordinates, 1e-8, np.full(4, 1e-11))
    norm.update(z)
    z[-2] = bad
    with np.errstate(over="ignore", invalid="ignore"):
        formula = Formula(0.0, z[None], np.array([[1.0], [0.0]]), 1.0, 1.0)
        assert Corrector(coordinates, Work()).correct(formula, norm) is None

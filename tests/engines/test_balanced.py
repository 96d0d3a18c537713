"""E = 0: the flow lives in C dimensions, and its Gram matrices follow a closed system of 2 C^2 + C unknowns."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as draw
from scipy.integrate import solve_ivp

import ntkflow as nf
from ntkflow import saving
from ntkflow.engines.structured import newton_system, products
from ntkflow.engines.structured.coordinates import Coordinates
from ntkflow.engines.structured.newton_system import NewtonSystem
from ntkflow.systems import ThinFlow
from tests import oracle, strategies


def balanced(C=4, m=3, n=6, seed=0, kernel=None):
    sizes, kernel = nf.Sizes(C, m, n), kernel or nf.BlockKernel(1.3, 0.5, 0.1)
    return nf.Problem(sizes, kernel, nf.initial.make("balanced", sizes, kernel, seed))


def gram_system(problem, times):
    """X = W W^T, G = H1^T H1, b and tr S at `times` from the closed system of theory 4.4."""
    sizes, state, mu = problem.sizes, problem.state, problem.kernel.eigenvalues(problem.sizes)
    C, m = sizes.C, sizes.per_class
    J = np.full((C, C), 1 / C)
    D = np.sqrt(mu.mu_class) * (np.eye(C) - J) + np.sqrt(mu.mu_global) * J
    X0 = state.W @ state.W.T
    H1 = state.H.reshape(sizes.n, C, m).mean(axis=2)
    Z0 = np.linalg.solve(X0, state.W @ H1) @ np.linalg.inv(D) * np.sqrt(m)

    def field(_, y):
        X, Z, b = y[: C * C].reshape(C, C), y[C * C : -C].reshape(C, C), y[-C:]
        R1 = X @ Z @ D / np.sqrt(m) + b[:, None] - np.eye(C)
        Gam = np.sqrt(m) * R1 @ D @ Z.T + mu.mu_single * X @ (np.eye(C) - Z @ Z.T)
        dX, dZ = -Gam @ X - X @ Gam.T, -np.sqrt(m) * R1 @ D + Gam.T @ Z
        return np.concatenate([dX.ravel(), dZ.ravel(), -m * R1.sum(axis=1)])

    y0 = np.concatenate([X0.ravel(), Z0.ravel(), state.b])
    result = solve_ivp(field, (0, times[-1]), y0, "DOP853", times, rtol=1e-12, atol=1e-13)
    for y in result.y.T:
        X, Z = y[: C * C].reshape(C, C), y[C * C : -C].reshape(C, C)
        tr_S = mu.mu_single / m * np.trace(X @ (np.eye(C) - Z @ Z.T))
        yield X, D @ Z.T @ X @ Z @ D / m, y[-C:], tr_S


@strategies.costly(8)
@given(draw.integers(2, 4), draw.sampled_from([0, 1, 5]), draw.integers(2, 4), strategies.kernels())
def test_the_thin_form_at_zero_invariant_follows_the_closed_gram_system(C, more, m, kernel):
    problem = balanced(C, m, C + more, 3, kernel)
    times = np.array([0.05, 0.5, 2.0]) / np.sqrt(m * kernel.eigenvalues(problem.sizes).mu_class)
    solution = nf.solve(problem, save_at=times, rtol=1e-11, engine="structured")
    assert solution.stats.unknowns == 3 * C * C + C
    for i, (X, G, b, tr_S) in enumerate(gram_system(problem, times)):
        thin, _ = solution.thin(i)
        np.testing.assert_allclose(thin.W @ thin.W.T, X, rtol=0, atol=1e-9 * np.abs(X).max())
        np.testing.assert_allclose(thin.H1.T @ thin.H1, G, rtol=0, atol=1e-9 * np.abs(G).max())
        np.testing.assert_allclose(thin.b, b, rtol=0, atol=1e-9)
        assert solution.series["tr_S"][i] == pytest.approx(tr_S, rel=1e-8, abs=1e-11)


@pytest.mark.parametrize("m", [3, 300])
def test_float32_eliminations_leave_the_trajectory_as_it_is(m, monkeypatch):
    problem = balanced(C=5, m=m, n=7)
    plain = nf.solve(problem, rtol=1e-10, t_end=3.0, engine="structured")
    made = []
    to_single = NewtonSystem._to_single_precision
    monkeypatch.setattr(NewtonSystem, "_to_single_precision", lambda s: made.append(1) or to_single(s))
    monkeypatch.setattr(newton_system, "SINGLE_PRECISION_FROM", 1)
    single = nf.solve(problem, rtol=1e-10, t_end=3.0, engine="structured")
    assert made
    assert oracle.distance(single.final, plain.final) < 1e-9
    assert single.series["E_drift"].max() <= 1e-10
    assert single.stats.steps < 1.2 * plain.stats.steps


@pytest.mark.parametrize("scale", [1.0, 1e-60])
def test_float32_solves_the_newton_system_at_any_scale(scale, monkeypatch):
    flow = ThinFlow.build(balanced(C=30, m=4, n=33))
    coordinates = Coordinates.build(flow.system)
    z = coordinates.enter(flow.start())
    g = np.random.default_rng(0).standard_normal(z.size) * scale
    coordinates.blocks(g)[0][-1] = 0.0
    monkeypatch.setattr(newton_system, "ONE_BY_ONE_FROM", 1)
    exact = NewtonSystem(coordinates, 0.0, z, 100.0, tolerance=1e-6).solve(g)
    monkeypatch.setattr(newton_system, "SINGLE_PRECISION_FROM", 1)
    single = NewtonSystem(coordinates, 0.0, z, 100.0, tolerance=1e-5).solve(g)
    assert single.dtype == np.float64
    error = np.linalg.norm(single - exact) / np.linalg.norm(exact)
    assert 1e-9 < error < 1e-3


def test_stiff_matrices_stay_in_float64(monkeypatch):
    flow = ThinFlow.build(balanced(C=4, m=3, n=4))
    coordinates = Coordinates.build(flow.system)
    monkeypatch.setattr(newton_system, "SINGLE_PRECISION_FROM", 1)
    z = coordinates.enter(flow.start())
    assert NewtonSystem(coordinates, 0.0, z, 1e-5).dtype == np.float64
    assert NewtonSystem(coordinates, 0.0, z, 1e3).dtype == np.float32


@pytest.mark.parametrize("shape", [(1, 3, 2), (7, 5, 4), (2, 1, 9)])
@pytest.mark.parametrize("given", [False, True])
def test_products_by_rows_are_the_products(shape, given, monkeypatch):
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal(shape[:2]), rng.standard_normal(shape[1:])
    monkeypatch.setattr(products, "WORTH_SPLITTING", 0)
    monkeypatch.setattr(products, "_cores", lambda: 3)
    out = np.full((shape[0], shape[2]), np.nan) if given else None
    result = products.multiply(a, b, out)
    np.testing.assert_allclose(result, a @ b, rtol=1e-14, atol=1e-14)
    assert out is None or result is out


def test_a_large_problem_saves_fewer_states(monkeypatch):
    problem = balanced()
    many = len(nf.solve(problem, t_end=20.0, stop=nf.Stop(None, None, None)))
    monkeypatch.setattr(saving, "SAVED_BYTES", 40 * 8 * problem.state.W.size)
    few = nf.solve(problem, t_end=20.0, stop=nf.Stop(None, None, None))
    assert 5 < len(few) < many / 2
    assert few.times[-1] == 20.0


def test_a_matrix_is_trusted_only_where_its_preconditioner_is_as_good_as_the_inverse():
    flow = ThinFlow.build(balanced(C=4, m=3, n=6))
    coordinates = Coordinates.build(flow.system)
    z = coordinates.enter(flow.start())
    g = np.random.default_rng(0).standard_normal(z.size)
    coordinates.blocks(g)[0][-1] = 0.0
    far = NewtonSystem(coordinates, 0.0, z, 30.0)
    first = far.solve(g)
    assert not far.trusted
    np.testing.assert_array_equal(far.solve(g), first)

    end = nf.solve(balanced(C=4, m=3, n=6), t_end=60.0, stop=nf.Stop(None, None, None))
    z = coordinates.enter(end.packed[-1])
    near, exact = (NewtonSystem(coordinates, 0.0, z, 30.0, tolerance=x) for x in (1e-2, 1e-12))
    near.solve(g)
    assert near.trusted
    other = np.roll(g, 1)
    coordinates.blocks(other)[0][-1] = 0.0
    np.testing.assert_allclose(near.solve(other), exact.solve(other), rtol=0, atol=1e-3)

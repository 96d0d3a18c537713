"""Generic states on their leaves: the reduced field, its matrices, L beside it, and slots that leave each other alone."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.linalg import expm

import ntkflow as nf
from ntkflow.errors import InputError
from ntkflow.integrate.engines.chain import block_tolerances
from ntkflow.integrate.engines.lockstep import Job
from ntkflow.integrate.engines.on_leaf import LeafLockstep, LeafShape, OnLeaf, engine
from ntkflow.integrate.engines.on_leaf.deviations import Deviations
from ntkflow.integrate.engines.on_leaf.newton import LeafNewton
from ntkflow.integrate.engines.on_leaf.systems import LeafSystems
from ntkflow.integrate.engines.structured import StructuredBDF
from ntkflow.integrate.engines.structured.coordinates import Coordinates
from ntkflow.integrate.task import Task
from tests.integrate.engines import test_lockstep
from tests.integrate.engines.test_lockstep import same

KERNELS = [(1.0, 0.5, 0.1), (2.0, 0.4, 0.1), (1.0, 0.6, 0.2)]
TIMES = np.array([0.01, 0.1, 0.11, 2.0])
SLOT, NOW = np.array([0]), np.zeros(1)


def task(seed=0, init="relu", classes=3, per_class=9, n=8, scale=1.0, train_bias=True, rtol=1e-6):
    sizes, kernel = nf.Sizes(classes, per_class, n), nf.BlockKernel(*KERNELS[seed % 3])
    state = nf.initial.make(init, sizes, kernel, seed, scale=scale)
    return Task.of(nf.Problem(sizes, kernel, state, train_bias=train_bias), save_at=TIMES, rtol=rtol)


def on_leaf(of):
    y = of.flow.start()
    return OnLeaf.of(Coordinates.build(of.flow.system, y=y), y, of.t_end, of.rtol)


def job(of, **changed):
    coordinates, y = on_leaf(of), of.flow.start()
    tolerances = np.array(block_tolerances(of.flow, y, of.rtol))
    return Job(coordinates, coordinates.enter(y), of.t_end, of.rtol, tolerances, TIMES, **changed)


def systems(coordinates):
    found = LeafSystems(LeafShape.of(coordinates), 1)
    found.put(0, coordinates)
    return found


def field(of_systems, z):
    return of_systems.field(SLOT, NOW, z, np.empty_like(z))


def jacobian(of_systems, z, step=1e-5):
    # The field has degree three: central differences of this step are good to 1e-9.
    columns = [field(of_systems, z + step * e) - field(of_systems, z - step * e) for e in np.eye(z.shape[1])]
    return np.array(columns)[:, 0].T / (2 * step)


def moving(coordinates):
    """Entries of the flat vector but for the constant row."""
    shape = LeafShape.of(coordinates)
    there = np.ones((1, shape.size), bool)
    shape.blocks(there)[0][:, shape.n] = False
    return there[0]


@pytest.mark.parametrize("train_bias", [True, False])
def test_the_field_is_that_of_the_whole_system(train_bias):
    of = task(train_bias=train_bias)
    coordinates, y = on_leaf(of), of.flow.start()
    size = LeafShape.of(coordinates).size
    z = coordinates.enter(y)
    np.testing.assert_allclose(coordinates.leave(z), y, rtol=0, atol=1e-13)
    change = of.flow.field(0.0, y)
    found = field(systems(coordinates), z[None, :size])[0]
    expected = coordinates.enter(y + change) - z
    np.testing.assert_allclose(found, expected[:size], rtol=0, atol=1e-12 * np.abs(expected).max())


def at(of, t):
    return on_leaf(of).enter(nf.solve(of.problem, save_at=[t], rtol=1e-11).packed[-1])


@pytest.mark.parametrize("sigma", [1e2, 1.0, 1e-2])
def test_at_rest_the_preconditioner_is_the_inverse(sigma):
    # Of so many samples that m E is negative.
    of = task(per_class=20)
    coordinates = on_leaf(of)
    of_systems = systems(coordinates)
    z = at(of, 400.0)[None, : of_systems.shape.size]
    newton = LeafNewton(of_systems)
    assert newton.build(SLOT, NOW, z, np.array([sigma])).all()
    g = np.where(moving(coordinates), np.random.default_rng(0).standard_normal(z.shape[1]), 0.0)
    exact = np.linalg.solve(sigma * np.eye(len(g)) - jacobian(of_systems, z), g)
    found = newton.solve(g[None])[0]
    np.testing.assert_allclose(found, exact, rtol=0, atol=3e-4 * np.abs(exact).max())


@pytest.mark.parametrize(("t", "most"), [(1e-4, 1e-4), (1e-2, 1e-2), (1.0, 0.1)])
def test_on_the_way_it_leaves_little_of_an_error(t, most):
    of = task(per_class=100)
    coordinates = on_leaf(of)
    of_systems, there = systems(coordinates), moving(coordinates)
    z = at(of, t)[None, : of_systems.shape.size]
    newton = LeafNewton(of_systems)
    sigma = 10 / t
    assert newton.build(SLOT, NOW, z, np.array([sigma])).all()
    unit = np.eye(z.shape[1])
    inverse = np.array([newton.solve(e[None].copy())[0] for e in unit]).T
    left = (unit - inverse @ (sigma * unit - jacobian(of_systems, z)))[np.ix_(there, there)]
    assert np.abs(np.linalg.eigvals(left)).max() < most


def test_a_step_of_L_is_of_order_five_and_lets_what_is_stiff_decay():
    coordinates = on_leaf(task())
    shape = LeafShape.of(coordinates)
    beside, rng = Deviations(shape, 1), np.random.default_rng(0)
    beside.L[0] = rng.standard_normal((shape.n, shape.r))
    A = rng.standard_normal((shape.C, shape.n + 1))
    W, same = A[:, : shape.n], np.tile(A.ravel(), (1, 3, 1))

    def error(span):
        found = beside.after(SLOT, same, np.array([span]))[0]
        return np.abs(found - expm(-span * W.T @ W) @ beside.L[0]).max()

    assert error(0.02) < 1e-5
    assert 50 < error(0.02) / error(0.01) < 80
    seen = W @ beside.after(SLOT, same, np.array([1e9]))[0]
    assert np.abs(seen).max() < 1e-6


def results(jobs, slots):
    return test_lockstep.results(jobs, slots, LeafLockstep, LeafShape)


@pytest.mark.parametrize("exact", [True, False])
def test_states_are_those_of_a_far_stricter_run(exact):
    of = task()
    found = job(of, exact=exact)
    # The positive part of m E, which the preconditioner leaves out, is none of the states' business.
    assert found.coordinates.mE[-1] > 0
    ((status, *_, times, flat),) = results([found], 1)
    assert status == "finished"
    strict = nf.solve(of.problem, save_at=times, rtol=1e-11)
    size = np.abs(strict.packed).max()
    np.testing.assert_allclose(found.coordinates.leave(flat), strict.packed, rtol=0, atol=3e-6 * size)
    np.testing.assert_array_equal(found.z, flat[-1])


def test_L_follows_more_closely_than_the_steps_are(monkeypatch):
    ((_, *_, coarse),) = results([job(task())], 1)
    monkeypatch.setattr(engine, "MOST_BEHIND", 1)
    ((_, *_, fine),) = results([job(task())], 1)
    assert not np.array_equal(coarse, fine)
    np.testing.assert_allclose(coarse, fine, rtol=0, atol=3e-8 * np.abs(fine).max())


def test_L_does_not_mind_where_it_is_saved():
    often = np.linspace(0.0, 2.0, 401)[1:]
    few, many = job(task()), replace(job(task()), grid=often)
    ((*_, few_times, at_few),), ((*_, many_times, at_many),) = results([few], 1), results([many], 1)
    assert (few_times, many_times) == (TIMES.tolist(), often.tolist())
    assert few.steps == many.steps
    np.testing.assert_allclose(at_many[-1], at_few[-1], rtol=0, atol=1e-7 * np.abs(at_few).max())
    within = at_many[np.isclose(often, 0.1)] - at_few[1]
    assert np.abs(within).max() < 1e-7 * np.abs(at_few).max()


def test_L_goes_by_differences_of_one_grid(monkeypatch):
    later, orders = LeafLockstep._later, []

    def seen(self, i, top, end, h):
        # Those of the last step, or those that are there when the next one has been prepared, of another order and step perhaps.
        if top is None:
            orders.extend(zip(self.leaves.order[i].tolist(), self.now.order[i].tolist(), strict=True))
            assert (h == self.now.h[i]).all()
        return later(self, i, top, end, h)

    monkeypatch.setattr(LeafLockstep, "_later", seen)
    results([job(task(seed), exact=False) for seed in range(3)], 2)
    results([replace(job(task(rtol=1e-9)), grid=np.geomspace(1e-6, 2.0, 4000), exact=False)], 1)
    assert len(orders) > 100
    assert all(one == other for one, other in orders)


@pytest.mark.parametrize("rtol", [1e-5, 1e-8])
def test_a_tolerance_is_that_of_the_whole_state(rtol):
    # Norms of fewer unknowns would take one in ten steps more.
    of = task(per_class=100, rtol=rtol)
    ((_, steps, *_),) = results([job(of)], 1)
    y, system = of.flow.start(), of.flow.system
    tolerances = np.concatenate(
        [
            np.full(b.size, a)
            for b, a in zip(of.flow.blocks(y), block_tolerances(of.flow, y, rtol), strict=True)
        ]
    )
    whole = StructuredBDF(system, 0.0, y, of.t_end, rtol, tolerances)
    while whole.status == "running":
        whole.step()
    assert steps == pytest.approx(whole.steps, rel=0.02)


def test_no_digit_depends_on_the_neighbours():
    members = [task(seed) for seed in range(5)]
    expected = [results([job(of)], 1)[0] for of in members]
    for got, alone in zip(results([job(of) for of in members], 3), expected, strict=True):
        same(got, alone)
    backwards = results([job(of) for of in reversed(members)], 5)
    for got, alone in zip(reversed(backwards), expected, strict=True):
        same(got, alone)


def test_a_neighbour_that_fails_costs_nothing():
    members = [task(seed) for seed in range(3)]
    expected = results([job(of) for of in members], 3)
    lost, huge = job(members[0]), job(members[1])
    lost.z[3], huge.z[:] = np.nan, 1e200
    got = results([lost, *(job(of) for of in members), huge], 2)
    assert [status for status, *_ in got] == ["failed", *3 * ["finished"], "failed"]
    for one, other in zip(got[1:-1], expected, strict=True):
        same(one, other)


@pytest.mark.parametrize(
    ("features", "weights", "end"),
    [(1e4, 1.0, 2.0), (1.0, 3.0, 2.0), (1.0, 1.0, 3e3)],
    ids=["E dwarfs S", "weights outweigh features", "so long that errors of S add up"],
)
def test_what_E_cannot_tell_is_refused(features, weights, end):
    of = task().problem
    on_leaf(Task.of(of, save_at=[2.0], rtol=1e-6))
    state = nf.State(features * of.state.H, weights * of.state.W, of.state.b)
    with pytest.raises(InputError, match="solve it alone"):
        on_leaf(Task.of(nf.Problem(of.sizes, of.kernel, state), save_at=[end], rtol=1e-6))

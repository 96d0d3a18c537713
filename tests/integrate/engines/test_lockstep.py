import numpy as np
import pytest

from ntkflow.integrate.engines.chain import block_tolerances
from ntkflow.integrate.engines.lockstep import Job, Lockstep, history, newton
from ntkflow.integrate.engines.lockstep.slots import Shape
from ntkflow.integrate.engines.structured import StructuredBDF, formulas
from ntkflow.integrate.engines.structured.coordinates import Coordinates
from tests.integrate.engines.test_structured_bdf import flow

TIMES = np.array([0.01, 0.1, 0.11, 0.5])


def job(of, rtol=1e-5, times=TIMES, **options):
    coordinates, y = Coordinates.build(of.system), of.start()
    tolerances = np.array(block_tolerances(of, y, rtol))
    return Job(coordinates, coordinates.enter(y), times[-1], rtol, tolerances, times, **options)


def flows(count, init="gaussian"):
    kernels = [(1.3, 0.5, 0.1), (2.0, 0.4, 0.1), (1.0, 0.6, 0.2)]
    return [flow(init, seed=seed, kernel=kernels[seed % 3]) for seed in range(count)]


def results(jobs, slots, engine=Lockstep, shape=Shape):
    """What becomes of jobs in so many slots, by job."""
    list(engine(shape.of(jobs[0].coordinates), slots).run(jobs))
    return [(j.status, j.steps, j.evaluations, j.saved_at, j.saved) for j in jobs]


def same(one, other):
    assert one[:-1] == other[:-1]
    np.testing.assert_array_equal(one[-1], other[-1])


@pytest.mark.parametrize("init", ["gaussian", "balanced"])
def test_takes_the_steps_of_the_structured_engine(init):
    for of, got in zip(members := flows(3, init), results([job(of) for of in members], 2), strict=True):
        y = of.start()
        atol = np.concatenate(
            [np.full(b.size, a) for b, a in zip(of.blocks(y), block_tolerances(of, y, 1e-5), strict=True)]
        )
        alone = StructuredBDF(of.system, 0.0, y, TIMES[-1], 1e-5, atol)
        found = []
        while alone.status == "running":
            alone.step()
            found += [alone.dense()(t) for t in TIMES if alone.t_old < t <= alone.t]
        status, steps, _, times, flat = got
        assert (status, times) == ("finished", TIMES.tolist())
        assert steps == pytest.approx(alone.steps, rel=0.1)
        states = Coordinates.build(of.system).leave(flat)
        np.testing.assert_allclose(states, found, rtol=0, atol=3e-4 * np.abs(found).max())


def test_no_digit_depends_on_the_neighbours():
    members = flows(4)
    expected = [results([job(of)], 1)[0] for of in members]
    for got, alone in zip(results([job(of) for of in members], 3), expected, strict=True):
        same(got, alone)
    backwards = results([job(of) for of in reversed(members)], 5)
    for got, alone in zip(reversed(backwards), expected, strict=True):
        same(got, alone)


def test_a_neighbour_that_fails_costs_nothing():
    members = flows(4)
    expected = results([job(of) for of in members], 4)
    lost, huge = job(members[0]), job(members[1])
    lost.z[3], huge.z[:] = np.nan, 1e200
    jobs = [lost, *(job(of) for of in members), huge]
    got = results(jobs, 2)
    assert [status for status, *_ in got] == ["failed", *4 * ["finished"], "failed"]
    for one, other in zip(got[1:-1], expected, strict=True):
        same(one, other)


def test_ends_of_steps_are_saved_where_times_need_not_be_exact():
    members = flows(2)
    exact, loose = (results([job(of, exact=exact) for of in members], 2) for exact in (True, False))
    for one, other in zip(exact, loose, strict=True):
        assert one[1] == other[1]
        assert len(other[3]) <= len(one[3])
        assert all(np.any(t >= TIMES) for t in other[3])
        assert other[3][-1] == TIMES[-1]
        np.testing.assert_array_equal(one[-1][-1], other[-1][-1])


def test_a_state_inside_a_step_is_the_same_however_many_others_lie_there():
    of = flow("gaussian", seed=1)
    # So dense that most steps have several inside, and few enough that most have one at most.
    dense = np.linspace(0.0, TIMES[-1], 801)[1:]
    (_, steps, _, times, many), (_, same_steps, _, some, few) = (
        results([job(of, times=times)], 1)[0] for times in (dense, dense[9::10])
    )
    assert steps == same_steps
    assert (times, some) == (dense.tolist(), dense[9::10].tolist())
    np.testing.assert_allclose(many[9::10], few, rtol=0, atol=1e-13 * np.abs(few).max())


def test_whom_the_lookout_stops_is_replaced():
    class Third:
        """Stops everyone at its third step."""

        def begin(self, slot, job):
            pass

        def ended(self, i, t, squares, z, steps):
            return i[steps == 3]

        def passed(self, slot, begin, inside):
            pass

        def keep(self, staying):
            pass

    jobs = [job(of) for of in flows(5)]
    engine = Lockstep(Shape.of(jobs[0].coordinates), 2, Third())
    assert sorted(map(id, engine.run(jobs))) == sorted(map(id, jobs))
    assert {(j.status, j.steps) for j in jobs} == {("stopped", 3)}
    assert engine.slots == 0


@pytest.mark.parametrize("order", range(1, 6))
def test_a_history_is_taken_to_the_next_step_as_one_by_one(order):
    rng = np.random.default_rng(order)
    # As `StructuredBDF` does it, which keeps two more of them.
    D, d = rng.normal(size=(8, 4)), rng.normal(size=4)
    X = np.vstack([D[:6], d])
    expected = D.copy()
    expected[order + 1] = d
    for j in range(order, -1, -1):
        expected[j] += expected[j + 1]
    np.testing.assert_allclose(history.ACCEPT[order] @ X, expected[:6], atol=1e-12)
    orders = np.array([order])
    rescaled = history.rescaling(orders, np.array([0.3]))[0] @ D[:6]
    np.testing.assert_allclose(rescaled[: order + 1], formulas.change_step(D[: order + 1], 0.3), atol=1e-12)
    np.testing.assert_array_equal(rescaled[order + 1 :], D[order + 1 : 6])
    value = history.interpolating(orders, np.array([-0.4]))[0] @ D[:6]
    np.testing.assert_allclose(value, formulas.evaluate(D[: order + 1], -0.4), atol=1e-12)


def test_what_is_known_of_convergence_makes_one_iteration_enough():
    jobs = [job(of, rtol=1e-7, times=np.array([5.0])) for of in flows(3)]
    for _, steps, evaluations, _, _ in results(jobs, 3):
        # Forgotten with every matrix it is about one and a half.
        assert evaluations < 1.25 * steps
    of = flow("gaussian")
    alone = StructuredBDF(of.system, 0.0, of.start(), 5.0, 1e-7, 1e-10)
    while alone.status == "running":
        alone.step()
    assert alone.work.fields < 1.25 * alone.steps


# By sweeps, from two halves, and from halves of halves.
@pytest.mark.parametrize("N", [5, 2 * newton.SWEPT, 3 * newton.SWEPT + 1])
def test_inverses_of_a_stack_are_those_of_each_alone(N):
    B = np.random.default_rng(0).standard_normal((4, 3, N, N + 2))
    A = B @ B.swapaxes(-1, -2) + 0.1 * np.eye(N)
    found = newton.inverse(A)
    np.testing.assert_allclose(found @ A, np.broadcast_to(np.eye(N), A.shape), rtol=0, atol=1e-10)
    A[1] = 0.0
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(newton.inverse(A)[[0, 2, 3]], found[[0, 2, 3]])
    np.testing.assert_array_equal(newton.inverse(A[2:3])[0], found[2])

"""The compiled tick takes the steps of the lockstep engine, job by job, whoever the neighbours are."""

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ntkflow as nf
from ntkflow.dynamics.packed import ThinFlow
from ntkflow.integrate.engines.chain import block_tolerances
from ntkflow.integrate.engines.compiled import algebra, engine
from ntkflow.integrate.engines.compiled.engine import CompiledLockstep
from ntkflow.integrate.engines.lockstep import Job, Lockstep
from ntkflow.integrate.engines.lockstep.slots import Shape
from ntkflow.integrate.engines.precision import x64
from ntkflow.integrate.engines.structured.coordinates import Coordinates
from ntkflow.problem.decay import Decay
from tests.integrate.engines.test_structured_bdf import flow
from tests.strategies import costly, problems

TIMES = np.array([0.01, 0.1, 0.11, 0.5])
# One compiled program serves all that are not slow, here and where ensembles are tested: they wait for nothing else.
SLOTS = engine.LEAST_SLOTS


def job(of, rtol=1e-5, times=TIMES, **options):
    coordinates, y = Coordinates.build(of.system), of.start()
    tolerances = np.array(block_tolerances(of, y, rtol))
    return Job(coordinates, coordinates.enter(y), times[-1], rtol, tolerances, times, **options)


def flows(count):
    kernels = [(1.3, 0.5, 0.1), (2.0, 0.4, 0.1), (1.0, 0.6, 0.2)]
    return [flow("gaussian", 3, 4, 2, kernel=kernels[seed % 3], seed=seed) for seed in range(count)]


def compiled(jobs, watcher=None):
    found = CompiledLockstep(Shape.of(jobs[0].coordinates), SLOTS, len(TIMES), watcher)
    assert sorted(map(id, found.run(jobs))) == sorted(map(id, jobs))
    return [result(one) for one in jobs]


def result(one):
    counts = one.status, one.steps, one.rejected, one.evaluations, one.matrices
    return counts, one.saved_at, one.saved


def same(one, other, tolerance=0.0):
    assert one[:-1] == other[:-1]
    if one[-1].size:
        np.testing.assert_allclose(one[-1], other[-1], rtol=0, atol=tolerance * np.abs(other[-1]).max())


def test_takes_the_steps_of_the_lockstep_engine_more_jobs_than_slots():
    members = flows(SLOTS + 3)
    expected = [job(of) for of in members]
    list(Lockstep(Shape.of(expected[0].coordinates), 4).run(expected))
    for got, one in zip(compiled([job(of) for of in members]), expected, strict=True):
        assert got[0][0] == "finished"
        same(got, result(one), 1e-9)


def test_no_digit_depends_on_the_neighbours_and_one_that_fails_costs_nothing():
    members = flows(4)
    expected = [compiled([job(of)])[0] for of in members]
    lost, huge = job(members[0]), job(members[1])
    lost.z[3], huge.z[:] = np.nan, 1e200
    got = compiled([lost, *(job(of) for of in reversed(members)), huge])
    assert [counts[0] for counts, *_ in got] == ["failed", *4 * ["finished"], "failed"]
    for one, alone in zip(reversed(got[1:-1]), expected, strict=True):
        same(one, alone)


class Third:
    """Asks after every third step, and stops those of slots below 2."""

    seldom, at_least = 3, 10**6
    saddle, most = np.full(SLOTS, np.inf), np.full(SLOTS, 10**6)

    def __init__(self):
        self.asked = []

    def begin(self, slot, job):
        pass

    def passed(self, slot, begin, inside):
        pass

    def stops(self, slot, t, z, steps):
        self.asked.append((slot, steps))
        return slot < 2


def test_whoever_is_asked_for_goes_on_or_is_stopped_where_it_stands():
    plain = compiled([job(of) for of in flows(3)])
    watcher = Third()
    got = compiled([job(of) for of in flows(3)], watcher)
    assert [counts[:2] for counts, *_ in got[:2]] == 2 * [("stopped", 3)]
    same(got[2], plain[2])
    steps = got[2][0][1]
    assert [n for slot, n in watcher.asked if slot == 2 and n < steps] == list(range(3, steps, 3))


def test_the_inverse_has_the_digits_of_lapack_where_pivots_are_of_all_sizes():
    rng = np.random.default_rng(0)
    B = rng.normal(size=(3, 4, 6, 6)) * np.geomspace(1e-4, 1e4, 6)
    M = B @ B.swapaxes(-1, -2) + np.geomspace(1e-3, 1e3, 3)[:, None, None, None] * np.eye(6)
    with x64():
        found = np.asarray(algebra.inverse(jnp.asarray(M)))
    residual, expected = (np.abs(X @ M - np.eye(6)).max(axis=(-1, -2)) for X in (found, np.linalg.inv(M)))
    assert np.all(residual <= 100 * np.maximum(expected, 1e-15))


@pytest.mark.parametrize(("jobs", "many"), [(1, 8), (8, 8), (9, 16), (100, 128), (1000, 128)])
def test_programs_have_numbers_of_slots_that_are_few(jobs, many):
    assert engine.slots_for(Shape(10, 10, 10, 20), jobs, 61) == many
    assert engine.slots_for(Shape(2, 2, 2, 4), 1000, 61) == 512


@pytest.mark.slow
@costly(2)
@given(problem=problems(), rates=st.sampled_from([(0.0, 0.0, 0.0), (0.3, 0.2, 0.1)]))
def test_random_systems_of_every_size_take_these_steps(problem, rates):
    of = ThinFlow.build(nf.Problem(problem.sizes, problem.kernel, problem.state, decay=Decay(*rates)))
    times = TIMES / np.sqrt(problem.sizes.m)
    one = job(of, times=times)
    list(Lockstep(Shape.of(one.coordinates), 1).run([one]))
    got = compiled([job(of, times=times)])[0]
    assert got[0][0] == one.status == "finished"
    # Rounding may decide a step otherwise; it never does so for many.
    assert got[0][1] == pytest.approx(one.steps, abs=2)
    expected = result(one)[-1]
    np.testing.assert_allclose(got[-1], expected, rtol=0, atol=1e-4 * np.abs(expected).max())

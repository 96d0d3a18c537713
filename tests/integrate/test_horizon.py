"""How long runs are by default, and that decay's default runs end where it takes them."""

import numpy as np
import pytest

import ntkflow as nf
from ntkflow.integrate.horizon import LASTING, LONGEST, DecayedEnd, default_horizon
from ntkflow.integrate.stopping import Reason
from ntkflow.problem.decay import Decay
from ntkflow.theory import decay_conditions

SIZES = nf.Sizes(4, (20, 10, 5, 5), 16)


def problem(kappa_n, scale=1.0, decay=2.5, sizes=SIZES):
    kernel = nf.BlockKernel(1.0, 0.5, kappa_n)
    rates = decay if isinstance(decay, Decay) else Decay.equal(decay)
    return nf.Problem(sizes, kernel, nf.initial.make("gaussian", sizes, seed=0, scale=scale), decay=rates)


def test_without_decay_it_holds_two_hundred_time_constants():
    sizes, kernel = nf.Sizes(4, 5, 9), nf.BlockKernel(1.5, 0.7, 0.2)
    given = nf.Problem(sizes, kernel, nf.initial.make("gaussian", sizes, seed=0))
    mu = kernel.eigenvalues(sizes)
    assert default_horizon(given) == pytest.approx(200 / (mu.mu_single * np.sqrt(5 / mu.mu_class)))


def test_with_decay_it_holds_the_slowest_time_constants_within_a_cap():
    plain = default_horizon(problem(0.1, decay=0.0))
    # Fast decay changes nothing; a slow one, of anything, makes the run longer.
    assert default_horizon(problem(0.1, decay=2.5)) == plain
    for decay in (Decay.equal(0.01), Decay(W=0.01), Decay(H=0.01), Decay(b=0.01), Decay(0.3, 0.01)):
        assert default_horizon(problem(0.1, decay=decay)) >= LASTING / 0.01
    assert default_horizon(problem(0.1, decay=1e-9)) == LONGEST * plain
    # Next to its threshold a class is slow whatever the rates are.
    slowest = decay_conditions.predict_decayed(problem(0.349)).end.slowest
    assert slowest < 0.01
    assert default_horizon(problem(0.349)) == pytest.approx(LASTING / slowest)


# sqrt(5 mu_class) = 2.5 at kappa_n = 0.35: the two classes of 5 merge above it and stay apart below.
@pytest.mark.parametrize("scale", [1.0, 1e-6])
@pytest.mark.parametrize("kappa_n", [0.1, 0.34, 0.349, 0.351, 0.45])
def test_a_default_run_ends_where_decay_takes_every_class(kappa_n, scale):
    given = problem(kappa_n, scale)
    end = decay_conditions.predict_decayed(given).end
    run = nf.solve(given)
    assert run.reason is Reason.NC1
    thin, _ = run.thin(-1)
    G = thin.H1.T @ thin.H1
    np.testing.assert_allclose(G, end.limit.G, atol=1e-6)
    np.testing.assert_allclose(thin.W @ thin.W.T, end.limit.X, atol=1e-6)
    assert end.merged == (((2, 3),) if kappa_n > 0.35 else ())


def test_two_classes_of_five_that_begin_at_zero_are_waited_for():
    # The contrast of the two grows at 0.005 a unit of time from 1e-10: nothing else moves for hundreds of units.
    run = nf.solve(problem(0.349, 1e-6), save_at=[0.0, 25.0])
    resting = DecayedEnd(run.problem)
    assert run.series["NC1"][-1] < 1e-8
    assert not resting.reached(run.final)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["LSODA", "BDF", "DOP853"])
def test_every_engine_waits_for_the_minority(engine):
    given = problem(0.3, 1e-2)
    end = decay_conditions.predict_decayed(given).end
    run = nf.solve(given, engine=engine)
    thin, _ = run.thin(-1)
    assert np.abs(thin.H1.T @ thin.H1 - end.limit.G).max() < 1e-4 * np.abs(end.limit.G).max()


def test_an_end_that_is_not_known_stops_nobody():
    for decay in (Decay(W=1.0), Decay(b=1.0), Decay(99.0, 99.0)):
        assert DecayedEnd(problem(0.1, decay=decay)).reached(problem(0.1).state)

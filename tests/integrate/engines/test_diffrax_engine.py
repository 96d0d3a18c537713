"""diffrax behind `nf.solve`: the same states as the structured engine, stops and saves included."""

import numpy as np
import pytest

import ntkflow as nf
from ntkflow.integrate.engines.diffrax_engine import DiffraxStepper


def drawn(kernel, **options):
    rng = np.random.default_rng(0)
    sizes = nf.Sizes(2, 3, 3)
    state = nf.State(rng.normal(size=(3, 6)), rng.normal(size=(2, 3)), rng.normal(size=2))
    return nf.Problem(sizes, kernel, state, **options)


def test_explicit_on_a_short_horizon_with_a_schedule_and_decay():
    knots = nf.BlockKernel(1.3, 0.6, 0.2), nf.BlockKernel(2.0, 0.7, 0.1)
    problem = drawn(nf.ScheduledKernel((0.0, 0.4), knots), decay=nf.Decay(0.1, 0.05, 0.02))
    times = [0.0, 0.3, 1.0]
    ours = nf.solve(problem, save_at=times, rtol=1e-9, engine="structured")
    theirs = nf.solve(problem, save_at=times, rtol=1e-9, engine="diffrax")
    np.testing.assert_allclose(theirs.packed, ours.packed, atol=1e-7)
    assert theirs.stats.engine == "diffrax"
    assert theirs.stats.evaluations > theirs.stats.steps


def test_implicit_where_it_is_stiff():
    problem = drawn(nf.BlockKernel(1.3, 0.6, 0.2))
    ours = nf.solve(problem, save_at=[100.0], rtol=1e-7, engine="structured")
    theirs = nf.solve(problem, save_at=[100.0], rtol=1e-7, engine="diffrax")
    np.testing.assert_allclose(theirs.packed, ours.packed, atol=1e-6)
    # An explicit method takes at least rho T / 6 steps.
    assert theirs.stats.steps < theirs.stats.stiffness / 6


def test_it_needs_the_thin_form():
    with pytest.raises(nf.InputError, match="thin"):
        nf.solve(drawn(nf.BlockKernel(1.3, 0.6, 0.2)), t_end=1.0, form="raw", engine="diffrax")


def test_stepping_on_is_refused_once_ended():
    stepper = object.__new__(DiffraxStepper)
    stepper.status, stepper._dense = "finished", None
    with pytest.raises(RuntimeError, match="finished"):
        stepper.step()
    with pytest.raises(RuntimeError, match="interpolate"):
        stepper.dense()

"""A wrong clock is told from a wrong kernel, and its factor named."""

import numpy as np
import pytest

import ntkflow as nf
from ntkflow.fitting import wrong_clock
from tests.fitting.trajectories import BLOCK, simulated

SIZES = nf.Sizes(3, 2, 4)
SEEN = simulated(SIZES, nf.BlockKernel(**BLOCK), np.linspace(0.0, 1.0, 9))


def clocked(factor):
    return nf.Observed(SEEN.times / factor, SEEN.states, SIZES)


@pytest.mark.parametrize("factor", [2.0, 10.0, 1 / 3, 1.7])
def test_the_factor_is_found_from_the_heads_own_path(factor):
    assert wrong_clock.factor(clocked(factor)) == pytest.approx(factor, rel=0.02)


def off(observed):
    """A fit that is as bad as its clock."""
    return abs(np.log(observed.times[-1] / SEEN.times[-1]))


@pytest.mark.parametrize(
    ("factor", "cause"),
    [(10.0, "momentum=0.9"), (1 / 3, "mean over outputs"), (6.0, "a sum"), (1.7, "common causes")],
)
def test_the_cause_is_named(factor, cause):
    said = wrong_clock.hint(clocked(factor), off(clocked(factor)), off)
    assert cause in said
    assert f"multiplied by {factor:.4g} " in said or cause == "common causes"


@pytest.mark.slow
def test_a_fit_hints_at_it():
    (said,) = [sentence for sentence in nf.fit(clocked(2.0)).warnings if "clock" in sentence]
    assert "multiplied by 2 " in said
    assert "1/2 in the loss: it is not there" in said


def test_a_right_clock_is_not_suspected():
    assert wrong_clock.hint(SEEN, 0.5, off) is None
    assert wrong_clock.hint(clocked(2.0), 0.9e-3, off) is None


def test_what_no_factor_explains_is_not_the_clocks_fault():
    rng = np.random.default_rng(0)
    noisy = [nf.State(s.H, s.W + 0.3 * rng.normal(size=s.W.shape), s.b) for s in SEEN.states]
    observed = nf.Observed(SEEN.times, noisy, SIZES)
    assert wrong_clock.hint(observed, 0.5, lambda _: 0.4) is None

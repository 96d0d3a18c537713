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


def of_a_network(classes=6, samples=4, rate=0.002, steps=400):
    """A network of rectified features, by steps of gradient descent on the sum loss: nothing of it is a block kernel."""
    rng = np.random.default_rng(0)
    sizes = nf.Sizes(classes, samples, 8)
    X = rng.normal(size=(sizes.N, 12)) + 0.5 * np.repeat(rng.normal(size=(classes, 12)), samples, axis=0)
    V, W, b = rng.normal(size=(12, 8)) / 3, rng.normal(size=(classes, 8)) / 3, np.zeros(classes)
    times, states = [], []
    for step in range(steps + 1):
        H = np.maximum(X @ V, 0)
        if step in (0, 1, 2, 4, 8, 16, 32, 48, 64, 96, 128, 192, 256, 400):
            times.append(rate * step)
            states.append(nf.State(H.T, W, b))
        R = H @ W.T + b - sizes.Y.T
        back = (R @ W) * (H > 0)
        V, W, b = V - rate * X.T @ back, W - rate * R.T @ H, b - rate * R.sum(0)
    return np.array(times), states, sizes


MEASURED = of_a_network()


def measured(factor, every=1):
    times, states, sizes = MEASURED
    return nf.Observed(times[::every] / factor, states[::every], sizes)


@pytest.mark.parametrize(
    ("factor", "cause"), [(2.0, "it is not there"), (0.5, "it is there"), (10.0, "momentum=0.9")]
)
def test_it_is_told_from_the_heads_path_where_a_wrong_kernel_hides_it(factor, cause):
    said = wrong_clock.hint(measured(factor), 0.9, lambda _: 0.91)
    assert f"multiplied by {factor:.4g} " in said
    assert "no kernel" in said
    assert cause in said


@pytest.mark.parametrize("every", [1, 2])
def test_a_wrong_kernel_is_not_the_clocks_fault(every):
    assert wrong_clock.hint(measured(1.0, every), 0.9, lambda _: 0.91) is None


def test_a_path_that_hangs_on_the_observations_is_no_evidence():
    few = measured(2.0, every=4)
    assert len(few.times) < wrong_clock.FEWEST
    assert wrong_clock.hint(few, 0.9, lambda _: 0.91) is None


@pytest.mark.slow
def test_a_fit_to_a_measured_network_hints_at_it():
    found = nf.fit(measured(2.0))
    assert found.misfit > 0.5
    (said,) = [sentence for sentence in found.warnings if "clock" in sentence]
    assert "multiplied by 2 " in said
    assert not [sentence for sentence in nf.fit(measured(1.0)).warnings if "clock" in sentence]

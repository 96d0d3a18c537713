import numpy as np
import pytest

import ntkflow as nf
from ntkflow.integrate.descent import descend
from ntkflow.problem.state import class_means
from ntkflow.runs.config import SimulateConfig
from ntkflow.runs.simulate import prepare, run

SIZES, KERNEL = nf.Sizes(3, 4, 5), nf.BlockKernel(1.0, 0.5, 0.1)
PROBLEM = nf.Problem(SIZES, KERNEL, nf.initial.make("balanced-contrast", SIZES, KERNEL))


@pytest.mark.parametrize(
    ("stop", "reason"),
    [
        (nf.Stop(1e-3, None, None), nf.Reason.NC1),
        (nf.Stop(None, 1e-3, None), nf.Reason.LOSS),
        (nf.Stop(None, None, 1e-4), nf.Reason.STATIONARY),
        (nf.Stop(None, None, None), nf.Reason.T_END),
    ],
)
def test_a_descent_ends_for_the_reasons_of_the_flow_at_about_its_time(stop, reason):
    descent = descend(PROBLEM, 4000, 0.005, every=10, stop=stop)
    flow = nf.solve(PROBLEM, t_end=20.0, stop=stop, form="raw")
    assert descent.reason is flow.reason is reason
    assert descent.times[-1] == pytest.approx(flow.times[-1], rel=0.05)
    assert (descent.steps[-1] < 4000) == (reason is not nf.Reason.T_END)


def test_a_target_met_at_the_start_is_ignored_as_in_the_flow():
    still = nf.State(
        np.repeat(class_means(PROBLEM.state.H, SIZES), 4, axis=1), PROBLEM.state.W, PROBLEM.state.b
    )
    descent = descend(nf.Problem(SIZES, KERNEL, still), 20, 0.005, stop=nf.Stop(1e-3, None, None))
    assert descent.steps[-1] == 20


@pytest.mark.slow
def test_a_descent_that_rests_goes_on_when_a_later_kernel_moves_it():
    """Frozen features: W and b are fitted and rest long before the kernel wakes."""
    sizes = nf.Sizes(2, 2, 2)
    frozen = nf.BlockKernel(1e-14, 5e-15, 1e-15)
    rng = np.random.default_rng(3)
    state = nf.State(rng.standard_normal((2, 4)), rng.standard_normal((2, 2)), rng.standard_normal(2))
    kernel = nf.ScheduledKernel((0.0, 300.0, 301.0), (frozen, frozen, nf.BlockKernel(1.3, 0.5, 0.1)))
    problem, stop = nf.Problem(sizes, kernel, state), nf.Stop(None, None, 1e-5)
    asleep = descend(nf.Problem(sizes, frozen, state), 6400, 0.05, every=100, stop=stop)
    assert asleep.reason is nf.Reason.STATIONARY
    assert asleep.times[-1] < 290.0
    assert descend(problem, 6400, 0.05, every=100, stop=stop).times[-1] > 301.0


def collapsing_alone(sizes):
    """A kernel that moves deviations within classes and, all but, no class mean; one under which everything moves."""
    deviations = np.eye(sizes.N) - np.kron(
        np.eye(sizes.C), np.full((sizes.per_class,) * 2, 1 / sizes.per_class)
    )
    alone = nf.SampleKernel(4.0 * deviations + 1e-4 * np.eye(sizes.N))
    return alone, nf.SampleKernel(nf.BlockKernel(1.3, 0.5, 0.1).matrix(sizes))


# All warnings are errors: with cond(K) = 4e4 E is known to as many roundings, and its law is not broken by them.
def test_a_descent_that_has_collapsed_goes_on_when_a_later_kernel_moves_its_classes():
    """With decay of W the gradient pulls on class means for ever: how far they follow is for the kernel to say."""
    sizes = nf.Sizes(2, 2, 1)
    alone, awake = collapsing_alone(sizes)
    rng = np.random.default_rng(4)
    state = nf.State(rng.standard_normal((1, 4)), rng.standard_normal((2, 1)), rng.standard_normal(2))
    stop = nf.Stop(1e-2, None, None)

    def descended(kernel):
        return descend(nf.Problem(sizes, kernel, state, decay=nf.Decay(0.2)), 700, 0.05, every=20, stop=stop)

    asleep = descended(alone)
    assert asleep.reason is nf.Reason.NC1
    assert asleep.times[-1] < 28.0
    later = descended(nf.ScheduledKernel((0.0, 30.0, 31.0), (alone, alone, awake)))
    assert later.times[-1] > 31.0
    means, before = (class_means(one.final.H, sizes) for one in (later, asleep))
    assert np.abs(means - before).max() > 0.1


def test_simulated_steps_stop_and_report_progress():
    config = SimulateConfig(classes=3, per_class=4, features=5, step_size=0.005, stop_nc1=1e-3, t_end=20.0)
    seen = []
    solution = run(prepare(config), lambda what, done, total: seen.append(done / total))
    assert solution.reason is nf.Reason.NC1
    assert 0 < seen[-1] < 1
    assert seen == sorted(seen)


def test_an_nc1_target_waits_for_the_classes_to_settle_as_in_the_flow():
    # Decay takes the spread away before it has decided that the two classes of two samples merge.
    sizes = nf.Sizes(4, (8, 4, 2, 2), 5)
    state = nf.initial.make("gaussian", sizes, None, 1)
    problem = nf.Problem(sizes, KERNEL, state, decay=nf.Decay(1.8, 1.8))
    descent = descend(problem, 1500, 0.02, every=20, stop=nf.Stop(1e-3, None, None))
    assert descent.reason is nf.Reason.NC1
    means = class_means(descent.final.H, sizes)
    assert np.linalg.norm(means[:, 2] - means[:, 3]) < 0.03
    deviations = descent.final.H - np.repeat(means, sizes.counts, axis=1)
    assert np.linalg.norm(deviations) < 1e-6

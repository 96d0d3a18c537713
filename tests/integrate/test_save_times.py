import numpy as np
import pytest

import ntkflow as nf
from ntkflow.integrate import save_times
from ntkflow.integrate.save_times import knots_of, log_grid
from ntkflow.metrics.balance import balance
from ntkflow.problem.kernels import ScheduledKernel
from tests.metrics.test_quantities import random_state
from tests.problem.kernels import ladder

SIZES = nf.Sizes(3, 3, 4)


def moving(name, times=(0.0, 0.4, 1.1)):
    kernels = [ladder.make(name, SIZES, seed) for seed in range(len(times))]
    if name == "block":
        kernels = [
            nf.BlockKernel(1.0, 0.5, 0.1),
            nf.BlockKernel(2.0, 0.9, 0.4),
            nf.BlockKernel(1.5, 0.9, 0.2),
        ]
    return ScheduledKernel(times, tuple(kernels))


def test_a_constant_kernel_has_no_knots_and_a_moving_one_those_after_the_start():
    assert knots_of(nf.BlockKernel(1, 0.5, 0)) == ()
    assert knots_of(moving("block")) == (0.4, 1.1)


def test_the_grid_is_even_in_log_time_and_ends_at_the_end():
    grid = log_grid(1e-3, 10.0, 100)
    assert (grid[0], grid[-1], len(grid)) == (pytest.approx(1e-3), 10.0, 120)
    np.testing.assert_allclose(np.diff(np.log(grid)), np.log(1e4) / 119)


def test_the_grid_is_dense_again_after_every_knot():
    grid = log_grid(1e-3, 10.0, 100, (2.0, 5.0))
    assert np.all(np.diff(grid) > 0)
    for knot in (2.0, 5.0):
        assert np.min(grid[grid > knot]) - knot == pytest.approx(1e-3)


def test_many_knots_do_not_save_without_bound():
    knots = np.linspace(1, 9, 200).tolist()
    assert len(log_grid(1e-4, 10.0, 100, knots)) < 1.2 * save_times.MOST


@pytest.mark.parametrize(("name", "options"), [
    ("block", {}), ("sample", {"engine": "structured"}), ("matrix-block", {}), ("block", {"engine": "DOP853", "form": "raw"}),
])  # fmt: skip
def test_the_law_of_a_moving_kernel_is_met_along_a_run_with_its_own_saved_times(name, options):
    problem = nf.Problem(SIZES, moving(name), random_state(SIZES))
    solution = nf.solve(problem, t_end=3.0, stop=nf.Stop(None, None, None), **options)
    assert {0.4, 1.1} <= set(solution.times)
    assert np.all(np.diff(solution.times) > 0)
    sides = balance(problem, solution.times, [solution.state(i) for i in range(len(solution))])
    assert sides.error < 3e-6

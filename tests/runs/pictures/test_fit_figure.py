import numpy as np
import pytest

import ntkflow as nf
from tests.fitting.trajectories import BLOCK, KNOTS, SCHEDULE, noisy, simulated

SIZES = nf.Sizes(C=3, m=4, n=6)
TIMES = (0.0, 0.1, 0.3, 0.6, 1.0)


@pytest.mark.parametrize("kind", ["block", "schedule"])
def test_a_fit_shows_its_constants_and_its_trajectory_over_the_observed_one(kind):
    kernel = (
        nf.BlockKernel(**BLOCK)
        if kind == "block"
        else nf.ScheduledKernel(KNOTS, [nf.BlockKernel(*k) for k in SCHEDULE])
    )
    data = noisy(simulated(SIZES, kernel, TIMES), 1e-3, seed=1)
    shifted = nf.Observed(data.times + 2.0, data.states, data.sizes)
    found = nf.fit(shifted, kind)
    constants, trajectories = found.figure(shifted).axes
    names = [label.get_text() for label in constants.get_xticklabels()]
    assert kind == "schedule" or names == list(found.estimates)
    lines = [line for line in trajectories.lines if line.get_linestyle() == "-"]
    dots = [line for line in trajectories.lines if line.get_linestyle() == "None"]
    assert len(lines) == len(dots) == 4
    for line, dot in zip(lines, dots, strict=True):
        # The noise of 1e-3 an entry, in a few dozen entries; times are those of the observations.
        np.testing.assert_allclose(line.get_ydata(), dot.get_ydata(), atol=0.05)
        np.testing.assert_allclose(line.get_xdata(), shifted.times)
    M = np.stack([data.states[0].H[:, c * 4 : c * 4 + 4].mean(axis=1) for c in range(3)])
    assert dots[0].get_ydata()[0] == pytest.approx(np.linalg.norm(M))
    assert len(nf.figure(found).axes) == 1


def test_what_the_data_leave_open_is_said_in_the_figure():
    """Equal features within classes stay equal: mu_single moves nothing."""
    state = nf.State(np.repeat(np.eye(6)[:, :3], 4, axis=1), 0.3 * np.eye(3, 6), np.zeros(3))
    found = nf.fit(simulated(SIZES, nf.BlockKernel(**BLOCK), TIMES, state))
    assert np.isinf(found.estimates["mu_single"].error)
    (axes,) = found.figure().axes
    assert "open" in [text.get_text() for text in axes.texts]

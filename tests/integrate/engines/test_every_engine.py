"""Every engine against the raw system at a tight tolerance, over a list of systems that are hard in different ways."""

import numpy as np
import pytest

import ntkflow as nf
from ntkflow.integrate.engines import choose
from tests import oracle

STANDARD, RESNET20 = nf.BlockKernel(1.0, 0.5, 0.1), nf.BlockKernel(23.2, 20.2, 19.1)
# End time, sizes, kernel, initial state, further terms. The end is some time constants of the fastest mode, so that a
# transient is inside; the stiffest ones are left to the structured engine's own tests.
SYSTEMS = {
    "generic": (3.0, nf.Sizes(3, 4, 7), STANDARD, "gaussian", {}),
    "features like ReLU": (0.1, nf.Sizes(4, 3, 6), RESNET20, "relu", {}),
    "E = 0": (3.0, nf.Sizes(3, 4, 5), STANDARD, "balanced", {}),
    "E a multiple of a projector": (3.0, nf.Sizes(3, 4, 5), STANDARD, "balanced-contrast", {}),
    "equal biases": (2.0, nf.Sizes(3, 4, 5), STANDARD, "equal-bias", {}),
    "two classes, one feature": (3.0, nf.Sizes(2, 3, 1), STANDARD, "gaussian", {}),
    "fewer features than classes": (3.0, nf.Sizes(4, 3, 2), STANDARD, "gaussian", {}),
    "one sample a class": (3.0, nf.Sizes(4, 1, 5), STANDARD, "gaussian", {}),
    "imbalanced": (3.0, nf.Sizes(3, (2, 5, 3), 6), STANDARD, "gaussian", {}),
    "blind between classes": (3.0, nf.Sizes(3, 4, 5), nf.BlockKernel(1.0, 0.5, 0.0), "gaussian", {}),
    "decay": (2.0, nf.Sizes(3, 4, 5), STANDARD, "gaussian", {"decay": nf.Decay(0.3, 0.1, 0.2)}),
    "moving kernel": (
        2.0,
        nf.Sizes(3, 4, 5),
        nf.ScheduledKernel((0.0, 0.7, 2.0), (STANDARD, nf.BlockKernel(2.0, 0.6, 0.3), STANDARD)),
        "gaussian",
        {},
    ),
}
RTOL = 1e-7


def problem_of(name):
    _, sizes, kernel, init, further = SYSTEMS[name]
    made_for = kernel if isinstance(kernel, nf.BlockKernel) else None
    return nf.Problem(sizes, kernel, nf.initial.make(init, sizes, made_for, 1), **further)


@pytest.fixture(scope="module")
def references():
    """States of the raw system by DOP853 at 1e-12, which shares neither form nor method with most engines."""
    made = {}

    def reference(name):
        if name not in made:
            end = SYSTEMS[name][0]
            times = np.array([0.05, 0.4, 1.0]) * end
            made[name] = (
                times,
                nf.solve(problem_of(name), save_at=times, rtol=1e-12, engine="DOP853", form="raw"),
            )
        return made[name]

    return reference


@pytest.mark.parametrize("name", SYSTEMS)
@pytest.mark.parametrize("engine", choose.NAMES)
def test_every_engine_solves_every_system(engine, name, references):
    times, expected = references(name)
    found = nf.solve(problem_of(name), save_at=times, rtol=RTOL, engine=engine)
    assert not found.reason.failed
    for i in range(len(times)):
        assert oracle.distance(found.state(i), expected.state(i)) < 10 * RTOL

"""What every score is to be read against: predictions that know nothing of the kernel, or nothing of classes in it.

A rung that predicts no better than these tests nothing: with frozen features the classifier alone learns much of what is
scored where features hardly move. Not in the paper.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ntkflow._types import Features, Times
from ntkflow.problem.kernels import BlockKernel
from ntkflow.problem.sizes import Sizes
from ntkflow.problem.state import State
from ntkflow_validation.ladder.clocks import on_observed
from ntkflow_validation.ladder.measured import Measured
from ntkflow_validation.ladder.operators.base import KernelOperator, Operator
from ntkflow_validation.ladder.predictions import Prediction, by_flow
from ntkflow_validation.ladder.rungs import Spec, build
from ntkflow_validation.ladder.score.frontier import THRESHOLD
from ntkflow_validation.ladder.score.scores import Horizon

PERSISTENCE, VELOCITY = "persistence", "constant-velocity"


@dataclass(frozen=True, eq=False)
class StillOperator(Operator):
    """K = 0: features stay, the classifier learns.

    Attributes:
        sizes: of the samples.
    """

    sizes: Sizes

    def act(self, G: Features, t: float = 0.0) -> Features:
        """Nothing."""
        del t
        return np.zeros_like(G)

    @cached_property
    def gain(self) -> float:
        """No rate comes of it."""
        return 0.0


def _classless(found: Measured) -> Operator:
    """kappa_c = kappa_n: the kernel of two constants nearest to that of three, the mean of all pairs."""
    kernel, sizes = found.kernel.block(), found.sizes
    own = sum(m * (m - 1) for m in sizes.counts)
    pairs = sizes.N * (sizes.N - 1)
    mean = (own * kernel.kappa_c + (pairs - own) * kernel.kappa_n) / pairs
    return KernelOperator(on_observed(BlockKernel(kernel.kappa_d, mean, mean), found), sizes)


FROZEN = Spec(
    "frozen-features",
    "features that do not move, only the classifier learns",
    lambda _: 0,
    lambda found: StillOperator(found.sizes),
)
STILL = Spec(PERSISTENCE, "nothing changes", lambda _: 0, None)
STEADY = Spec(VELOCITY, "the motion at the start goes on", lambda found: found.sizes.n * found.sizes.N, None)
CLASSLESS = Spec("no-class-structure", "two constants: classes are not told apart", lambda _: 2, _classless)


def baselines(measured: Measured, first: State, times: Times, motion: Features) -> list[Prediction]:
    """Persistence, constant velocity, frozen features and a kernel without classes, over a window.

    Args:
        measured: the network at its start.
        first: its state there.
        times: of the states, in the observed samples' clock.
        motion: dH/dt there, as the training follows it.
    """
    R, elapsed = measured.residual, np.asarray(times) - times[0]
    dW, db = -R @ first.H.T, -measured.objective.of_biases(R)
    moving = [State(first.H + t * motion, first.W + t * dW, first.b + t * db) for t in elapsed]
    plain = ((STILL, [first] * len(elapsed)), (STEADY, moving))
    found = [Prediction(build(spec, measured), (), states) for spec, states in plain]
    return [*found, *(by_flow(build(spec, measured), first, times) for spec in (FROZEN, CLASSLESS))]


def says_little(known: Sequence[tuple[str, Horizon | None]], rung: Horizon | None) -> str | None:
    """A sentence where a baseline predicts the centred class means nearly as well as a rung, or well; None elsewhere.

    Args:
        known: title and scores of each baseline.
        rung: scores of three constants.
    """
    skills = [(float(h.skill("M").value), title) for title, h in known if h is not None]
    finite = [(value, title) for value, title in skills if np.isfinite(value)]
    if not finite:
        return None
    best, title = max(finite)
    own = float(rung.skill("M").value) if rung is not None else float("nan")
    if best < THRESHOLD and not (np.isfinite(own) and 0 < own <= best):
        return None
    beside = f"; three constants have {own:.2f}" if np.isfinite(own) else ""
    return f"This window tests little: the baseline '{title}' has skill {best:.2f} on the centred class means{beside}."

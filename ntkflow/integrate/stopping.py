"""When an integration ends, and the sentence that says why."""

from dataclasses import asdict, dataclass
from enum import Enum

from ntkflow import checks
from ntkflow._types import Json


class Reason(Enum):
    """Why an integration ended; `.value` is the key in files, `.sentence` is for people."""

    NC1 = "nc1"
    LOSS = "loss"
    STATIONARY = "stationary"
    T_END = "t_end"
    MAX_STEPS = "max_steps"
    NOT_FINITE = "not_finite"
    STEP_FAILED = "step_failed"
    STALLED = "stalled"
    SADDLE = "saddle"
    INACCURATE = "inaccurate"

    @property
    def sentence(self) -> str:
        """What happened and, for failures, what to do."""
        return _SENTENCES[self]

    @property
    def failed(self) -> bool:
        """Whether the end time or a target was not reached."""
        return self in FAILURES


# What ends a run before a target or t_end, or leaves its states in doubt.
FAILURES = frozenset(
    {
        Reason.MAX_STEPS,
        Reason.NOT_FINITE,
        Reason.STEP_FAILED,
        Reason.STALLED,
        Reason.SADDLE,
        Reason.INACCURATE,
    }
)

_SENTENCES = {
    Reason.NC1: "the within-class standard deviation fell below its target, and class means, W and b rest as well",
    Reason.LOSS: "the loss fell below its target",
    Reason.STATIONARY: "the state stopped moving: its relative change per unit of sqrt(m mu_class) t fell below the target",
    Reason.T_END: "the end time was reached",
    Reason.MAX_STEPS: "the step limit was reached first; raise max_steps, shorten t_end or choose another engine",
    Reason.NOT_FINITE: "the state stopped being finite; the initial state is too large, lower rtol or the scale",
    Reason.STEP_FAILED: "the step size fell to rounding; loosen rtol or choose another engine",
    Reason.STALLED: (
        "the steps stalled: many of them changed nothing beyond rtol, and at their pace t_end is out of reach; "
        "set a stationarity target, shorten t_end or choose another engine"
    ),
    Reason.SADDLE: (
        "the state fell into the saddle W = H = 0 (theory 7.4), and from here on rounding, not the flow, decides "
        "how it leaves; choose another initial state, or a t_end before this time"
    ),
    Reason.INACCURATE: (
        "accuracy was lost: E drifted by more than rtol, or the loss, with decay its sum with the penalty, rose; "
        "lower rtol or choose another engine"
    ),
}


@dataclass(frozen=True)
class Stop:
    """Stop conditions besides t_end; None switches one off. The first that holds ends the run.

    Args:
        nc1: target for the root mean square within-class standard deviation per feature. By Jensen's
            inequality the metric NC1 is then at or below it. It counts once the class means, W and b move as
            little: by less than the same number, relative to their size, per unit of tau. A target that the
            initial state already meets is ignored, since nothing would have fallen.
        loss: target for the loss (4), a sum over samples.
        stationarity: target for |dy/dtau| / |y|, y = (H, W, b), tau = sqrt(m mu_class) t.

    Neither nc1 nor stationarity ends a run that a kernel still to come would move again.

    Raises:
        InputError: a target is not positive.
    """

    nc1: float | None = 1e-8
    loss: float | None = None
    stationarity: float | None = 1e-10

    def __post_init__(self) -> None:
        for name in ("nc1", "loss", "stationarity"):
            value = getattr(self, name)
            if value is not None:
                checks.positive(f"stop.{name}", value, "give a target > 0, or None to switch it off")

    def as_dict(self) -> Json:
        """Plain values for files."""
        return asdict(self)

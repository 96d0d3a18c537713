"""Weight decay in the flow: a linear pull to zero on W, H and b, each with its own rate."""

from dataclasses import asdict, dataclass

from ntkflow import checks
from ntkflow._types import Json


@dataclass(frozen=True)
class Decay:
    """dW/dt -= W_rate W, dH/dt -= H_rate H, db/dt -= b_rate b (not in the paper).

    Then dE/dt = -2 lw E + (2/m)(lh - lw) H K^{-1} H^T; equal rates give E(t) = exp(-2 l t) E(0) exactly.
    An L2 penalty on a network whose features are homogeneous of degree D in the parameters acts with
    H = D W; batch-normalised features feel almost none. In units of the sum loss (4): a decay of lambda
    beside a mean loss over N C outputs is N C lambda here.

    Args:
        W: rate of the weights, lw >= 0.
        H: rate of the features, lh >= 0.
        b: rate of the biases, lb >= 0.

    Raises:
        InputError: a rate is negative or not finite.

    >>> Decay.equal(0.1).rates
    (0.1, 0.1, 0.1)
    """

    W: float = 0.0
    H: float = 0.0
    b: float = 0.0

    def __post_init__(self) -> None:
        for name in ("W", "H", "b"):
            # A negative rate would be growth without bound, under which none of the results holds.
            value = checks.not_negative(f"decay.{name}", getattr(self, name), "give a rate >= 0")
            object.__setattr__(self, name, value)

    @classmethod
    def equal(cls, rate: float) -> "Decay":
        """The same rate on W, H and b."""
        return cls(rate, rate, rate)

    @property
    def rates(self) -> tuple[float, float, float]:
        """(lw, lh, lb)."""
        return self.W, self.H, self.b

    @property
    def any(self) -> bool:
        """Whether some rate is not zero."""
        return any(self.rates)

    @property
    def moves_E(self) -> bool:
        """Whether E moves under it: the biases do not enter E."""
        return self.W > 0 or self.H > 0

    def as_dict(self) -> Json:
        """Plain values for files."""
        return asdict(self)


NO_DECAY = Decay()

"""How well a run kept the law by which E moves."""

from dataclasses import dataclass


@dataclass(frozen=True)
class LawCheck:
    """How a run kept the exact law of E's motion; all numbers are relative to the size of E's terms.

    Attributes:
        error: largest gap between E and the law.
        motion: largest |E(t) - E(0)|: what there was to explain.
        tolerance: the error that integration and rounding may leave; more is a fault.
        neglected: of steps with momentum, largest gap between E and the law to leading order in the step.
    """

    error: float
    motion: float
    tolerance: float
    neglected: float | None = None

    @property
    def failed(self) -> bool:
        """Whether the law, which is exact, does not hold."""
        return not self.error <= self.tolerance

    @property
    def sentence(self) -> str:
        """What a failure says."""
        return (
            f"E does not move as its exact law says: it is off by {self.error:.2g} of its terms, where integration and "
            f"rounding explain {self.tolerance:.2g}; do not trust this run, lower rtol or choose another engine"
        )

"""What can be said before integrating: limits, rates, bounds, conditions, closed forms.

| namespace | what it holds |
|---|---|
| `limits` | where the flow ends: zero invariant, equal biases, projectors, any kernel |
| `rates` | how fast, in closed form; `spectrum` has all rates at a point |
| `bounds` | floors and ceilings: inertia of E, least variability, biases |
| `conditions` | whether each of NC1-NC4 can hold, and why |
| `prediction` | all of these for one problem |
| `enforced` | where weight decay takes a run, whatever its start |
| `decay_conditions` | NC1-NC4 under decay |
| `flow_units` | from an optimiser's steps and decay to the times and rates of the theory |
| `zero_loss` | equations that every state of zero loss obeys |
| `balanced` | the flow with E = 0 in 2 C^2 + C variables |
| `exact` | solutions for all times |
"""

from typing import TYPE_CHECKING

from ntkflow._lazy import attach

_MODULES = {
    name: f"ntkflow.theory.{name}"
    for name in (
        "balanced",
        "bounds",
        "conditions",
        "decay_conditions",
        "enforced",
        "exact",
        "limits",
        "prediction",
        "rates",
        "spectrum",
        "zero_loss",
    )
}
_MODULES["flow_units"] = "ntkflow.problem.flow_units"
__all__ = [
    "balanced",
    "bounds",
    "conditions",
    "decay_conditions",
    "enforced",
    "exact",
    "flow_units",
    "limits",
    "prediction",
    "rates",
    "spectrum",
    "zero_loss",
]
__getattr__, __dir__ = attach(__name__, {}, _MODULES)

if TYPE_CHECKING:
    from ntkflow.problem import flow_units
    from ntkflow.theory import (
        balanced,
        bounds,
        conditions,
        decay_conditions,
        enforced,
        exact,
        limits,
        prediction,
        rates,
        spectrum,
        zero_loss,
    )

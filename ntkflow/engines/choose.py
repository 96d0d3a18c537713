"""Which engine integrates a problem, and the sentence that explains the choice."""

from dataclasses import dataclass

from ntkflow.engines import scipy_engine
from ntkflow.errors import InputError
from ntkflow.systems import Flow, ThinFlow

NAMES = ("auto", *scipy_engine.METHODS)
# Below this many evaluations (about 2 rho T) an explicit method needs no linear algebra to win.
EXPLICIT_WORK = 2e4


@dataclass(frozen=True)
class Choice:
    """An engine's name, the stiffness it was chosen for, and why."""

    engine: str
    stiffness: float
    because: str


def choose(flow: Flow, t_end: float, requested: str = "auto") -> Choice:
    """Pick an engine from the stiffness rho T and the number of unknowns.

    Raises:
        InputError: the requested engine does not exist.
    """
    if requested not in NAMES:
        raise InputError(
            "engine", repr(requested), f"must be one of {', '.join(NAMES)}", "choose one of these"
        )
    y = flow.start()
    stiffness = flow.spectral_radius(y) * t_end
    facts = f"rho T = {stiffness:.2g}, {y.size} unknowns"
    if requested != "auto":
        return Choice(requested, stiffness, f"requested ({facts})")
    if isinstance(flow, ThinFlow) and y.size <= scipy_engine.DENSE_LIMIT:
        return Choice("LSODA", stiffness, f"few enough unknowns for a dense Jacobian ({facts})")
    if stiffness > EXPLICIT_WORK:
        return Choice(
            "DOP853", stiffness, f"too many unknowns for a dense Jacobian; stiff, so this is slow ({facts})"
        )
    return Choice("DOP853", stiffness, f"not stiff on this horizon ({facts})")

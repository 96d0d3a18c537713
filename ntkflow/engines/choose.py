"""Which engine integrates a problem, the sentence that explains the choice, and its start."""

from dataclasses import dataclass

from ntkflow._types import Vector
from ntkflow.engines import scipy_engine
from ntkflow.engines.base import Stepper
from ntkflow.errors import InputError
from ntkflow.systems import Flow, ThinFlow

STRUCTURED = "structured"
DIFFRAX = "diffrax"
NAMES = ("auto", STRUCTURED, *scipy_engine.METHODS, DIFFRAX)
# Below this stiffness an explicit method takes fewer evaluations (about 2 rho T) than BDF takes steps.
EXPLICIT_STIFFNESS = 150.0


@dataclass(frozen=True)
class Choice:
    """An engine's name, the stiffness it was chosen for, and why."""

    engine: str
    stiffness: float
    because: str


def choose(flow: Flow, t_end: float, requested: str = "auto") -> Choice:
    """Pick an engine from the form and the stiffness rho T.

    Raises:
        InputError: the requested engine does not exist, or cannot integrate this form.
    """
    if requested not in NAMES:
        raise InputError(
            "engine", repr(requested), f"must be one of {', '.join(NAMES)}", "choose one of these"
        )
    thin = isinstance(flow, ThinFlow)
    if requested in (STRUCTURED, DIFFRAX) and not thin:
        raise InputError("engine", repr(requested), "needs the thin form", "use engine='DOP853' or 'LSODA'")
    y = flow.start()
    stiffness = flow.spectral_radius(y) * t_end
    facts = f"rho T = {stiffness:.2g}, {y.size} unknowns"
    if requested != "auto":
        return Choice(requested, stiffness, f"requested ({facts})")
    if stiffness <= EXPLICIT_STIFFNESS:
        return Choice("DOP853", stiffness, f"not stiff on this horizon ({facts})")
    if thin:
        return Choice(STRUCTURED, stiffness, f"stiff, and the thin form has block elimination ({facts})")
    if y.size <= scipy_engine.DENSE_LIMIT:
        return Choice("LSODA", stiffness, f"stiff, few enough unknowns for a dense Jacobian ({facts})")
    return Choice("DOP853", stiffness, f"stiff, but too many unknowns for a dense Jacobian ({facts})")


def start(engine: str, flow: Flow, y0: Vector, t_end: float, rtol: float, atol: Vector) -> Stepper:
    """The engine at t = 0, ready to step."""
    if engine == STRUCTURED:
        assert isinstance(flow, ThinFlow)
        from ntkflow.engines.structured import StructuredBDF

        return StructuredBDF(flow.system, 0.0, y0, t_end, rtol, atol)
    if engine == DIFFRAX:
        assert isinstance(flow, ThinFlow)
        from ntkflow.jaxflow.engine import DiffraxStepper

        return DiffraxStepper(flow.system, y0, t_end, rtol, atol)
    return scipy_engine.start(engine, flow, y0, t_end, rtol, atol)

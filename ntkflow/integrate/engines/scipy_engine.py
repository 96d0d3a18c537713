"""scipy's solvers as engines: DOP853 and RK45 explicit; LSODA, BDF and Radau with the thin form's Jacobian."""

from ntkflow._types import Vector
from ntkflow.dynamics.fields import thin_jacobian
from ntkflow.dynamics.packed import Flow, ThinFlow
from ntkflow.integrate.engines.base import Stepper

EXPLICIT = ("DOP853", "RK45")
IMPLICIT = ("LSODA", "BDF", "Radau")
METHODS = (*EXPLICIT, *IMPLICIT)
# A dense Jacobian of more unknowns than this costs more than the explicit steps it saves.
DENSE_LIMIT = 1500


def start(method: str, flow: Flow, y0: Vector, t_end: float, rtol: float, atol: Vector) -> Stepper:
    """A scipy solver at t = 0; see `METHODS`."""
    # Importing scipy.integrate takes longer than a whole default run.
    import scipy.integrate

    # Below 100 rounding errors scipy warns, and raises the tolerance itself.
    options: dict[str, object] = {"rtol": max(rtol, 3e-14), "atol": atol}
    if method in IMPLICIT and isinstance(flow, ThinFlow):
        options["jac"] = lambda t, y: thin_jacobian(flow.system.at(t), flow.system.unpack(y))
    stepper: Stepper = getattr(scipy.integrate, method)(flow.field, 0.0, y0, t_end, **options)
    return stepper

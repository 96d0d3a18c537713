"""Which engine integrates a problem, the sentence that explains the choice, and its start."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ntkflow import checks
from ntkflow._types import Vector
from ntkflow.dynamics.packed import Flow, ThinFlow
from ntkflow.errors import InputError
from ntkflow.integrate.engines import scipy_engine
from ntkflow.integrate.engines.base import Stepper

STRUCTURED = "structured"
DIFFRAX = "diffrax"
# Ensembles alone know it: it integrates many at a time.
JAX = "jax"
NAMES = ("auto", STRUCTURED, *scipy_engine.METHODS, DIFFRAX)
# Below this stiffness an explicit method takes fewer evaluations (about 2 rho T) than BDF takes steps.
EXPLICIT_STIFFNESS = 150.0


@dataclass(frozen=True)
class Choice:
    """An engine and why it was chosen.

    Attributes:
        engine: its name.
        stiffness: rho T, the largest rate at the start times the horizon; summed up over the intervals of a run.
        because: the reason, a sentence with rho T and the number of unknowns.
        reason: the reason alone.
    """

    engine: str
    stiffness: float
    because: str
    reason: str


def choose(flow: Flow, y: Vector, t_end: float, requested: str = "auto") -> Choice:
    """Pick an engine from the form and the stiffness rho T, rho the largest rate at the packed state y.

    Raises:
        InputError: the requested engine does not exist, or cannot integrate this form.
    """
    if requested == JAX:
        remedy = "use nf.ensemble or --ensemble, for one run engine='auto'"
        raise InputError("engine", repr(JAX), "integrates ensembles", remedy)
    checks.choice("engine", requested, NAMES)
    thin = isinstance(flow, ThinFlow)
    if requested in (STRUCTURED, DIFFRAX) and not thin:
        raise InputError("engine", repr(requested), "needs the thin form", "use engine='DOP853' or 'LSODA'")
    stiffness = flow.spectral_radius(y) * t_end
    if requested != "auto":
        engine, reason = requested, "requested"
    elif stiffness <= EXPLICIT_STIFFNESS:
        engine, reason = "DOP853", "not stiff on this horizon"
    elif thin:
        engine, reason = STRUCTURED, "stiff, and the thin form has block elimination"
    elif y.size <= scipy_engine.DENSE_LIMIT:
        engine, reason = "LSODA", "stiff, few enough unknowns for a dense Jacobian"
    else:
        engine, reason = "DOP853", "stiff, but too many unknowns for a dense Jacobian"
    return Choice(engine, stiffness, f"{reason} (rho T = {stiffness:.2g}, {y.size} unknowns)", reason)


def check_start(flow: Flow, y0: Vector, requested: str) -> None:
    """Refuse what an engine would take for zero: jax flushes numbers below the smallest normal float.

    Raises:
        InputError: features and weights are nonzero, but all so small.
    """
    features, *_, weights, _ = flow.blocks(y0)
    largest = max(float(np.abs(block).max(initial=0.0)) for block in (features, weights))
    if requested == DIFFRAX and 0 < largest < np.finfo(float).tiny:
        raise InputError(
            "engine",
            repr(requested),
            f"takes features and weights of at most {largest:.2g} for zero",
            "use another engine, or scale the state up",
        )


def in_all(choices: Sequence[Choice], unknowns: int) -> Choice:
    """One choice that stands for those of all intervals of a run; engines are named in the order of first use."""
    if len(choices) == 1:
        return choices[0]
    alike: dict[tuple[str, str], list[float]] = {}
    for choice in choices:
        alike.setdefault((choice.engine, choice.reason), []).append(choice.stiffness)
    parts = [
        f"{engine} in {len(found)}, {reason} (rho T up to {max(found):.2g} in one)"
        for (engine, reason), found in alike.items()
    ]
    because = f"{len(choices)} intervals between knots, {unknowns} unknowns: {'; '.join(parts)}"
    engines = "+".join(dict.fromkeys(choice.engine for choice in choices))
    return Choice(engines, sum(choice.stiffness for choice in choices), because, because)


def start(engine: str, flow: Flow, y0: Vector, t_end: float, rtol: float, atol: Vector) -> Stepper:
    """The engine at t = 0, ready to step."""
    if engine == STRUCTURED:
        assert isinstance(flow, ThinFlow)
        # Each engine is imported when it is first used: jax alone takes longer than a default run.
        from ntkflow.integrate.engines.structured import StructuredBDF

        return StructuredBDF(flow.system, 0.0, y0, t_end, rtol, atol)
    if engine == DIFFRAX:
        assert isinstance(flow, ThinFlow)
        from ntkflow.integrate.engines.diffrax_engine import DiffraxStepper

        return DiffraxStepper(flow.system, y0, t_end, rtol, atol)
    return scipy_engine.start(engine, flow, y0, t_end, rtol, atol)

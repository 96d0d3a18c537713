"""The formulas of the structured engine for many small systems at once: one Newton iteration of all of them a tick."""

from ntkflow.integrate.engines.lockstep.engine import Lockstep
from ntkflow.integrate.engines.lockstep.job import Job

__all__ = ["Job", "Lockstep"]

"""Many tasks at once: in the lockstep engine, looked over all together, what can go there; the rest alone."""

from ntkflow.integrate.together.many import FEW, fits, solve_many, worth

__all__ = ["FEW", "fits", "solve_many", "worth"]

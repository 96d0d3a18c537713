"""A stiff integrator for the thin system whose Newton systems are solved by block elimination."""

from ntkflow.integrate.engines.structured.bdf import StructuredBDF

__all__ = ["StructuredBDF"]

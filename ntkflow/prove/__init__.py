"""Symbolic verification for symbolic sizes C, m, n: `prove(filter)` runs it, `ntkflow prove` prints it.

Imported on demand only, since it needs sympy.
"""

from ntkflow.prove.catalogue import claims, prove
from ntkflow.prove.entry import Claim, Entry, Equation, Verdict, Witness

__all__ = ["Claim", "Entry", "Equation", "Verdict", "Witness", "claims", "prove"]

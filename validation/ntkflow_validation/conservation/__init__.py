"""Conservation laws of any network, found by backward passes without knowing its architecture: `nf.conservation_laws`."""

from ntkflow_validation.conservation.law import Law, Laws
from ntkflow_validation.conservation.laws_of import conservation_laws
from ntkflow_validation.conservation.slices import Slice

__all__ = ["Law", "Laws", "Slice", "conservation_laws"]

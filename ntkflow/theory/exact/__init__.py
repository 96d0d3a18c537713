"""Solutions in closed form for all times: the oracles of the integrators, and laws to fit against.

| what | where | theory |
|---|---|---|
| permutation symmetric sector: class contrasts, class sums, limits; recognised in a state | `Sector`, `sector_of` | 4.5 |
| all class dynamics from H1 = W^T/x*, and the way into the saddle from H1 = -W^T/x* | `aligned_state` | 4.6, 6 |
| balanced starts that are not aligned: W W^T, H1^T H1, W H1 at all times | `unaligned_grams` | 17a |
| the margin under the cross-entropy, with and without smoothed labels | `margin_time`, `margin_at`, `final_margin` | 17b, c |
| classes under decay that do not see each other: which of them live | `separate_classes` | 17d |
| the paper's "end of training" (44), R1 = 0 imposed | `FrozenClass` | 8 |
| weight decay: the limit it enforces and the rates there | `regularised_limit`, `decay_rates` | 11.1 |
| the same for any kernel on samples and class sizes, as a convex problem | `minimum` | 11.1, 17d |
| drift of a fitted state when W alone, or H alone, decays | `weight_decay_drift`, `feature_decay_drift` | 11.1 |
"""

from typing import TYPE_CHECKING

from ntkflow._lazy import attach

_NAMES = {
    "FrozenClass": "ntkflow.theory.exact.frozen_class:FrozenClass",
    "Minimum": "ntkflow.theory.exact.convex:Minimum",
    "Sector": "ntkflow.theory.exact.sector:Sector",
    "aligned_eigenvalues": "ntkflow.theory.exact.aligned:aligned_eigenvalues",
    "aligned_state": "ntkflow.theory.exact.aligned:aligned_state",
    "decay_rates": "ntkflow.theory.exact.decayed:decay_rates",
    "feature_decay_drift": "ntkflow.theory.exact.decayed:feature_decay_drift",
    "final_margin": "ntkflow.theory.exact.margin:final_margin",
    "margin_at": "ntkflow.theory.exact.margin:margin_at",
    "margin_time": "ntkflow.theory.exact.margin:margin_time",
    "minimum": "ntkflow.theory.exact.convex:minimum",
    "regularised_limit": "ntkflow.theory.exact.decayed:regularised_limit",
    "sector_of": "ntkflow.theory.exact.recognise:sector_of",
    "separate_classes": "ntkflow.theory.exact.separate:separate_classes",
    "unaligned_grams": "ntkflow.theory.exact.unaligned:unaligned_grams",
    "weight_decay_drift": "ntkflow.theory.exact.decayed:weight_decay_drift",
}
__all__ = [
    "FrozenClass",
    "Minimum",
    "Sector",
    "aligned_eigenvalues",
    "aligned_state",
    "decay_rates",
    "feature_decay_drift",
    "final_margin",
    "margin_at",
    "margin_time",
    "minimum",
    "regularised_limit",
    "sector_of",
    "separate_classes",
    "unaligned_grams",
    "weight_decay_drift",
]
__getattr__, __dir__ = attach(__name__, _NAMES)

if TYPE_CHECKING:
    from ntkflow.theory.exact.aligned import aligned_eigenvalues, aligned_state
    from ntkflow.theory.exact.convex import Minimum, minimum
    from ntkflow.theory.exact.decayed import (
        decay_rates,
        feature_decay_drift,
        regularised_limit,
        weight_decay_drift,
    )
    from ntkflow.theory.exact.frozen_class import FrozenClass
    from ntkflow.theory.exact.margin import final_margin, margin_at, margin_time
    from ntkflow.theory.exact.recognise import sector_of
    from ntkflow.theory.exact.sector import Sector
    from ntkflow.theory.exact.separate import separate_classes
    from ntkflow.theory.exact.unaligned import unaligned_grams

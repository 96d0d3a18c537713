"""Numbers of a state: neural collapse, the invariant and its terms, what each rung conserves, balance.

>>> import ntkflow as nf
>>> sizes, kernel = nf.Sizes(C=3, m=4, n=5), nf.BlockKernel(1.0, 0.5, 0.1)
>>> state = nf.initial.make("balanced", sizes, kernel)
>>> bool(abs(nf.metrics.E(state, sizes, kernel)).max() < 1e-12), sorted(nf.metrics.nc(state, sizes))[0]
(True, 'NC1')
"""

from typing import TYPE_CHECKING

from ntkflow._lazy import attach

_NAMES = {
    "Conserved": "ntkflow.metrics.quantities:Conserved",
    "E": "ntkflow.metrics.invariant:E",
    "InvariantTerms": "ntkflow.metrics.invariant:InvariantTerms",
    "balance_rate": "ntkflow.metrics.balance:rate",
    "centring": "ntkflow.metrics.neural_collapse:centring",
    "collapse": "ntkflow.metrics.published.collapse:collapse",
    "conserved": "ntkflow.metrics.quantities:conserved",
    "drift": "ntkflow.metrics.invariant:drift",
    "end_of_training": "ntkflow.metrics.invariant:end_of_training",
    "invariant_terms": "ntkflow.metrics.invariant:terms",
    "nc": "ntkflow.metrics.neural_collapse:measure",
}
__all__ = [
    "Conserved",
    "E",
    "InvariantTerms",
    "balance_rate",
    "centring",
    "collapse",
    "conserved",
    "drift",
    "end_of_training",
    "invariant_terms",
    "nc",
]
__getattr__, __dir__ = attach(__name__, _NAMES)

if TYPE_CHECKING:
    from ntkflow.metrics.balance import rate as balance_rate
    from ntkflow.metrics.invariant import E, InvariantTerms, drift, end_of_training
    from ntkflow.metrics.invariant import terms as invariant_terms
    from ntkflow.metrics.neural_collapse import centring
    from ntkflow.metrics.neural_collapse import measure as nc
    from ntkflow.metrics.published.collapse import collapse
    from ntkflow.metrics.quantities import Conserved, conserved

"""ntkflow: simulate, test and extend the theory of Neural (Tangent Kernel) Collapse.

>>> import ntkflow as nf
>>> sizes, kernel = nf.Sizes(C=3, m=4, n=5), nf.BlockKernel(1.0, 0.5, 0.1)
>>> solution = nf.solve(nf.Problem(sizes, kernel, nf.initial.make("balanced-contrast", sizes, kernel)))
>>> bool(solution.series["NC1"][-1] < 1e-7)
True
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# Loaded on first use: numpy, scipy and jax are slow to import and `ntkflow --help` needs none of them.
_NAMES = {
    "Sizes": "sizes",
    "Kernel": "kernels",
    "BlockKernel": "kernels",
    "ClassBlockKernel": "kernels",
    "SampleKernel": "kernels",
    "KroneckerKernel": "kernels",
    "MatrixBlockKernel": "kernels",
    "TensorKernel": "kernels",
    "ScheduledKernel": "kernels",
    "Decay": "decay",
    "MSE": "losses",
    "CrossEntropy": "losses",
    "LossPair": "losses",
    "State": "state",
    "ThinState": "state",
    "Problem": "problem",
    "Stop": "stopping",
    "Reason": "stopping",
    "Solution": "solution",
    "solve": "integrate",
    "ensemble": "ensembles",
    "Ensemble": "ensembles",
    "InputError": "errors",
    "LawWarning": "errors",
    "SolveError": "errors",
}
_MODULES = (
    "agreement",
    "balance",
    "balanced",
    "bounds",
    "clock",
    "collapse",
    "conditions",
    "conserved",
    "decay_conditions",
    "discrete",
    "enforced",
    "exact",
    "fit",
    "initial",
    "invariant",
    "jaxflow",
    "laws",
    "limits",
    "prediction",
    "rates",
    "rundir",
    "sensitivity",
    "spectrum",
    "store",
    "sweep",
    "taylor",
    "zero_loss",
)

__all__ = [*_NAMES, *_MODULES, "__version__"]


def __getattr__(name: str) -> Any:
    if name in _NAMES:
        value = getattr(import_module(f"ntkflow.{_NAMES[name]}"), name)
        globals()[name] = value
        return value
    if name in _MODULES:
        return import_module(f"ntkflow.{name}")
    raise AttributeError(f"module 'ntkflow' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)


if TYPE_CHECKING:
    # "as" makes a re-export of each for type checkers.
    from ntkflow import agreement as agreement
    from ntkflow import balance as balance
    from ntkflow import balanced as balanced
    from ntkflow import bounds as bounds
    from ntkflow import clock as clock
    from ntkflow import collapse as collapse
    from ntkflow import conditions as conditions
    from ntkflow import conserved as conserved
    from ntkflow import decay_conditions as decay_conditions
    from ntkflow import discrete as discrete
    from ntkflow import enforced as enforced
    from ntkflow import exact as exact
    from ntkflow import fit as fit
    from ntkflow import initial as initial
    from ntkflow import invariant as invariant
    from ntkflow import jaxflow as jaxflow
    from ntkflow import laws as laws
    from ntkflow import limits as limits
    from ntkflow import prediction as prediction
    from ntkflow import rates as rates
    from ntkflow import rundir as rundir
    from ntkflow import sensitivity as sensitivity
    from ntkflow import spectrum as spectrum
    from ntkflow import store as store
    from ntkflow import sweep as sweep
    from ntkflow import taylor as taylor
    from ntkflow import zero_loss as zero_loss
    from ntkflow.decay import Decay as Decay
    from ntkflow.ensembles import Ensemble as Ensemble
    from ntkflow.ensembles import ensemble as ensemble
    from ntkflow.errors import InputError as InputError
    from ntkflow.errors import LawWarning as LawWarning
    from ntkflow.errors import SolveError as SolveError
    from ntkflow.integrate import solve as solve
    from ntkflow.kernels import BlockKernel as BlockKernel
    from ntkflow.kernels import ClassBlockKernel as ClassBlockKernel
    from ntkflow.kernels import Kernel as Kernel
    from ntkflow.kernels import KroneckerKernel as KroneckerKernel
    from ntkflow.kernels import MatrixBlockKernel as MatrixBlockKernel
    from ntkflow.kernels import SampleKernel as SampleKernel
    from ntkflow.kernels import ScheduledKernel as ScheduledKernel
    from ntkflow.kernels import TensorKernel as TensorKernel
    from ntkflow.losses import MSE as MSE
    from ntkflow.losses import CrossEntropy as CrossEntropy
    from ntkflow.losses import LossPair as LossPair
    from ntkflow.problem import Problem as Problem
    from ntkflow.sizes import Sizes as Sizes
    from ntkflow.solution import Solution as Solution
    from ntkflow.state import State as State
    from ntkflow.state import ThinState as ThinState
    from ntkflow.stopping import Reason as Reason
    from ntkflow.stopping import Stop as Stop

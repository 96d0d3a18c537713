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
    "Sizes": "ntkflow.problem.sizes",
    "Kernel": "ntkflow.problem.kernels",
    "BlockKernel": "ntkflow.problem.kernels",
    "ClassBlockKernel": "ntkflow.problem.kernels",
    "SampleKernel": "ntkflow.problem.kernels",
    "KroneckerKernel": "ntkflow.problem.kernels",
    "MatrixBlockKernel": "ntkflow.problem.kernels",
    "TensorKernel": "ntkflow.problem.kernels",
    "ScheduledKernel": "ntkflow.problem.kernels",
    "Decay": "ntkflow.problem.decay",
    "MSE": "ntkflow.problem.losses",
    "CrossEntropy": "ntkflow.problem.losses",
    "LossPair": "ntkflow.problem.losses",
    "State": "ntkflow.problem.state",
    "ThinState": "ntkflow.problem.state",
    "Problem": "ntkflow.problem.problem",
    "Stop": "ntkflow.integrate.stopping",
    "Reason": "ntkflow.integrate.stopping",
    "Solution": "ntkflow.integrate.solution",
    "solve": "ntkflow.integrate.solve",
    "ensemble": "ntkflow.runs.ensembles",
    "Ensemble": "ntkflow.runs.ensembles",
    "InputError": "ntkflow.errors",
    "LawWarning": "ntkflow.errors",
    "SolveError": "ntkflow.errors",
}
_MODULES = {
    "agreement": "ntkflow.runs.agreement",
    "balance": "ntkflow.metrics.balance",
    "balanced": "ntkflow.theory.balanced",
    "bounds": "ntkflow.theory.bounds",
    "clock": "ntkflow.problem.clock",
    "collapse": "ntkflow.metrics.neural_collapse",
    "conditions": "ntkflow.theory.conditions",
    "conserved": "ntkflow.metrics.conserved",
    "decay_conditions": "ntkflow.theory.decay_conditions",
    "discrete": "ntkflow.integrate.descent",
    "enforced": "ntkflow.theory.enforced",
    "exact": "ntkflow.theory.exact",
    "fit": "ntkflow.fitting",
    "initial": "ntkflow.problem.initial",
    "invariant": "ntkflow.metrics.invariant",
    "jaxflow": "ntkflow.derivatives",
    "laws": "ntkflow.runs.laws",
    "limits": "ntkflow.theory.limits",
    "prediction": "ntkflow.theory.prediction",
    "rates": "ntkflow.theory.rates",
    "rundir": "ntkflow.runs.rundir",
    "sensitivity": "ntkflow.derivatives.sensitivity",
    "spectrum": "ntkflow.theory.spectrum",
    "store": "ntkflow.runs.files",
    "sweep": "ntkflow.sweep",
    "zero_loss": "ntkflow.theory.zero_loss",
}

__all__ = [*_NAMES, *_MODULES, "__version__"]


def __getattr__(name: str) -> Any:
    if name in _NAMES:
        value = getattr(import_module(_NAMES[name]), name)
        globals()[name] = value
        return value
    if name in _MODULES:
        return import_module(_MODULES[name])
    raise AttributeError(f"module 'ntkflow' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)


if TYPE_CHECKING:
    # "as" makes a re-export of each for type checkers.
    from ntkflow import derivatives as jaxflow
    from ntkflow import fitting as fit
    from ntkflow import sweep as sweep
    from ntkflow.derivatives import sensitivity
    from ntkflow.errors import InputError as InputError
    from ntkflow.errors import LawWarning as LawWarning
    from ntkflow.errors import SolveError as SolveError
    from ntkflow.integrate import descent as discrete
    from ntkflow.integrate.solution import Solution as Solution
    from ntkflow.integrate.solve import solve as solve
    from ntkflow.integrate.stopping import Reason as Reason
    from ntkflow.integrate.stopping import Stop as Stop
    from ntkflow.metrics import balance, conserved, invariant
    from ntkflow.metrics import neural_collapse as collapse
    from ntkflow.problem import clock, initial
    from ntkflow.problem.decay import Decay as Decay
    from ntkflow.problem.kernels import BlockKernel as BlockKernel
    from ntkflow.problem.kernels import ClassBlockKernel as ClassBlockKernel
    from ntkflow.problem.kernels import Kernel as Kernel
    from ntkflow.problem.kernels import KroneckerKernel as KroneckerKernel
    from ntkflow.problem.kernels import MatrixBlockKernel as MatrixBlockKernel
    from ntkflow.problem.kernels import SampleKernel as SampleKernel
    from ntkflow.problem.kernels import ScheduledKernel as ScheduledKernel
    from ntkflow.problem.kernels import TensorKernel as TensorKernel
    from ntkflow.problem.losses import MSE as MSE
    from ntkflow.problem.losses import CrossEntropy as CrossEntropy
    from ntkflow.problem.losses import LossPair as LossPair
    from ntkflow.problem.problem import Problem as Problem
    from ntkflow.problem.sizes import Sizes as Sizes
    from ntkflow.problem.state import State as State
    from ntkflow.problem.state import ThinState as ThinState
    from ntkflow.runs import agreement, laws, rundir
    from ntkflow.runs import files as store
    from ntkflow.runs.ensembles import Ensemble as Ensemble
    from ntkflow.runs.ensembles import ensemble as ensemble
    from ntkflow.theory import (
        balanced,
        bounds,
        conditions,
        decay_conditions,
        enforced,
        exact,
        limits,
        prediction,
        rates,
        spectrum,
        zero_loss,
    )

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
    "InputError": "errors",
    "SolveError": "errors",
}
_MODULES = (
    "balance",
    "bounds",
    "collapse",
    "conditions",
    "conserved",
    "discrete",
    "exact",
    "initial",
    "invariant",
    "limits",
    "prediction",
    "rates",
    "rundir",
    "spectrum",
    "store",
    "sweep",
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
    from ntkflow import (
        balance,
        bounds,
        collapse,
        conditions,
        conserved,
        discrete,
        exact,
        initial,
        invariant,
        limits,
        prediction,
        rates,
        rundir,
        spectrum,
        store,
        sweep,
    )
    from ntkflow.decay import Decay
    from ntkflow.errors import InputError, SolveError
    from ntkflow.integrate import solve
    from ntkflow.kernels import (
        BlockKernel,
        ClassBlockKernel,
        Kernel,
        KroneckerKernel,
        MatrixBlockKernel,
        SampleKernel,
        ScheduledKernel,
        TensorKernel,
    )
    from ntkflow.losses import MSE, CrossEntropy, LossPair
    from ntkflow.problem import Problem
    from ntkflow.sizes import Sizes
    from ntkflow.solution import Solution
    from ntkflow.state import State, ThinState
    from ntkflow.stopping import Reason, Stop

"""ntkflow: simulate, test and extend the theory of Neural (Tangent Kernel) Collapse.

Nouns and verbs are here; `nf.initial` has states to start from, `nf.metrics` numbers of a state, `nf.theory` what is known
before integrating, `nf.sweep` grids of simulations. What needs a network, as `nf.measure`, comes from the package that
trains them, and is there when that is installed.

>>> import ntkflow as nf
>>> sizes, kernel = nf.Sizes(C=3, m=4, n=5), nf.BlockKernel(1.0, 0.5, 0.1)
>>> solution = nf.solve(nf.Problem(sizes, kernel, nf.initial.make("balanced-contrast", sizes, kernel)))
>>> bool(solution.series["NC1"][-1] < 1e-7)
True
"""

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from ntkflow._lazy import attach

__version__ = "0.1.0"

# Other packages add what they bring here, so that this one never imports them.
ENTRY_POINTS = "ntkflow.door"

_NOUNS = {
    "Sizes": "ntkflow.problem.sizes:Sizes",
    "State": "ntkflow.problem.state:State",
    "ThinState": "ntkflow.problem.state:ThinState",
    "Kernel": "ntkflow.problem.kernels:Kernel",
    "BlockKernel": "ntkflow.problem.kernels:BlockKernel",
    "ClassBlockKernel": "ntkflow.problem.kernels:ClassBlockKernel",
    "SampleKernel": "ntkflow.problem.kernels:SampleKernel",
    "KroneckerKernel": "ntkflow.problem.kernels:KroneckerKernel",
    "MatrixBlockKernel": "ntkflow.problem.kernels:MatrixBlockKernel",
    "TensorKernel": "ntkflow.problem.kernels:TensorKernel",
    "ScheduledKernel": "ntkflow.problem.kernels:ScheduledKernel",
    "Decay": "ntkflow.problem.decay:Decay",
    "MSE": "ntkflow.problem.losses:MSE",
    "CrossEntropy": "ntkflow.problem.losses:CrossEntropy",
    "Smoothed": "ntkflow.problem.losses:Smoothed",
    "LossPair": "ntkflow.problem.losses:LossPair",
    "Clock": "ntkflow.problem.training_clock:Clock",
    "Problem": "ntkflow.problem.problem:Problem",
    "LayeredProblem": "ntkflow.problem.layers.problem:LayeredProblem",
    "LayeredState": "ntkflow.problem.layers.state:LayeredState",
    "LayerDecay": "ntkflow.problem.layers.problem:LayerDecay",
    "LayeredSolution": "ntkflow.integrate.layers.solution:LayeredSolution",
    "SimulateConfig": "ntkflow.runs.config:SimulateConfig",
    "Stop": "ntkflow.integrate.stopping:Stop",
    "Reason": "ntkflow.integrate.stopping:Reason",
    "Solution": "ntkflow.integrate.solution:Solution",
    "Descent": "ntkflow.integrate.descent:Descent",
    "Direction": "ntkflow.derivatives.directions:Direction",
    "Ensemble": "ntkflow.runs.ensembles:Ensemble",
    "Observed": "ntkflow.fitting.observed:Observed",
    "Fit": "ntkflow.fitting.estimate:Fit",
    "Bar": "ntkflow.progress:Bar",
    "InputError": "ntkflow.errors:InputError",
    "SolveError": "ntkflow.errors:SolveError",
    "LawWarning": "ntkflow.errors:LawWarning",
    "PrecisionWarning": "ntkflow.errors:PrecisionWarning",
}
_VERBS = {
    "solve": "ntkflow.integrate.solve:solve",
    "solve_layers": "ntkflow.integrate.layers.solve:solve_layers",
    "descend": "ntkflow.integrate.descent:descend",
    "ensemble": "ntkflow.runs.ensembles:ensemble",
    "fit": "ntkflow.fitting.estimate:fit",
    "fit_layers": "ntkflow.fitting.layers:fit_layers",
    "balance": "ntkflow.metrics.balance:balance",
    "sensitivity": "ntkflow.derivatives.sensitivity:sensitivity",
    "gradient": "ntkflow.derivatives.gradient:gradient",
    "laws": "ntkflow.runs.laws:laws",
    "summarise": "ntkflow.runs.saved.solutions:summarise",
    "save": "ntkflow.runs.saved.dispatch:save",
    "load": "ntkflow.runs.saved.dispatch:load",
    "figure": "ntkflow.runs.saved.overlay:figure",
}
_SPACES = {
    "initial": "ntkflow.problem.initial",
    "metrics": "ntkflow.metrics",
    "theory": "ntkflow.theory",
    "sweep": "ntkflow.sweep",
}
__all__ = [*_NOUNS, *_VERBS, *_SPACES, "__version__"]

_load, _ = attach(__name__, {**_NOUNS, **_VERBS}, _SPACES)


def __getattr__(name: str) -> Any:
    # `from ntkflow import checks` asks here before it imports the module: no other package is looked through for that.
    if name in __all__ or name.startswith("_") or find_spec(f"{__name__}.{name}") is not None:
        return _load(name)
    points = _brought()
    if name not in points:
        return _load(name)  # says that there is none
    value = globals()[name] = points[name].load()
    return value


def __dir__() -> list[str]:
    return sorted({*__all__, *_brought()})


def _brought() -> dict[str, Any]:
    """What other packages bring, by name; a name of this one stays this one's."""
    from importlib.metadata import entry_points

    return {point.name: point for point in entry_points(group=ENTRY_POINTS) if point.name not in __all__}


if TYPE_CHECKING:
    # "as" makes a re-export of each for type checkers.
    from ntkflow import metrics as metrics
    from ntkflow import sweep as sweep
    from ntkflow import theory as theory
    from ntkflow.derivatives.directions import Direction as Direction
    from ntkflow.derivatives.gradient import gradient as gradient
    from ntkflow.derivatives.sensitivity import sensitivity as sensitivity
    from ntkflow.errors import InputError as InputError
    from ntkflow.errors import LawWarning as LawWarning
    from ntkflow.errors import PrecisionWarning as PrecisionWarning
    from ntkflow.errors import SolveError as SolveError
    from ntkflow.fitting.estimate import Fit as Fit
    from ntkflow.fitting.estimate import fit as fit
    from ntkflow.fitting.layers import fit_layers as fit_layers
    from ntkflow.fitting.observed import Observed as Observed
    from ntkflow.integrate.descent import Descent as Descent
    from ntkflow.integrate.descent import descend as descend
    from ntkflow.integrate.layers.solution import LayeredSolution as LayeredSolution
    from ntkflow.integrate.layers.solve import solve_layers as solve_layers
    from ntkflow.integrate.solution import Solution as Solution
    from ntkflow.integrate.solve import solve as solve
    from ntkflow.integrate.stopping import Reason as Reason
    from ntkflow.integrate.stopping import Stop as Stop
    from ntkflow.metrics.balance import balance as balance
    from ntkflow.problem import initial as initial
    from ntkflow.problem.decay import Decay as Decay
    from ntkflow.problem.kernels import BlockKernel as BlockKernel
    from ntkflow.problem.kernels import ClassBlockKernel as ClassBlockKernel
    from ntkflow.problem.kernels import Kernel as Kernel
    from ntkflow.problem.kernels import KroneckerKernel as KroneckerKernel
    from ntkflow.problem.kernels import MatrixBlockKernel as MatrixBlockKernel
    from ntkflow.problem.kernels import SampleKernel as SampleKernel
    from ntkflow.problem.kernels import ScheduledKernel as ScheduledKernel
    from ntkflow.problem.kernels import TensorKernel as TensorKernel
    from ntkflow.problem.layers.problem import LayerDecay as LayerDecay
    from ntkflow.problem.layers.problem import LayeredProblem as LayeredProblem
    from ntkflow.problem.layers.state import LayeredState as LayeredState
    from ntkflow.problem.losses import MSE as MSE
    from ntkflow.problem.losses import CrossEntropy as CrossEntropy
    from ntkflow.problem.losses import LossPair as LossPair
    from ntkflow.problem.losses import Smoothed as Smoothed
    from ntkflow.problem.problem import Problem as Problem
    from ntkflow.problem.sizes import Sizes as Sizes
    from ntkflow.problem.state import State as State
    from ntkflow.problem.state import ThinState as ThinState
    from ntkflow.problem.training_clock import Clock as Clock
    from ntkflow.progress import Bar as Bar
    from ntkflow.runs.config import SimulateConfig as SimulateConfig
    from ntkflow.runs.ensembles import Ensemble as Ensemble
    from ntkflow.runs.ensembles import ensemble as ensemble
    from ntkflow.runs.laws import laws as laws
    from ntkflow.runs.saved.dispatch import load as load
    from ntkflow.runs.saved.dispatch import save as save
    from ntkflow.runs.saved.overlay import figure as figure
    from ntkflow.runs.saved.solutions import summarise as summarise

"""Options that commands share, so that one name means one thing everywhere."""

import sys
import warnings
from pathlib import Path
from typing import Annotated, Any

import typer

from ntkflow.errors import InputError
from ntkflow.problem.kernels.kernel_files import UnusedArraysWarning
from ntkflow.runs import config as configuration
from ntkflow.runs import files
from ntkflow.runs.border.costs import MANY
from ntkflow.runs.config import SimulateConfig
from ntkflow.runs.simulate import Prepared, prepare


def _option(panel: str, text: str, *names: str) -> Any:
    return typer.Option(*names, help=text, rich_help_panel=panel)


SIZES, KERNEL, START, FLOW = "Sizes", "Kernel", "Initial state", "Flow"
STEPS, STOPPING, NUMERICS, OUTPUT = "Discrete steps", "Stopping", "Numerics", "Output"
OPTIMISER = "An optimiser's numbers, converted"

Classes = Annotated[int | None, _option(SIZES, "Classes C. (default: 10)", "--classes", "-C")]
PerClass = Annotated[
    str | None,
    _option(
        SIZES,
        "Samples per class m; one count per class when imbalanced, as 3,4,5. (default: 12)",
        "--per-class",
        "-m",
    ),
]
FeaturesN = Annotated[int | None, _option(SIZES, "Last-layer features n. (default: 64)", "--features", "-n")]
KappaD = Annotated[float | None, _option(KERNEL, "Kernel of a sample with itself. (default: 1)")]
KappaC = Annotated[float | None, _option(KERNEL, "Kernel within a class. (default: 0.5)")]
KappaN = Annotated[float | None, _option(KERNEL, "Kernel between classes. (default: 0.1)")]
Rung = Annotated[
    str | None,
    _option(
        KERNEL,
        "Rung of the kernel ladder to read from the kernel or state file: block, class-block, sample, kronecker, "
        "matrix-block, tensor or scheduled. (default: the simplest one there)",
    ),
]
KernelFile = Annotated[Path | None, _option(KERNEL, "Arrays of a kernel (.npz).")]
Init = Annotated[
    str | None,
    _option(
        START,
        "gaussian, relu, balanced, balanced-centred, balanced-contrast or equal-bias. (default: balanced-contrast)",
    ),
]
Scale = Annotated[float | None, _option(START, "Scale of the initial state. (default: 1)")]
Beta = Annotated[float | None, _option(START, "Initial bias of every class, with --init equal-bias.")]
Seed = Annotated[int | None, _option(START, "Seed of the initial state. (default: 0)")]
StateFile = Annotated[Path | None, _option(START, "Start from a state file (.npz) instead.")]
Loss = Annotated[
    str | None, _option(FLOW, "mse, cross-entropy, or your own as module:object. (default: mse)")
]
DecayW = Annotated[float | None, _option(FLOW, "Weight decay on W, per flow time. (default: 0)")]
DecayH = Annotated[float | None, _option(FLOW, "Decay on the features H. (default: 0)")]
DecayB = Annotated[float | None, _option(FLOW, "Decay on the biases b. (default: 0)")]
StepSize = Annotated[
    float | None, _option(STEPS, "Gradient descent with this step on the sum loss instead of the flow.")
]
Steps = Annotated[int | None, _option(STEPS, "So many steps, instead of --t-end.", "--steps")]
MomentumBeta = Annotated[
    float | None, _option(STEPS, "Momentum of the steps, or of --learning-rate. (default: 0)", "--momentum")
]
Nesterov = Annotated[
    bool | None, _option(STEPS, "Kind of momentum. (default: heavy-ball)", "--nesterov/--heavy-ball")
]
BatchPerClass = Annotated[int | None, _option(STEPS, "Samples per class in a minibatch. (default: all)")]
BatchSeed = Annotated[int | None, _option(STEPS, "Seed of the minibatches. (default: 0)")]
LearningRate = Annotated[
    float | None,
    _option(
        OPTIMISER, "Learning rate of an optimiser: times are told in its steps as well. The run stays a flow."
    ),
]
WeightDecay = Annotated[
    float | None,
    _option(
        OPTIMISER,
        "Weight decay of an optimiser (SGD's, an L2 penalty), on W and on the features, instead of --decay-w and "
        "--decay-h: N C times it with a mean loss.",
    ),
]
LossReduction = Annotated[
    str | None,
    _option(
        OPTIMISER,
        "Loss that the optimiser differentiates: mean (over samples, and for mse over outputs, of squares / 2) or sum. "
        "(default: mean)",
    ),
]
TEnd = Annotated[float | None, _option(STOPPING, "End time, flow time of the sum loss.")]
StopNC1 = Annotated[
    float | None, _option(STOPPING, "Stop below this NC1; 0: never. (default: 1e-8)", "--stop-nc1")
]
StopLoss = Annotated[float | None, _option(STOPPING, "Stop below this loss; 0: never. (default: 0)")]
Stationarity = Annotated[
    float | None, _option(STOPPING, "Stop when the state moves less than this; 0: never. (default: 1e-10)")
]
Rtol = Annotated[float | None, _option(NUMERICS, "Bound on the drift of E. (default: 1e-8)")]
Engine = Annotated[str | None, _option(NUMERICS, "Integrator, or auto. (default: auto)")]
Form = Annotated[str | None, _option(NUMERICS, "thin, raw or auto. (default: auto)")]
EnsembleSize = Annotated[
    int | None,
    _option(
        NUMERICS, "Integrate K seeds from --seed on to t_end; quantile bands. (default: 1)", "--ensemble"
    ),
]
ConfigFile = Annotated[Path | None, _option(OUTPUT, "Replay a config.toml; other options override it.")]
Yes = Annotated[bool, _option(OUTPUT, f"More than {MANY} runs are meant.", "--yes")]
Overwrite = Annotated[bool, _option(OUTPUT, "Replace an existing run directory.", "--overwrite")]
AsJson = Annotated[bool, _option(OUTPUT, "Print the summary alone, as JSON.", "--json")]
Quiet = Annotated[bool, _option(OUTPUT, "Print nothing but errors.", "--quiet", "-q")]


def prepared(config: Path | None, given: dict[str, Any]) -> Prepared:
    """The problem that a configuration file and options describe.

    Args:
        config: file to start from, or None.
        given: options by the name of their field in `SimulateConfig`; None means not given. Others are ignored.
    """
    names = {name for table in configuration.TABLES.values() for name in table}
    options = {name: value for name, value in given.items() if name in names}
    options["per_class"] = _counts(options.get("per_class"))
    base = SimulateConfig()
    if config is not None:
        base = configuration.from_tables(files.read_toml(config), config.parent)
    if options.get("weight_decay") is not None:
        for name in ("decay_w", "decay_h"):
            if options.get(name) is not None:
                raise InputError(
                    "--weight-decay",
                    options["weight_decay"],
                    f"contradicts --{name.replace('_', '-')}, into which it is converted",
                    "drop one of the two",
                )
    complete = base.updated(options)
    if ":" in complete.loss and str(Path.cwd()) not in sys.path:
        # A loss of one's own usually lies where one works; last, so that nothing else is imported from there.
        sys.path.append(str(Path.cwd()))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UnusedArraysWarning)
        found = prepare(complete)
    for warning in caught:
        if not issubclass(warning.category, UnusedArraysWarning):
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
        elif not given.get("quiet"):
            print(f"ntkflow: warning: {warning.message}", file=sys.stderr)
    return found


def _counts(text: str | None) -> int | tuple[int, ...] | None:
    """`12` or `3,4,5`."""
    if text is None:
        return None
    try:
        counts = tuple(int(word) for word in text.split(","))
    except ValueError:
        raise InputError(
            "--per-class", text, "must be a whole number, or one per class", "as 12 or 3,4,5"
        ) from None
    return counts[0] if len(counts) == 1 else counts

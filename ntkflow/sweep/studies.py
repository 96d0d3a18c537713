"""Shipped sweeps, each of which shows one thing the theory says."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from ntkflow import checks
from ntkflow.runs.config import SimulateConfig
from ntkflow.sweep.axis import Axis, parse_axis
from ntkflow.sweep.spec import SweepSpec, View

CLASSES = 4


@dataclass(frozen=True)
class Study:
    """A shipped sweep.

    Attributes:
        spec: what is run and shown.
        title: one line above the figure.
        lesson: what to look for, printed after the run.
        mark: place and text of a mark on the x axis, from the specification run.
    """

    spec: SweepSpec
    title: str
    lesson: str
    mark: Callable[[SweepSpec], tuple[float, str]] | None = None


def _classes(spec: SweepSpec) -> int:
    return spec.base.classes or CLASSES


def _numbers(field: str, *values: float) -> Axis:
    return Axis((field,), values, log=all(value > 0 for value in values) and len(values) > 1)


NEGATIVE_EIGENVALUES = Study(
    SweepSpec(
        SimulateConfig(classes=CLASSES, per_class=6, init="gaussian", stop_nc1=1e-6, t_end=300.0),
        # E of a generic state has n - C negative eigenvalues at least: the axis runs across n = 2C, where they pass C.
        (
            parse_axis(f"features=2:{3 * CLASSES}:{3 * CLASSES - 1}"),
            _numbers("kappa_d", 1.0, 30.0, 1000.0),
            _numbers("scale", 0.5, 1.0),
        ),
        seeds=2,
        view=View(
            x="invariant.eigen_signs.negative",
            by="kappa_d",
            y=("nc.NC1_frobenius.final",),
            theory=("theory.nc1_floor",),
            log_y=True,
            study="negative-eigenvalues",
        ),
    ),
    "NC1 is impossible when E has more than C negative eigenvalues",
    "Right of the line every run keeps a permanent variability, above the floor that its E sets (dashes); "
    "left of it nothing forbids collapse: without negative eigenvalues it always comes, with some of them it fails "
    "where the features find room in the kernel of W.",
    lambda spec: (_classes(spec) + 0.5, r"$n_-(E) > C$"),
)

EQUAL_BIAS = Study(
    SweepSpec(
        SimulateConfig(classes=CLASSES, per_class=6, features=12, init="equal-bias", t_end=2000.0),
        # Biases on both sides of 1/C. At kappa_n = 0 alpha is zero, and mu_class and mu_global are one number.
        (parse_axis("beta=-0.6:1:15"), Axis(("kappa_n",), (0.0, 0.05, 0.2, 0.5))),
        view=View(
            x="final.bias_mean",
            by="alpha",
            y=("nc.NC3.final",),
            theory=("theory.nc3_equal_bias",),
            study="equal-bias",
        ),
    ),
    "Equal biases: NC3 against the final bias and the kernel between classes",
    "With E = 0 and equal biases NC3 ends where the theory says: at zero only for b = 1/C, and nearer to zero the "
    "larger alpha, which grows with kappa_n.",
    lambda spec: (1 / _classes(spec), "b = 1/C"),
)

WEIGHT_DECAY = Study(
    SweepSpec(
        SimulateConfig(
            classes=CLASSES, per_class=6, features=12, init="gaussian", scale=0.5, t_end=200.0, stop_nc1=0.0
        ),
        # Equal rates on W and H, the one case in which E's law has a closed form; from decay t = 0.02 to 10 at the end, and
        # no target for NC1, so that all runs end at one time.
        (parse_axis("decay_w,decay_h=1e-4:5e-2:10:log"),),
        seeds=3,
        view=View(
            y=("nc.NC1.final", "invariant.norm_final", "invariant.alignment_final"),
            theory=("", "theory.E_norm"),
            log_y=True,
            study="weight-decay",
        ),
    ),
    "Weight decay drives E to zero, and so to collapse",
    "From a state that can never collapse without decay (n > 2C): once decay times the horizon passes 1, |E|, which falls "
    "as exp(-2 decay t) exactly (dashed), is gone: NC1 goes with it, and the two terms of E align.",
)

STUDIES: dict[str, Study] = {
    "negative-eigenvalues": NEGATIVE_EIGENVALUES,
    "equal-bias": EQUAL_BIAS,
    "weight-decay": WEIGHT_DECAY,
}


def study_named(name: str) -> Study:
    """A shipped study.

    Raises:
        InputError: no study of that name.
    """
    checks.choice("study", name, STUDIES)
    return STUDIES[name]


def title_of(spec: SweepSpec) -> str:
    """The line above the figure: the study's, or what is held fixed."""
    if spec.view.study is not None:
        return study_named(spec.view.study).title
    swept = {name for axis in spec.all_axes for name in axis.fields}
    default = vars(SimulateConfig())
    held = [f"{k} = {v}" for k, v in vars(spec.base).items() if v != default[k] and k not in swept]
    return ", ".join(held) or "defaults of ntkflow simulate"


def mark_of(spec: SweepSpec) -> tuple[float, str] | None:
    """The mark on the figure's x axis, for studies that have one."""
    study = None if spec.view.study is None else study_named(spec.view.study)
    return None if study is None or study.mark is None else study.mark(spec)


def with_changes(study: Study, base: SimulateConfig, seeds: int | None) -> SweepSpec:
    """A study's specification with another base configuration or another number of seeds."""
    return replace(study.spec, base=base, seeds=study.spec.seeds if seeds is None else seeds)

"""The configuration of one simulation: every choice that decides its numbers, complete and replayable."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated

from ntkflow import checks, views
from ntkflow._types import Document, Json
from ntkflow.errors import InputError
from ntkflow.runs.border.schema import Option, documented, flag, options_of, schema_of
from ntkflow.runs.border.typed import check

OFF = 0.0
# Of a run that is looked at by itself, and of members and cells, of which none is.
STRICT_RTOL, LOOSE_RTOL = 1e-8, 1e-6


@documented
@dataclass(frozen=True)
class SimulateConfig:
    """All options of `ntkflow simulate`; None means the default that is named, or what the state file says."""

    classes: Annotated[int | None, Option("sizes", "Classes C.", 10, flags=("-C",))] = None
    per_class: Annotated[
        int | tuple[int, ...] | None,
        Option(
            "sizes", "Samples per class m; one count per class when imbalanced, as 3,4,5.", 12, flags=("-m",)
        ),
    ] = None
    features: Annotated[int | None, Option("sizes", "Last-layer features n.", 64, flags=("-n",))] = None
    widths: Annotated[
        int | tuple[int, ...] | None,
        Option(
            "sizes",
            "Features are L linear layers of these widths n_1,...,n_L, as 32,64, whose kernel moves by itself; the last is n.",
            more="See `ntkflow.runs.layered`.",
        ),
    ] = None
    depth: Annotated[
        int | None,
        Option("sizes", "Features are so many linear layers of --features each, in place of --widths."),
    ] = None
    layer_biases: Annotated[
        bool,
        Option(
            "sizes",
            "Linear layers with biases of their own, 0 at the start.",
            flags=("--layer-biases/--no-layer-biases",),
        ),
    ] = False
    rung: Annotated[
        str | None,
        Option(
            "kernel",
            "Rung of the kernel ladder to read from the kernel or state file: block, class-block, sample, kronecker, "
            "matrix-block, tensor or scheduled.",
            words="the simplest one there",
        ),
    ] = None
    kappa_d: Annotated[float | None, Option("kernel", "Kernel of a sample with itself.", 1.0)] = None
    kappa_c: Annotated[float | None, Option("kernel", "Kernel within a class.", 0.5)] = None
    kappa_n: Annotated[float | None, Option("kernel", "Kernel between classes.", 0.1)] = None
    kernel_file: Annotated[
        Path | None, Option("kernel", "Arrays of a kernel (.npz).", more="The state file when None.")
    ] = None
    init: Annotated[
        str | None,
        Option(
            "initial",
            "gaussian, relu, balanced, balanced-centred, balanced-contrast or equal-bias; with --widths gaussian, a balanced "
            "one or aligned.",
            "balanced-contrast",
            more="Refused beside `state`.",
        ),
    ] = None
    scale: Annotated[float | None, Option("initial", "Scale of the initial state.", 1.0)] = None
    beta: Annotated[
        float | None, Option("initial", "Initial bias of every class, with --init equal-bias.")
    ] = None
    spectators: Annotated[
        float,
        Option("initial", "Size of what is frozen beside the contrasts, with --widths and --init aligned."),
    ] = 0.0
    seed: Annotated[int | None, Option("initial", "Seed of the initial state.", 0)] = None
    state: Annotated[Path | None, Option("initial", "Start from a state file (.npz) instead.")] = None
    loss: Annotated[str, Option("flow", "mse, cross-entropy, or your own as module:object.")] = "mse"
    label_smoothing: Annotated[
        float,
        Option(
            "flow", "Smoothing epsilon of the targets, (1 - epsilon) Y + epsilon/C, below 1.", words="0: none"
        ),
    ] = 0.0
    decay_w: Annotated[float, Option("flow", "Weight decay on W, per flow time.")] = 0.0
    decay_h: Annotated[float, Option("flow", "Decay on the features H.")] = 0.0
    decay_layers: Annotated[
        float | tuple[float, ...],
        Option("flow", "Decay on the layers below W, with --widths: one rate, or one per layer as 0.1,0.2."),
    ] = 0.0
    decay_b: Annotated[float, Option("flow", "Decay on the biases b.")] = 0.0
    train_bias: Annotated[
        bool,
        Option(
            "flow",
            "Whether the biases are trained, or held where the initial state has them, as in a head without: "
            "--init balanced and gaussian have them at 0.",
            flags=("--train-bias/--no-train-bias",),
        ),
    ] = True
    step_size: Annotated[
        float | None, Option("steps", "Gradient descent with this step on the sum loss instead of the flow.")
    ] = None
    steps: Annotated[
        int | None,
        Option(
            "steps", "So many steps, instead of --t-end.", more="The step size and `t_end` give it when None."
        ),
    ] = None
    momentum: Annotated[
        float | None, Option("steps", "Momentum of the steps, or of --learning-rate.", words="0")
    ] = None
    nesterov: Annotated[
        bool | None,
        Option("steps", "Kind of momentum.", words="heavy-ball", flags=("--nesterov/--heavy-ball",)),
    ] = None
    batch_per_class: Annotated[
        int | None, Option("steps", "Samples per class in a minibatch.", words="all")
    ] = None
    batch_seed: Annotated[int | None, Option("steps", "Seed of the minibatches.", words="0")] = None
    learning_rate: Annotated[
        float | None,
        Option(
            "optimiser",
            "Learning rate of an optimiser: times are told in its steps as well. The run stays a flow.",
        ),
    ] = None
    weight_decay: Annotated[
        float | None,
        Option(
            "optimiser",
            "Weight decay of an optimiser (SGD's, an L2 penalty), on W and on the features, instead of --decay-w and "
            "--decay-h: N C times it with a mean loss.",
            more="See `ntkflow.problem.flow_units`.",
        ),
    ] = None
    loss_reduction: Annotated[
        str | None,
        Option(
            "optimiser",
            "Loss that the optimiser differentiates: mean (over samples, and for mse over outputs, of squares / 2) or sum.",
            words="mean",
        ),
    ] = None
    t_end: Annotated[
        float | None,
        Option(
            "run",
            "End time, flow time of the sum loss.",
            more="None: `ntkflow.integrate.horizon.default_horizon`, or what `steps` reaches. Refused beside `steps`.",
        ),
    ] = None
    # Before what follows from it, so that two runs are told apart by it.
    ensemble: Annotated[
        int,
        Option(
            "run",
            "Integrate K seeds from --seed on to t_end; quantile bands.",
            more="Each runs to t_end, whatever stops a single run.",
        ),
    ] = 1
    rtol: Annotated[
        float | None, Option("run", "Bound on the drift of E.", words="1e-8, of ensembles and sweeps 1e-6")
    ] = None
    engine: Annotated[str, Option("run", "Integrator, or auto.")] = "auto"
    form: Annotated[str, Option("run", "thin, raw or auto.")] = "auto"
    stop_nc1: Annotated[float, Option("stop", "Stop below this NC1; 0: never.")] = 1e-8
    stop_loss: Annotated[float, Option("stop", "Stop below this loss; 0: never.")] = OFF
    stationarity: Annotated[float, Option("stop", "Stop when the state moves less than this; 0: never.")] = (
        1e-10
    )

    __repr__ = views.changed

    def __post_init__(self) -> None:
        for name in PATHS:
            if isinstance(getattr(self, name), str):
                object.__setattr__(self, name, Path(getattr(self, name)))
        if self.state is not None:
            for name in ("init", "scale", "beta", "seed"):
                if getattr(self, name) is not None:
                    raise checks.beside(flag(name), getattr(self, name), "--state")
        self._check_range()
        checks.smoothing("--label-smoothing", self.label_smoothing)
        self._check_layers()
        self._check_ensemble()
        self._check_optimiser()
        if self.step_size is None:
            for name in TABLES["steps"][1:]:
                of_optimiser = name in ("momentum", "nesterov") and self.learning_rate is not None
                if getattr(self, name) is not None and not of_optimiser:
                    raise InputError(
                        flag(name),
                        getattr(self, name),
                        "has no meaning for the flow",
                        "give --step-size, or --learning-rate with a momentum, or drop it",
                    )
        self._check_steps()

    def _check_range(self) -> None:
        """Nothing that arrays, seeds and files cannot hold, from Python either."""
        for name, value in vars(self).items():
            for entry in value if isinstance(value, tuple | list) else (value,):
                check(name, entry)

    def _check_layers(self) -> None:
        if self.depth is not None:
            checks.whole("--depth", self.depth, 1, "a network needs layers")
            if self.widths is not None:
                raise checks.beside("--depth", self.depth, "--widths")
        for name in ("decay_layers", "spectators", "layer_biases"):
            if not self.layered and getattr(self, name):
                raise InputError(
                    flag(name),
                    getattr(self, name),
                    "has no meaning without layers",
                    "give --widths or --depth too",
                )

    @property
    def layered(self) -> bool:
        """Whether the features are linear layers."""
        return self.widths is not None or self.depth is not None

    @property
    def loss_name(self) -> str:
        """The name of the loss, of smoothed targets where these are; `loss_named` finds it."""
        return f"{self.loss} smoothed {self.label_smoothing!r}" if self.label_smoothing else self.loss

    def _check_steps(self) -> None:
        if self.steps is None:
            return
        if self.t_end is not None:
            raise checks.beside("--steps", self.steps, "--t-end")
        checks.whole("--steps", self.steps, 1)

    def _check_optimiser(self) -> None:
        if self.learning_rate is not None and self.step_size is not None:
            raise InputError(
                "--learning-rate",
                self.learning_rate,
                "has no meaning beside --step-size, which is the step on the sum loss",
                "drop one of the two",
            )
        if self.weight_decay is not None and (self.decay_w or self.decay_h):
            raise InputError(
                "--weight-decay",
                self.weight_decay,
                "contradicts --decay-w and --decay-h, into which it is converted",
                "drop one of the two",
            )
        if self.loss_reduction is not None and self.learning_rate is None and self.weight_decay is None:
            raise InputError(
                "--loss-reduction",
                self.loss_reduction,
                "says how to convert an optimiser's numbers, and there are none",
                "give --learning-rate or --weight-decay, or drop it",
            )

    def _check_ensemble(self) -> None:
        checks.whole("--ensemble", self.ensemble, 1)
        for name in ("state", "step_size"):
            if self.ensemble > 1 and getattr(self, name) is not None:
                rule = f"has no meaning beside {flag(name)}"
                raise InputError("--ensemble", self.ensemble, rule, "drop one")

    def completed(self, values: Document) -> "SimulateConfig":
        """A copy with these values in the place of its own, which are not checked again: they follow from checked ones."""
        # What `copy` does, in a quarter of the time.
        made = object.__new__(type(self))
        vars(made).update(vars(self), **values)
        return made

    def updated(self, changes: Document) -> "SimulateConfig":
        """A copy with the entries of `changes` that are not None."""
        given = {name: value for name, value in changes.items() if value is not None}
        base = self
        if "state" in given and "init" not in given:
            base = replace(base, init=None, scale=None, beta=None, seed=None)
        if any(name in given for name in ("init", "scale", "beta", "seed")) and "state" not in given:
            base = replace(base, state=None)
        # The one end given replaces the other.
        if "steps" in given and "t_end" not in given:
            base = replace(base, t_end=None)
        if "t_end" in given and "steps" not in given:
            base = replace(base, steps=None)
        return replace(base, **given)

    def tables(self) -> dict[str, Json]:
        """The tables of config.toml; None entries are left out there."""
        values = dict(vars(self))
        values |= {name: str(values[name]) for name in PATHS if values[name] is not None}
        return {table: {name: values[name] for name in names} for table, names in TABLES.items()}


def from_tables(tables: Document, base: Path) -> SimulateConfig:
    """Configuration from the tables of a config.toml; relative paths in it are relative to `base`.

    Raises:
        InputError: an unknown table or key, or a value of the wrong type.
    """
    values: Json = {}
    for table, content in tables.items():
        if table == "record":
            continue  # versions and host of the run that wrote the file
        if table not in TABLES or not isinstance(content, Mapping):
            raise InputError(
                "config", f"[{table}]", f"is not one of {', '.join(TABLES)}", "remove or rename the table"
            )
        for name, value in content.items():
            if name not in TABLES[table]:
                raise InputError(
                    "config",
                    f"{table}.{name}",
                    f"is not one of {', '.join(TABLES[table])}",
                    "remove or rename the key",
                )
            values[name] = SCHEMA.typed_setting(f"config {table}.{name}", name, value)
    values |= {name: base / values[name] for name in PATHS if values.get(name) is not None}
    return SimulateConfig(**values)


def fallbacks(table: str) -> dict[str, bool | int | float | str]:
    """What None comes to in the fields of a table of which no file says anything."""
    return {
        name: option.fallback
        for name, option in OPTIONS.items()
        if option.table == table and option.fallback is not None
    }


OPTIONS = options_of(SimulateConfig)
DEFAULTS = {field.name: field.default for field in fields(SimulateConfig)}
SCHEMA = schema_of(("", SimulateConfig))
# Where each field stands in config.toml, in order.
TABLES: dict[str, tuple[str, ...]] = {
    table: tuple(name for name, option in OPTIONS.items() if option.table == table)
    for table in dict.fromkeys(option.table for option in OPTIONS.values())
}
PATHS = tuple(name for name, kind in SCHEMA.kinds.items() if kind is Path)

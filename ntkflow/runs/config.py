"""The configuration of one simulation: every choice that decides its numbers, complete and replayable."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from ntkflow.checks import real
from ntkflow.errors import MOST, InputError, shown

# Where each field stands in config.toml.
TABLES: dict[str, tuple[str, ...]] = {
    "sizes": ("classes", "per_class", "features"),
    "kernel": ("rung", "kappa_d", "kappa_c", "kappa_n", "kernel_file"),
    "initial": ("init", "scale", "beta", "seed", "state"),
    "flow": ("loss", "decay_w", "decay_h", "decay_b"),
    "steps": ("step_size", "steps", "momentum", "nesterov", "batch_per_class", "batch_seed"),
    "optimiser": ("learning_rate", "weight_decay", "loss_reduction"),
    "run": ("t_end", "rtol", "engine", "form", "ensemble"),
    "stop": ("stop_nc1", "stop_loss", "stationarity"),
}
OFF = 0.0
PATHS = ("kernel_file", "state")


@dataclass(frozen=True)
class SimulateConfig:
    """All options of `ntkflow simulate`; None means the documented default or what the state file says.

    Attributes:
        classes: C; 10, or the number of rows of W in the state file.
        per_class: m, or one count per class; 12, or what the state file has.
        features: n; 64, or what the state file has.
        rung: which rung of the kernel ladder, see `ntkflow.problem.kernels.kernel_files.RUNGS`; None: what the files hold.
        kappa_d: 1, or what the state file has.
        kappa_c: 0.5, or what the state file has.
        kappa_n: 0.1, or what the state file has.
        kernel_file: file with the kernel's arrays; the state file when None.
        init: name of the initial state, see `ntkflow.problem.initial.NAMES`; ignored with `state`, so refused beside it.
        scale: scale of the initial state.
        beta: initial bias of every class, for init equal-bias only.
        seed: seed of the initial state.
        state: state file to start from.
        loss: mse, cross-entropy, or an importable loss as module:object.
        decay_w: decay rate of W in flow time.
        decay_h: decay rate of H.
        decay_b: decay rate of b.
        step_size: eta of discrete gradient steps on the sum loss; None: the continuous flow.
        steps: number of steps; the step size and `t_end` give it when None.
        momentum: momentum of the steps, or of the optimiser of `learning_rate`.
        nesterov: Nesterov's momentum instead of the heavy ball.
        batch_per_class: samples per class and step; None: all.
        batch_seed: seed of the batches; 0.
        learning_rate: of an optimiser; times are told in its steps too. The run stays a flow.
        weight_decay: of an optimiser, coupled, on W and on the features as on one layer; takes the place of decay_w and
            decay_h, see `ntkflow.problem.clock`.
        loss_reduction: what the optimiser differentiates, "mean" (over samples, and for mse over outputs) or "sum".
        t_end: end time; None means `ntkflow.integrate.horizon.default_horizon`, or what `steps` reaches. Refused beside `steps`.
        rtol: bound on the drift of E.
        engine: integrator.
        form: thin, raw or auto.
        ensemble: number of members, with seeds seed, seed + 1, ...; each runs to t_end whatever stops a single run.
        stop_nc1: stop target; 0 switches it off.
        stop_loss: stop target; 0 switches it off.
        stationarity: stop target; 0 switches it off.
    """

    classes: int | None = None
    per_class: int | tuple[int, ...] | None = None
    features: int | None = None
    rung: str | None = None
    kappa_d: float | None = None
    kappa_c: float | None = None
    kappa_n: float | None = None
    kernel_file: Path | None = None
    init: str | None = None
    scale: float | None = None
    beta: float | None = None
    seed: int | None = None
    state: Path | None = None
    loss: str = "mse"
    decay_w: float = 0.0
    decay_h: float = 0.0
    decay_b: float = 0.0
    step_size: float | None = None
    steps: int | None = None
    momentum: float | None = None
    nesterov: bool | None = None
    batch_per_class: int | None = None
    batch_seed: int | None = None
    learning_rate: float | None = None
    weight_decay: float | None = None
    loss_reduction: str | None = None
    t_end: float | None = None
    rtol: float = 1e-8
    engine: str = "auto"
    form: str = "auto"
    ensemble: int = 1
    stop_nc1: float = 1e-8
    stop_loss: float = OFF
    stationarity: float = 1e-10

    def __post_init__(self) -> None:
        if self.state is not None:
            for name in ("init", "scale", "beta", "seed"):
                if getattr(self, name) is not None:
                    raise InputError(
                        f"--{name}",
                        getattr(self, name),
                        "has no meaning beside --state",
                        "drop one of the two",
                    )
        self._check_range()
        self._check_ensemble()
        self._check_optimiser()
        if self.step_size is None:
            for name in TABLES["steps"][1:]:
                of_optimiser = name in ("momentum", "nesterov") and self.learning_rate is not None
                if getattr(self, name) is not None and not of_optimiser:
                    option = f"--{name.replace('_', '-')}"
                    raise InputError(
                        option,
                        getattr(self, name),
                        "has no meaning for the flow",
                        "give --step-size, or --learning-rate with a momentum, or drop it",
                    )
        self._check_steps()

    def _check_range(self) -> None:
        """Whole numbers fit into 64 bits, as arrays and seeds hold them."""
        for name in WHOLE:
            value = getattr(self, name)
            for number in value if isinstance(value, tuple | list) else (value,):
                if isinstance(number, int) and abs(number) > MOST:
                    raise InputError(name, shown(number), "must be below 2^63", "give a smaller number")

    def _check_steps(self) -> None:
        if self.steps is None:
            return
        if self.t_end is not None:
            raise InputError("--steps", self.steps, "has no meaning beside --t-end", "drop one of the two")
        if self.steps < 1:
            raise InputError("--steps", self.steps, "must be at least 1", "give a number of steps")

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
        if self.ensemble < 1:
            raise InputError("--ensemble", self.ensemble, "must be at least 1", "give a number of seeds")
        for name in ("state", "step_size"):
            if self.ensemble > 1 and getattr(self, name) is not None:
                option = f"--{name.replace('_', '-')}"
                raise InputError("--ensemble", self.ensemble, f"has no meaning beside {option}", "drop one")

    def updated(self, changes: Mapping[str, Any]) -> "SimulateConfig":
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

    def tables(self) -> dict[str, dict[str, Any]]:
        """The tables of config.toml; None entries are left out there."""
        values = asdict(self)
        values |= {name: str(values[name]) for name in PATHS if values[name] is not None}
        return {table: {name: values[name] for name in names} for table, names in TABLES.items()}


def from_tables(tables: Mapping[str, Any], base: Path) -> SimulateConfig:
    """Configuration from the tables of a config.toml; relative paths in it are relative to `base`.

    Raises:
        InputError: an unknown table or key, or a value of the wrong type.
    """
    values: dict[str, Any] = {}
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
            values[name] = _typed(f"{table}.{name}", name, value)
    values |= {name: base / values[name] for name in PATHS if values.get(name) is not None}
    return SimulateConfig(**values)


WHOLE = ("ensemble", "classes", "per_class", "features", "seed", "steps", "batch_per_class", "batch_seed")
_TEXT = ("rung", "init", "loss", "loss_reduction", "engine", "form", *PATHS)


def _typed(key: str, name: str, value: Any) -> Any:
    """A value of a config file with the type its field has."""
    kind = int if name in WHOLE else str if name in _TEXT else float
    if name == "nesterov":
        if not isinstance(value, bool):
            raise InputError("config", f"{key} = {value!r}", "must be true or false", "fix the file")
        return value
    if name == "per_class" and isinstance(value, list):
        return tuple(_typed(key, name, count) for count in value)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = real(f"config {key}", value, "fix the file")
    if not isinstance(value, kind) or isinstance(value, bool):
        word = {int: "a whole number", str: "text", float: "a number"}[kind]
        raise InputError("config", f"{key} = {value!r}", f"must be {word}", "fix the file")
    return value


assert {f.name for f in fields(SimulateConfig)} == {name for names in TABLES.values() for name in names}

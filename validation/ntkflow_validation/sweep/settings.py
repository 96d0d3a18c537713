"""The settings of a run as a sweep sees them: one flat name for each, and how a cell changes them."""

from collections.abc import Mapping
from dataclasses import asdict

from ntkflow._types import Json
from ntkflow.errors import InputError
from ntkflow.runs.border.schema import Schema, schema_of
from ntkflow.runs.border.typed import Value
from ntkflow_validation.config.config import SECTIONS, RunConfig
from ntkflow_validation.config.recorded import RecordedConfig, config_of
from ntkflow_validation.config.settings import ModelConfig
from ntkflow_validation.own.data import is_own

SEED, DATA, MODEL, INIT, RATE = "seed", "data.name", "model.name", "model.init", "training.learning_rate"

# What a sweep of trainings can vary: seed, data.per_class, training.learning_rate ...
SETTINGS: Schema = schema_of(*((f"{name}.", section) for name, section in SECTIONS.items()))
SETTINGS = Schema({SEED: int, **SETTINGS.kinds}, SETTINGS.lists)


def flat(config: RunConfig) -> Json:
    """Every setting by its flat name."""
    values: Json = {}
    for name, value in config.to_dict().items():
        if isinstance(value, Mapping):
            values |= {f"{name}.{key}": item for key, item in value.items()}
        else:
            values[name] = value
    return values


def changed(base: RunConfig, changes: Mapping[str, Value | tuple[Value, ...]]) -> RunConfig:
    """A run with some settings changed; what an architecture decides by itself is decided anew.

    Another architecture keeps of the old one only its initialisation and whether its head has a bias, another width has
    its own number of features.

    Raises:
        InputError: the changed run is not possible.
    """
    if is_own(changes.get(DATA)):
        base = base.with_data(str(changes[DATA]))
    tables = base.to_dict()
    if isinstance(base, RecordedConfig) and not all(name.startswith("kernels.") for name in changes):
        raise InputError(
            "run", base.model.name, "was recorded and has no settings to change", "record it anew"
        )
    if not is_own(changes.get(DATA, base.data.name)):
        tables["data"]["sha256"] = ""
    if changes.get(DATA, base.data.name) != base.data.name:
        tables["data"]["class_sizes"] = ()
    if changes.get(MODEL, base.model.name) != base.model.name:
        tables["model"] = {"name": changes[MODEL], "init": base.model.init, "head_bias": base.model.head_bias}
    elif not base.model.is_own and changes.get("model.width", base.model.width) != base.model.width:
        tables["model"]["features"] = asdict(ModelConfig())["features"] if base.model.name == "cnn" else 0
    if "data.per_class" in changes or "data.classes" in changes:
        # Sizes of other classes; those of a file are found again.
        tables["data"]["class_sizes"] = ()
    for name, value in changes.items():
        section, _, key = name.partition(".")
        if key:
            tables[section][key] = value
        else:
            tables[section] = value
    return config_of(tables)

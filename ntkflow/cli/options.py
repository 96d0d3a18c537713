"""Options that commands share, so that one name means one thing everywhere."""

import inspect
import sys
import warnings
from collections.abc import Callable, Sequence
from functools import wraps
from inspect import Parameter
from pathlib import Path
from typing import Annotated, Any

import typer

from ntkflow import named
from ntkflow._types import Json
from ntkflow.errors import InputError
from ntkflow.problem.kernels.kernel_files import UnusedArraysWarning
from ntkflow.runs import config as configuration
from ntkflow.runs import files
from ntkflow.runs.border.costs import MANY
from ntkflow.runs.border.schema import flag
from ntkflow.runs.config import DEFAULTS, OPTIONS, SCHEMA, TABLES, SimulateConfig
from ntkflow.runs.simulate import Prepared, prepare

OUTPUT = "Output"
# The panel of the help in which the options of a table stand.
PANELS = {
    "sizes": "Sizes",
    "kernel": "Kernel",
    "initial": "Initial state",
    "flow": "Flow",
    "steps": "Discrete steps",
    "optimiser": "An optimiser's numbers, converted",
    "run": "Numerics",
    "stop": "Stopping",
}


def in_panel(panel: str, text: str, *names: str) -> Any:
    """An option under a heading of `--help`."""
    return typer.Option(*names, help=text, rich_help_panel=panel)


def of_simulations(
    tables: Sequence[str] = tuple(TABLES), besides: Sequence[str] = ()
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the options of `SimulateConfig`; it gets what was given of them as its first argument, by name.

    Args:
        tables: of which tables.
        besides: fields of other tables.
    """
    names = [name for name, option in OPTIONS.items() if option.table in tables or name in besides]

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        own = list(inspect.signature(command, eval_str=True).parameters.values())[1:]
        made = [
            Parameter(name, Parameter.KEYWORD_ONLY, default=None, annotation=_typed(name)) for name in names
        ]
        every = [*made, *(parameter.replace(kind=Parameter.KEYWORD_ONLY) for parameter in own)]

        @wraps(command)
        def call(**words: object) -> None:
            given = {name: words.pop(name) for name in names}
            command(given, **words)

        # The parser reads both.
        call.__signature__ = inspect.Signature(every)  # type: ignore[attr-defined]
        call.__annotations__ = {parameter.name: parameter.annotation for parameter in every}
        return call

    return decorate


def _typed(name: str) -> Any:
    """The type of an option with its help; None means that it was not given."""
    option, default = OPTIONS[name], DEFAULTS[name]
    kind = str if name in SCHEMA.lists else SCHEMA.kinds[name]
    names = option.flags if any("/" in word for word in option.flags) else (flag(name), *option.flags)
    panel = PANELS["stop" if name == "t_end" else option.table]
    return Annotated[kind | None, in_panel(panel, option.help(default), *names)]


ConfigFile = Annotated[Path | None, in_panel(OUTPUT, "Replay a config.toml; other options override it.")]
Yes = Annotated[bool, in_panel(OUTPUT, f"More than {MANY} runs are meant.", "--yes")]
Overwrite = Annotated[bool, in_panel(OUTPUT, "Replace an existing run directory.", "--overwrite")]
AsJson = Annotated[bool, in_panel(OUTPUT, "Print the summary alone, as JSON.", "--json")]
Quiet = Annotated[bool, in_panel(OUTPUT, "Print nothing but errors.", "--quiet", "-q")]


def configured(config: Path | None, given: Json) -> SimulateConfig:
    """The configuration that a file and options describe, see `prepared`."""
    options = {name: _several(name, value) for name, value in given.items() if name in OPTIONS}
    base = SimulateConfig()
    if config is not None:
        base = configuration.from_tables(files.read_toml(config), config.parent)
    if options.get("weight_decay") is not None:
        for name in ("decay_w", "decay_h"):
            if options.get(name) is not None:
                raise InputError(
                    "--weight-decay",
                    options["weight_decay"],
                    f"contradicts {flag(name)}, into which it is converted",
                    "drop one of the two",
                )
    complete = base.updated(options)
    if named.is_named(complete.loss):
        # A loss of one's own usually lies where one works.
        named.search(Path.cwd())
    return complete


def prepared(config: Path | None, given: Json) -> Prepared:
    """The problem that a configuration file and options describe.

    Args:
        config: file to start from, or None.
        given: options by the name of their field in `SimulateConfig`; None means not given. Others are ignored.
    """
    complete = configured(config, given)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UnusedArraysWarning)
        found = prepare(complete)
    for warning in caught:
        if not issubclass(warning.category, UnusedArraysWarning):
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
        elif not given.get("quiet"):
            print(f"ntkflow: warning: {warning.message}", file=sys.stderr)
    return found


def _several(name: str, value: object) -> object:
    """`12` or `3,4,5` of a field that takes a list, which came as one text; others are converted by now."""
    return (
        SCHEMA.read_setting(flag(name), name, value)
        if name in SCHEMA.lists and isinstance(value, str)
        else value
    )

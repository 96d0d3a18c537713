"""Names that a package offers without importing what they come from: the front door and its namespaces.

numpy, scipy and jax are slow to import, and `ntkflow --help` needs none of them.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any


def attach(
    package: str, names: Mapping[str, str], modules: Mapping[str, str] | None = None
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """`__getattr__` and `__dir__` of a package, a name loaded on first use.

    Args:
        package: its dotted name.
        names: name to 'module:attribute'.
        modules: name to the module that is a namespace of its own.

    No name may be that of a module in the package: importing that would put the module in its place.
    """
    spaces = modules or {}

    def load(name: str) -> Any:
        if name in names:
            source, _, attribute = names[name].partition(":")
            value = getattr(import_module(source), attribute)
        elif name in spaces:
            value = import_module(spaces[name])
        else:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        setattr(sys.modules[package], name, value)
        return value

    return load, lister([*names, *spaces])


def lister(names: Sequence[str]) -> Callable[[], list[str]]:
    """`__dir__` of a module that shows its public names alone, not what it imports."""
    return lambda: sorted(names)

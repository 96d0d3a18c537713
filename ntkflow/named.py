"""Objects of one's own by name, as module:object: importing one runs its module (docs/trust.md)."""

import importlib
import sys
from pathlib import Path

from ntkflow.errors import InputError


def is_named(name: object) -> bool:
    """Whether a name is that of an object in a module."""
    return isinstance(name, str) and ":" in name


def search(folder: Path) -> None:
    """Have modules found in a folder too; last, so that nothing else is imported from there."""
    if str(folder) not in sys.path:
        sys.path.append(str(folder))


def imported(argument: str, name: str) -> object:
    """The object that 'module:object' names.

    Raises:
        InputError: the module cannot be imported, whatever it raises, or has no such object.
    """
    module, _, attribute = name.partition(":")
    importlib.invalidate_caches()
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        why = str(error)
    except Exception as error:
        why = f"{type(error).__name__}: {error}"
    raise InputError(argument, repr(name), f"cannot be imported ({' '.join(why.split())})", "check the path")

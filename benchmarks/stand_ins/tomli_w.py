"""In the place of the package of this name where a machine lacks it: as much as the files of a run need."""

import json
from collections.abc import Mapping
from typing import IO, Any


def dump(tables: Mapping[str, Any], handle: IO[bytes]) -> None:
    """Write tables of numbers, texts, truth values, lists of these and tables."""
    handle.write("\n".join(_lines(tables, ())).encode() + b"\n")


def _lines(table: Mapping[str, Any], path: tuple[str, ...]) -> list[str]:
    own = [
        f"{_name(key)} = {_value(value)}" for key, value in table.items() if not isinstance(value, Mapping)
    ]
    head = [f"[{'.'.join(map(_name, path))}]"] if path else []
    inner = [_lines(value, (*path, key)) for key, value in table.items() if isinstance(value, Mapping)]
    return [*head, *own, *(line for lines in inner for line in ("", *lines))]


def _name(key: str) -> str:
    return key if key.replace("_", "").replace("-", "").isalnum() and key.isascii() else json.dumps(key)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{_name(k)} = {_value(v)}' for k, v in value.items())}}}"
    # Floats of any size, infinite ones among them, are written as Python does.
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)

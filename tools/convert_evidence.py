"""Bring evidence of earlier versions to the form of today: rows of measured kernels with their errors, complete settings.

Run: python tools/convert_evidence.py validation/results

Changes no number. What is added to a row of `kernels` are the standard errors of its constants, which the comparison of the
same run has to four digits; null where there is none. What is added to `config.kernels` are the settings with which
everything was measured before there were settings for it.
"""

import json
import sys
from pathlib import Path

from ntkflow_validation.config.config import KernelConfig, RunConfig
from ntkflow_validation.kernels.found import CONSTANTS
from ntkflow_validation.ladder.export import compact

from ntkflow._types import Json
from ntkflow.runs.files import atomic, dump_json, write_toml

# How kernels of runs were measured when this could not be chosen; "auto" for kernels of at most 4000 samples.
BEFORE = {
    key: value for key, value in KernelConfig().__dict__.items() if key not in ("count", "while_training")
}


def convert(folder: Path) -> list[Path]:
    """Every document of a folder of evidence; those that were changed."""
    changed = []
    for path in sorted(folder.rglob("*.json")):
        text = path.read_text(encoding="utf-8")
        document = json.loads(text)
        if "kernels" not in document.get("config", {}):
            continue
        new = with_settings(document)
        if "trajectory" in document:
            twin = folder / "ladder" / f"{path.stem}-ladder.json"
            known = json.loads(twin.read_text(encoding="utf-8"))["kernels"] if twin.is_file() else []
            new["kernels"] = [with_errors(row, known) for row in document["kernels"]]
        plain = dump_json(document) + "\n" == text
        written = (dump_json(new) if plain else compact(dump_json(new))) + "\n"
        if written != text:
            with atomic(path, "w") as handle:
                handle.write(written)
            changed.append(path)
    for path in sorted(folder.glob("*.toml")):
        write_toml(path, RunConfig.from_toml(path).to_dict())
    return changed


def with_settings(document: Json) -> Json:
    """The document with every setting of its measurements."""
    config = document["config"]
    return {**document, "config": {**config, "kernels": {**config["kernels"], **BEFORE, **config["kernels"]}}}


def with_errors(row: Json, known: list[Json]) -> Json:
    """A row of kernels with the errors of the same kernel, in the order of `Measurement.row`."""
    same = (k["errors"] for k in known if k["step"] == row["step"] and _agree(k, row))
    errors = next(same, dict.fromkeys(CONSTANTS))
    head = {name: row[name] for name in ("step", *CONSTANTS)}
    return {**head, "errors": errors, **{name: value for name, value in row.items() if name not in head}}


def _agree(short: Json, row: Json) -> bool:
    """Whether the constants of a comparison are these to its four digits."""
    return all(short[name] == float(f"{row[name]:.4g}") for name in CONSTANTS)


if __name__ == "__main__":
    for place in convert(Path(sys.argv[1])):
        print(place)

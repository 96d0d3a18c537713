"""Write api.md: every public name by module, with the first line of its docstring.

Run: python docs/make_api.py
"""

import inspect
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import ntkflow

# Modules of validation that others are meant to import, in the order of the pipeline.
VALIDATION = (
    "ntkflow_validation",
    "ntkflow_validation.config.config",
    "ntkflow_validation.config.presets",
    "ntkflow_validation.normalisation",
    "ntkflow_validation.datasets",
    "ntkflow_validation.models",
    "ntkflow_validation.training.train",
    "ntkflow_validation.runs.training_run",
    "ntkflow_validation.training.steps",
    "ntkflow_validation.runs.rundir",
    "ntkflow_validation.runs.documents",
    "ntkflow_validation.runs.compared",
    "ntkflow_validation.kernels",
    "ntkflow_validation.kernels.found",
    "ntkflow_validation.conservation",
    "ntkflow_validation.runs.measurement_run",
    "ntkflow_validation.metrics.probe",
    "ntkflow_validation.metrics.compare",
    "ntkflow_validation.pipeline.pipeline",
    "ntkflow_validation.recording",
    "ntkflow_validation.recording.predicted",
    "ntkflow_validation.recording.unseen",
    "ntkflow_validation.metrics.skill",
    "ntkflow_validation.sweep",
    "ntkflow_validation.sweep.settings",
    "ntkflow_validation.sweep.estimate",
    "ntkflow_validation.paper",
    "ntkflow_validation.paper.reproduce",
    "ntkflow_validation.saved",
)
HEAD = """# API by module

Made by `python docs/make_api.py` from the docstrings, which say the rest: `help(nf.solve)`.

## ntkflow

`import ntkflow as nf`; every name below is loaded on first use. What trains or measures networks is there too when its
package is installed: `nf.measure`, `nf.gram`, `nf.kernel_figure`, `nf.train`, `nf.Recorder`, `nf.compare`, `nf.predict`,
`nf.skill`, `nf.recalibrate`, `nf.conservation_laws`, `nf.RunConfig`.
"""


def first_line(thing: Any) -> str:
    """The first line of a docstring, in one piece of Markdown."""
    text = (inspect.getdoc(thing) or "").split("\n\n")[0].replace("\n", " ")
    # Data say nothing of themselves: what they print is the docstring of their class.
    documented = inspect.isroutine(thing) or inspect.isclass(thing) or inspect.ismodule(thing)
    return text.replace("|", "\\|") if documented else ""


def public(module: ModuleType) -> Iterator[tuple[str, Any]]:
    """Names a module offers: `__all__`, or the functions and classes that it defines itself."""
    names = getattr(module, "__all__", None)
    if names is not None:
        for name in names:
            yield name, getattr(module, name)
        return
    for name, thing in vars(module).items():
        own = getattr(thing, "__module__", None) == module.__name__
        if own and not name.startswith("_") and (inspect.isfunction(thing) or inspect.isclass(thing)):
            yield name, thing


def section(name: str, shown: str) -> str:
    """Heading, purpose and table of a module."""
    module = import_module(name)
    rows = [f"| `{member}` | {first_line(thing)} |" for member, thing in public(module)]
    return "\n".join([f"### {shown}", "", first_line(module), "", "| name | |", "|---|---|", *rows, ""])


def spaces() -> Iterator[tuple[str, str]]:
    """Every namespace of the front door: its module, and how users write it."""
    for name in ntkflow.__all__:
        found = getattr(ntkflow, name)
        if inspect.ismodule(found):
            yield found.__name__, f"nf.{name}"
            for inner in found.__all__:
                if inspect.ismodule(getattr(found, inner)):
                    yield getattr(found, inner).__name__, f"nf.{name}.{inner}"


def page() -> str:
    """The whole page."""
    members = [n for n in ntkflow.__all__ if n[0] != "_" and not inspect.ismodule(getattr(ntkflow, n))]
    rows = [f"| `nf.{name}` | {first_line(getattr(ntkflow, name))} |" for name in members]
    parts = [
        HEAD,
        "\n".join(["| name | |", "|---|---|", *rows, ""]),
        *(section(name, shown) for name, shown in spaces()),
        "## validation\n\nReal networks; what `ntkflow validate` is made of.\n",
        *(section(name, name) for name in VALIDATION),
    ]
    return "\n".join(parts)


if __name__ == "__main__":
    (Path(__file__).parent / "api.md").write_text(page())

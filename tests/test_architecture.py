"""The rooms of the house: each has a number and imports only rooms of smaller numbers; no module in a circle.

The same holds within a room that has sub-rooms: its storeys are listed from the ground up.
"""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PLACES = {"ntkflow": ROOT / "ntkflow", "ntkflow_validation": ROOT / "validation" / "ntkflow_validation"}

# Rooms that share a number never import each other; to other rooms a sub-room stands on the floor of its room.
FLOORS = {
    "ntkflow.errors": 0,
    "ntkflow.checks": 0.1,
    "ntkflow._lazy": 0,
    "ntkflow._types": 0,
    "ntkflow.named": 0.1,
    "ntkflow.words": 0.1,
    "ntkflow.progress": 0.1,
    "ntkflow.views": 0.1,
    "ntkflow.rounding": 0.1,
    "ntkflow.scaling": 0.1,
    "ntkflow.foreign": 0.2,
    "ntkflow.prove": 0.5,
    "ntkflow.problem": 1,
    "ntkflow.dynamics": 2,
    "ntkflow.metrics": 3,
    "ntkflow.theory": 4,
    "ntkflow.integrate": 5,
    "ntkflow.derivatives": 6,
    "ntkflow.fitting": 7,
    "ntkflow.runs": 8,
    "ntkflow.sweep": 9,
    "ntkflow.explore": 9,
    "ntkflow.cli": 10,
    "ntkflow_validation.memory": 19.2,
    "ntkflow_validation.precision": 19.2,
    "ntkflow_validation.own": 19.5,
    "ntkflow_validation.config": 20,
    "ntkflow_validation.normalisation": 20.5,
    "ntkflow_validation.datasets": 21,
    "ntkflow_validation.models": 21,
    "ntkflow_validation.kernels": 22,
    "ntkflow_validation.conservation": 22.5,
    "ntkflow_validation.metrics": 22.5,
    "ntkflow_validation.training": 23,
    "ntkflow_validation.runs": 24,
    "ntkflow_validation.ladder": 26,
    "ntkflow_validation.figures": 26.5,
    "ntkflow_validation.pipeline": 27,
    "ntkflow_validation.evidence": 27.5,
    "ntkflow_validation.calibration": 28,
    "ntkflow_validation.regimes": 28,
    "ntkflow_validation.studies": 28,
    "ntkflow_validation.sweep": 28,
    "ntkflow_validation.paper": 29,
    "ntkflow_validation.saved": 29.5,
    "ntkflow_validation.report": 30,
    "ntkflow_validation.recording": 30.5,
    "ntkflow_validation.cli": 31,
}
# Within a room: each storey imports only what stands left of it, so that runs/processes is 8.1, runs/border 8.2, and so
# on; what a space separates stands level. REST is the room's own modules, but for those that a sub-room stands on.
REST = "rest"
STOREYS = {
    "ntkflow.cli": "options printed < observed < rest",
    "ntkflow.integrate": "engines < rest < descent together < layers",
    "ntkflow.integrate.engines": "base precision < structured < lockstep < compiled on_leaf < rest",
    "ntkflow.metrics": "published < rest",
    "ntkflow.problem": "sizes < state < kernels < rest < layers",
    "ntkflow.prove": "algebra < entry < draws instances < claims < rest",
    "ntkflow.runs": "processes < border < rest < pictures < saved",
    "ntkflow.sweep": "columns stored < rest",
    "ntkflow.theory": "geometric_mean limit_point < limits < rates < exact layers < rest < crowd",
    "ntkflow_validation.kernels.backends": "rest < pytorch",
    "ntkflow_validation.kernels": (
        "budget statistics store threads < backends < task < methods < networks < rest"
    ),
    "ntkflow_validation.ladder": "operators < trajectories < score < rest",
    "ntkflow_validation.report": "drawing < rest",
}
# The front doors lead everywhere, on first use.
DOORS = {"ntkflow", "ntkflow.__main__", "ntkflow_validation"}
# Within a room that mixes speeds, only what is imported when a module is loaded makes `--help` slow.
SLOW = {"jax", "matplotlib", "scipy", "sympy", "flax", "optax", "diffrax", "rich"}
ON_DEMAND = (
    "ntkflow.prove",
    "ntkflow.derivatives",
    "ntkflow.cli",
    "ntkflow.integrate.engines.compiled",
    "ntkflow.integrate.engines.diffrax_engine",
    "ntkflow.integrate.engines.jax_flow",
    "ntkflow.integrate.engines.precision",
    "ntkflow.integrate.together.compiled",
    "ntkflow.runs.pictures.figures",
    "ntkflow.runs.pictures.fit_figure",
    "ntkflow.runs.pictures.ensemble_figure",
    "ntkflow.runs.pictures.layered_figure",
    "ntkflow.runs.pictures.layout",
    "ntkflow.runs.pictures.shown",
)
MOST_LINES, MOST_MODULES = 400, 15


@cache
def modules() -> dict[str, Path]:
    """Dotted name to file, of both packages."""
    found = {}
    for package, folder in PLACES.items():
        for path in sorted(folder.rglob("*.py")):
            parts = path.relative_to(folder).with_suffix("").parts
            found[".".join([package, *(part for part in parts if part != "__init__")])] = path
    return found


@cache
def imports(name: str, top_level_only: bool = False) -> tuple[tuple[str, int], ...]:
    """Modules of the two packages, or names of others, that a module imports, with the line."""
    return tuple(_imports(name, top_level_only))


def _imports(name: str, top_level_only: bool) -> Iterator[tuple[str, int]]:
    tree = ast.parse(modules()[name].read_text())
    for node in tree.body if top_level_only else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield (full if full in modules() else node.module), node.lineno


def room(name: str) -> str | None:
    """The room of the table that a module lies in."""
    return next((r for r in FLOORS if name == r or name.startswith(f"{r}.")), None)


def storeys(parent: str) -> dict[str, int]:
    """The number within its room of each sub-room and of each module that has one of its own."""
    return {
        name: floor for floor, names in enumerate(STOREYS[parent].split(" < "), 1) for name in names.split()
    }


def part(name: str, parent: str) -> str:
    """What of a room a module lies in: a sub-room or module that the table names, or the rest."""
    below = name.removeprefix(parent).lstrip(".").split(".")[0]
    return below if below in storeys(parent) else REST


def within(name: str, parent: str) -> bool:
    return name == parent or name.startswith(f"{parent}.")


def where(name: str, line: int) -> str:
    return f"{modules()[name].relative_to(ROOT)}:{line}"


def test_every_module_has_a_room():
    assert [name for name in modules() if name not in DOORS and room(name) is None] == []


def test_imports_run_down_the_floors():
    offenders = []
    for name in modules():
        for target, line in imports(name):
            # The version is all that a door has for its own house.
            if name in DOORS or target in DOORS or target.split(".")[0] not in PLACES:
                continue
            here, there = room(name), room(target)
            if here != there and FLOORS[there] >= FLOORS[here]:
                offenders.append(f"{where(name, line)} imports {target}")
    assert offenders == []


@pytest.mark.parametrize("parent", STOREYS)
def test_within_a_room_imports_run_down_its_storeys(parent):
    number, offenders = storeys(parent), []
    for name in modules():
        for target, line in imports(name) if within(name, parent) else ():
            here, there = part(name, parent), part(target, parent)
            if within(target, parent) and here != there and number[there] >= number[here]:
                offenders.append(f"{where(name, line)} imports {target}")
    assert offenders == []


def test_every_sub_room_has_a_storey_and_every_storey_something_on_it():
    names = {name for name, path in modules().items() if path.stem == "__init__"}
    sub_rooms = {name for name in names if name.rpartition(".")[0] in {*FLOORS, *STOREYS}}
    listed = {f"{parent}.{name}" for parent in STOREYS for name in storeys(parent) if name != REST}
    assert sub_rooms - listed == set()
    assert listed - set(modules()) == set()
    assert sub_rooms | set(FLOORS) >= names - DOORS


def test_no_module_imports_itself_around_a_circle():
    # What is imported inside a function is a circle too: the two are one room that nobody can enter alone.
    edges = {
        name: {target for target, _ in imports(name) if target in modules() and target != name}
        for name in modules()
        if name not in DOORS
    }
    circles, done = [], set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        if name in path:
            circles.append(" -> ".join([*path[path.index(name) :], name]))
            return
        if name in done or name not in edges:
            return
        for target in sorted(edges[name]):
            visit(target, (*path, name))
        done.add(name)

    for name in edges:
        visit(name, ())
    assert circles == []


def test_slow_packages_are_imported_only_where_they_are_needed():
    offenders = [
        f"{where(name, line)} imports {target}"
        for name in modules()
        if name.startswith("ntkflow.") and not name.startswith(ON_DEMAND)
        for target, line in imports(name, top_level_only=True)
        if target.split(".")[0] in SLOW
    ]
    assert offenders == []


def test_modules_and_rooms_stay_small():
    long = [str(p) for p in modules().values() if len(p.read_text().splitlines()) > MOST_LINES]
    folders = {path.parent for path in modules().values()}
    full = [
        str(f) for f in folders if len([p for p in f.glob("*.py") if p.stem != "__init__"]) > MOST_MODULES
    ]
    assert (long, full) == ([], [])


@pytest.mark.parametrize("package", PLACES)
def test_every_room_says_what_it_holds(package):
    silent = [
        name
        for name, path in modules().items()
        if name.startswith(package) and not ast.get_docstring(ast.parse(path.read_text()))
    ]
    assert silent == []

"""Imports point one way: validation -> ntkflow, the edge -> numerics, never back."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
# The edge: files, plots, terminal. Numerics import none of these.
EDGE = {"staging", "store", "rundir", "figures", "cli", "summary", "sweep"}
SLOW = {"jax", "matplotlib", "scipy", "sympy", "flax", "optax", "diffrax", "rich"}
ON_DEMAND = {"figures", "prove", "cli", "jaxflow"}
SIDES = {"simulate", "ensembles", "__init__", "__main__"}


def modules(package):
    return sorted((ROOT / package).rglob("*.py"))


def imported(path, top_level_only=False):
    tree = ast.parse(path.read_text())
    nodes = tree.body if top_level_only else ast.walk(tree)
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def room(path):
    return path.relative_to(ROOT / "ntkflow").parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", modules("ntkflow"), ids=lambda p: str(p.relative_to(ROOT)))
def test_ntkflow_never_imports_validation(path):
    assert not [name for name in imported(path) if name.split(".")[0] == "validation"]


@pytest.mark.parametrize("path", modules("ntkflow"), ids=lambda p: str(p.relative_to(ROOT)))
def test_numerics_know_nothing_of_the_edge(path):
    # `simulate` takes what a state file holds; `sweep` runs and stores whole simulations; `ensembles` uses its pool.
    if room(path) in EDGE | SIDES:
        return
    reached = {name.split(".")[1] for name in imported(path) if name.startswith("ntkflow.")}
    assert not reached & EDGE


@pytest.mark.parametrize("path", modules("ntkflow"), ids=lambda p: str(p.relative_to(ROOT)))
def test_slow_packages_are_imported_only_where_they_are_needed(path):
    if room(path) in ON_DEMAND:
        return
    assert not {name.split(".")[0] for name in imported(path, top_level_only=True)} & SLOW


@pytest.mark.parametrize(
    "path", modules("ntkflow") + modules("validation"), ids=lambda p: str(p.relative_to(ROOT))
)
def test_modules_stay_small(path):
    assert len(path.read_text().splitlines()) <= 400

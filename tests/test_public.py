"""The public door: every name loads, is documented, and importing costs nothing slow."""

import ast
import inspect
import pkgutil
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path

import pytest

import ntkflow as nf

ROOT = Path(__file__).parent.parent
SLOW = {"scipy", "jax", "matplotlib", "sympy", "rich", "pandas", "xarray"}
SPACES = ("initial", "metrics", "theory", "theory.exact", "sweep")
THEORY = [f"theory.{name}" for name in nf.theory.__all__]
POINTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]["ntkflow.door"]


def space(path):
    found = nf
    for name in path.split("."):
        found = getattr(found, name)
    return found


def python(script, *path):
    """What a fresh interpreter prints."""
    lines = [f"import sys; sys.path[:0] = {list(map(str, path))!r}", script]
    result = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, check=True
    )
    return result.stdout.strip()


@pytest.mark.parametrize("name", [name for name in nf.__all__ if name != "__version__"])
def test_every_public_name_is_there_and_documented(name):
    assert (getattr(nf, name).__doc__ or "").strip()


def functions(name, thing):
    """The public functions and methods that a name offers, constructors with them."""
    if inspect.isfunction(thing):
        yield name, thing
    for key, found in vars(thing).items() if inspect.isclass(thing) else ():
        function = getattr(found, "__func__", found)
        if inspect.isfunction(function) and (key == "__init__" or not key.startswith("_")):
            yield f"{name}.{key}", function


def test_whatever_takes_a_path_takes_it_as_text():
    things = {name: getattr(nf, name) for name in [*nf.__all__, *POINTS]}
    for path in SPACES:
        things |= {f"{path}.{name}": getattr(space(path), name) for name in space(path).__all__}
    asked = [
        (f"{found}({parameter.name})", str(parameter.annotation))
        for name, thing in things.items()
        for found, function in functions(name, thing)
        for parameter in inspect.signature(function).parameters.values()
        if "Path" in str(parameter.annotation)
    ]
    assert len(asked) > 10
    # Settings, whose annotations are the schema of files and options, make paths of texts.
    fields = [f"SimulateConfig.__init__({name})" for name in ("kernel_file", "state")]
    assert [where for where, kind in asked if "str" not in kind] == fields
    config = nf.SimulateConfig(rung="sample", kernel_file="a.npz", state="b.npz")
    assert (config.kernel_file, config.state) == (Path("a.npz"), Path("b.npz"))


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = nf.nonsense


def test_a_module_of_its_own_is_looked_for_in_no_other_package(monkeypatch):
    # Which is what `from ntkflow import checks` does before it imports the module.
    monkeypatch.setattr(nf, "_brought", lambda: pytest.fail("other packages were asked"))
    with pytest.raises(AttributeError, match="no attribute 'checks'"):
        nf.__getattr__("checks")


@pytest.mark.parametrize("path", dict.fromkeys([*SPACES, *THEORY]))
def test_a_namespace_shows_what_it_offers_and_nothing_that_it_imports(path):
    found = space(path)
    assert sorted(found.__all__) == dir(found)
    constants = (str, tuple, dict, float, int)
    for name in found.__all__:
        thing = getattr(found, name)
        assert isinstance(thing, constants) or (thing.__doc__ or "").strip(), name


def test_the_door_shows_what_it_offers_and_what_other_packages_bring():
    assert set(nf.__all__) <= set(dir(nf)) <= {*nf.__all__, *POINTS}


def test_no_module_has_the_name_of_something_else_in_its_package():
    # Importing it would put the module in the place of the function.
    for path in (None, *SPACES):
        package = nf if path is None else space(path)
        modules = {m.name for m in pkgutil.iter_modules(getattr(package, "__path__", ()))}
        # A namespace that is a module of the package is the same thing both ways.
        clash = [
            name for name in modules & set(package.__all__) if not hasattr(getattr(package, name), "__path__")
        ]
        assert [
            name for name in clash if getattr(package, name).__name__ != f"{package.__name__}.{name}"
        ] == []


def test_modules_imported_first_do_not_take_the_place_of_functions():
    script = """
import ntkflow.integrate.solve, ntkflow.fitting.estimate, ntkflow.metrics.balance, ntkflow.metrics.quantities
import ntkflow.derivatives.sensitivity, ntkflow.derivatives.gradient, ntkflow.runs.laws, ntkflow.runs.ensembles
import ntkflow as nf
print(all(map(callable, (nf.solve, nf.fit, nf.balance, nf.metrics.conserved, nf.sensitivity, nf.gradient, nf.laws, nf.ensemble))))
"""
    assert python(script, ROOT) == "True"


def test_type_checkers_see_the_same_names():
    for path in (None, "metrics", "theory", "theory.exact", "sweep"):
        package = nf if path is None else space(path)
        tree = ast.parse(Path(package.__file__).read_text())
        (block,) = [node for node in tree.body if isinstance(node, ast.If)]
        seen = {alias.asname or alias.name for node in block.body for alias in node.names}
        assert seen == set(package.__all__) - {"__version__"}


@pytest.mark.parametrize("name", POINTS)
def test_what_other_packages_bring_exists(name):
    module, attribute = POINTS[name].split(":")
    assert callable(getattr(import_module(module), attribute))


def test_what_another_package_brings_is_found_on_first_use_and_never_replaces_a_name(tmp_path):
    info = tmp_path / "brought-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: brought\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[ntkflow.door]\nweigh = brought:weigh\nsolve = brought:weigh\n")
    (tmp_path / "brought.py").write_text("def weigh():\n    return 'weighed'\n")
    script = """
import ntkflow as nf
before = "brought" in sys.modules
print(before, nf.weigh(), nf.solve.__module__, "weigh" in dir(nf), "weigh" in nf.__all__)
"""
    assert python(script, ROOT, tmp_path) == "False weighed ntkflow.integrate.solve True False"


def imported(script):
    found = python(
        f"{script}\nprint(sorted({{m.split('.')[0] for m in sys.modules}} & {SLOW | {'ntkflow_validation'}}))",
        ROOT,
    )
    return ast.literal_eval(found.splitlines()[-1])


def test_solving_the_default_problem_imports_neither_scipy_nor_jax():
    script = """
import ntkflow as nf
s, k = nf.Sizes(3, 4, 5), nf.BlockKernel(1, 0.5, 0.1)
nf.solve(nf.Problem(s, k, nf.initial.make('balanced', s, k))).series
"""
    assert imported(script) == []


def test_simulating_saving_and_loading_need_neither_scipy_nor_jax(tmp_path):
    script = f"""
import ntkflow as nf
from ntkflow.cli.main import _run
from ntkflow.runs.simulate import prepare, run
run_directory = {str(tmp_path / "run")!r}
nf.save(run(prepare(nf.SimulateConfig(classes=3, per_class=4, features=5))), run_directory)
nf.load(run_directory).state(-1), dir(nf)
_run(["simulate", "-C", "3", "-m", "4", "-n", "5", "--no-figures", "--quiet", "--out", {str(tmp_path / "other")!r}])
"""
    # The command line itself prints with rich.
    assert set(imported(script)) <= {"rich"}


def test_help_loads_numbers_of_no_kind():
    script = """
from ntkflow.cli.main import build
build(["--help"])
print("numpy" in sys.modules)
"""
    found = imported(script)
    assert set(found) <= {"rich"}
    assert python(script, ROOT).splitlines()[0] == "False"

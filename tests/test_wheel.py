"""What an installation gets: the wheel holds the code of both packages, what that code loads, and nothing else."""

import zipfile
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from hatchling.builders.wheel import WheelBuilder

ROOT = Path(__file__).parent.parent
PACKAGES = {"ntkflow": ROOT / "ntkflow", "ntkflow_validation": ROOT / "validation" / "ntkflow_validation"}
# All that is no Python: type checkers ask for the first two, the page of a comparison for the third, experiments for what was
# expected of them, the page to play with for the rest.
LOADED = {
    "ntkflow/py.typed",
    "ntkflow_validation/py.typed",
    "ntkflow_validation/report/page.css",
    "ntkflow_validation/studies/expectations.toml",
} | {
    f"ntkflow/explore/{name}"
    for name in ("page.html", "page.css", "flow.js", "foretold.js", "presets.js", "view.js")
}
METADATA = {"METADATA", "WHEEL", "RECORD", "entry_points.txt", "licenses/LICENSE"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel that `pip install .` builds, from the tree as it is; needs no network."""
    (built,) = WheelBuilder(str(ROOT)).build(
        directory=str(tmp_path_factory.mktemp("dist")), versions=["standard"]
    )
    with zipfile.ZipFile(built) as opened:
        yield opened


def test_the_wheel_has_the_code_of_both_packages_what_it_loads_and_no_more(wheel):
    code = {
        f"{name}/{path.relative_to(folder)}"
        for name, folder in PACKAGES.items()
        for path in folder.rglob("*.py")
    }
    found = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert found == code | LOADED
    assert {name.split(".dist-info/")[1] for name in wheel.namelist() if name not in found} == METADATA


def test_no_tests_evidence_or_documents_ride_along(wheel):
    apart = {"tests", "docs", "examples", "tools", "benchmarks", "results", "validation"}
    assert [name for name in wheel.namelist() if apart & set(Path(name).parts)] == []


def test_every_entry_point_leads_into_the_wheel(wheel):
    (listed,) = (name for name in wheel.namelist() if name.endswith("/entry_points.txt"))
    lines = wheel.read(listed).decode().splitlines()
    points = [EntryPoint(*map(str.strip, line.split("=", 1)), group="") for line in lines if "=" in line]
    modules = {
        name.removesuffix(".py").removesuffix("/__init__").replace("/", ".") for name in wheel.namelist()
    }
    assert [point.value for point in points if point.module not in modules] == []
    assert len(points) > 10

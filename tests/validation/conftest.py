"""Shapes are checked while testing, as in the package the simulator is in."""

import os
from pathlib import Path

import pytest
from jaxtyping import install_import_hook

import ntkflow

# Rooms of numbers; where values come from people, files or workers, checks of their own stand at the door.
CHECKED = (
    "kernels", "metrics", "training", "datasets", "models", "runs", "ladder", "calibration", "pipeline", "evidence", "figures",
    "report", "sweep",
)  # fmt: skip
_ROOT = Path(__file__).parents[2] / "validation"


def _inner() -> list[str]:
    paths = [p for room in CHECKED for p in (_ROOT / "ntkflow_validation" / room).rglob("*.py")]
    names = (p.relative_to(_ROOT).with_suffix("").parts for p in paths if p.stem != "__init__")
    return sorted(".".join(parts) for parts in names)


# Must come before the first import of the package.
if os.environ.get("NTKFLOW_SHAPES") != "none":
    install_import_hook(_inner(), "tests.shapes.check")


@pytest.fixture(scope="session", autouse=True)
def calibrated(tmp_path_factory):
    """Pages state the calibration of the running code; it is made in the tests of the calibration alone."""
    from ntkflow_validation.calibration import store
    from ntkflow_validation.calibration.document import KAPPA, SKILL, Bars, Calibration, CellRow

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        control = CellRow(0.0, {}, 1.0, 0.0, None, {})
        made_by = (ntkflow.__version__, store.fingerprint())
        store.keep(Calibration(*made_by, True, 1.0, 0.0, True, Bars(SKILL, KAPPA), control, ()))
        yield

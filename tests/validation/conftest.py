"""Shapes are checked while testing, as in the package the simulator is in."""

import os
from pathlib import Path

import pytest
from jaxtyping import install_import_hook

import ntkflow

# Where values come from people and files, checks of their own stand at the door; callbacks are told by whatever records.
UNCHECKED = (
    "ntkflow_validation.cli.",
    "ntkflow_validation.config.",
    "ntkflow_validation.kernels.measuring",
    "ntkflow_validation.kernels.unlabelled",
    "ntkflow_validation.recording.callbacks",
)
_ROOT = Path(__file__).parents[2] / "validation"


def _inner() -> list[str]:
    """Every module but those of the open rooms; a package's own name would take in all that lies below it."""
    paths = [p for p in (_ROOT / "ntkflow_validation").rglob("*.py") if p.stem != "__init__"]
    names = {".".join(p.relative_to(_ROOT).with_suffix("").parts) for p in paths}
    return sorted(name for name in names if not name.startswith(UNCHECKED))


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

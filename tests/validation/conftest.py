"""Shapes are checked while testing, as in the package the simulator is in."""

import pytest
from jaxtyping import install_import_hook

import ntkflow

# Must come before the first import of the package. config.py checks its own types with messages of its own.
NUMERICS = (
    "blocks",
    "calibration",
    "clock",
    "compare",
    "datasets",
    "kernels",
    "objective",
    "predict",
    "probe",
    "snapshot_kernels",
    "train",
)
install_import_hook([f"validation.{name}" for name in NUMERICS], "beartype.beartype")


@pytest.fixture(scope="session", autouse=True)
def calibrated(tmp_path_factory):
    """Pages state the calibration of the running code; it is made in the tests of the calibration alone."""
    from ntkflow_validation.calibration import store

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        known = {"version": ntkflow.__version__, "fingerprint": store.fingerprint(), "brief": True}
        store.keep({**known, "block_skill": 1.0, "kappa_error": 0.0, "passed": True, "departures": []})
        yield

"""Shapes are checked while testing, as in the package the simulator is in."""

from jaxtyping import install_import_hook

# Must come before the first import of the package. config.py checks its own types with messages of its own.
NUMERICS = (
    "blocks",
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

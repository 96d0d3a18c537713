"""Shapes are checked while testing; hypothesis is deterministic unless asked to be thorough; BLAS has one thread.

`pytest --hypothesis-profile thorough` (or HYPOTHESIS_PROFILE=thorough in the environment) draws 10,000 new random
examples of every property instead of the same few; NTKFLOW_EXAMPLES sets another number.
"""

import os
from pathlib import Path

for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

import pytest
from hypothesis import HealthCheck, settings
from jaxtyping import install_import_hook

# Front doors have checks of their own, and tests hand them wrong types on purpose.
FRONT_DOORS = (
    "__init__",
    "errors",
    "sizes",
    "state",
    "config",
    "integrate",
    "initial",
    "stopping",
    "problem",
    "store",
)
_PACKAGE = Path(__file__).parent.parent / "ntkflow"
_INNER = [f"ntkflow.{path.stem}" for path in _PACKAGE.glob("*.py") if path.stem not in FRONT_DOORS]

# Must come before the first import of the package, so that every annotated shape is checked.
install_import_hook([*_INNER, "ntkflow.exact"], "beartype.beartype")

import ntkflow as nf

settings.register_profile(
    "ci", deadline=None, derandomize=True, max_examples=25, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile(
    "thorough",
    deadline=None,
    derandomize=False,
    max_examples=int(os.environ.get("NTKFLOW_EXAMPLES", "10_000")),
    suppress_health_check=list(HealthCheck),
    print_blob=True,
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


@pytest.fixture
def sizes() -> nf.Sizes:
    return nf.Sizes(C=3, m=4, n=7)


@pytest.fixture
def kernel() -> nf.BlockKernel:
    return nf.BlockKernel(1.3, 0.5, 0.1)

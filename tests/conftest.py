"""Shapes are checked while testing; hypothesis is deterministic unless asked to be thorough; BLAS has one thread.

`pytest --hypothesis-profile thorough` (or HYPOTHESIS_PROFILE=thorough in the environment) draws 10,000 new random
examples of every property instead of the same few; NTKFLOW_EXAMPLES sets another number, and NTKFLOW_SHAPES=none, which
leaves shapes unchecked, makes that several times faster. Programs of JAX are compiled quickly rather than well;
NTKFLOW_XLA=default leaves that to XLA. NTKFLOW_EMULATE=tf32,gpu makes a CPU do what a GPU would: see `tests.emulated`.
"""

import atexit
import os
import shutil
import tempfile
from pathlib import Path

for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")
if os.environ.get("NTKFLOW_XLA", "quick") == "quick":
    # Compiling networks of a few units is most of what their tests wait for: a fifth of the suite's time goes without it.
    quick = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {quick}".strip()
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    # The same small networks are traced anew in many tests, by both workers and by the commands that tests start: each
    # program is compiled once a run. Workers inherit the folder, so whoever makes it is the last to go.
    _programs = tempfile.mkdtemp(prefix="ntkflow-tests-")
    atexit.register(shutil.rmtree, _programs, ignore_errors=True)
    os.environ |= {
        "JAX_COMPILATION_CACHE_DIR": _programs,
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }

import pytest
from hypothesis import HealthCheck, settings
from jaxtyping import install_import_hook

# Front doors have checks of their own, and tests hand them wrong types on purpose.
FRONT_DOORS = {
    "ntkflow",
    "ntkflow.errors",
    "ntkflow.problem.sizes",
    "ntkflow.problem.state",
    "ntkflow.problem.initial",
    "ntkflow.problem.problem",
    "ntkflow.integrate.solve",
    "ntkflow.integrate.stopping",
    "ntkflow.integrate.task",
    "ntkflow.integrate.descent.batches",
    "ntkflow.fitting.observed",
    "ntkflow.runs.config",
    "ntkflow.runs.files",
}
# Kernels are given by hand too; of commands, the parser hands over what it likes.
OPEN_ROOMS = ("ntkflow.problem.kernels.", "ntkflow.cli.")
# Called some ten thousand times a run: checking each call takes a third of the suite's time. NTKFLOW_SHAPES=all checks
# these too, in a step of CI's own.
INNERMOST = (
    "ntkflow.checks",
    "ntkflow.dynamics.",
    "ntkflow.integrate.",
    "ntkflow.metrics.neural_collapse",
    "ntkflow.metrics.quantities",
    "ntkflow.metrics.symmetries",
    "ntkflow.problem.decay",
    "ntkflow.problem.layers.",
    "ntkflow.scaling",
    "ntkflow.theory.balanced",
    "ntkflow.theory.limits",
)
_ROOT = Path(__file__).parent.parent


def _inner() -> list[str]:
    """Every module but the front doors; a package's own name would take in all that lies below it."""
    paths = [p for p in (_ROOT / "ntkflow").rglob("*.py") if p.stem != "__init__"]
    names = {".".join(p.relative_to(_ROOT).with_suffix("").parts) for p in paths}
    unchecked = OPEN_ROOMS if os.environ.get("NTKFLOW_SHAPES") == "all" else (*OPEN_ROOMS, *INNERMOST)
    return sorted(name for name in names - FRONT_DOORS if not name.startswith(unchecked))


# Must come before the first import of the package, so that every annotated shape is checked.
if os.environ.get("NTKFLOW_SHAPES") != "none":
    import tests.shapes  # noqa: F401 -- the hook looks its checker up by name

    install_import_hook(_inner(), "tests.shapes.check")

import ntkflow as nf

if os.environ.get("NTKFLOW_EMULATE"):
    from tests.emulated import emulate_as_told

    # Before anything is compiled.
    emulate_as_told()

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

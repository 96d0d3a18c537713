"""Which device each worker of a sweep has: an accelerator each where there are some, else the cores together."""

import os
from collections.abc import Mapping
from pathlib import Path

from ntkflow.runs.processes.executors import usable_cores

# Nothing of a driver, and no wish for one: then there is no need to start JAX to count its devices.
DRIVERS = ("/dev/nvidiactl", "/dev/kfd", "/dev/accel0", "/dev/dxg")
# Of an accelerator's memory, for all who share it: JAX takes three quarters of it a process unless told otherwise.
SHARED = 0.9
VISIBLE = "CUDA_VISIBLE_DEVICES"


def accelerators(environment: Mapping[str, str] = os.environ) -> int:
    """How many accelerators JAX sees; 0 where it computes on the CPU.

    It is asked in a process of its own: this one would take hold of the devices that its workers are to have.
    """
    platforms = environment.get("JAX_PLATFORMS", "")
    if platforms.startswith("cpu") or not (platforms or any(Path(driver).exists() for driver in DRIVERS)):
        return 0
    from ntkflow.runs.processes.isolated import IsolatedProcesses

    with IsolatedProcesses(1, [{"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}]) as process:
        return process.submit(_count).result()


def _count() -> int:
    import jax

    return 0 if jax.default_backend() == "cpu" else len(jax.devices())


def default_workers(devices: int) -> int:
    """A worker an accelerator; on CPUs one a core."""
    return devices or usable_cores()


def worker_environments(environment: Mapping[str, str], workers: int, devices: int) -> list[dict[str, str]]:
    """Variables of each worker, set before it imports JAX; those that the user has set stay.

    On CPUs one compute thread each. On accelerators one each, taking turns, an equal share of its memory for those who
    have the same, and programs that are kept on disk: trainings of a sweep compile the same ones.
    """
    if not devices:
        if workers == 1:
            return [{}]
        flags = f"{environment.get('XLA_FLAGS', '')} --xla_cpu_multi_thread_eigen=false".strip()
        return [{"XLA_FLAGS": flags, **_unset(environment, OMP_NUM_THREADS="1")}] * workers
    ids = [name for name in environment.get(VISIBLE, "").split(",") if name] or [
        str(k) for k in range(devices)
    ]
    share = SHARED / -(-workers // devices)
    common = _unset(
        environment,
        XLA_PYTHON_CLIENT_MEM_FRACTION=f"{share:.3f}",
        JAX_COMPILATION_CACHE_DIR=str(compiled_programs(environment)),
    )
    return [{**common, VISIBLE: ids[k % devices]} for k in range(workers)]


def compiled_programs(environment: Mapping[str, str] = os.environ) -> Path:
    """Folder of the user's in which JAX keeps compiled programs for accelerators."""
    home = environment.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "ntkflow" / "compiled"


def _unset(environment: Mapping[str, str], **wanted: str) -> dict[str, str]:
    return {name: value for name, value in wanted.items() if name not in environment}

"""A measurement stays within its memory, all that compiling leaves behind included."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from ntkflow_validation.kernels import budget

HERE = Path(__file__).resolve()


def high_water_mib() -> float:
    """Largest resident memory of this process so far; ru_maxrss would begin with that of the process it was forked from."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) / 1024


def peak_mib(memory: str) -> float:
    """What a measurement of a ResNet20 adds to a process that has run it forward."""
    import jax.numpy as jnp
    import numpy as np
    from ntkflow_validation.config.config import ModelConfig
    from ntkflow_validation.kernels import measure
    from ntkflow_validation.models import build

    config = ModelConfig(name="resnet20", features=64, width=16, norm="batch")
    network, labels = build(config, (28, 28, 1), 10, seed=0), np.repeat(np.arange(10), 4)
    x, variables = np.random.default_rng(0).normal(size=(40, 28, 28, 1)).astype(np.float32), network.initial

    def features(body, x):
        return network.body_features(body, variables, x)

    body = variables.params["body"]
    features(body, jnp.asarray(x[:2])).block_until_ready()
    before = high_water_mib()
    measure(features, body, x, labels, method="gram", neurons=8, memory=memory)
    return high_water_mib() - before


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
def test_a_residual_network_stays_within_its_memory():
    code = f"import sys; sys.path.insert(0, {str(HERE.parents[3])!r}); "
    code += "from tests.validation.kernels.test_memory import peak_mib; print(peak_mib('384MiB'))"
    # Whoever keeps programs on disk needs memory to write them.
    alone = {name: value for name, value in os.environ.items() if name != "JAX_COMPILATION_CACHE_DIR"}
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, env=alone)
    assert 150 < float(done.stdout) < 384


def test_what_compiling_leaves_behind_is_given_back(monkeypatch):
    from ntkflow_validation.kernels.backends import jax_backend

    from tests.validation.kernels.backends.test_layers import LABELS, backend
    from tests.validation.kernels.nets import inputs, mlp, parameters

    calls = []
    monkeypatch.setattr(jax_backend, "release", lambda: calls.append(1))
    # A computation that no other test has compiled.
    net = lambda p, x: 5 * mlp(p, x)  # noqa: E731
    found, x = backend(net, parameters(mlp), inputs(LABELS)), inputs(LABELS)
    for _ in range(2):
        found.tile(x, 2, 2**30)
    # Before the one compilation and after it.
    assert len(calls) == 2
    budget.release()

"""Parameters as data-parallel training leaves them: copied to several devices, or cut up over them."""

import os
import subprocess
import sys

import pytest

SCRIPT = """
import jax, jax.numpy as jnp, numpy as np, optax
from flax import nnx
from flax.training.train_state import TrainState
from jax.sharding import Mesh, NamedSharding, PartitionSpec
import ntkflow as nf

rng = np.random.default_rng(0)
y, X = np.arange(12) % 3, rng.normal(size=(12, 8)).astype(np.float32)
params = {"V": jnp.asarray(rng.normal(size=(8, 6)), jnp.float32), "W": jnp.ones((3, 6)), "key": jax.random.key(0)}
mesh = Mesh(np.array(jax.devices()), "d")
whole, cut = (NamedSharding(mesh, PartitionSpec(*axes)) for axes in ((), ("d",)))

def features(p, x):
    return jnp.tanh(x @ p["V"])

alone = nf.measure(features, params, X, y).kappa_d.value
places = [
    jax.device_put(params, whole), {**params, "V": jax.device_put(params["V"], cut)}, jax.device_put(params, jax.devices()[1]),
]
for i, placed in enumerate(places):
    found = nf.measure(features, placed, X, y, head=(placed["W"], None))
    np.testing.assert_allclose(found.kappa_d.value, alone, rtol=1e-6)
    assert nf.gram(features, placed, X[:3], X).shape == (3, 12)
    with nf.Recorder(f"run{i}", y, clock=None, X=X, features=features, head=lambda p: (p["W"], None), kernels=[0]) as recorder:
        recorder(0, placed)
    assert recorder.run.measured() == [0]

def of_state(state, x):
    return features(state.params, x) * state.step.astype(jnp.float32)

given = {name: params[name] for name in "VW"}
state = TrainState.create(apply_fn=None, params=given, tx=optax.sgd(0.1)).replace(step=jnp.ones((), int))
expected = nf.measure(of_state, state, X, y).kappa_d.value
np.testing.assert_allclose(nf.measure(of_state, jax.device_put(state, whole), X, y).kappa_d.value, expected, rtol=1e-6)

body = nnx.Linear(8, 4, rngs=nnx.Rngs(0))
expected = nf.measure(body, None, X, y).kappa_d.value
nnx.update(body, jax.device_put(nnx.state(body), whole))
np.testing.assert_allclose(nf.measure(body, None, X, y).kappa_d.value, expected, rtol=1e-6)
print("done")
"""


@pytest.mark.slow
def test_they_are_measured_and_recorded_as_on_one(tmp_path):
    # A process of its own: JAX is told of its devices before it starts.
    environment = {**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=300, cwd=tmp_path,
        env=environment, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.strip() == "done"

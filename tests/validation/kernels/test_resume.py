"""A measurement that is killed goes on where it was, inside a chunk too, to the same numbers."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from ntkflow_validation.kernels import FolderStore, JaxBackend, measure, task
from ntkflow_validation.kernels.forecast import Forecast, duration
from ntkflow_validation.kernels.methods import class_sums

from tests.emulated import emulate_as_told

LABELS = np.repeat([0, 1, 2], [4, 5, 6])


def features(p, constants, x):
    del constants
    return jnp.tanh(x @ p["a"]) @ p["b"]


class Counted(JaxBackend):
    """A backend that counts its derivatives."""

    calls = 0

    def pull(self, x, cotangents):
        self.calls += 1
        return super().pull(x, cotangents)

    def moments(self, x, V, fresh):
        self.calls += 1
        return super().moments(x, V, fresh)


def problem():
    rng = np.random.default_rng(0)
    params = {"a": jnp.asarray(rng.normal(size=(5, 6)), jnp.float32)}
    params["b"] = jnp.asarray(rng.normal(size=(6, 3)), jnp.float32)
    x = rng.normal(size=(15, 5)).astype(np.float32)
    return Counted(features, params).check(x), x


def small_chunks(patch):
    patch(class_sums, "group_size", lambda *_: 1)
    patch(task, "LONG_CHUNK", 0)


def killed(folder, method, probes):
    """In a process of its own: dies in the middle of the second direction's chunk."""
    emulate_as_told()
    small_chunks(setattr)
    backend, x = problem()
    chunks = []

    def progress(what, done, total):
        del total
        if what.startswith("features"):
            chunks.append(done)
        elif chunks and done == 2:
            os.kill(os.getpid(), signal.SIGKILL)

    measure(
        backend, None, x, LABELS, method=method, probes=probes, store=FolderStore(folder), progress=progress
    )


@pytest.mark.parametrize(
    ("method", "probes", "calls", "chunks"),
    # One chunk and two classes of the next were there. Probes: three directions on samples of two classes, one on all.
    [("class-sums", 3, (9, 4), 3), ("sign-probes", 3, (18, 10), 3), ("probes", 1, (9, 5), 4)],
)
def test_a_killed_measurement_goes_on_inside_its_chunk(method, probes, calls, chunks, tmp_path, monkeypatch):
    here = Path(__file__).resolve()
    arguments = f"{str(tmp_path)!r}, {method!r}, {probes}"
    code = f"import sys; sys.path.insert(0, {str(here.parents[3])!r}); "
    code += f"from tests.validation.kernels.test_resume import killed; killed({arguments})"
    died = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True)
    assert died.returncode == -signal.SIGKILL, died.stderr
    left = sorted(path.name.split("-")[0] for path in tmp_path.iterdir())
    # One chunk, and two classes of the next.
    assert left.count("part") == 2
    assert len(left) == 3
    small_chunks(monkeypatch.setattr)
    whole, x = problem()
    expected = measure(whole, None, x, LABELS, method=method, probes=probes)
    resumed, x = problem()
    found = measure(resumed, None, x, LABELS, method=method, probes=probes, store=FolderStore(tmp_path))
    for name, constant in found.features.constants.items():
        # repr, so that NaN is NaN.
        assert repr(constant) == repr(expected.features.constants[name])
    assert (whole.calls, resumed.calls) == calls
    # The parts of finished chunks are gone.
    assert len(list(tmp_path.iterdir())) == chunks


def test_how_long_it_will_take_is_said_before_it_is_done():
    backend, x = problem()
    said = []

    def announce(forecast):
        said.append((forecast, backend.calls))

    head = np.ones((3, 3)) + np.eye(3), None
    found = {}
    for method in ("gram", "class-sums", "probes", "sign-probes", "orthogonal-probes"):
        settings = {"head": head, "method": method, "quantities": ("outputs", "pair-norms", "matrix")}
        found[method] = measure(backend, None, x, LABELS, probes=5, announce=announce, **settings)
    amounts = [forecast.gradients for forecast, _ in said]
    # Features and outputs; 3 neurons for pair norms, and twice for matrix blocks.
    both = 2 * 3 * 15
    # As many probes as directions are all directions, except with signs.
    assert amounts == [both + 135, both + 135, both + 135, 2 * 2 * 5 * 15 + 135, both + 135]
    assert all(forecast.seconds > 0 for forecast, _ in said)
    assert found["gram"].kappa_d.value == pytest.approx(found["class-sums"].kappa_d.value, rel=1e-5)


def test_times_are_said_in_words():
    assert str(Forecast("probes", 1920000, 12345.0)) == "about 3.4 h for 1,920,000 gradients by probes"
    assert [duration(s) for s in (0.2, 80.0, 600.0, 200000.0)] == ["1 s", "80 s", "10 min", "2.3 days"]

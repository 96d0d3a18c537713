"""Workers and their devices; a machine with accelerators is told of, since tests have none."""

from collections import Counter

import pytest
from ntkflow_validation.sweep import devices
from ntkflow_validation.sweep.devices import accelerators, default_workers, worker_environments
from ntkflow_validation.sweep.running import local_workers

from ntkflow.runs.processes.executors import usable_cores


def test_cores_are_shared_by_one_thread_each():
    assert worker_environments({}, 1, 0) == [{}]
    found = worker_environments({"XLA_FLAGS": "--mine"}, 3, 0)
    assert [e["XLA_FLAGS"] for e in found] == ["--mine --xla_cpu_multi_thread_eigen=false"] * 3
    assert "OMP_NUM_THREADS" not in worker_environments({"OMP_NUM_THREADS": "4"}, 2, 0)[0]
    assert not any("MEM_FRACTION" in name for name in found[0])


def test_every_worker_has_an_accelerator_and_its_share_of_the_memory():
    alone = worker_environments({}, 2, 2)
    assert [e["CUDA_VISIBLE_DEVICES"] for e in alone] == ["0", "1"]
    assert {e["XLA_PYTHON_CLIENT_MEM_FRACTION"] for e in alone} == {"0.900"}
    chosen = worker_environments({"CUDA_VISIBLE_DEVICES": "3,5"}, 5, 2)
    assert Counter(e["CUDA_VISIBLE_DEVICES"] for e in chosen) == {"3": 3, "5": 2}
    # Three on the fuller one: what all of them take is less than there is.
    assert {e["XLA_PYTHON_CLIENT_MEM_FRACTION"] for e in chosen} == {"0.300"}
    own = worker_environments(
        {"JAX_COMPILATION_CACHE_DIR": "here", "XLA_PYTHON_CLIENT_MEM_FRACTION": ".1"}, 2, 1
    )
    assert set(own[0]) == {"CUDA_VISIBLE_DEVICES"}


def test_programs_are_kept_among_the_users_caches():
    found = worker_environments({"XDG_CACHE_HOME": "/somewhere"}, 1, 1)[0]
    assert found["JAX_COMPILATION_CACHE_DIR"] == "/somewhere/ntkflow/compiled"


def test_there_are_as_many_workers_as_accelerators_or_cores(monkeypatch):
    assert default_workers(3) == 3
    assert default_workers(0) == usable_cores()
    monkeypatch.setattr("ntkflow_validation.sweep.running.accelerators", lambda: 2)
    with local_workers() as pool:
        assert pool._max_workers == 2
    with local_workers(1) as pool:
        assert pool._max_workers == 1


def test_jax_is_asked_only_where_there_may_be_an_accelerator(monkeypatch):
    asked = []
    monkeypatch.setattr("ntkflow.runs.processes.isolated.IsolatedProcesses", lambda *a: asked.append(a))
    monkeypatch.setattr(devices, "DRIVERS", ())
    assert accelerators({}) == 0
    monkeypatch.setattr(devices, "DRIVERS", ("/",))
    assert accelerators({"JAX_PLATFORMS": "cpu"}) == 0
    assert asked == []
    with pytest.raises(TypeError):
        accelerators({})
    assert asked == [(1, [{"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}])]


@pytest.mark.slow
def test_jax_answers_from_a_process_of_its_own():
    assert accelerators({"JAX_PLATFORMS": "cuda,cpu"}) == 0

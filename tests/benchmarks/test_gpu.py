"""benchmarks/gpu.py on a CPU: what fits into the time, what is brought back, and a small check from start to end."""

import importlib.util
import json
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "gpu.py"


@pytest.fixture(scope="module")
def benchmark():
    spec = importlib.util.spec_from_file_location("gpu_benchmark", BENCHMARK)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_stage_is_begun_where_its_time_is_left(benchmark):
    every = list(benchmark.STAGES)
    assert benchmark.allowed("steps", every, 61.0) == 61.0
    assert benchmark.allowed("steps", every, 59.0) == 0.0
    # The training takes what it is given; the stages after it would have nothing.
    assert benchmark.allowed("training", every, 500.0) == pytest.approx(400.0)
    assert benchmark.allowed("training", ["training"], 500.0) == 500.0


def test_what_the_training_goes_on_from_is_packed_first(benchmark, tmp_path, monkeypatch):
    run = tmp_path / "run"
    for name, size in {
        "config.toml": 10, "metrics.jsonl": 900, "lock": 1, "parameters/000001.npz": 5000, "parameters/000002.npz": 5000,
        "snapshots/000001.npz": 3000, "snapshots/000002.npz": 3000, "measurements/000002.npz": 9000,
    }.items():  # fmt: skip
        path = run / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(size))
    monkeypatch.setattr(benchmark, "MOST_BYTES", 14_500)
    out = benchmark.pack(run, tmp_path / "run.tar")
    assert out == ["snapshots/000001.npz", "measurements/000002.npz"]
    with tarfile.open(tmp_path / "run.tar") as archive:
        assert set(archive.getnames()) == {
            "config.toml",
            "metrics.jsonl",
            "parameters/000002.npz",
            "snapshots/000002.npz",
        }
    benchmark.unpack(tmp_path / "run.tar", tmp_path / "again")
    assert (tmp_path / "again" / "figures").is_dir()
    assert (tmp_path / "again" / "parameters" / "000002.npz").stat().st_size == 5000


def check(out, *more):
    command = [sys.executable, str(BENCHMARK), "--small", "--out", str(out), *more]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    return done, json.loads((out / "gpu.json").read_text())


@pytest.mark.slow
def test_a_small_check_writes_every_number_and_goes_on(tmp_path):
    done, found = check(tmp_path, "--minutes", "9", "--stages", "facts,kernels,training")
    assert done.returncode == 0, (tmp_path / "gpu.log").read_text()
    assert [stage["state"] for stage in found.values()] == ["done"] * 3, (tmp_path / "gpu.log").read_text()
    assert found["kernels"]["device_against_host"] == 0
    assert found["training"]["outcome"] == "complete"
    assert len(found["training"]["constants"]) == 2
    # Done is done; what does not fit is named.
    _, again = check(tmp_path, "--minutes", "0.5", "--stages", "facts,training,ensembles")
    assert again["facts"] == found["facts"]
    assert again["training"] == found["training"]
    assert again["ensembles"]["state"].startswith("skipped: needs 40 s")


def test_stages_have_names(tmp_path):
    command = [sys.executable, str(BENCHMARK), "--out", str(tmp_path), "--stages", "facts,coffee"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "there is no coffee" in done.stderr

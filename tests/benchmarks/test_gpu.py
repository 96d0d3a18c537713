"""benchmarks/gpu.py on a CPU: what fits into the time, what is brought back, and a small check from start to end."""

import importlib.util
import json
import os
import subprocess
import sys
import tarfile
import tomllib
from pathlib import Path

import pytest
import tomli_w
from ntkflow_validation.config.presets import preset

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


def test_a_number_is_in_the_file_before_the_next_is_measured(benchmark, tmp_path, monkeypatch):
    path = tmp_path / "gpu.json"

    def stage(note, small, left):
        note("first", 1.5)
        assert json.loads(path.read_text()) == {
            "facts": {"state": "done"}, "steps": {"state": "cut off", "first": 1.5},
        }  # fmt: skip
        raise KeyboardInterrupt

    monkeypatch.setitem(benchmark.STAGES, "steps", (stage, 1.0))
    benchmark.write(path, "facts", {"state": "done"})
    with pytest.raises(KeyboardInterrupt):
        benchmark.work("steps", path, True, 60.0)
    assert benchmark.read(path)["steps"]["first"] == 1.5


def test_a_log_can_be_brought_back(benchmark, tmp_path, monkeypatch):
    monkeypatch.setattr(benchmark, "MOST_BYTES", 100)
    log = tmp_path / "gpu.log"
    log.write_text("a" * 100)
    benchmark.shorten(log)
    assert log.stat().st_size == 100
    log.write_text("a" * 100 + "end")
    benchmark.shorten(log)
    assert log.read_text() == "a" * 47 + "end"


def test_the_stand_in_writes_what_a_run_writes(tmp_path):
    spec = importlib.util.spec_from_file_location("stand_in", BENCHMARK.parent / "stand_ins" / "tomli_w.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    tables = {
        **preset("paper").to_dict(), "text": 'a "quoted" \\ \N{GREEK SMALL LETTER MU}\n', "far": [1e-300, 1e300, float("inf")],
        "deep": {"er": {"a.b": True, "none": []}, "rows": [{"x": 1}]},
    }  # fmt: skip
    with (tmp_path / "t.toml").open("wb") as handle:
        module.dump(tables, handle)
    assert tomllib.loads((tmp_path / "t.toml").read_text(encoding="utf-8")) == tomllib.loads(
        tomli_w.dumps(tables)
    )


# What a machine with a GPU may lack; nor is the project installed there. Stand-ins of the tree may be found.
BARE = """
import importlib.metadata as metadata, sys
from importlib.machinery import PathFinder
class Bare:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("hatchling", "tomli_w", "beartype"):
            found = PathFinder.find_spec(name, path)
            if found is None or "site-packages" in found.origin:
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Bare())
plain = metadata.Distribution.discover.__func__
metadata.Distribution.discover = classmethod(
    lambda cls, **how: (d for d in plain(cls, **how) if d.metadata["Name"] != "ntkflow")
)
"""


def check(out, *more):
    (out / "bare").mkdir(exist_ok=True)
    (out / "bare" / "sitecustomize.py").write_text(BARE)
    command = [sys.executable, str(BENCHMARK), "--small", "--out", str(out), *more]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("NTKFLOW_")}
    environment["PYTHONPATH"] = str(out / "bare")
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, env=environment)
    return done, json.loads((out / "gpu.json").read_text())


@pytest.mark.slow
def test_a_small_check_writes_every_number_and_goes_on(tmp_path):
    done, found = check(tmp_path, "--minutes", "9")
    assert done.returncode == 0, (tmp_path / "gpu.log").read_text()
    assert [stage["state"] for stage in found.values()] == ["done"] * 7, (tmp_path / "gpu.log").read_text()
    assert "skipped" in found["tests"]["outcome"][0]
    brought = {path.name: path.stat().st_size for path in tmp_path.iterdir() if path.is_file()}
    assert set(brought) == {"gpu.json", "gpu.log", "run.tar"}
    assert max(brought.values()) < 2**24
    assert found["kernels"]["device_against_host"] == 0
    cells = found["lockstep"]
    assert (cells["cells"], cells["failed"], cells["solved_alone"]) == (9, 0, 0)
    assert cells["against_solve"] < 1e-5
    assert found["training"]["outcome"] == "complete"
    assert len(found["training"]["constants"]) == 2
    # Done is done; what does not fit is named.
    (tmp_path / "gpu.json").write_text(json.dumps({k: v for k, v in found.items() if k != "ensembles"}))
    _, again = check(tmp_path, "--minutes", "0.5", "--stages", "facts,training,ensembles")
    assert again["facts"] == found["facts"]
    assert again["training"] == found["training"]
    assert again["ensembles"]["state"].startswith("skipped: needs 40 s")
    # A training of which the file knows nothing goes on from the archive: it has come to its end.
    (tmp_path / "gpu.json").write_text("{}")
    _, last = check(tmp_path, "--minutes", "9", "--stages", "training")
    assert last["training"]["outcome"] == "complete"
    assert "reached" not in last["training"]


def test_stages_have_names(tmp_path):
    command = [sys.executable, str(BENCHMARK), "--out", str(tmp_path), "--stages", "facts,coffee"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "there is no coffee" in done.stderr

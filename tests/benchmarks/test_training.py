"""benchmarks/training.py, small: what it prints adds up, and its file keeps what other presets left."""

import importlib.util
import json
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "training.py"


@pytest.fixture(scope="module")
def benchmark():
    spec = importlib.util.spec_from_file_location("training_benchmark", BENCHMARK)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_the_table_has_speed_shares_and_memory(benchmark, tmp_path, capsys):
    out = tmp_path / "training.json"
    out.write_text(json.dumps({"host": benchmark.host(), "presets": {"other": {"steps": 1}}}))
    result = benchmark.main("digits", steps=5, per_class=2, kernels=True, out=out)
    assert "images per second" in capsys.readouterr().out
    assert result["images per second"] == pytest.approx(20 / result["seconds per step"])
    assert result["of the fastest block"] >= result["images per second"]
    document = json.loads(out.read_text())
    assert set(document["presets"]) == {"other", "digits"}
    row = document["presets"]["digits"]
    assert (row["batch"], row["N"], row["steps"], row["kernels"]) == (20, 20, 4000, 7)
    whole = 60 * row["minutes in all"]
    assert row["share of metrics"] * whole == pytest.approx(row["snapshots"] * row["seconds per snapshot"])
    assert row["share of kernels"] * whole == pytest.approx(row["kernels"] * row["seconds per kernel"])
    assert (1 - row["share of metrics"] - row["share of kernels"]) * whole == pytest.approx(
        row["steps"] * row["seconds per step"]
    )
    assert row["peak memory, MiB"] > 50


def test_numbers_of_another_machine_are_not_kept(benchmark, tmp_path):
    out = tmp_path / "training.json"
    out.write_text(json.dumps({"host": {"device": "another"}, "presets": {"other": {}}}))
    benchmark.write(out, "digits", {"steps": 2})
    assert json.loads(out.read_text()) == {"host": benchmark.host(), "presets": {"digits": {"steps": 2}}}

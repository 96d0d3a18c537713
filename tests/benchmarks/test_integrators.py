import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "integrators.py"


@pytest.mark.slow
def test_the_quick_benchmark_compares_at_equal_accuracy_and_saves_host_facts(tmp_path):
    out = tmp_path / "quick.json"
    done = subprocess.run(
        [sys.executable, str(BENCHMARK), "--quick", "--out", str(out)],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(out.read_text())
    assert {"cpu", "cores", "load", "blas_threads", "versions"} <= set(result["host"])
    alone, ours, *peers = result["rows"]
    assert alone["reason"] == "nc1"
    assert ours["final_error"] < 1e-8
    assert [row["method"] for row in peers] == ["DOP853", "LSODA"]
    for row in peers:
        assert row["matched"]
        assert row["final_error"] <= ours["final_error"]
        assert row["first"] > 0
        assert row["seconds"] > 0
    assert len(done.stdout.splitlines()) == 4

import json
from dataclasses import replace

import numpy as np
import pytest
from ntkflow_validation.config.config import DataConfig, KernelConfig, ModelConfig, RunConfig, TrainConfig
from ntkflow_validation.evidence.evidence import ROWS, SERIES, trajectory
from ntkflow_validation.pipeline.pipeline import measure_run, train_run
from ntkflow_validation.runs.documents import Line
from ntkflow_validation.runs.rundir import RunDirectory

from ntkflow.runs.border.records import record
from tests.commands import exit_code
from tools.evidence_table import tables

CONFIG = RunConfig(
    data=DataConfig(classes=3, per_class=5, probe_per_class=3),
    model=ModelConfig(name="mlp", features=4, width=6, depth=1),
    training=TrainConfig(steps=60, learning_rate=0.0, weight_decay=0.01, snapshots=8),
    kernels=KernelConfig(count=3, while_training=True),
)


def export(*words):
    return exit_code("validate", "export", *words)


def test_a_document_says_what_was_run_and_what_came_out(tmp_path, capsys):
    run = RunDirectory.create(tmp_path / "small", CONFIG)
    assert export("--out", run.path, "--to", tmp_path) == 2
    assert "has not ended" in capsys.readouterr().err
    train_run(run)
    assert export("--out", run.path, "--to", tmp_path / "results") == 0
    document = json.loads((tmp_path / "results" / "small.json").read_text())
    assert RunConfig.from_toml(tmp_path / "results" / "small.toml") == CONFIG
    assert document["command"] == "ntkflow validate train --config small.toml --out small"
    assert document["versions"]["jax"]
    assert document["training"]["device"]
    assert document["training"]["learning_rate"] > 0
    assert record(Line, document["first"]) == run.metrics()[0]
    assert document["trajectory"]["step"] == run.steps()
    invariant = document["invariant"]
    rows = [row for row in run.metrics() if "invariant_norm" in row.values]
    assert invariant["relative"] == pytest.approx(
        rows[-1].get("invariant_norm") / rows[0].get("invariant_norm")
    )
    assert invariant["predicted"]["equal_decay"] == pytest.approx(np.exp(-invariant["exponent"]))
    # Mean loss: lambda = N C times the decay, here 15 * 3 * 0.01.
    assert invariant["exponent"] == pytest.approx(2 * 0.45 * run.metrics()[-1].time)
    assert sum(part["share"] for part in invariant["parts"].values()) == pytest.approx(1)
    assert [answer["step"] for answer in invariant["feature_decay"]] == [row.step for row in rows]
    first = invariant["feature_decay"][0]
    assert first["ratio"] == pytest.approx(2, abs=1e-3)


def test_kernels_measured_after_training_tell_as_much(tmp_path):
    """As `ntkflow validate run --preset tiny` leaves them; metrics.jsonl then has no E."""
    while_training = RunDirectory.create(tmp_path / "while", CONFIG)
    train_run(while_training)
    after = RunDirectory.create(tmp_path / "after", replace(CONFIG, kernels=KernelConfig(count=3)))
    train_run(after)
    measure_run(after)
    assert "invariant_norm" not in after.metrics()[-1].values
    for run in (while_training, after):
        assert export("--out", run.path, "--to", tmp_path) == 0
    first, second = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("while", "after"))
    for end in ("first", "last"):
        assert second["invariant"]["to_terms"][end] == pytest.approx(first["invariant"]["to_terms"][end])
    assert "not while training" in tables(tmp_path)
    assert set(first["final"]) == {"H1H1_norm", "H2H2_norm", "gg_norm", "alignment_features"}


def test_a_long_trajectory_is_thinned_and_keeps_its_ends():
    rows = [Line(i, None, {"loss": 1 / (3 + i), "NC1": None}) for i in range(400)]
    thin = trajectory(rows)
    assert set(thin) == set(SERIES)
    assert len(thin["step"]) == ROWS
    assert (thin["step"][0], thin["step"][-1]) == (0, 399)
    assert thin["loss"][0] == 0.33333
    assert thin["NC1"] == (None,) * ROWS

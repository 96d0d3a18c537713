"""A training whose numbers are known: its states are a simulation's, its network's kernel has exactly three constants."""

import json
from dataclasses import replace

import numpy as np
import pytest
from ntkflow_validation.config.config import DataConfig, KernelConfig, ModelConfig, RunConfig, TrainConfig
from ntkflow_validation.kernels import measure
from ntkflow_validation.metrics.compare import QUANTITIES, observables
from ntkflow_validation.runs.documents import Line
from ntkflow_validation.runs.rundir import RunDirectory
from ntkflow_validation.training.train import Snapshot, TrainState

import ntkflow as nf

SIZES, KERNEL = nf.Sizes(3, 4, 5), nf.BlockKernel(1.0, 0.5, 0.1)
STEPS, MEASURED = (0, 1, 2, 4, 8), (0, 2, 8)
CONFIG = RunConfig(
    data=DataConfig(name="block", classes=3, per_class=4),
    model=ModelConfig(name="linear", features=5),
    training=TrainConfig(steps=8, learning_rate=0.1, reduction="sum", snapshots=5),
)
SERIES = ("loss", "NC1", "NC1_papyan", "NC2", "NC3", "M_norm", "H2_norm", "W_norm", "b_norm")
SERIES += ("loss_global", "loss_class", "loss_individual")


@pytest.fixture(scope="session")
def solution():
    start = nf.initial.make("gaussian", SIZES, seed=1)
    return nf.solve(nf.Problem(SIZES, KERNEL, start), save_at=[step / 10 for step in STEPS])


@pytest.fixture(scope="session")
def measurement():
    # Features A x of inputs with Gram matrix K have the kernel K (x) 1.
    labels = SIZES.labels
    K = KERNEL.kappa_n + (KERNEL.kappa_c - KERNEL.kappa_n) * (labels[:, None] == labels) + 0.5 * np.eye(12)
    inputs = np.linalg.cholesky(K).astype(np.float32)
    return measure(lambda A, x: x @ A, np.zeros((12, 5), np.float32), inputs, labels)


def write(path, solution, measurement, **training):
    """A run directory as `ntkflow validate` leaves it."""
    run = RunDirectory.create(path, replace(CONFIG, training=replace(CONFIG.training, **training)))
    for i, step in enumerate(STEPS):
        state = solution.state(i)
        snapshot = Snapshot(step, float(solution.times[i]), state, SIZES, TrainState({}, {}))
        values = {**observables(state, SIZES), "accuracy_train": i / 4, "accuracy_test": None}
        run.write_snapshot(snapshot, Line(step, snapshot.time, values))
    for step in MEASURED:
        run.write_measurement(step, measurement, KernelConfig(), 0.1)
    (run.path / "training.json").write_text(
        json.dumps({"learning_rate": 0.1, "parameters": 60, "samples": {"train": 12}, "result": "complete"}
                   | {"step": 8, "message": ""})
    )  # fmt: skip
    (run.path / "comparison.json").write_text(json.dumps(comparison(solution)))
    return run


def comparison(solution):
    """A document of two rungs on one window, the second of which could not be run."""
    rows = [observables(solution.state(i), SIZES) for i in range(len(STEPS))]
    series = {name: [row[name] for row in rows] for name in SERIES}
    skill = {name: {"value": 0.9 - 0.1 * k, "error": 0.01} for k, name in enumerate(QUANTITIES)}
    absent = dict.fromkeys(("skill", "skill_at", "predicted", "band", "rates", "invariant"))
    common = {"modifications": [], "instantaneous": None, "finite_difference": None, "draws": []}
    block = {
        "name": "block", "title": "three constants", "constants": 3, "refused": None, **common,
        "skill": {**skill, "uncentred": {"H1": {"value": 0.99, "error": None}}},
        "skill_at": {name: [None, 0.9, 0.9, 0.9, 0.9] for name in QUANTITIES},
        "predicted": series, "band": None, "rates": None, "invariant": None,
    }  # fmt: skip
    tensor = {
        "name": "tensor",
        "title": "whole tensor",
        "constants": 3600,
        "refused": "no memory",
        **common,
        **absent,
    }
    window = {
        "name": "early", "step": 0, "last_step": 8, "leading": True, "halved": True, "steps": list(STEPS),
        "times": solution.times.tolist(), "loss": {"first": series["loss"][0], "last": series["loss"][-1]},
        "step_times_rate": 0.1, "samples": {"observed": 12, "trained": 12}, "observed": series,
        "rungs": [block, tensor], "attribution": [], "sentence": None, "frontier": [], "cheapest": "block",
        "threshold": 0.8,
    }  # fmt: skip
    return {
        "version": "0.1.0", "from_snapshot": 0, "refused": None, "deviations": ["momentum"], "meaning": {},
        "windows": [window], "kernels": [], "calibration": None,
    }  # fmt: skip


@pytest.fixture(scope="session")
def trained(tmp_path_factory, solution, measurement):
    """The run; tests that change it copy it."""
    return write(tmp_path_factory.mktemp("saved") / "run", solution, measurement).path

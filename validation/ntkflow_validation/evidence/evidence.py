"""A finished training in one small document: what was run, what came out, what moved the invariant."""

from typing import Any

import numpy as np

from ntkflow._types import Json
from ntkflow.errors import InputError
from ntkflow.metrics.invariant import InvariantTerms
from ntkflow.problem.kernels import BlockKernel
from ntkflow.runs.files import run_versions
from ntkflow_validation.config.config import RunConfig
from ntkflow_validation.evidence.decay_response import decay_responder
from ntkflow_validation.evidence.invariant_budget import Budget, budget, distance_from_collapse, interpolated
from ntkflow_validation.metrics.probe import invariant_terms
from ntkflow_validation.pipeline.summary import kernel_rows
from ntkflow_validation.runs.rundir import RunDirectory
from ntkflow_validation.training.clock import flow_times, theory_decay
from ntkflow_validation.training.train import prepare, start

# What a thinned trajectory keeps of a line of metrics.jsonl.
SERIES = (
    "step", "time", "loss", "loss_global", "loss_class", "loss_individual", "NC1", "NC1_tirer", "NC2", "NC3", "NC4",
    "W_norm", "M_norm", "accuracy_train", "accuracy_test", "invariant_norm", "invariant_alignment",
    "invariant_batch_norm", "invariant_batch_alignment",
)  # fmt: skip
ROWS = 50


def evidence(run: RunDirectory) -> Json:
    """The document of a run whose training has ended.

    Raises:
        InputError: the training has not ended.
    """
    facts, rows = run.read_json("training.json"), run.metrics()
    if "result" not in facts:
        raise InputError("out", run.path, "has not ended its training", "start the same command again")
    versions = facts.pop("made_by", None) or run_versions()
    return {
        **versions,
        "seed": run.config.seed,
        "config": run.config.to_dict(),
        "training": facts,
        "first": rows[0],
        "last": rows[-1],
        "trajectory": trajectory(rows),
        "kernels": kernel_rows(run),
        "invariant": invariant_document(run),
    }


def trajectory(rows: list[Json], most: int = ROWS) -> Json:
    """Columns of at most so many rows, the first and the last among them, to five digits."""
    kept = np.unique(np.round(np.linspace(0, len(rows) - 1, min(most, len(rows)))).astype(int))
    return {name: [_short(rows[i].get(name)) for i in kept] for name in SERIES}


def _short(value: Any) -> Any:
    return float(f"{value:.5g}") if isinstance(value, float) else value


def invariant_document(run: RunDirectory) -> Json | None:
    """Whether E vanished, what the laws of decay say of it, and what moved it; None without two block kernels.

    Keys: `relative`, |E|/|E0| at the last measured step, and `to_terms`, |E| over the sum of the norms of its three terms,
    first and last; predicted `relative`s: `equal_decay`, exp(-2 lambda t), and `weights_only`, if W decays and the
    features do not; `parts`: norm over |E0| and share of the change for the moving kernel, the decay as the features
    really answer to it, and the rest; `sampling`, the norm over |E0| of what these owe to the spacing of the
    snapshots; `on_negative`: the same parts on the negative eigenspace of E0;
    `distance_from_collapse`: of E from what NC1 with NC3 makes it; `feature_decay`: lh/lw at the measured steps.
    """
    if not run.config.data.balanced:
        return None  # the budget of E is that of equal classes
    kernels = {step: k.block() for step, k in run.measurements().items() if k.broken_order is None}
    if len(kernels) < 2:
        return None
    found, ratios = _budget(run, kernels)
    size = float(np.linalg.norm(found.first))
    config, N = run.config, run.config.data.samples
    rate = theory_decay(config.training, N, config.data.classes)
    last = max(kernels)
    time = float(flow_times(_with_rate(run).training, N, config.data.classes)[last])
    parts = {name: getattr(found, name) for name in ("kernel", "decay", "rest")}
    shares = found.shares()
    return {
        "step": last,
        "time": time,
        "exponent": 2 * rate * time,
        "relative": float(np.linalg.norm(found.last)) / size,
        "to_terms": {
            name: _to_terms(run, step, kernels[step])
            for name, step in (("first", min(kernels)), ("last", last))
        },
        "predicted": {
            "equal_decay": float(np.exp(-2 * rate * time)),
            "weights_only": float(np.linalg.norm(found.first + found.weights_only)) / size,
            "decay": float(np.linalg.norm(found.first + found.decay)) / size,
            "decay_and_kernel": float(np.linalg.norm(found.first + found.decay + found.kernel)) / size,
        },
        "parts": {
            name: {"norm": float(np.linalg.norm(part)) / size, "share": shares[name]}
            for name, part in parts.items()
        },
        "sampling": found.sampling / size,
        "on_negative": found.on_negative(),
        "distance_from_collapse": {
            name: _distance(run, step, kernels[step])
            for name, step in (("first", min(kernels)), ("last", last))
        },
        "feature_decay": ratios,
    }


def _distance(run: RunDirectory, step: int, kernel: BlockKernel) -> float:
    return distance_from_collapse(_terms(run, step, kernel), run.read_snapshot(step).state.W)


def _to_terms(run: RunDirectory, step: int, kernel: BlockKernel) -> float:
    """From the snapshot and not from metrics.jsonl, which has E only of kernels measured while training."""
    found = _terms(run, step, kernel)
    parts = (found.weights, found.means, found.within)
    return float(np.linalg.norm(found.E)) / sum(float(np.linalg.norm(part)) for part in parts)


def _terms(run: RunDirectory, step: int, kernel: BlockKernel) -> InvariantTerms:
    snapshot = run.read_snapshot(step)
    return invariant_terms(snapshot.state, snapshot.sizes, kernel, run.config.data.per_class)


def _with_rate(run: RunDirectory) -> RunConfig:
    return run.config.with_rate(float(run.read_json("training.json")["learning_rate"]))


def _budget(run: RunDirectory, kernels: dict[int, BlockKernel]) -> tuple[Budget, list[Json]]:
    dataset, network = prepare(run.config)
    respond, template = decay_responder(network, run.config), start(network, run.config.training)
    x = dataset.x[dataset.first_of_each_class(dataset.probe_per_class)]
    steps = [step for step in run.steps() if min(kernels) <= step <= max(kernels)]
    snapshots = [run.read_snapshot(step) for step in steps]
    answers = [respond(run.read_train_state(step, template).variables, x) for step in steps]
    C, m = dataset.classes, dataset.per_class
    found = budget(
        [s.time for s in snapshots],
        [s.state for s in snapshots],
        snapshots[0].sizes,
        [interpolated(kernels, step) for step in steps],
        m,
        theory_decay(run.config.training, C * m, C),
        [a.change for a in answers],
    )
    ratios = [
        {"step": step, "ratio": a.ratio, "cosine": a.cosine}
        for step, a in zip(steps, answers, strict=True)
        if step in kernels
    ]
    return found, ratios

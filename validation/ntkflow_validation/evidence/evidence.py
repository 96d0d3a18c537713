"""A finished training in one small document: what was run, what came out, what moved the invariant."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from ntkflow._types import FeatureMatrix
from ntkflow.errors import InputError
from ntkflow.metrics.invariant import InvariantTerms
from ntkflow.problem.kernels import BlockKernel
from ntkflow_validation.config.recorded import RecordedConfig
from ntkflow_validation.evidence.decay_response import DecayResponse, decay_responder
from ntkflow_validation.evidence.document import Evidence, FeatureDecay, InvariantAccount, Part, Predicted
from ntkflow_validation.evidence.invariant_budget import Budget, budget, distance_from_collapse, interpolated
from ntkflow_validation.kernels import Measurement
from ntkflow_validation.metrics.probe import invariant_terms
from ntkflow_validation.runs.compared import Ends, Series
from ntkflow_validation.runs.documents import Line, MadeBy, kernel_rows
from ntkflow_validation.runs.ends import ends
from ntkflow_validation.runs.rundir import RunDirectory
from ntkflow_validation.training.steps import flow_times, theory_decay
from ntkflow_validation.training.train import prepare, start

# What a thinned trajectory keeps of a line of metrics.jsonl.
SERIES = (
    "step", "time", "loss", "loss_global", "loss_class", "loss_individual", "NC1", "NC1_tirer", "NC2", "NC3", "NC4",
    "W_norm", "M_norm", "accuracy_train", "accuracy_test", "invariant_norm", "invariant_alignment",
    "invariant_batch_norm", "invariant_batch_alignment",
)  # fmt: skip
# Enough for a curve; all rows of a long run would be most of the repository.
ROWS = 50


def evidence(run: RunDirectory) -> Evidence:
    """The document of a run whose training has ended.

    Raises:
        InputError: the training has not ended.
    """
    facts, rows, measured = run.training(), run.metrics(), run.measurements()
    if facts is None or facts.result is None or not rows:
        raise InputError("out", run.path, "has not ended its training", "start the same command again")
    name = run.path.resolve().name
    return Evidence(
        command="recorded from another program"
        if isinstance(run.config, RecordedConfig)
        else f"ntkflow validate train --config {name}.toml --out {name}",
        made_by=facts.made_by or MadeBy.here(),
        seed=None if isinstance(run.config, RecordedConfig) else run.config.seed,
        config=run.config.to_dict(),
        training=replace(facts, made_by=None),
        first=rows[0],
        last=rows[-1],
        trajectory=trajectory(rows),
        final=ends(run, measured),
        kernels=kernel_rows(measured),
        invariant=invariant_account(run, measured),
    )


def trajectory(rows: Sequence[Line], most: int = ROWS) -> Series:
    """Columns of at most so many rows, the first and the last among them, to five digits."""
    kept = np.unique(np.round(np.linspace(0, len(rows) - 1, min(most, len(rows)))).astype(int))
    return {name: tuple(_short(rows[i].get(name)) for i in kept) for name in SERIES}


def _short(value: float | None) -> float | None:
    return float(f"{value:.5g}") if isinstance(value, float) else value


def invariant_account(run: RunDirectory, measured: Mapping[int, Measurement]) -> InvariantAccount | None:
    """What became of E between the first and the last measured step; None without two block kernels or a network."""
    if not run.config.data.balanced or run.config.training.adaptive:
        return None  # the budget of E is that of equal classes, over flow time
    kernels = {step: k.block() for step, k in measured.items() if k.broken_order is None}
    if len(kernels) < 2 or isinstance(run.config, RecordedConfig):
        return None
    found, answers = _budget(run, kernels)
    size = float(np.linalg.norm(found.first))

    def relative(E: FeatureMatrix) -> float:
        return float(np.linalg.norm(E)) / size

    first, last = min(kernels), max(kernels)
    config, N = run.trained_config, run.config.data.samples
    rate = theory_decay(config.training, N, config.data.classes)
    time = float(flow_times(config.training, N, config.data.classes)[last])
    # E from the snapshots and not from metrics.jsonl, which has it only of kernels measured while training.
    snapshots = {step: run.read_snapshot(step) for step in (first, last)}
    m = config.data.per_class
    terms = {step: invariant_terms(s.state, s.sizes, kernels[step], m) for step, s in snapshots.items()}
    parts, shares = {"kernel": found.kernel, "decay": found.decay, "rest": found.rest}, found.shares()
    return InvariantAccount(
        step=last,
        time=time,
        exponent=2 * rate * time,
        relative=relative(found.last),
        to_terms=Ends(*(_to_terms(terms[step]) for step in (first, last))),
        predicted=Predicted(
            equal_decay=float(np.exp(-2 * rate * time)),
            weights_only=relative(found.first + found.weights_only),
            decay=relative(found.first + found.decay),
            decay_and_kernel=relative(found.first + found.decay + found.kernel),
        ),
        parts={name: Part(relative(part), shares[name]) for name, part in parts.items()},
        sampling=found.sampling / size,
        on_negative=found.on_negative(),
        distance_from_collapse=Ends(
            *(distance_from_collapse(terms[step], snapshots[step].state.W) for step in (first, last))
        ),
        feature_decay=tuple(
            FeatureDecay(step, answers[step].ratio, answers[step].cosine) for step in kernels
        ),
    )


def _to_terms(found: InvariantTerms) -> float:
    parts = (found.weights, found.means, found.within)
    return float(np.linalg.norm(found.E)) / sum(float(np.linalg.norm(part)) for part in parts)


def _budget(run: RunDirectory, kernels: Mapping[int, BlockKernel]) -> tuple[Budget, dict[int, DecayResponse]]:
    """The account between the first and the last kernel, and how the features answer to decay at every snapshot."""
    dataset, network = prepare(run.config)
    respond, template = decay_responder(network, run.config), start(network, run.config.training)
    x = dataset.x[dataset.first_of_each_class(dataset.probe_per_class)]
    snapshots = {s: run.read_snapshot(s) for s in run.steps() if min(kernels) <= s <= max(kernels)}
    answers = {step: respond(run.read_train_state(step, template).variables, x) for step in snapshots}
    C, m = dataset.classes, dataset.per_class
    found = budget(
        [s.time for s in snapshots.values()],
        [s.state for s in snapshots.values()],
        snapshots[min(kernels)].sizes,
        [interpolated(kernels, step) for step in snapshots],
        m,
        theory_decay(run.config.training, C * m, C),
        [answer.change for answer in answers.values()],
    )
    return found, answers

"""`laws_of_run`: what a training conserved, and what it forgot: its laws, its imbalance Q, its invisible variability."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Float64

from ntkflow.errors import InputError
from ntkflow.problem.sizes import Sizes
from ntkflow.progress import Progress, silent
from ntkflow.theory.decay_floor import collapse_floor
from ntkflow_validation.config.config import TrainConfig
from ntkflow_validation.config.recorded import RecordedConfig
from ntkflow_validation.conservation.along import Tables, Values, expected, families, law_of_Q
from ntkflow_validation.conservation.laws_of import conservation_laws
from ntkflow_validation.conservation.steps import Descent, Moment, law_of_steps, left_by_interpolation
from ntkflow_validation.kernels.measurement_file import TENSORS
from ntkflow_validation.metrics.variability import Readout, foretold
from ntkflow_validation.models.base import Network
from ntkflow_validation.pipeline.descended import Descended, tensors
from ntkflow_validation.pipeline.laws_told import rms, together, written
from ntkflow_validation.pipeline.recorded_laws import laws_of_recorded
from ntkflow_validation.runs.documents import Line
from ntkflow_validation.runs.followed import Family, Floor, Imbalance, RunLaws
from ntkflow_validation.runs.rundir import RunDirectory, StoredSnapshot
from ntkflow_validation.training.readout import linear_readout
from ntkflow_validation.training.steps import learning_rate, loss_scale
from ntkflow_validation.training.train import Prepared, TrainState, prepare, start

# Samples on which laws are tested, and for the search of which shape and dtype are taken.
TESTED = 64


class Steps(NamedTuple):
    """The steps of a training, by which laws are foretold.

    Attributes:
        steps: of the snapshots.
        rates: eta of every step from the first snapshot on.
        how: how they are made.
        decay: int lambda dt of flow time from the start, at every snapshot.
    """

    steps: Sequence[int]
    rates: Float64[np.ndarray, " S"]
    how: Descent
    decay: Float64[np.ndarray, " T"]

    def law(self, seen: Sequence[Moment]) -> np.ndarray:
        """What the form should be at every snapshot."""
        return law_of_steps(seen, self.steps, self.rates, self.how)

    def interpolated(self, seen: Sequence[Moment]) -> np.ndarray:
        """What interpolation leaves of it at the end."""
        return left_by_interpolation(seen, self.steps, self.rates, self.how)


class Seen(NamedTuple):
    """What is kept of a snapshot's parameters.

    Attributes:
        values: of the laws.
        moment: of the laws.
        readout: W, V, c; None where the readout is not linear.
        activations: the readout's inputs, (w, N).
        moment_of_Q: of Q.
    """

    values: Values
    moment: Moment
    readout: Readout | None = None
    activations: np.ndarray | None = None
    moment_of_Q: Moment | None = None


def laws_of_run(run: RunDirectory, progress: Progress = silent, prepared: Prepared | None = None) -> RunLaws:
    """Follow the laws of a trained network over its snapshots; writes laws.json.

    Raises:
        InputError: its optimiser is none of gradient descent, it has one snapshot, or it was recorded without laws.
    """
    config = run.trained_config
    if config.training.adaptive:
        rule = "has steps that follow no gradient flow: nothing is conserved"
        raise InputError("run", run.path, rule, "train with training.optimiser = 'sgd'")
    if isinstance(config, RecordedConfig):
        return laws_of_recorded(run)
    dataset, network = prepared or prepare(config)
    steps = run.steps()
    if len(steps) < 2:
        raise InputError("run", run.path, "has fewer than two snapshots", "train it")
    template = start(network, config.training, dataset.per_class)
    first = run.read_train_state(steps[0], template).variables
    progress("finding laws", 0, len(steps) + 1)
    laws = conservation_laws(
        # Training mode writes running statistics, of the inputs' precision like everything in double here.
        lambda p, inputs: network.train_outputs(
            p, jax.tree.map(lambda s: s.astype(inputs.dtype), first.statistics), inputs
        )[0],
        first.params,
        dataset.x[:TESTED],
    )
    descended = Descended(run, network, dataset, first.params)
    tables = Tables(laws.found, tensors(first.params), descended.how.decaying)
    x = dataset.x[dataset.first_of_each_class(dataset.probe_per_class)]
    reason = None
    try:
        linear_readout(network, first, x)
    except InputError as error:
        reason = f"{error.argument} {error.rule}"
    along = []
    for i, step in enumerate(steps):
        progress("following laws", i + 1, len(steps) + 1)
        state = run.read_train_state(step, template)
        along.append(_seen(network, descended, tables, step, state, None if reason else x))
    seen = [run.read_snapshot(step) for step in steps]
    rate = loss_scale(config.training, len(dataset.labels), dataset.classes) * config.training.weight_decay
    decay = rate * np.array([s.time - seen[0].time for s in seen])
    rates = learning_rate(config.training, np.arange(steps[0], steps[-1] + 1), dataset.per_class)
    by_steps = Steps(steps, rates, descended.how, decay)
    values = [each.values for each in along]
    flow, law = expected(values, decay), by_steps.law([each.moment for each in along])
    found = written(
        run, _how(config.training), laws.certified, seen, decay, _told(tables, along, by_steps, law, flow),
        _imbalance(along, by_steps, config.training.decay_on == "all", [s.sizes for s in seen]), reason,
        _floors(run, rate, dict(zip(steps, seen, strict=True)), {row.step: row for row in run.metrics()}),
        together(values, law, flow),
    )  # fmt: skip
    progress("following laws", len(steps) + 1, len(steps) + 1)
    return found


def _seen(
    network: Network, descended: Descended, tables: Tables, step: int, state: TrainState, x: np.ndarray | None
) -> Seen:
    """One snapshot at a time: parameters of all of them would not fit into memory."""
    pulled = descended.pulled(step, state)
    values, moment = tables.at(pulled.theta), pulled.moment(tables.pair, descended.how)
    if x is None:
        return Seen(values, moment)
    readout, activations = linear_readout(network, state.variables, x)
    return Seen(values, moment, readout, activations, pulled.moment(readout.pair, descended.how))


def _how(recipe: TrainConfig) -> str:
    form = "Nesterov's momentum" if recipe.nesterov else "momentum"
    steps = f"steps with {form} {recipe.momentum:g}" if recipe.momentum else "plain steps"
    batches = ", each of its batch" if recipe.batch_per_class else ""
    return f"the law of {steps}{batches}, exact in every step, with decay; what steps add is interpolated between snapshots"


def _told(
    tables: Tables, along: Sequence[Seen], by_steps: Steps, law: np.ndarray, flow: np.ndarray
) -> tuple[Family, ...]:
    left = by_steps.interpolated([seen.moment for seen in along])
    q = np.stack([seen.values.q for seen in along])
    size = np.maximum(along[-1].values.size, np.finfo(float).tiny)
    return tuple(
        Family(
            name,
            len(members),
            tuple(q[:, members].sum(axis=1).tolist()),
            tuple(law[:, members].sum(axis=1).tolist()),
            *(
                rms(off[members] / size[members])
                for off in (q[-1] - law[-1], q[-1] - q[0], q[-1] - flow[-1], law[-1] - flow[-1], left)
            ),
        )
        for name, members in families(tables.laws).items()
    )


def _imbalance(
    along: Sequence[Seen], by_steps: Steps, every: bool, sizes: Sequence[Sizes]
) -> Imbalance | None:
    found = [
        (seen.readout, seen.activations, seen.moment_of_Q)
        for seen in along
        if seen.readout is not None and seen.activations is not None and seen.moment_of_Q is not None
    ]
    if not found:
        return None
    readouts = [readout for readout, _, _ in found]
    biases = None
    if not every and readouts[0].c is not None:
        biases = np.stack([np.outer(r.c, r.c) for r in readouts if r.c is not None])
    flow = law_of_Q(readouts[0].Q, by_steps.decay, biases)
    law = by_steps.law([moment for _, _, moment in found])
    start = max(float(np.linalg.norm(readouts[0].Q)), np.finfo(float).tiny)
    told = [foretold(r.invisible_norm(), a, s) for (r, a, _), s in zip(found, sizes, strict=True)]
    by_law = [foretold(r.invisible_norm(Q), a, s) for (r, a, _), s, Q in zip(found, sizes, flow, strict=True)]
    return Imbalance(
        tuple(float(np.linalg.norm(r.Q)) for r in readouts),
        tuple(float(np.linalg.norm(r.Q) / np.linalg.norm(r.W.T @ r.W)) for r in readouts),
        tuple(float(np.linalg.norm(r.Q - Q)) / start for r, Q in zip(readouts, law, strict=True)),
        tuple(t.estimate for t in told),
        tuple(t.bound for t in told),
        tuple(t.estimate for t in by_law),
        tuple(float(np.linalg.norm(r.Q - Q)) / start for r, Q in zip(readouts, flow, strict=True)),
        tuple(np.linalg.norm(law, axis=(1, 2)).tolist()),
    )


def _floors(
    run: RunDirectory, rate: float, seen: Mapping[int, StoredSnapshot], rows: Mapping[int, Line]
) -> tuple[Floor, ...]:
    """Of homogeneous features that decay, and all of whose samples were measured."""
    config = run.trained_config
    model = config.model
    if not rate or model.name != "mlp" or model.hidden_bias or model.readout_bias or config.observes_part:
        return ()
    found = []
    for step in run.measured():
        measured, (state, sizes) = run.measurement(step, TENSORS), (seen[step].state, seen[step].sizes)
        if measured.features.mean is None or len(measured.labels) != sizes.N:
            continue
        K = measured.sample(order="class").K
        floor = collapse_floor(state.W, state.b, K, sizes, (model.depth + 1) * rate)
        found.append(Floor(step, floor["NC1_tirer"], rows[step].get("NC1_tirer")))
    return tuple(found)

"""Laws of a training that was recorded from another program: their values are in the run, its network is not."""

import numpy as np

from ntkflow.errors import InputError
from ntkflow_validation.config.recorded import RecordedConfig
from ntkflow_validation.conservation.along import Values, expected, law_of_Q
from ntkflow_validation.pipeline.laws_told import rms, together, written
from ntkflow_validation.runs.followed import Family, Imbalance, RunLaws
from ntkflow_validation.runs.law_values import FoundLaws, LawValues, read_found, read_values
from ntkflow_validation.runs.rundir import RunDirectory

# The law of the steps needs the gradient and the velocity at each snapshot, see `conservation.steps.Moment`.
HOW = (
    "the flow with decay, leading order in the step; gradients were not recorded, so that steps and batches are in what "
    "is left over"
)
NO_Q = "no linear readout is among the laws: features come from an activation or a pooling"
# Of the estimates of invisible variability, which need the activations below the features.
UNKNOWN = None


def laws_of_recorded(run: RunDirectory) -> RunLaws:
    """Follow the laws whose values a recorder kept; writes laws.json.

    Raises:
        InputError: it kept none, its steps are in no flow time, or there are fewer than two snapshots with values.
    """
    config = run.config
    assert isinstance(config, RecordedConfig)
    found = read_found(run)
    if found is None:
        rule = (
            "was recorded with H, W and b alone: laws are of all parameters, and Q = W^T W - V V^T - c c^T of a linear readout "
            "needs the layer below the features"
        )
        remedy = "record with laws=nf.conservation_laws(f, params, X) of the recorder"
        raise InputError("run", run.path, rule, remedy)
    if not config.timed:
        rule = "was recorded without a learning rate: its steps are in no flow time, in which laws decay"
        raise InputError("run", run.path, rule, "give the recorder's clock a rate")
    kept = {step: there for step in run.steps() if (there := read_values(run, step)) is not None}
    if len(kept) < 2:
        raise InputError("run", run.path, "has laws at fewer than two snapshots", "record more of them")
    seen, along = [run.read_snapshot(step) for step in kept], list(kept.values())
    decay = config.time_keeper().rate * np.array([s.time - seen[0].time for s in seen])
    Q = _imbalance(along, decay, [s.state.W for s in seen]) if found.Q else None
    reason = None if found.Q else NO_Q
    values = [Values(v.q, v.still, v.size) for v in along]
    law = expected(values, decay)
    return written(
        run, _how(found), found.certified, seen, decay, _families(found, values, law), Q, reason,
        along=together(values, law, law),
    )  # fmt: skip


def _how(found: FoundLaws) -> str:
    if not found.rates:
        return HOW
    rates = ", ".join(f"{name} {rate:g}" for name, rate in found.rates.items())
    return f"{HOW}; groups have rates of their own, by which they are weighted: {rates}, the others 1"


def _families(found: FoundLaws, values: list[Values], law: np.ndarray) -> tuple[Family, ...]:
    q, size = np.stack([v.q for v in values]), np.maximum(values[-1].size, np.finfo(float).tiny)
    told = []
    for name, tied in found.families.items():
        members = list(tied)
        off, moved = (rms((q[-1] - other)[members] / size[members]) for other in (law[-1], q[0]))
        balance, foretold = (tuple(x[:, members].sum(axis=1).tolist()) for x in (q, law))
        told.append(Family(name, len(members), balance, foretold, off, moved, off))
    return tuple(told)


def _imbalance(along: list[LawValues], decay: np.ndarray, heads: list[np.ndarray]) -> Imbalance:
    seen = np.stack([v.Q for v in along if v.Q is not None])
    law = law_of_Q(seen[0], decay, -np.stack([v.still_Q for v in along if v.still_Q is not None]))
    start = max(float(np.linalg.norm(seen[0])), np.finfo(float).tiny)
    off = tuple((np.linalg.norm(seen - law, axis=(1, 2)) / start).tolist())
    over = tuple(float(np.linalg.norm(Q) / np.linalg.norm(W.T @ W)) for Q, W in zip(seen, heads, strict=True))
    unknown = (UNKNOWN,) * len(along)
    norm = tuple(np.linalg.norm(seen, axis=(1, 2)).tolist())
    return Imbalance(
        norm, over, off, unknown, unknown, unknown, off, tuple(np.linalg.norm(law, axis=(1, 2)).tolist())
    )

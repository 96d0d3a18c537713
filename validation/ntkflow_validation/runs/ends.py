"""What a training is at its end beside the last line of its metrics: moments of its features, alignments of its kernels."""

from collections.abc import Mapping

from ntkflow.metrics.components import moments
from ntkflow.problem.thin import decompose
from ntkflow_validation.kernels import Measurement
from ntkflow_validation.runs.rundir import RunDirectory, StoredSnapshot


def ends(run: RunDirectory, measured: Mapping[int, Measurement]) -> dict[str, float]:
    """Both, as far as there are snapshots and measurements, these by step."""
    steps = run.steps()
    if not steps:
        return {}
    return {**final_norms(run.read_snapshot(steps[-1])), **alignments(measured.get(steps[-1]))}


def alignments(last: Measurement | None) -> dict[str, float]:
    """Cosines of the traced kernels Theta^h and Theta with Y^T Y at the end, as far as they were measured."""
    if last is None:
        return {}
    families = {"features": last.features, "outputs": last.outputs}
    known = {name: None if family is None else family.alignment for name, family in families.items()}
    return {f"alignment_{name}": value for name, value in known.items() if value is not None}


def final_norms(snapshot: StoredSnapshot) -> dict[str, float]:
    """Moments of the features of a snapshot. Source: panes i of the paper's figures 3-12."""
    thin, _ = decompose(snapshot.state, snapshot.sizes, subspace=False)
    return moments(thin, snapshot.sizes)

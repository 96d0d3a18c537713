"""The kernel of a network that is recorded, measured on the recorded samples as they stand in the run: sorted by class."""

import warnings
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import fields, replace
from typing import Any

import numpy as np

from ntkflow._types import Labels
from ntkflow.errors import InputError
from ntkflow.foreign.modules import Framework, framework_of
from ntkflow.problem.state import State
from ntkflow.problem.training_clock import Clock
from ntkflow_validation.config.settings import KernelConfig
from ntkflow_validation.kernels import Measurement, measure
from ntkflow_validation.metrics.probe import batch_refused, invariant_metrics
from ntkflow_validation.normalisation.lag import StatisticsWarning
from ntkflow_validation.recording.reader import Reader, inference
from ntkflow_validation.runs.documents import Line
from ntkflow_validation.runs.rundir import StoredSnapshot
from ntkflow_validation.runs.training_run import PART_OF_UNEQUAL


def settings(measure: Mapping[str, Any] | None) -> KernelConfig:
    """How kernels are measured, by the words of `[kernels]`.

    Raises:
        InputError: there is no such setting, or no such value.
    """
    known = [f.name for f in fields(KernelConfig)]
    for name, value in dict(measure or {}).items():
        if name not in known:
            rule = f"is no setting of a measurement; known: {', '.join(known)}"
            raise InputError(f"measure.{name}", value, rule, "remove or rename it")
    return KernelConfig(**dict(measure or {}))


def measured(
    reader: Reader, network: Any, state: State, labels: Labels, how: KernelConfig, biased: bool
) -> Measurement:
    """As `measure`, in inference mode, without a word on stale statistics, of which the recorder has spoken.

    Args:
        reader: of the features.
        network: what is measured, left as it is.
        state: its (H, W, b).
        labels: class of each input of the reader.
        how: settings.
        biased: whether the head has a bias.

    Raises:
        InputError: it cannot be measured so.
    """
    order = np.argsort(labels, kind="stable")
    with ExitStack() as stack:
        if framework_of(network) is Framework.TORCH:
            stack.enter_context(inference(network))
        features, params = reader.differentiable(network, coupled=how.bn == "batch")
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore", StatisticsWarning)
        return measure(
            features, params, reader.X[order], labels[order], head=(state.W, state.b if biased else None),
            quantities=how.quantities, method=how.method, memory=how.memory, neurons=how.neurons or None,
            per_class=how.per_class or None, probes=how.probes, bn=how.bn,
        )  # fmt: skip


def with_terms(line: Line, found: Measurement, seen: StoredSnapshot, clock: Clock, classes: int) -> Line:
    """The line with the invariant's terms under a kernel that was measured there, or why it has none."""
    if found.broken_order is not None:
        return replace(line, invariant_refused=f"measured constants break {found.broken_order}")
    if not seen.sizes.balanced and clock.samples > seen.sizes.N:
        return replace(line, invariant_refused=PART_OF_UNEQUAL)
    # Batches of classes that differ in size are drawn in no known proportion here.
    drawn = clock.batch if seen.sizes.balanced else None
    batch = 0 if drawn is None else max(1, drawn // classes)
    terms = invariant_metrics(seen.state, seen.sizes, found.block(), clock.samples / classes, batch)
    return replace(line, values={**line.values, **terms}, invariant_batch_refused=batch_refused(terms))

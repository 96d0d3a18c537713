"""gram: empirical kernels of any network without classes, of one set of samples or between two."""

import numpy as np
from jaxtyping import PyTree
from numpy.typing import ArrayLike

from ntkflow.checks import choice
from ntkflow.errors import InputError
from ntkflow.foreign.arrays import inputs
from ntkflow.foreign.heads import named_head
from ntkflow.foreign.modules import ForeignNetwork
from ntkflow.progress import Progress, silent
from ntkflow.words import spelled
from ntkflow_validation.kernels.arguments import checked_head
from ntkflow_validation.kernels.backends.base import check_finite
from ntkflow_validation.kernels.backends.output import Output
from ntkflow_validation.kernels.backends.randomness import untouched
from ntkflow_validation.kernels.backends.trainable import Trainable
from ntkflow_validation.kernels.budget import Budget
from ntkflow_validation.kernels.magnitude import in_range
from ntkflow_validation.kernels.methods.components import Head
from ntkflow_validation.kernels.methods.cross import Cross
from ntkflow_validation.kernels.networks.dispatch import Given, backend_of
from ntkflow_validation.kernels.store import ChunkStore, NoStore
from ntkflow_validation.kernels.task import Task
from ntkflow_validation.normalisation.lag import warn_if_stale
from ntkflow_validation.normalisation.watched import Forward

ENTRIES = ("mean", "each", "full")


@spelled
def gram(
    features: ForeignNetwork,
    params: PyTree,
    X: ArrayLike,
    against: ArrayLike | None = None,
    *,
    entries: str = "mean",
    head: object = None,
    output: Output = None,
    forward: Forward | None = None,
    trainable: Trainable = None,
    memory: str | int | Budget = "2GiB",
    store: ChunkStore | None = None,
    progress: Progress = silent,
) -> np.ndarray:
    """The empirical NTK of a network on samples X, or between X and others; exact, and no labels are needed.

    Theta_pq(x, x') = <grad h_p(x), grad h_q(x')>, with gradients by the parameters that are trained. With a head it is the
    kernel of the outputs W h + b, to which the head's own parameters add delta_pq (h(x) . h(x') + 1), without the 1 where
    there is no b.

    Args:
        features: see `ntkflow_validation.measure`, as `params`, `head`, `output`, `forward`, `trainable` and `memory`.
            For the kernel of a whole network give all of it here, and no head.
        params: see there.
        X: samples, (N, ...).
        against: the other samples, (M, ...), such as those of a test set; X itself by default.
        entries: "mean" over the features (or outputs) p of Theta_pp, (N, M); "each" of these, (N, M, n); "full" for all
            Theta_pq, (N, M, n, n), of small sizes. The mean is what neural-tangents gives by default (trace_axes=(-1,)),
            the others what it gives with trace_axes=() and diagonal_axes=(-1,) or ().
        head: see there.
        output: see there.
        forward: see there.
        trainable: see there.
        memory: see there.
        store: keeps finished chunks.
        progress: called with (what, done, in all).

    Raises:
        InputError: as `measure`.

    Warns:
        GradientWarning: no parameter moves the features, whose kernel is 0.
        PrecisionWarning: as `measure`.
        StatisticsWarning: as `measure`, of X.
    """
    choice("entries", entries, ENTRIES)
    x = inputs("X", X)
    others = x if against is None else inputs("against", against)
    if others.shape[1:] != x.shape[1:]:
        raise InputError(
            "against",
            f"array of shape {others.shape}",
            f"must have samples like those of X, {x.shape[1:]}",
            "fix it",
        )
    check_finite(x, "X")
    check_finite(others, "against")
    with untouched():
        given = Given.of(features, params, forward)._replace(trainable=trainable, output=output)
        backend = backend_of(given, x)
        warn_if_stale(given.network, given.params, x, forward=given.forward)
        every = x if against is None else np.concatenate([x, others])
        nowhere = np.zeros(len(every), np.int64)
        task = Task(backend, every, nowhere, False, Budget.parse(memory), store or NoStore(), progress)
        classifier = checked_head(named_head(head, given.network, given.params), backend.n)
        H = task.features()
        task.require_alone(H)

        def measured(task: Task) -> np.ndarray:
            return _kernel(Cross(task, len(x), against is None), classifier, H, entries)

        return in_range(task, measured)


def _kernel(cross: Cross, head: Head | None, H: np.ndarray, entries: str) -> np.ndarray:
    directions = np.eye(len(H)) if head is None else head.W
    left, right = cross.sides(H.T)
    # What the head's own parameters add to every output.
    own = 0.0 if head is None else left @ right.T + float(head.b is not None)
    if entries == "full":
        found = cross.full(directions, "kernel")
        if head is not None:
            p = np.arange(len(directions))
            found[:, :, p, p] += np.asarray(own)[:, :, None]
    elif entries == "each":
        found = np.empty((*cross.shape, len(directions)))
        for group, K in cross.each(directions, "kernel"):
            found[:, :, group] = (K + own).transpose(1, 2, 0)
    else:
        found = sum((K.sum(axis=0) for _, K in cross.each(directions, "kernel")), np.zeros(cross.shape))
        found = found / len(directions) + own
    return cross.task.finite("kernel", found)

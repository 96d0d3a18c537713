"""measure: the empirical kernels of any network, by the method its sizes and the memory allow."""

from collections.abc import Callable, Sequence

from jaxtyping import PyTree
from numpy.typing import ArrayLike

from ntkflow.checks import choice
from ntkflow.errors import InputError
from ntkflow.foreign.arrays import inputs
from ntkflow.foreign.heads import named_head
from ntkflow.foreign.modules import ForeignNetwork
from ntkflow.progress import Progress, silent
from ntkflow.words import spelled
from ntkflow_validation.config.settings import METHODS, MODES
from ntkflow_validation.kernels.arguments import (
    checked_head,
    checked_quantities,
    coupled,
    neuron_directions,
    samples,
)
from ntkflow_validation.kernels.backends.base import check_finite
from ntkflow_validation.kernels.backends.output import Output
from ntkflow_validation.kernels.backends.randomness import untouched
from ntkflow_validation.kernels.backends.trainable import Trainable
from ntkflow_validation.kernels.budget import Budget
from ntkflow_validation.kernels.forecast import Forecast, forecast
from ntkflow_validation.kernels.magnitude import in_range
from ntkflow_validation.kernels.measurement import Measurement
from ntkflow_validation.kernels.methods.gram import fits
from ntkflow_validation.kernels.networks.dispatch import Given, backend_of, is_of_module
from ntkflow_validation.kernels.plan import Plan, assemble
from ntkflow_validation.kernels.store import ChunkStore, NoStore
from ntkflow_validation.kernels.task import Task
from ntkflow_validation.normalisation.lag import warn_if_stale
from ntkflow_validation.normalisation.watched import Forward

# Samples above which the N x N kernels cost more than they tell.
LARGE = 4000
# Neurons times samples: hours of exact gradients on two cores for a ResNet20.
LONG = 2_000_000


@spelled
def measure(
    features: ForeignNetwork,
    params: PyTree,
    X: ArrayLike,
    y: ArrayLike,
    *,
    head: object = None,
    output: Output = None,
    forward: Forward | None = None,
    quantities: Sequence[str] | None = None,
    method: str = "auto",
    memory: str | int | Budget = "2GiB",
    neurons: int | Sequence[int] | None = None,
    trainable: Trainable = None,
    per_class: int | None = None,
    probes: int = 16,
    bn: str = "eval",
    seed: int | Sequence[int] = 0,
    store: ChunkStore | None = None,
    progress: Progress = silent,
    announce: Callable[[Forecast], object] | None = None,
) -> Measurement:
    """Empirical kernels of a network on samples X of classes y.

    Args:
        features: pure function of (params, x) giving h(x), (B, n), for a batch x; or a module of torch, Flax NNX,
            Flax Linen or Equinox, in inference mode, or a method of one; or a `Backend`. A module, left as it was, and a
            backend have parameters of their own (then `params` is None; of a Linen module it is the variables).
        params: what it is differentiated by: the body's parameters for the features' NTK of the paper. Or the module
            itself, of which `features(module, x)` is then a function.
        X: inputs, (N, ...), an array or tensor.
        y: class of each, 0 .. C-1, in any order and number; or one-hot rows (N, C).
        head: W (C, n) and b (C,) or None, as `(W, b)`; W alone; or a linear layer of torch, Flax NNX or Equinox, or
            its parameters by name; or the path of that layer in the network, such as "head", or a function of
            the network (of its parameters) that gives one of these. With it the outputs, the row space of W and the
            residual exist.
        output: which of several outputs of the network h is: a position, a name, or a function of all that it gives.
        forward: forward(network, x) for a module that needs more than x, or a part of which gives h, such as
            `lambda net, x: net.features(x)`.
        quantities: of `QUANTITIES`, beside the features' block constants; by default "outputs", "row-space"
            and "rayleigh" with a head, else none.
        method: "gram" exact N x N kernels; "class-sums" exact block constants of any number of samples;
            "probes" unbiased estimates of these; "sign-probes" the same without looking at single samples;
            "orthogonal-probes" estimates of the traced N x N kernel; "auto" the first of gram, class-sums,
            probes that is sensible for these sizes and this memory.
        memory: what the measurement may use, such as "1.5GiB".
        neurons: how many of the first neurons, or which; all by default. Not with probes, which use all.
        trainable: what is differentiated by, when it is not all that the framework trains (Flax NNX `Param`s, Linen's
            collection "params", every floating-point array of other trees): a tree of booleans like params, or like
            its first levels, or a function of a parameter's path such as "layer.kernel". A backend takes its own.
        per_class: measure the first s samples of each class; standard errors are for a random order.
        probes: random directions, for the methods that use them, random sample vectors of the pair
            norms, which are exact when these and the classes span the samples, and random signs of the class kernels.
        bn: mode of batch normalisation the function runs in. "eval" and "recalibrated" (running statistics
            recomputed beforehand) are the same here; in "batch" mode samples see each other and only block
            constants, Rayleigh quotients and class kernels exist.
        seed: of the probes.
        store: keeps finished chunks, so that a measurement that was interrupted goes on.
        progress: called with (what, done, in all).
        announce: called once, before the long part, with how long it will take; costs a few gradients.

    Raises:
        InputError: parameters, inputs or features are not finite, sizes do not fit each other, a quantity does
            not exist in this mode, or the memory does not suffice; the network does not run on X, draws random
            numbers, or is in training mode while `bn` is not "batch", or a module in inference mode while it is.

    Warns:
        GradientWarning: no parameter moves the features, whose kernel is 0.
        PrecisionWarning: the network has half precision, of which the numbers are measured in single.
        StatisticsWarning: running statistics of batch normalisation are not those of X, where the module can be seen.
    """
    choice("method", method, METHODS)
    choice("bn", bn, MODES)
    if probes < 1:
        raise InputError("probes", probes, "must be at least 1", "give such as 16")
    X = inputs("X", X)
    order, labels, totals = samples(X, y, per_class)
    x = X[order]
    check_finite(x, "X")
    with untouched():
        given = Given.of(features, params, forward)._replace(trainable=trainable, output=output, bn=bn)
        backend = backend_of(given, x)
        if bn != "batch":
            warn_if_stale(given.network, given.params, x, forward=given.forward)
        budget = Budget.parse(memory)
        task = Task(backend, x, labels, bn == "batch", budget, store or NoStore(), progress, order)
        found = checked_head(named_head(head, given.network, given.params), backend.n, task.C)
        wanted = checked_quantities(quantities, found, bn)
        chosen = _method(method, task, bn)
        V = neuron_directions(neurons, backend.n, chosen)
        if announce is not None:
            announce(
                forecast(task, chosen, Plan(task, chosen, totals, probes, seed).work(len(V), found, wanted))
            )
        H = task.features()
        if bn != "batch":
            task.require_alone(H)
        elif is_of_module(given.network, given.params):
            task.require_together(H)

        def measured(task: Task) -> Measurement:
            return assemble(Plan(task, chosen, totals, probes, seed), V, found, H, wanted, bn)

        return in_range(task, measured)


def _method(method: str, task: Task, bn: str) -> str:
    if bn == "batch":
        if method not in ("auto", "probes", "sign-probes"):
            raise coupled(f"method {method!r}")
        return "sign-probes"
    if method != "auto":
        return method
    if task.backend.n * task.N > LONG:
        return "probes"
    return "gram" if task.N <= LARGE and fits(task) else "class-sums"

"""`nf.metrics.collapse`: every published measure of neural collapse from features, labels and, if any, a head."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ntkflow import checks
from ntkflow.errors import InputError

# Their formulas register themselves, in the order of the table.
from ntkflow.metrics.published import variability, simplex, duality  # noqa: F401  # isort: skip
from ntkflow.foreign import arrays, heads
from ntkflow.metrics.published.facts import Facts
from ntkflow.metrics.published.geometry import CENTRES, Geometry, UndefinedError
from ntkflow.metrics.published.labels import Classes
from ntkflow.metrics.published.moments import MOST_FEATURES, Moments
from ntkflow.metrics.published.registry import METRICS
from ntkflow.metrics.published.result import Collapse, Layers
from ntkflow.metrics.published.samples import Head, Samples
from ntkflow.scaling import unit
from ntkflow.words import spelled

# H (k, n) and y (k,), in the containers of any framework.
Batch = tuple[object, object]
OF_TRAINING = "depends on the training means alone, see the value there"


@spelled
def collapse(
    H: object = None,
    y: object = None,
    W: object = None,
    b: object = None,
    centre: str = "classes",
    test: object = None,
    ood: object = None,
    batches: object = None,
) -> Collapse | Layers:
    """Neural collapse of features by every published measure, each under its own name.

    Names, formulas and sources are in docs/metrics.md and in `found.explain(name)`. Sums are float64, whatever
    type the features have; they are never copied as a whole.

    Args:
        H: features (N, n), samples in rows, as a network gives them; numpy, jax or torch, any float. A mapping or a list of
            activations is measured layer by layer, axes after the first flattened, without a head.
        y: labels (N,): 0 .. C-1 as the rows of W; others (names, gaps) are taken in sorted order, with a word about it;
            or one-hot rows (N, C).
        W: weights of the head (C, n), or the layer itself (Linear of torch, Equinox or Flax NNX, parameters
            of Linen), if any;
            measures that need it are absent otherwise.
        b: biases of the head (C,), if any.
        centre: the mean of the class means ("classes"), or of all samples ("samples"), from which means are counted.
            They differ where classes are imbalanced.
        test: features and labels that are measured against the training means, found under `.test`; of layers:
            a mapping or list of the same layers, and labels.
        ood: features (K, n) from outside the classes, for NC5.
        batches: instead of H and y, pairs of them that do not fit into memory together: a list, a loader or a function that
            returns an iterator is gone through twice. A bare iterator is gone through once: what needs a
            second pass (NC4, accuracies; NC1_papyan and NC1_svd beyond 5120 features) is absent.

    Returns:
        A mapping from name to value, finite everywhere; `.absent` says why the other names have none.
        Of layers a dictionary of such mappings.

    Raises:
        InputError: shapes that do not fit, entries that are not finite, labels that are not the rows of W, one class alone.

    Warns:
        LabelsWarning: with a head, labels that are not 0 .. C-1.

    >>> import numpy as np
    >>> y = np.repeat([0, 1, 2], 4)
    >>> found = collapse(np.eye(3)[y], y, W=np.eye(3) - 1 / 3)
    >>> found["NC1_tirer"], round(found["NC2"], 12), found["NC4"]
    (0.0, 0.0, 1.0)
    >>> found.absent["bias_collapse"]
    'needs the bias: pass b'
    """
    checks.choice("centre", centre, CENTRES)
    if batches is not None:
        if H is not None or y is not None:
            raise InputError("batches", "given beside H, y", "holds features and labels itself", "drop one")
        return _measured(_Source.of_batches(batches), W, b, centre, test, ood)
    if H is None or y is None:
        raise InputError("H, y", "not given", "features and labels are needed", "pass them, or batches")
    layers = _layers(H)
    if layers is None:
        return _measured(_Source.whole(H, y), W, b, centre, test, ood)
    return _by_layer(layers, y, W, b, centre, test, ood)


def _layers(H: object) -> dict[str, object] | None:
    """Activations by name; None where H is one array."""
    if isinstance(H, Mapping):
        return {str(name): activations for name, activations in H.items()}
    if isinstance(H, list | tuple) and H and np.ndim(H[0]) >= 2:
        return {str(i): activations for i, activations in enumerate(H)}
    return None


def _by_layer(
    layers: dict[str, object], y: object, W: object, b: object, centre: str, test: object, ood: object
) -> Layers:
    for name, value in (("W", W), ("b", b), ("ood", ood)):
        if value is not None:
            raise InputError(name, "given with layers", "belongs to one layer", "measure that layer alone")
    if not layers:
        raise InputError("H", "no layers", "must hold activations", "give some")
    others = None if test is None else _layers(_pair("test", test)[0])
    if test is not None and (others is None or set(others) != set(layers)):
        raise InputError("test", "other layers", "must hold the layers of H", f"give {', '.join(layers)}")
    found = Layers()
    for name, activations in layers.items():
        pair = None if others is None or test is None else (_flat(name, others[name]), _pair("test", test)[1])
        result = _measured(_Source.whole(_flat(name, activations), y), None, None, centre, pair, None)
        found[name] = result
    return found


def _flat(name: str, activations: object) -> np.ndarray:
    array, _ = arrays.real(f"H[{name!r}]", activations, None)
    if array.ndim < 2:
        raise InputError(
            f"H[{name!r}]", f"array of shape {array.shape}", "has no features", "rows are samples"
        )
    return array.reshape(len(array), -1)


def _pair(argument: str, value: object) -> Batch:
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise InputError(argument, type(value).__name__, "must be a pair", "give (features, labels)")
    return value[0], value[1]


@dataclass(frozen=True)
class _Source:
    """Where pairs of features and labels come from, and whether they come again."""

    start: Callable[[], Iterator[Batch]]
    again: bool

    @classmethod
    def whole(cls, H: object, y: object) -> "_Source":
        return cls(lambda: iter([(H, y)]), True)

    @classmethod
    def of_batches(cls, batches: Any) -> "_Source":
        if callable(batches):
            return cls(lambda: iter(batches()), True)
        try:
            first = iter(batches)
        except TypeError:
            rule = "must be an iterable of pairs (H, y)"
            raise InputError("batches", type(batches).__name__, rule, "give a list, or a function") from None
        if first is batches:
            return cls(lambda: first, False)
        return cls(lambda: iter(batches), True)

    def pairs(self, n: int | None) -> Iterator[tuple[np.ndarray, object, float]]:
        """Features (k, n), labels and the spacing of the features' type."""
        for batch in self.start():
            H, y = _pair("batches", batch)
            features, eps = _rows("H", H, y, n)
            n = features.shape[1]
            yield features, y, eps


def _rows(argument: str, H: object, y: Any, n: int | None) -> tuple[np.ndarray, float]:
    """Features that have a row for each label and n columns."""
    features, eps = arrays.real(argument, H)
    labels = np.shape(y)[0] if np.ndim(y) else 0
    if len(features) != labels and features.shape[1] == labels:
        raise InputError(
            argument, f"array of shape {features.shape}", f"has the {labels} samples of y in columns", f"pass {argument}.T"
        )  # fmt: skip
    if n is not None and features.shape[1] != n:
        raise InputError(
            argument, f"array of shape {features.shape}", f"must have n = {n} columns", "check it"
        )
    return features, eps


def _measured(source: _Source, W: object, b: object, centre: str, test: object, ood: object) -> Collapse:
    moments, classes = _first_pass(source)
    if W is None and b is not None:
        raise InputError("b", "given without W", "belongs to a head", "give W as well, or neither")
    weights, biases = (None, None) if W is None else heads.read(W, b, n=moments.n)
    # Only now is it known which classes there are: codes were given in the order of their first samples.
    order, notes = classes.settled(None if weights is None else len(weights))
    moments.settle(order)
    geometry = Geometry(moments, centre)
    head = None if weights is None else Head.of(weights, biases)
    place = np.argsort(order)
    samples, along = None, None
    if source.again:
        samples = _second_pass(source, geometry, head, classes, place)
        along = samples.along
    elif moments.scatter is not None:
        # What lies along the means can be read off the scatter matrix when the samples are gone.
        V = geometry.spanned[1]
        along = np.sum(V * (moments.scatter @ V), axis=0)
    outside = None if ood is None else _mean(ood, moments.n)
    facts = Facts(geometry, head, moments.counts, moments.squares, along, samples, outside)
    counts = moments.counts.astype(int)
    singles = int(np.sum(counts == 1))
    if singles and counts.max() > 1:
        notes += (f"{singles} of {len(counts)} classes have one sample, which counts as no variability",)
    rank = len(geometry.spanned[0])
    if rank < min(len(counts) - 1, moments.n):
        notes += (f"the centred class means span {rank} of {min(len(counts) - 1, moments.n)} directions",)
    sizes = {
        "C": len(counts), "N": int(counts.sum()), "n": moments.n,
        "smallest": int(counts.min()), "largest": int(counts.max()), "rank": rank,
    }  # fmt: skip
    values, absent = _values(facts)
    tested = None if test is None else _tested(test, geometry, head, classes, place)
    return Collapse(values, absent, notes, sizes, centre, tested)


def _first_pass(source: _Source) -> tuple[Moments, Classes]:
    moments, classes = None, Classes()
    for H, y, eps in source.pairs(None):
        if moments is None:
            n = H.shape[1]
            moments = Moments(n, scatter=not source.again and n <= MOST_FEATURES)
        moments.add(H, classes.codes("y", y, len(H)), eps)
    if moments is None:
        raise InputError("batches", "no batch", "must hold features", "was the iterator used up?")
    return moments, classes


def _second_pass(
    source: _Source, geometry: Geometry, head: Head | None, classes: Classes, place: np.ndarray
) -> Samples:
    samples = Samples(geometry, head)
    for H, y, _ in source.pairs(geometry.moments.n):
        samples.add(H, place[classes.codes("y", y, len(H), known=True)])
    if not np.array_equal(samples.counts, geometry.moments.counts):
        rule = f"gave {samples.N} samples after {int(geometry.moments.counts.sum())}, or of other classes"
        raise InputError(
            "batches", "the second pass", rule, "give the same samples each time (drop_last off)"
        )
    return samples


def _tested(
    test: object, geometry: Geometry, head: Head | None, classes: Classes, place: np.ndarray
) -> Collapse:
    H, y = _pair("test", test)
    features, _ = _rows("test", H, y, geometry.moments.n)
    samples = Samples(geometry, head)
    samples.add(features, place[classes.codes("test", y, len(features), known=True)])
    facts = Facts(geometry, head, samples.counts, samples.squares, samples.along, samples, training=False)
    values, absent = _values(facts)
    sizes = {"C": geometry.C, "N": samples.N, "n": geometry.moments.n}
    return Collapse(values, absent, (), sizes, geometry.centre)


def _mean(ood: object, n: int) -> np.ndarray:
    """The mean of features, (n,), in a unit of its own."""
    moments = Moments(n)
    features, eps = arrays.real("ood", ood)
    if features.shape[1] != n:
        raise InputError("ood", f"array of shape {features.shape}", f"must have n = {n} columns", "check it")
    moments.add(features, np.zeros(len(features), dtype=np.int64), eps)
    return unit(moments.origins[0] + moments.means[0])[0]


def _values(facts: Facts) -> tuple[dict[str, float], dict[str, str]]:
    values, absent = {}, {}
    for name, metric in METRICS.items():
        if not facts.training and not metric.of_samples:
            absent[name] = OF_TRAINING
            continue
        try:
            with np.errstate(over="ignore", under="ignore", divide="ignore", invalid="ignore"):
                value = float(metric.compute(facts))
        except UndefinedError as reason:
            absent[name] = str(reason)
            continue
        if np.isfinite(value):
            values[name] = value
        else:
            absent[name] = "is larger than float64 holds"
    return values, absent

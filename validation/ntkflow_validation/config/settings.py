"""The sections of a configuration beside the samples: model, training, kernels; each checks its own values."""

from dataclasses import dataclass, fields, replace

from ntkflow.checks import choice
from ntkflow.errors import InputError
from ntkflow.named import is_named
from ntkflow_validation.config.values import number, typed_fields, whole_numbers
from ntkflow_validation.precision import PRECISIONS

MODELS = ("cnn", "mlp", "linear", "bent", "resnet8", "resnet20", "vgg11", "vgg16", "densenet40")
# Models that take inputs of any shape; the others take images.
VECTORS = ("mlp", "linear", "bent")
NORMS = ("auto", "none", "group", "batch")
READOUTS = ("pool", "linear")
INITIALISATIONS = ("lecun-normal", "uniform", "uniform-code", "he-normal")
LOSSES = ("mse", "cross-entropy")
REDUCTIONS = ("mean", "sum")
STATISTICS = ("batch", "frozen")
OBSERVED = ("recalibrated", "running")
SPACINGS = ("log", "even")
DECAYED = ("weights", "all")
OPTIMISERS = ("sgd", "adam", "adamw")
METHODS = ("auto", "gram", "class-sums", "probes", "sign-probes", "orthogonal-probes")
QUANTITIES = (
    "outputs", "row-space", "rayleigh", "pair-norms", "output-pair-norms", "matrix", "row-matrix", "tensor",
    "output-tensor",
)  # fmt: skip
MODES = ("eval", "recalibrated", "batch")

# width (channels of the first stage, growth of a DenseNet, hidden units), and features per unit of width
WIDTHS = {"resnet8": 8, "resnet20": 16, "vgg11": 64, "vgg16": 64, "densenet40": 12, "mlp": 256, "bent": 64}
FEATURES_PER_WIDTH = {"resnet8": 4, "resnet20": 4, "vgg11": 4, "vgg16": 4, "densenet40": 11}
# Hidden layers, each of which is compiled on its own: a network with more is not trained in a day.
DEEPEST = 1000
OWN_MODEL = "choose one of these, or name a network of your own as module:object"
NORMALISED = ("resnet8", "resnet20", "vgg11", "vgg16", "densenet40")
# settings that only some models have
ONLY = {
    "depth": ("mlp",),
    "readout": ("cnn",),
    "scale": ("linear", "bent"),
    "bend": ("bent",),
    "width": (*WIDTHS, "cnn"),
}


@dataclass(frozen=True)
class ModelConfig:
    """Which network: features of dimension `features`, then a linear head.

    Args:
        name: entry of `MODELS`, or module:object, a network of one's own that gives features: see
            `ntkflow_validation.models.own`. Of the settings below only those of the head are for it: `init`, `head_bias`.
        features: n, dimension of the last-layer features; 0 = the architecture's own (ResNet20 64,
            ResNet8 32, VGG 256, DenseNet40 132, mlp 24, others 32). In the first four the width decides.
        width: channels of the first stage or convolution, growth of the DenseNet, or units of the hidden
            layers; 0 = the architecture's own (ResNet20 16, ResNet8 8, VGG 64, DenseNet40 12, mlp 256, cnn 16).
        depth: hidden layers of the MLP.
        norm: normalisation after each convolution; "batch" is measured with its running statistics, "group"
            normalises each sample by itself; "auto" = batch for ResNet, VGG, DenseNet, none for the others.
        readout: features of the cnn: "linear", a dense layer without activation, or "pool", mean channels.
        scale: factor on the initial weights of the "linear" and the "bent" model.
        bend: factor on the nonlinear branch of the "bent" model, whose hidden units are its `width`.
        init: entry of `INITIALISATIONS`, see `ntkflow_validation.models.layers`.
        head_bias: whether the head has a bias; without one b is recorded as 0.
        source: file of the module of a network of one's own, found when a run is made.
        sha256: of that file.
    """

    name: str = "cnn"
    features: int = 0
    width: int = 0
    depth: int = 2
    norm: str = "auto"
    readout: str = "linear"
    scale: float = 1.0
    bend: float = 0.0
    init: str = "lecun-normal"
    head_bias: bool = True
    source: str = ""
    sha256: str = ""

    def __post_init__(self) -> None:
        typed_fields(self, "model.")
        if not self.is_own:
            choice("model.name", self.name, MODELS, OWN_MODEL)
        whole_numbers(self, "model.", {"features": 0, "width": 0, "depth": 1})
        if self.depth > DEEPEST:
            rule = f"must be at most {DEEPEST}: layers are compiled one by one"
            raise InputError("model.depth", self.depth, rule, "lower it")
        choice("model.norm", self.norm, NORMS)
        choice("model.readout", self.readout, READOUTS)
        choice("model.init", self.init, INITIALISATIONS)
        number("model.scale", self.scale, 0)
        number("model.bend", self.bend, 0)
        # A setting that does nothing would be recorded as if it had, and make two equal runs look different.
        defaults = {f.name: f.default for f in fields(self)}
        for setting, names in ONLY.items():
            value = getattr(self, setting)
            if self.name not in names and value != defaults[setting]:
                raise InputError(
                    f"model.{setting}", value, f"is not a setting of {self.name}", "leave it at its default"
                )
        for name in ("source", "sha256"):
            text = getattr(self, name)
            if text and not self.is_own:
                raise InputError(f"model.{name}", text, "is of a network of one's own", "leave it out")
        if self.name in VECTORS and self.norm not in ("auto", "none"):
            raise InputError(
                "model.norm", self.norm, f"the {self.name} has no normalisation layers", "use norm = 'none'"
            )
        self._resolve()

    @property
    def is_own(self) -> bool:
        """Whether the network is a user's own."""
        return is_named(self.name)

    def _resolve(self) -> None:
        """Replace "the architecture's own" by its value, so that files and tables show the number."""
        if self.is_own:
            # What it is, only itself can tell: see `ntkflow_validation.training.complete`.
            if self.norm not in (
                "auto",
                "batch" if self.sha256 else "auto",
                "none" if self.sha256 else "auto",
            ):
                rule = "is what the network of one's own does"
                raise InputError("model.norm", self.norm, rule, "leave it at its default")
            return
        if self.width == 0 and self.name != "linear":
            object.__setattr__(self, "width", WIDTHS.get(self.name, 16))
        own = FEATURES_PER_WIDTH[self.name] * self.width if self.name in FEATURES_PER_WIDTH else None
        if own is not None and self.features not in (0, own):
            raise InputError(
                "model.features",
                self.features,
                f"{self.name} of width {self.width} has {own} features",
                "leave it out or change the width",
            )
        if self.features == 0:
            object.__setattr__(self, "features", own or (24 if self.name == "mlp" else 32))
        if self.norm == "auto":
            object.__setattr__(self, "norm", "batch" if self.name in NORMALISED else "none")


@dataclass(frozen=True)
class TrainConfig:
    """How it is trained: by SGD or Adam on 1/2 |f - y|^2 or on the cross-entropy of softmax f.

    Args:
        steps: optimiser steps; not used when `epochs` is given.
        epochs: passes through the data; 0 = count in steps.
        learning_rate: peak rate, per step; 0 = `stability` of the largest rate at which gradient descent is
            stable at initialisation, 2 / (largest eigenvalue of the NTK of the loss that is differentiated).
        stability: that share; used only with learning_rate = 0.
        momentum: beta.
        nesterov: Nesterov's form of momentum; otherwise heavy ball.
        optimiser: entry of `OPTIMISERS`. The steps of Adam are in no time those of the gradient flow: there is no prediction.
        beta1: of Adam, of its mean of gradients.
        beta2: of Adam, of its mean of squares.
        epsilon: of Adam, added to their root.
        weight_decay: coupled L2 decay, lambda/2 |w|^2 added to the loss; of AdamW decoupled; 0 = none.
        decay_on: what decays: "weights", tensors with more than one axis, as in the paper's code, or "all".
        warmup: steps over which the rate rises linearly from 0 to its peak.
        drop_every: epochs after which the rate is divided by 10, again and again; 0 = never.
        batch_per_class: samples of each class in a batch, of classes that differ in size on the mean, each in its
            proportion; 0 = all, full batch.
        loss: entry of `LOSSES`.
        label_smoothing: epsilon of the targets (1 - epsilon) Y + epsilon/C that are trained on; what is recorded is of Y.
        reduction: "mean" over samples and outputs (cross-entropy: over samples), as in the paper's code,
            or "sum" over both, as in eq. (4).
        precision: entry of `PRECISIONS`, of the steps' products on a GPU; all that is observed is float32. On a CPU
            both are the same.
        deterministic: sum in the same order every time on a GPU too, which costs speed: the same training then has the same
            numbers to the last bit, resumed or not. On a CPU it always has.
        statistics: batch normalisation in training: "batch" statistics, or "frozen" at those of the training
            set at initialisation, so that samples do not see each other.
        observed: statistics of batch normalisation with which snapshots observe the network: "recalibrated",
            those of the training set at that step, or "running", the averages over past batches, as in the
            paper's code, which lag behind at high rates.
        snapshots: about how many snapshots; steps 0 and the last are always among them.
        spacing: how they are spaced in steps: "log", since the flow is fast at first, or "even", as the paper's
            figures need, whose smoothing takes a point every so many epochs.
    """

    steps: int = 1000
    epochs: int = 0
    learning_rate: float = 0.5
    stability: float = 0.1
    momentum: float = 0.0
    nesterov: bool = False
    optimiser: str = "sgd"
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    weight_decay: float = 0.0
    decay_on: str = "weights"
    warmup: int = 0
    drop_every: int = 0
    batch_per_class: int = 0
    loss: str = "mse"
    label_smoothing: float = 0.0
    reduction: str = "mean"
    precision: str = "float32"
    deterministic: bool = False
    statistics: str = "batch"
    observed: str = "recalibrated"
    snapshots: int = 40
    spacing: str = "log"

    def __post_init__(self) -> None:
        typed_fields(self, "training.")
        least = {"steps": 1, "epochs": 0, "warmup": 0, "drop_every": 0, "batch_per_class": 0, "snapshots": 2}
        whole_numbers(self, "training.", least)
        number("training.learning_rate", self.learning_rate, 0)
        number("training.stability", self.stability, 1e-9, 1)
        number("training.momentum", self.momentum, 0, 1)
        number("training.weight_decay", self.weight_decay, 0)
        number("training.label_smoothing", self.label_smoothing, 0, 1)
        self._check_optimiser()
        choice("training.decay_on", self.decay_on, DECAYED)
        choice("training.loss", self.loss, LOSSES)
        choice("training.reduction", self.reduction, REDUCTIONS)
        choice("training.precision", self.precision, PRECISIONS)
        choice("training.statistics", self.statistics, STATISTICS)
        choice("training.observed", self.observed, OBSERVED)
        choice("training.spacing", self.spacing, SPACINGS)
        if self.nesterov and self.momentum == 0:
            raise InputError("training.nesterov", True, "needs momentum", "give training.momentum > 0")

    @property
    def adaptive(self) -> bool:
        """Whether steps are scaled by the history of each parameter's gradient."""
        return self.optimiser != "sgd"

    def _check_optimiser(self) -> None:
        choice("training.optimiser", self.optimiser, OPTIMISERS)
        number("training.beta1", self.beta1, 0, 1)
        number("training.beta2", self.beta2, 0, 1)
        number("training.epsilon", self.epsilon, 1e-30)
        # What the other kind of optimiser has no use for.
        unused = ("momentum", "nesterov") if self.adaptive else ("beta1", "beta2", "epsilon")
        for f in fields(self):
            if f.name in unused and getattr(self, f.name) != f.default:
                rule = f"is not a setting of {self.optimiser}"
                raise InputError(f"training.{f.name}", getattr(self, f.name), rule, "leave it at its default")
        # The bound 2/lambda_max is that of gradient descent, whose steps are not scaled.
        if self.adaptive and self.learning_rate == 0:
            rule = f"no largest stable rate of {self.optimiser} is known"
            raise InputError("training.learning_rate", 0, rule, "give a rate")


@dataclass(frozen=True)
class KernelConfig:
    """Where and how kernels are measured: of a run in its configuration, of one command in its options.

    Args:
        count: number of snapshots at which it is measured, spread evenly over the snapshots.
        neurons: feature neurons used, the first ones; 0 = all n.
        per_class: samples of each class used; 0 = all m.
        while_training: measure when the snapshot is taken, so that metrics.jsonl has the invariant's terms;
            otherwise afterwards.
        method: entry of `METHODS`, see `ntkflow_validation.kernels.measure`.
        quantities: entries of `QUANTITIES`, beside the block constants of the features' NTK.
        probes: random directions, for the methods and quantities that use them.
        bn: entry of `MODES`: of batch normalisation while measuring; "recalibrated" first gives the network the
            statistics of all training samples, as one batch.
        memory: what a measurement may use.
    """

    count: int = 6
    neurons: int = 0
    per_class: int = 0
    while_training: bool = False
    method: str = "auto"
    quantities: tuple[str, ...] = ()
    probes: int = 16
    bn: str = "eval"
    memory: str = "2GiB"

    def __post_init__(self) -> None:
        typed_fields(self, "kernels.")
        whole_numbers(self, "kernels.", {"count": 1, "neurons": 0, "per_class": 0, "probes": 1})
        choice("kernels.method", self.method, METHODS)
        choice("kernels.bn", self.bn, MODES)
        # Files give lists, options one word.
        named = [self.quantities] if isinstance(self.quantities, str) else self.quantities
        for name in named if isinstance(named, list | tuple) else [named]:
            choice("kernels.quantities", name, QUANTITIES)
        # In the order given and each once: what was asked twice is measured once.
        object.__setattr__(self, "quantities", tuple(dict.fromkeys(named)))
        if self.per_class == 1:
            raise InputError(
                "kernels.per_class", 1, "kappa_c needs two samples of a class", "give 0 or at least 2"
            )

    def with_quantities(self, *more: str) -> "KernelConfig":
        """The same with more to measure."""
        return replace(self, quantities=(*self.quantities, *more))

    def gives_the_numbers_of(self, other: "KernelConfig") -> bool:
        """Whether what both measure comes out the same; how much of it, where and in what memory is no matter."""
        return all(
            getattr(self, k) == getattr(other, k) for k in ("neurons", "per_class", "method", "probes", "bn")
        )

"""The sections of a configuration beside the samples: model, training, kernels; each checks its own values."""

from dataclasses import dataclass, fields, replace

from ntkflow import views
from ntkflow.checks import choice
from ntkflow.errors import InputError
from ntkflow.named import is_named
from ntkflow_validation.config.values import number, typed_fields, whole_numbers
from ntkflow_validation.precision import PRECISIONS

MODELS = ("cnn", "mlp", "linear", "bent", "resnet8", "resnet20", "vgg11", "vgg16", "densenet40")
# Models that take inputs of any shape; the others take images.
VECTORS = ("mlp", "linear", "bent")
NORMS = ("auto", "none", "group", "batch")
READOUTS = ("pool", "linear", "pool-linear")
PARAMETRISATIONS = ("standard", "ntk")
INITIALISATIONS = ("lecun-normal", "uniform", "uniform-code", "he-normal")
LOSSES = ("mse", "cross-entropy")
REDUCTIONS = ("mean", "sum")
STATISTICS = ("batch", "frozen")
OBSERVED = ("recalibrated", "running")
SPACINGS = ("log", "even")
DECAYED = ("weights", "all")
INITIAL_BIASES = ("drawn", "1/C")
STARTS = ("drawn", "aligned")
OPTIMISERS = ("sgd", "adam", "adamw")
KERNEL_SPACINGS = ("even", "change")
METHODS = ("auto", "gram", "class-sums", "probes", "sign-probes", "orthogonal-probes")
QUANTITIES = (
    "outputs", "row-space", "rayleigh", "pair-norms", "output-pair-norms", "matrix", "row-matrix", "tensor",
    "output-tensor", "class-kernels", "row-class-kernels",
)  # fmt: skip
MODES = ("eval", "recalibrated", "batch")

# width (channels of the first stage, growth of a DenseNet, hidden units), and features per unit of width
WIDTHS = {"resnet8": 8, "resnet20": 16, "vgg11": 64, "vgg16": 64, "densenet40": 12, "mlp": 256, "bent": 64}
FEATURES_PER_WIDTH = {"resnet8": 4, "resnet20": 4, "vgg11": 4, "vgg16": 4, "densenet40": 11}
# Hidden layers, each of which is compiled on its own: a network with more is not trained in a day.
DEEPEST = 1000
OWN_MODEL = "choose one of these, or name a network of your own as module:object"
RESIDUAL = ("resnet8", "resnet20")
NORMALISED = ("resnet8", "resnet20", "vgg11", "vgg16", "densenet40")
# settings that only some models have
ONLY = {
    "depth": ("mlp",),
    "readout": ("cnn", *RESIDUAL),
    "scale": ("linear", "bent"),
    "bend": ("bent",),
    "layers": ("linear",),
    "start": ("linear",),
    "width": (*WIDTHS, "cnn"),
    **dict.fromkeys(("hidden_bias", "readout_bias", "parametrisation", "gamma"), ("mlp", "cnn")),
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
        readout: features of the cnn: "linear", a dense layer without activation, or "pool", mean channels. A residual network
            has mean channels ("linear" is what its files have always said of it); "pool-linear": a dense layer on these.
        scale: factor on the initial weights of the "linear" and the "bent" model.
        bend: factor on the nonlinear branch of the "bent" model, whose hidden units are its `width`.
        layers: linear layers of `features` units below the head of the "linear" model.
        start: of the "linear" model on block inputs without noise: "drawn", or "aligned": every contrast of the classes has the
            singular value `scale` in all layers, in one frame, and b = 1/C. The kernel is then blocks on the rows of W all along,
            and everything about it is known (theory 18.6).
        init: entry of `INITIALISATIONS`, see `ntkflow_validation.models.layers`.
        head_bias: whether the head has a bias; without one b is recorded as 0.
        hidden_bias: whether hidden layers of the MLP and of the cnn have biases.
        readout_bias: whether their last layer before the head has.
        parametrisation: of the MLP, and of the cnn without normalisation: "standard", or "ntk", in which every layer has weights
            of variance 1 and a factor before them, so that its kernel has a limit at infinite width: see
            `ntkflow_validation.models.mlp` and `ntkflow_validation.models.cnn`.
        gamma: of the NTK parametrisation: h = V a/(gamma sqrt(width)), and the body's rate is gamma^2 times that of the
            head. 1 is lazy; from about 4 on features start small, the kernel as at 1, and move far.
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
    layers: int = 1
    start: str = "drawn"
    init: str = "lecun-normal"
    head_bias: bool = True
    hidden_bias: bool = True
    readout_bias: bool = True
    parametrisation: str = "standard"
    gamma: float = 1.0
    source: str = ""
    sha256: str = ""

    __repr__ = views.changed

    def __post_init__(self) -> None:
        typed_fields(self, "model.")
        if not self.is_own:
            choice("model.name", self.name, MODELS, OWN_MODEL)
        whole_numbers(self, "model.", {"features": 0, "width": 0, "depth": 1, "layers": 1})
        for setting in ("depth", "layers"):
            if getattr(self, setting) > DEEPEST:
                rule = f"must be at most {DEEPEST}: layers are compiled one by one"
                raise InputError(f"model.{setting}", getattr(self, setting), rule, "lower it")
        choice("model.norm", self.norm, NORMS)
        choice("model.readout", self.readout, READOUTS)
        choice("model.init", self.init, INITIALISATIONS)
        choice("model.start", self.start, STARTS)
        number("model.scale", self.scale, 0)
        number("model.bend", self.bend, 0)
        self._check_parametrisation()
        # A setting that does nothing would be recorded as if it had, and make two equal runs look different.
        defaults = {f.name: f.default for f in fields(self)}
        for setting, names in ONLY.items():
            value = getattr(self, setting)
            if self.name not in names and value != defaults[setting]:
                raise InputError(
                    f"model.{setting}", value, f"is not a setting of {self.name}", "leave it at its default"
                )
        self._check_readout()
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

    def _check_parametrisation(self) -> None:
        choice("model.parametrisation", self.parametrisation, PARAMETRISATIONS)
        number("model.gamma", self.gamma, 1e-6)
        if self.gamma != 1 and self.parametrisation != "ntk":
            raise InputError(
                "model.gamma",
                self.gamma,
                "is of the NTK parametrisation",
                "give model.parametrisation = 'ntk'",
            )
        if self.parametrisation == "ntk" and self.norm not in ("auto", "none"):
            raise InputError(
                "model.norm", self.norm, "does not go with the NTK parametrisation", "use norm = 'none'"
            )

    def _check_readout(self) -> None:
        """Residual networks have mean channels by default, and a name for nothing else than what is not the default."""
        refused = {"cnn": "pool-linear"} | dict.fromkeys(RESIDUAL, "pool")
        if self.readout == refused.get(self.name):
            known = ", ".join(f"'{name}'" for name in READOUTS if name != self.readout)
            raise InputError(
                "model.readout", self.readout, f"is not a readout of {self.name}", f"use {known}"
            )

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
        initial_bias: of the head: "drawn" as `model.init` says, or "1/C" for every class, from where the global mean of the
            residual, which otherwise is most of the loss at first, is small.
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
    initial_bias: str = "drawn"
    precision: str = "float32"
    deterministic: bool = False
    statistics: str = "batch"
    observed: str = "recalibrated"
    snapshots: int = 40
    spacing: str = "log"

    __repr__ = views.changed

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
        choice("training.initial_bias", self.initial_bias, INITIAL_BIASES)
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
        count: number of snapshots at which it is measured, the first and the last among them.
        spacing: "even", spread evenly over the snapshots; or "change", so that between two of them a cheap sign of the
            kernel's change (`ntkflow_validation.metrics.kernel_change`) changes alike, which is known after training only.
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
    spacing: str = "even"

    __repr__ = views.changed

    def __post_init__(self) -> None:
        typed_fields(self, "kernels.")
        choice("kernels.spacing", self.spacing, KERNEL_SPACINGS)
        if self.spacing == "change" and self.while_training:
            rule = "is told by the snapshots of a whole training, which there are not while it goes on"
            raise InputError("kernels.spacing", self.spacing, rule, "set kernels.while_training = false")
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

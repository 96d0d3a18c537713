"""What trainings do beside steps of gradient descent: what has no clock, by name, with what to do about it."""

from collections.abc import Mapping

from ntkflow import checks
from ntkflow.errors import InputError

# Optimisers whose steps are those of a gradient, in the words of frameworks.
SGD = ("sgd", "momentum", "nesterov")
ADAPTIVE = (
    "adam", "adamw", "nadam", "nadamw", "radam", "adamax", "adagrad", "adadelta", "rmsprop", "adafactor", "adabelief",
    "lion", "lamb", "lars", "novograd", "yogi", "sophia", "shampoo", "soap", "muon", "rprop", "signsgd", "sign_sgd",
)  # fmt: skip
SQUARES = ("mse", "mseloss", "l2", "l2loss", "squarederror", "squares", "meansquarederror", "quadratic")
CROSS_ENTROPIES = (
    "ce",
    "crossentropy",
    "crossentropyloss",
    "xent",
    "softmaxcrossentropy",
    "nll",
    "nllloss",
    "logloss",
)
OTHER = {
    "lbfgs": "follows estimated curvature, not the gradient",
    "sam": "takes the gradient at another place than the parameters",
    "asgd": "averages its iterates",
}
FROZEN = ("body", "head")
PRECISIONS = ("float16", "bfloat16", "float32", "float64", "mixed")


def refuse(given: Mapping[str, object]) -> None:
    """Raise InputError for what is given and has no exact clock; `given` has None where nothing is said."""
    _optimiser(given["optimiser"])
    for name, (rule, remedy) in _WITHOUT.items():
        if given[name] is not None and given[name] is not False and given[name] != 0:
            raise InputError(name, repr(given[name]), rule, remedy)
    # With the head alone trained the kernel of the features is 0, and the time of W and b is the same.
    for name, allowed in (("frozen", FROZEN), ("precision", PRECISIONS)):
        if given[name] is not None:
            checks.choice(name, given[name], allowed)
    if given["frozen"] == "head":
        raise InputError(
            "frozen",
            "'head'",
            "W and b stay where they are, which no flow of the theory describes",
            "train the head as well, or predict from the linearised network",
        )
    # The factor of a mixed-precision loss is divided out before the step, which is then that of the loss itself.


_WITHOUT = {
    "ema": (
        "an average of the weights lags behind the network that is trained, by no fixed time",
        "leave it out and give the theory the weights that the optimiser steps, not their average",
    ),
    "clip": (
        "a clipped step is shorter than the gradient says, by a factor that changes from step to step",
        "without momentum, record each step's factor min(1, limit/norm) and give rate times factor as schedule=; "
        "leave it out where no step was clipped",
    ),
    "layer_rates": (
        "parameters with different rates have no one clock",
        "give the head's rate here; where the body has one rate, multiply the measured kernel by (its rate / the head's)",
    ),
    "dampening": (
        "the first gradient enters the momentum in full, later ones do not",
        "give learning_rate times (1 - dampening), which is the same once momentum has built up",
    ),
}


def meant_by_loss(name: object) -> str:
    """What to give in place of a framework's name of a loss."""
    plain = _plain(name)
    if plain in SQUARES:
        return "give 'squared' without the 1/2, as torch.nn.MSELoss has it, or 'half-squared' with it, as optax.l2_loss"
    if plain in CROSS_ENTROPIES:
        return "give 'cross-entropy', which is of the softmax over classes"
    return "choose one of these, or give a loss of your own as 'module:object'"


def meant_by_reduction(name: object) -> str:
    """What to give in place of a framework's name of a reduction."""
    plain = _plain(name)
    if plain == "none":
        return "give what you reduce the errors to yourself before the derivative"
    if plain in ("batchmean", "average", "avg", "elementwisemean", "sumoverbatchsize"):
        return "give 'mean' over samples and outputs, or 'batch-mean' over samples alone"
    return "choose one of these"


def _plain(name: object) -> str:
    return str(name).lower().replace("-", "").replace("_", "").replace(" ", "").strip()


def _optimiser(name: object) -> None:
    # Only names: what an optimiser object does cannot be read off it.
    plain = _plain(name)
    if plain in SGD:
        return
    if plain in {other.replace("_", "") for other in ADAPTIVE}:
        raise InputError(
            "optimiser",
            repr(name),
            "scales each parameter's gradient by its own history, so that its steps are in no time those of the gradient flow",
            "train with SGD, or compare at equal loss instead of equal time; nf.Recorder(clock=None) records it over steps",
        )
    if plain in OTHER:
        raise InputError("optimiser", repr(name), OTHER[plain], "train with SGD")
    raise InputError(
        "optimiser", repr(name), "is not known to step along the gradient", f"give one of {', '.join(SGD)}"
    )

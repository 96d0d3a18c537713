"""What the numbers of a comparison say, in sentences and in names of quantities."""

import re
from collections.abc import Sequence
from html import escape

from ntkflow_validation.calibration.document import Calibration
from ntkflow_validation.config.config import RunConfig
from ntkflow_validation.config.recorded import RecordedConfig
from ntkflow_validation.report.drawing.scales import label
from ntkflow_validation.runs.compared import ComparedRung, ComparedWindow, Ends
from ntkflow_validation.runs.documents import Training

# name, what stands above its column, what it is
QUANTITIES: Sequence[tuple[str, str, str]] = (
    ("M", "M", "centred class means of the features"),
    ("H2", "H<sub>2</sub>", "features minus their class means"),
    ("F_centred", "F", "outputs minus their mean over all samples"),
    ("residual_class", "R class", "class part of the residual"),
    ("residual_individual", "R indiv.", "individual part of the residual"),
    ("residual_global", "R global", "global mean of the residual"),
    ("W", "W", "weights of the last layer"),
    ("b", "b", "biases of the last layer"),
)
UNCENTRED: Sequence[tuple[str, str, str]] = (
    (
        "H1",
        "H<sub>1</sub>*",
        "class means of the features with the global mean; flatters every rung",
    ),
    ("F", "F*", "outputs with their mean; flatters every rung"),
)
CHANGES: Sequence[tuple[str, str, str]] = (
    ("M", "M", "centred class means"),
    ("dH_means", "means", "class means, not centred"),
    ("global", "global", "global mean"),
    ("within", "within", "deviations from the class means"),
    ("row_space", "in row(W)", "the part in the row space of W"),
    ("off_row_space", "off row(W)", "the part outside the row space of W"),
)
NETWORKS = {
    "cnn": "small CNN",
    "mlp": "MLP",
    "linear": "two-layer linear network",
    "bent": "two-layer network with a nonlinear branch",
    "resnet8": "ResNet8",
    "resnet20": "ResNet20",
    "vgg11": "VGG11",
    "vgg16": "VGG16",
    "densenet40": "DenseNet40",
}
SETS = {
    "digits": "digits (8×8)",
    "mnist": "MNIST",
    "fashion-mnist": "Fashion-MNIST",
    "cifar10": "CIFAR-10",
    "block": "inputs with a block structured Gram matrix",
}


def run_title(config: RunConfig) -> str:
    """Network and data of a run."""
    model, data = config.model.name, config.data.title
    return f"{NETWORKS.get(model, model)} on {SETS.get(data, data)}"


def run_facts(config: RunConfig, training: Training | None) -> str:
    """Sizes and recipe in one sentence."""
    recipe, data = config.training, config.data
    sizes = f"m = {data.per_class}" if data.balanced else f"{min(data.counts)} to {max(data.counts)}"
    batch = f"batches of {recipe.batch_per_class} per class" if recipe.batch_per_class else "full batch"
    # 0 stands for a rate that is chosen when training begins.
    rate = (training.learning_rate if training else 0.0) or recipe.learning_rate
    if isinstance(config, RecordedConfig):
        return _recorded_facts(config, training, label(float(f"{rate:.3g}")))
    length = f"{recipe.epochs} epochs" if recipe.epochs else f"{recipe.steps} steps"
    parts = [
        f"C = {data.classes} classes, {sizes} samples each, N = {data.samples}, n = {config.model.features} features"
    ]
    if training and training.parameters:
        parts.append(f"{training.parameters:,} parameters".replace(",", "\u202f"))
    by = f" of {recipe.optimiser}" if recipe.adaptive else ""
    parts.append(f"{length}{by} at rate {label(float(f'{rate:.3g}'))}, {batch}, seed {config.seed}")
    return "; ".join(parts)


def _recorded_facts(config: RecordedConfig, training: Training | None, rate: str) -> str:
    """The same of a training that was recorded from another program."""
    clock, counts = config.time_keeper(), config.counts
    even = len(set(counts)) == 1
    each = (
        f"{counts[0]} recorded samples each" if even else f"{min(counts)} to {max(counts)} recorded samples"
    )
    parts = [f"C = {len(counts)} classes, {each}, N = {clock.samples}, n = {config.model.features} features"]
    batch = "full batch" if clock.batch is None else f"batches of {clock.batch}"
    length = f"{training.step} steps" if training and training.step else "not ended"
    how = f"{length} at rate {rate}, {batch}" if config.timed else f"{length} in no flow time"
    parts.append(f"recorded from another program, {how}")
    return "; ".join(parts)


def plain_rungs(window: ComparedWindow) -> list[ComparedRung]:
    """Rungs without the training's modifications that have a skill."""
    return [rung for rung in window.rungs if not rung.modifications and rung.score().value is not None]


def window_name(window: ComparedWindow) -> str:
    """Which part of the training a window is."""
    span = f"from step {window.step} to {window.last_step}"
    return span if window.name.startswith("step") else f"{window.name}, {span}"


def verdict(window: ComparedWindow) -> list[str]:
    """What a window says of the theory: sentences of HTML."""
    found = [_loss(window.loss), _learnt(window)]
    rungs = plain_rungs(window)
    if not rungs:
        return [*found, "No rung could be run on it."]
    best, first = max(rungs, key=_value), rungs[0]
    richer = (
        "no richer rung does better"
        if best is first
        else f"the best rung, {escape(best.words)}, with {_skill(best)}"
    )
    worse = ", worse than assuming that nothing changes" if _value(first) < 0 else ""
    found.append(
        f"The {escape(first.words)} rung predicts the centred class means M with skill {_skill(first)}{worse}; {richer}."
    )
    found.append(_cheapest(window))
    found.append(typeset(window.tests) if window.tests else "")
    # The beginning of its sentence repeats the skill of three constants.
    _, marker, rest = (window.sentence or "").partition("What costs most")
    found.append(typeset(marker + rest))
    found.append(escape(window.clock[:1].upper() + window.clock[1:] + ".") if window.clock else "")
    return [sentence for sentence in found if sentence]


def typeset(sentence: str) -> str:
    """A sentence of plain characters with the signs of a printed page, as HTML."""
    return escape(re.sub(r"(?<=[ (])-(?=\d)", "−", sentence.replace("+-", "±")))


def _loss(loss: Ends) -> str:
    if loss.first is None or loss.last is None:
        return ""
    first, last = (label(float(f"{value:.3g}")) for value in (loss.first, loss.last))
    return f"The loss goes from {first} to {last}."


def _learnt(window: ComparedWindow) -> str:
    """How much of the classes is learnt in it."""
    residual, accuracy = window.class_residual, window.accuracy
    if residual is None or accuracy is None or not residual.first or residual.last is None:
        return ""
    share = label(float(f"{residual.last / residual.first:.2g}"))
    if accuracy.first is None or accuracy.last is None:
        return ""
    return (
        f"The squared class residual falls to {share} of its start, train accuracy goes from {accuracy.first:.0%} to "
        f"{accuracy.last:.0%}."
    )


def _value(rung: ComparedRung) -> float:
    return rung.score().value or 0.0


def _skill(rung: ComparedRung) -> str:
    value, error = _value(rung), rung.score().error
    # Close to 1 two digits would call the best of several rungs perfect.
    shown = f"{value:.{4 if value > 0.995 else 2}f}".replace("-", "−")
    return f"<b>{shown}</b>" + (f" ± {error:.2f}" if error and error >= 0.005 else "")


def _cheapest(window: ComparedWindow) -> str:
    if not window.frontier:
        return ""
    if not window.cheapest:
        return f"No rung reaches a skill of {window.threshold}."
    # "NAME as trained" took the training's own steps; its constants and title are those of the rung.
    name, _, trained = window.cheapest.partition(" as ")
    rung = next((r for r in window.rungs if r.name == name), None)
    if rung is None:
        return ""
    count = f"{rung.constants:,}".replace(",", "\u202f")
    how = " with the training's own steps" if trained else ""
    return (
        f"The smallest description with a skill of at least {window.threshold} is {escape(rung.words)}{how}, "
        f"{count} constants."
    )


def calibration_sentence(calibration: Calibration | None, version: str) -> str:
    """What the known answer gave for the version that made a page."""
    if calibration is None or calibration.block_skill is None:
        return f"The pipeline of version {escape(version)} was not calibrated."
    passed = "passes" if calibration.passed else "<b>fails</b>"
    return (
        f"Calibration of version {escape(calibration.version)} {passed}: on the two-layer linear network, whose kernel "
        f"is exactly block structured, the three-constant rung has skill {calibration.block_skill:.5f} and its constants "
        f"come back to a relative {label(float(f'{calibration.kappa_error:.1e}'))}.{_of_moving(calibration)}"
    )


def _of_moving(calibration: Calibration) -> str:
    moving = calibration.moving
    if moving is None or moving.weighted is None:
        return ""
    frozen = "none" if moving.frozen is None else f"{moving.frozen:.2f}"
    return (
        f" On two linear layers, whose kernel grows {moving.growth:.3g}-fold, constants weighted by W and moving between "
        f"snapshots have skill {moving.weighted:.5f} on all that moves, those of the start {frozen}."
    )


def in_brief(windows: Sequence[ComparedWindow]) -> list[str]:
    """For a terminal: one line a window, of the plainest rung, the N x N kernel and the best."""
    lines = []
    for window in windows:
        rungs = plain_rungs(window)
        if not rungs:
            lines.append(f"{window_name(window)}: no rung could be run")
            continue
        chosen = [rungs[0], *(rung for rung in rungs if rung.name == "sample"), max(rungs, key=_value)]
        scores = ", ".join(
            f"{name} {value:.2f}" for name, value in {r.words: _value(r) for r in chosen}.items()
        )
        lines.append(f"{window_name(window)}: skill on the class means: {scores}")
        lines += [f"  {window.tests}"] if window.tests else []
    return lines

"""What the numbers of a comparison say, in sentences and in names of quantities."""

import re
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from ntkflow_validation.report.drawing.palette import rung_title
from ntkflow_validation.report.drawing.scales import label
from ntkflow_validation.report.tables import error_of, value_of

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


def run_title(config: Mapping[str, Any]) -> str:
    """Network and data of a run."""
    model, data = config["model"]["name"], config["data"]["name"]
    return f"{NETWORKS.get(model, model)} on {SETS.get(data, Path(data).name)}"


def run_facts(config: Mapping[str, Any], training: Mapping[str, Any]) -> str:
    """Sizes and recipe in one sentence."""
    data, model, recipe = config["data"], config["model"], config["training"]
    C, m, sizes = data["classes"], data["per_class"], data.get("class_sizes") or []
    each = f"{min(sizes)} to {max(sizes)} samples each" if sizes else f"m = {m} samples each"
    batch = f"batches of {recipe['batch_per_class']} per class" if recipe["batch_per_class"] else "full batch"
    rate = training.get("learning_rate") or recipe["learning_rate"]
    length = f"{recipe['epochs']} epochs" if recipe["epochs"] else f"{recipe['steps']} steps"
    parts = [f"C = {C} classes, {each}, N = {sum(sizes) or C * m}, n = {model['features']} features"]
    if training.get("parameters"):
        parts.append(f"{training['parameters']:,} parameters".replace(",", "\u202f"))
    by = "" if recipe.get("optimiser", "sgd") == "sgd" else f" of {recipe['optimiser']}"
    parts.append(f"{length}{by} at rate {label(float(f'{rate:.3g}'))}, {batch}, seed {config['seed']}")
    return "; ".join(parts)


def skill_on(rung: Mapping[str, Any], quantity: str = "M") -> float | None:
    """Pooled skill of a rung, None when it was refused or has none."""
    return None if rung.get("refused") else value_of((rung.get("skill") or {}).get(quantity))


def plain_rungs(window: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Rungs without the training's modifications that have a skill."""
    return [r for r in window.get("rungs", []) if not r.get("modifications") and skill_on(r) is not None]


def window_name(window: Mapping[str, Any]) -> str:
    """Which part of the training a window is."""
    name = str(window.get("name") or f"step {window['step']}")
    span = f"from step {window['step']}"
    if window.get("last_step") is not None:
        span += f" to {window['last_step']}"
    return span if name.startswith("step") else f"{name}, {span}"


def verdict(window: Mapping[str, Any]) -> list[str]:
    """What a window says of the theory: sentences of HTML."""
    found = [_loss(window)]
    rungs = plain_rungs(window)
    if not rungs:
        return [*found, "No rung could be run on it."]
    best, first = max(rungs, key=_score), rungs[0]
    richer = (
        "no richer rung does better"
        if best is first
        else f"the best rung, {escape(rung_title(best))}, with {_skill(best)}"
    )
    found.append(
        f"The {escape(rung_title(first))} rung predicts the centred class means M with skill {_skill(first)}"
        f"{_worse(first)}; {richer}."
    )
    found.append(_cheapest(window))
    # The beginning of its sentence repeats the skill of three constants.
    _, marker, rest = str(window.get("sentence") or "").partition("What costs most")
    found.append(typeset(marker + rest))
    return [sentence for sentence in found if sentence]


def typeset(sentence: str) -> str:
    """A sentence of plain characters with the signs of a printed page, as HTML."""
    return escape(re.sub(r"(?<=[ (])-(?=\d)", "−", sentence.replace("+-", "±")))


def _score(rung: Mapping[str, Any]) -> float:
    return skill_on(rung) or 0.0


def _loss(window: Mapping[str, Any]) -> str:
    loss = window.get("loss") or {}
    if loss.get("first") is None or loss.get("last") is None:
        return ""
    first, last = (label(float(f"{loss[key]:.3g}")) for key in ("first", "last"))
    return f"The loss goes from {first} to {last}."


def _skill(rung: Mapping[str, Any]) -> str:
    value, error = value_of(rung["skill"]["M"]), error_of(rung["skill"]["M"])
    assert value is not None
    digits = 4 if value > 0.995 else 2
    shown = f"{value:.{digits}f}".replace("-", "−")
    return f"<b>{shown}</b>" + (f" ± {error:.2f}" if error and error >= 0.005 else "")


def _worse(rung: Mapping[str, Any]) -> str:
    return ", worse than assuming that nothing changes" if _score(rung) < 0 else ""


def _cheapest(window: Mapping[str, Any]) -> str:
    threshold = window.get("threshold", 0.8)
    if not window.get("frontier"):
        return ""
    cheapest = window.get("cheapest")
    if not cheapest:
        return f"No rung reaches a skill of {threshold}."
    # "NAME as trained" took the training's own steps; its constants and title are those of the rung.
    name, _, trained = str(cheapest).partition(" as ")
    rung = next((r for r in window["rungs"] if r["name"] == name), None)
    if rung is None:
        return ""
    count = f"{rung['constants']:,}".replace(",", "\u202f")
    how = " with the training's own steps" if trained else ""
    return f"The smallest description with a skill of at least {threshold} is {escape(rung_title(rung))}{how}, {count} constants."


def calibration_sentence(calibration: Mapping[str, Any] | None, version: str) -> str:
    """What the known answer gave for the version that made a page."""
    if not calibration or calibration.get("block_skill") is None:
        return f"The pipeline of version {escape(version)} was not calibrated."
    skill, error = calibration["block_skill"], calibration["kappa_error"]
    passed = "passes" if calibration.get("passed", skill >= 0.999) else "<b>fails</b>"
    return (
        f"Calibration of version {escape(str(calibration['version']))} {passed}: on the two-layer linear network, whose kernel "
        f"is exactly block structured, the three-constant rung has skill {skill:.5f} and its constants come back "
        f"to a relative {label(float(f'{error:.1e}'))}."
    )


def in_brief(windows: Sequence[Mapping[str, Any]]) -> list[str]:
    """For a terminal: one line a window."""
    lines = []
    for window in windows:
        rungs = plain_rungs(window)
        if not rungs:
            lines.append(f"{window_name(window)}: no rung could be run")
            continue
        best = max(rungs, key=_score)
        chosen = [
            rungs[0],
            *(r for r in rungs if r["name"] == "sample"),
            *([best] if best is not rungs[0] else []),
        ]
        scores = ", ".join(
            f"{name} {_score(r):.2f}" for name, r in {rung_title(r): r for r in chosen}.items()
        )
        lines.append(f"{window_name(window)}: skill on the class means: {scores}")
    return lines

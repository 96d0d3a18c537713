"""Arguments by the words of frameworks: taken where they are another spelling alone, else refused with the one that is meant."""

import inspect
from collections.abc import Callable, Iterable
from difflib import get_close_matches
from functools import wraps
from typing import ParamSpec, TypeVar

from ntkflow.errors import InputError

P = ParamSpec("P")
R = TypeVar("R")

SPELLINGS = {"optimizer": "optimiser", "center": "centre", "normalize": "normalise"}
_MEANT = {
    "learning_rate": ("lr", "eta", "rate", "step_size", "init_lr", "base_lr"),
    "samples": ("N", "n_samples", "num_samples", "dataset_size", "num_examples", "train_size"),
    "classes": ("C", "n_classes", "num_classes", "num_outputs", "outputs"),
    "batch": ("B", "batch_size", "minibatch", "bs", "train_batch_size"),
    "loss": ("loss_fn", "criterion", "loss_function", "objective"),
    "weight_decay": ("wd", "l2", "l2_reg", "weight_penalty"),
    "schedule": ("scheduler", "lr_scheduler", "lr_schedule", "learning_rate_schedule"),
    "label_smoothing": ("smoothing", "smooth", "epsilon"),
    "momentum": ("beta", "mu", "decay_rate"),
    "clip": ("grad_clip", "gradient_clip", "clip_norm", "max_norm", "max_grad_norm", "clip_grad_norm", "gradient_clip_val"),
    "ema": ("ema_decay", "polyak", "swa", "averaging"),
    "precision": ("amp", "fp16", "bf16", "mixed_precision", "dtype"),
    "trainable": ("requires_grad", "argnums", "wrt"),
    "params": ("variables", "weights", "state_dict"),
    "features": ("apply_fn", "model", "body", "module"),
    "head": ("classifier", "fc", "last_layer"),
    "X": ("x", "inputs", "data", "x1"),
    "y": ("labels", "targets", "Y"),
    "against": ("x2", "X_test", "others"),
    "directory": ("path", "log_dir", "save_dir", "logdir", "dir"),
    "memory": ("batch_size", "max_memory"),
    "training.learning_rate": ("training.lr", "training.rate"),
    "training.batch_per_class": ("training.batch_size", "training.batch"),
    "training.steps": ("training.max_steps", "training.iterations"),
}  # fmt: skip
# What no argument does, of whoever has this one.
_ADVICE = {
    "accumulate": (
        ("accumulation", "accumulation_steps", "accumulate_grad_batches", "gradient_accumulation",
         "gradient_accumulation_steps", "every_k_schedule", "grad_accum"),
        "give accumulate=k where gradients of k batches are summed before a step, and nothing where they are averaged",
    ),
    "sinks": (
        ("every", "interval", "frequency", "log_every", "log_every_n_steps"),
        "call it at the steps that are to be recorded, or wrap it: each(recorder, every=k) of ntkflow_validation.recording",
    ),
}  # fmt: skip


def meant(word: str, names: Iterable[str]) -> str | None:
    """Which of the names a word of a framework means, or one that is written much alike; None where there is none."""
    there = list(names)
    if SPELLINGS.get(word) in there:
        return SPELLINGS[word]
    for name in there:
        if word in _MEANT.get(name, ()):
            return name
    close = get_close_matches(word, there, n=1)
    return close[0] if close else None


def spelled(function: Callable[P, R]) -> Callable[P, R]:
    """The function, that takes American spellings of its arguments and refuses words that are none by name.

    Raises:
        InputError: an argument has another name, or is there in both spellings.
    """
    names = [name for name in inspect.signature(function).parameters if name != "self"]
    of = function.__qualname__.removesuffix(".__init__")

    @wraps(function)
    def called(*args: P.args, **given: P.kwargs) -> R:
        for word in [word for word in given if word not in names]:
            name = SPELLINGS.get(word)
            if name not in names:
                raise _refused(word, given[word], names, of)
            if name in given:
                raise InputError(
                    word, repr(given[word]), f"is {name}, which is given too", "drop one of the two"
                )
            given[name] = given.pop(word)
        return function(*args, **given)

    return called


def _refused(word: str, value: object, names: list[str], of: str) -> InputError:
    found = meant(word, names)
    remedy = f"give {found}=" if found else f"its arguments are {', '.join(names)}"
    for name, (words, advice) in _ADVICE.items():
        if name in names and word in words:
            remedy = advice
    # Arrays and networks would fill the page.
    shown = repr(value) if isinstance(value, str | int | float | bool | None) else type(value).__name__
    return InputError(word, shown, f"is no argument of {of}", remedy)

"""Arguments by the words of frameworks are taken or refused by name, and never a bare TypeError."""

import inspect

import numpy as np
import pytest

import ntkflow as nf
from ntkflow.words import meant, spelled

SIZES = {"samples": 10, "classes": 2}


def test_american_spellings_are_taken():
    assert (
        nf.Clock(0.1, optimizer="sgd", **SIZES).time_step == nf.Clock(0.1, optimiser="sgd", **SIZES).time_step
    )
    H, y = np.random.default_rng(0).normal(size=(6, 3)), np.repeat([0, 1], 3)
    assert nf.metrics.collapse(H, y, center="samples") == nf.metrics.collapse(H, y, centre="samples")


def test_and_are_refused_as_the_others_are():
    with pytest.raises(nf.InputError, match="optimiser = 'adam': scales"):
        nf.Clock(0.1, optimizer="adam", **SIZES)
    with pytest.raises(nf.InputError, match="is optimiser, which is given too"):
        nf.Clock(0.1, optimizer="sgd", optimiser="sgd", **SIZES)


@pytest.mark.parametrize(
    ("word", "remedy"),
    [
        ("lr", "learning_rate="),
        ("batch_size", "batch="),
        ("num_classes", "classes="),
        ("scheduler", "schedule="),
        ("max_grad_norm", "clip="),
        ("ema_decay", "ema="),
        ("accumulation", "accumulate=k where gradients of k batches are summed"),
        ("gradient_accumulation_steps", "nothing where they are averaged"),
        ("dampning", "dampening="),
        ("colour", "its arguments are learning_rate, loss"),
    ],
)
def test_words_of_frameworks_are_refused_with_the_one_that_is_meant(word, remedy):
    with pytest.raises(nf.InputError, match=f"{word} = 3: is no argument of Clock; .*{remedy}"):
        nf.Clock(**{word: 3}, **SIZES)


@pytest.mark.parametrize(
    ("function", "word", "remedy"),
    [
        ("measure", "batch_size", "memory="),
        ("gram", "x2", "against="),
        ("Recorder", "every", "each"),
        ("Recorder", "log_dir", "directory="),
        ("compare", "rung", "rungs="),
        ("predict", "step", "steps="),
        ("recalibrate", "batch_size", "batch="),
        ("kernel_figure", "pane", "panes="),
        ("conservation_laws", "model", ""),
    ],
)
def test_of_every_function_that_takes_a_network(function, word, remedy):
    with pytest.raises(nf.InputError, match=f"{word} = 3: is no argument of {function}; .*{remedy}"):
        getattr(nf, function)(**{word: 3})


@pytest.mark.parametrize(
    ("name", "value", "remedy"),
    [
        ("loss", "mse", "'squared' without the 1/2"),
        ("loss", "MSELoss", "torch.nn.MSELoss"),
        ("loss", "CrossEntropyLoss", "'cross-entropy'"),
        ("loss", "hinge", "module:object"),
        ("reduction", "none", "reduce the errors to yourself"),
        ("reduction", "batchmean", "'batch-mean' over samples alone"),
    ],
)
def test_values_of_frameworks_are_refused_with_what_is_meant(name, value, remedy):
    with pytest.raises(nf.InputError, match=f"{name} = '{value}': must be one of .*{remedy}"):
        nf.Clock(0.1, **{name: value}, **SIZES)


def test_fields_of_a_configuration_are_found_by_the_same_words():
    assert meant("training.lr", ["training.loss", "training.learning_rate"]) == "training.learning_rate"
    assert meant("training.x", ["data.name"]) is None


def test_the_function_looks_as_it_did():
    @spelled
    def plain(centre: int, other: int = 2) -> int:
        """A line."""
        return centre + other

    assert plain(1, other=3) == plain(center=1, other=3) == 4
    assert list(inspect.signature(plain).parameters) == ["centre", "other"]
    assert plain.__doc__ == "A line."

"""Which figure of the paper shows what: twenty rows of data."""

from dataclasses import dataclass
from typing import Literal

from ntkflow.errors import InputError
from ntkflow_validation.sweep.grid import Pair

Kind = Literal["kernels", "training"]
# Training error is called zero here, as in the paper's caption: share of correct training samples.
FITTED = 0.999


@dataclass(frozen=True)
class PaperFigure:
    """One figure.

    Attributes:
        number: 1 .. 20.
        kind: "kernels", the block structure of one network's kernels (panes a-e), or "training", a collapsed and
            a non-collapsed network of each initialisation over epochs (a-e), all rates (f-h), and the end (i, j).
        pair: architecture and data set.
        panes: letters.
        loss: that was minimised.
        rate: learning rate of a kernels figure; None where the paper does not say.
        init: initialisation of a kernels figure.
        samples: samples of each class on which kernels are measured.
    """

    number: int
    kind: Kind
    pair: Pair
    panes: str
    loss: str = "mse"
    rate: float | None = None
    init: str = "lecun-normal"
    samples: int = 12


def _training(
    number: int, model: str, data: str, panes: str = "abcdefghij", loss: str = "mse"
) -> PaperFigure:
    return PaperFigure(number, "training", Pair(model, data), panes, loss, samples=_samples(model))


def _kernels(number: int, model: str, data: str, rate: float | None) -> PaperFigure:
    return PaperFigure(number, "kernels", Pair(model, data), "abcde", rate=rate, samples=_samples(model))


def _samples(model: str) -> int:
    """Their Jacobians are large. Source: paper, appendix C."""
    return 4 if model.startswith("vgg") else 12


# Figure 15 is VGG11 on CIFAR10 in its caption and VGG16 in the list of appendix C; the experiments had VGG16.
FIGURES: dict[int, PaperFigure] = {
    figure.number: figure
    for figure in (
        _kernels(1, "resnet20", "mnist", None),
        _training(2, "resnet20", "mnist", "abcdefgh"),
        _training(3, "vgg11", "mnist"),
        _training(4, "vgg11", "fashion-mnist"),
        _training(5, "vgg16", "cifar10"),
        _training(6, "resnet20", "mnist"),
        _training(7, "resnet20", "fashion-mnist"),
        _training(8, "resnet20", "cifar10"),
        _training(9, "densenet40", "mnist"),
        _training(10, "densenet40", "fashion-mnist"),
        _training(11, "densenet40", "cifar10"),
        _training(12, "resnet20", "mnist", loss="cross-entropy"),
        _kernels(13, "vgg11", "mnist", 0.131),
        _kernels(14, "vgg11", "fashion-mnist", 0.049),
        _kernels(15, "vgg16", "cifar10", 0.131),
        _kernels(16, "resnet20", "fashion-mnist", 0.094),
        _kernels(17, "resnet20", "cifar10", 0.068),
        _kernels(18, "densenet40", "mnist", 0.049),
        _kernels(19, "densenet40", "fashion-mnist", 0.094),
        _kernels(20, "densenet40", "cifar10", 0.094),
    )
}


def paper_figure(number: int) -> PaperFigure:
    """The figure of that number.

    Raises:
        InputError: there is none.
    """
    if number not in FIGURES:
        raise InputError("figure", number, f"must be 1 .. {max(FIGURES)}", "pick one of the paper's figures")
    return FIGURES[number]

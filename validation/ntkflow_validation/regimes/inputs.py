"""Inputs that are made from digits: class means alike, and what a network that has collapsed makes of them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from ntkflow._types import Labels
from ntkflow.problem.sizes import Sizes
from ntkflow.problem.state import class_means
from ntkflow.progress import Progress, silent
from ntkflow.runs.atomic import atomic
from ntkflow_validation.config.config import RunConfig
from ntkflow_validation.regimes.cells import Cell, Scale, cell, input_name

Inputs = Float64[np.ndarray, "N d"]


def equalised(X: Inputs, labels: Labels, sizes: Sizes) -> Inputs:
    """The same deviations about class means that are orthogonal and equally long: the nearest such to what they were.

    Args:
        X: samples sorted by class.
        labels: their classes.
        sizes: of them.
    """
    means = class_means(X.T, sizes)
    U, s, Vt = np.linalg.svd(means, full_matrices=False)
    alike = np.sqrt(np.mean(s**2)) * U @ Vt
    found: np.ndarray = X + (alike - means).T[labels]
    return found


def features_of(config: RunConfig) -> Inputs:
    """Features at the end of a training, at unit mean square: as large as a network of their own expects its inputs.

    Args:
        config: of a network that collapses; trained here, and not kept.
    """
    from ntkflow_validation.training.train import chosen_rate, prepare, train

    dataset, network = prepare(config)
    rate = chosen_rate(network, dataset, config.training, config.seed)
    *_, last = train(config.with_rate(rate), dataset, network)
    H = last.state.H.T
    found: np.ndarray = H / np.sqrt(np.mean(H**2))
    return found


def make(source: Cell, inputs: str, path: Path | str) -> None:
    """Write the inputs of one kind that come from a cell's samples, and from its network."""
    from ntkflow_validation import datasets

    config = source.recipe
    dataset = datasets.load(config.data, config.seed)
    sizes = Sizes(dataset.classes, tuple(dataset.counts.tolist()), 1)
    if inputs == "equalised":
        X = equalised(dataset.x.reshape(len(dataset.x), -1).astype(np.float64), dataset.labels, sizes)
    else:
        # Seen at its end alone.
        X = features_of(replace(config, training=replace(config.training, snapshots=2)))
    with atomic(Path(path)) as handle:
        np.savez(handle, X=X.astype(np.float32), y=dataset.labels)


def ensure(scale: Scale, folder: Path | str, progress: Progress = silent) -> None:
    """Make the files that the cells of a scale read and that are not there."""
    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    wanted = [(inputs, seed) for inputs in scale.made for seed in range(scale.seeds)]
    for done, (inputs, seed) in enumerate(wanted):
        path = place / input_name(inputs, seed)
        if not path.is_file():
            # The narrowest of those that are wide, at the largest gamma: it collapses, and soon.
            make(cell(scale, "digits", max(scale.recipes), min(scale.widths_made), seed), inputs, path)
        progress("making inputs", done + 1, len(wanted))

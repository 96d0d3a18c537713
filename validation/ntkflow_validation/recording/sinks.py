"""Where metrics may go beside the run directory: TensorBoard's event files, and offline files of Weights & Biases."""

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from ntkflow.errors import InputError

# Metrics that a sink shows; the rest of a line are words.
Numbers = Mapping[str, object]


# What is printed in a training is the training's own.
QUIET = {"silent": True, "console": "off"}


@runtime_checkable
class Writer(Protocol):
    """TensorBoard's SummaryWriter, of torch or of tensorboardX."""

    def add_scalar(self, tag: str, scalar_value: float, global_step: int) -> None:
        """A point of a curve."""

    def close(self) -> None:
        """Write what is left."""


class TensorBoard:
    """Writes every metric as a scalar of TensorBoard, over optimiser steps.

    Args:
        directory: of the event files; `tensorboard --logdir` takes it.
        prefix: of the names.

    Raises:
        InputError: neither torch.utils.tensorboard nor tensorboardX is installed.
    """

    def __init__(self, directory: Path | str, prefix: str = "ntkflow/") -> None:
        self.prefix = prefix
        self._writer = _writer_class()(str(directory))

    def __call__(self, step: int, metrics: Numbers) -> None:
        """One line."""
        for name, value in numbers(metrics).items():
            self._writer.add_scalar(f"{self.prefix}{name}", value, step)

    def close(self) -> None:
        """Write what is left."""
        self._writer.close()


class WandB:
    """Logs every metric to Weights & Biases, by default into offline files, which `wandb sync` may send later.

    It is a run of its own beside one that the training has, and says nothing on the terminal.

    Args:
        directory: of the files.
        project: name in Weights & Biases.
        mode: "offline"; "online" sends at once, "disabled" writes nothing.
        prefix: of the names.
        settings: other arguments of `wandb.init`, also in place of those that make it so.

    Raises:
        InputError: wandb is not installed.
    """

    def __init__(
        self,
        directory: Path | str,
        project: str = "ntkflow",
        mode: str = "offline",
        prefix: str = "ntkflow/",
        **settings: Any,
    ) -> None:
        try:
            import wandb
        except ImportError:
            raise _absent("wandb", "ntkflow[wandb]") from None
        self.prefix = prefix
        Path(directory).mkdir(parents=True, exist_ok=True)
        # By default a run that is active would be returned, logged into and finished.
        settings = {"reinit": "create_new", "settings": QUIET, **settings}
        self._run = wandb.init(dir=str(directory), project=project, mode=mode, **settings)

    def __call__(self, step: int, metrics: Numbers) -> None:
        """One line."""
        self._run.log({f"{self.prefix}{name}": value for name, value in numbers(metrics).items()}, step=step)

    def close(self) -> None:
        """Write what is left."""
        self._run.finish()


def numbers(metrics: Numbers) -> dict[str, float]:
    """The numbers of a line; words and what does not exist are left out."""
    return {name: float(v) for name, v in metrics.items() if isinstance(v, int | float) and v == v}


def _writer_class() -> Callable[[str], "Writer"]:
    # Torch is not imported for it where the training is without.
    own, light = "torch.utils.tensorboard", "tensorboardX"
    for name in (own, light) if "torch" in sys.modules else (light, own):
        try:
            found: Callable[[str], Writer] = import_module(name).SummaryWriter
            return found
        except ImportError:
            continue
    raise _absent("TensorBoard", "ntkflow[tensorboard]")


def _absent(what: str, extra: str) -> InputError:
    return InputError("sinks", what, "is not installed", f"pip install '{extra}', or leave the sink out")

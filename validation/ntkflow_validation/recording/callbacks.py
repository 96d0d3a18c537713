"""A recorder in the loops that frameworks have: Lightning's callbacks, an optimiser's hooks in torch, a function for Flax."""

from collections.abc import Callable
from typing import Any

from ntkflow import checks
from ntkflow.errors import InputError
from ntkflow.foreign.modules import ForeignNetwork
from ntkflow_validation.recording.recorder import Recorder

# A hook of torch, a trainer or a callback of Lightning: classes of packages that are perhaps not installed.
ForeignObject = Any


class _Every:
    """Records at step 0, at every so many steps after it, and where it is told to."""

    def __init__(self, recorder: Recorder, every: int) -> None:
        self.recorder = recorder
        self.every = checks.whole("every", every, 1)

    def __call__(self, step: int, network: ForeignNetwork, last: bool = False) -> None:
        known = self.recorder.last
        if (last or step % self.every == 0) and (known is None or step > known):
            self.recorder(step, network)


def each(recorder: Recorder, every: int = 100) -> Callable[[int, ForeignNetwork], None]:
    """For loops of Flax, of Equinox, or anyone's: call it after each step with the number of steps done and the network.

    Args:
        recorder: made with `X`, `features` and `head`.
        every: steps between two records. Steps that are there already, of a training that goes on, are passed over.

    Returns:
        function(step, network): whatever the recorder's `features` and `head` are functions of, as a module of Flax NNX,
        a tree of parameters, or a TrainState: itself, as in `recorder(step, state)` and `nf.measure`.
    """
    record = _Every(recorder, every)

    def call(step: int, network: ForeignNetwork) -> None:
        record(int(step), network)

    return call


def after_steps(
    recorder: Recorder, optimizer: object, network: ForeignNetwork, every: int = 100, done: int = 0
) -> ForeignObject:
    """Let an optimiser of torch record after its own steps; the loop stays as it is.

    Args:
        recorder: made with `X`, `features` and `head`.
        optimizer: torch.optim.Optimizer.
        network: the module.
        every: steps between two records.
        done: steps that were taken before, of a training that goes on from a checkpoint.

    Returns:
        A handle whose `remove()` ends it.

    Raises:
        InputError: it has no hooks, as optimisers of torch before 2.0.
    """
    hook = getattr(optimizer, "register_step_post_hook", None)
    if hook is None:
        raise InputError(
            "optimizer",
            type(optimizer).__name__,
            "has no register_step_post_hook",
            "give an optimiser of torch 2, or call recorder(step, network) in the loop",
        )
    record = _Every(recorder, every)
    count = checks.whole("done", done, 0)
    record(count, network)

    def after(*_: object) -> None:
        nonlocal count
        count += 1
        record(count, network)

    return hook(after)


def lightning(recorder: Recorder, every: int = 100) -> ForeignObject:
    """A callback for Lightning's Trainer(callbacks=[...]), which records by `trainer.global_step` and closes at the end.

    It is a `lightning.pytorch.Callback`, or a `pytorch_lightning` one, where either is there; otherwise a plain object
    with the same methods.

    Args:
        recorder: made with `X`, `features` and `head`; `features(module, x)` is given the LightningModule.
        every: optimiser's steps between two records.
    """
    record = _Every(recorder, every)

    class Recording(_callback()):  # type: ignore[misc]
        """Records the module that is trained."""

        def on_train_start(self, trainer: ForeignObject, pl_module: ForeignNetwork) -> None:
            """The state before the first step."""
            if trainer.is_global_zero:
                record(int(trainer.global_step), pl_module)

        def on_train_batch_end(
            self, trainer: ForeignObject, pl_module: ForeignNetwork, *_: object, **__: object
        ) -> None:
            """After a batch; accumulated ones are no step."""
            if trainer.is_global_zero:
                record(int(trainer.global_step), pl_module)

        def on_train_end(self, trainer: ForeignObject, pl_module: ForeignNetwork) -> None:
            """The last state, and how it ended."""
            if trainer.is_global_zero:
                record(int(trainer.global_step), pl_module, last=True)
                recorder.close()

    return Recording()


def _callback() -> type:
    from importlib import import_module
    from importlib.util import find_spec

    for package, module in (("lightning", "lightning.pytorch"), ("pytorch_lightning", "pytorch_lightning")):
        if find_spec(package) is not None:
            found: type = import_module(module).Callback
            return found
    return object

"""How many networks a device holds side by side, told before any is trained."""

import math
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp

from ntkflow.errors import InputError
from ntkflow.runs.border.costs import size_of
from ntkflow_validation.config.config import RunConfig
from ntkflow_validation.memory import needed_bytes, training_memory
from ntkflow_validation.models.base import Network
from ntkflow_validation.training.train import plain_step, start


@dataclass(frozen=True)
class Needs:
    """Bytes that networks of one program need on the device.

    Attributes:
        common: samples that all of them share, once.
        each: of one network its parameters and the optimiser's state, before and after a step, what a step holds in
            between, and samples of its own.
    """

    common: int
    each: int

    def of(self, count: int) -> int:
        """Of so many networks."""
        return self.common + count * self.each

    def most(self, memory: int) -> int:
        """How many fit."""
        return max(0, (memory - self.common) // self.each)


def needs(network: Network, config: RunConfig, shape: tuple[int, ...], samples: int, shared: bool) -> Needs:
    """What networks like this one need; nothing is computed or compiled.

    Args:
        network: structure.
        config: its run.
        shape: of an image.
        samples: N.
        shared: whether all train on the same.
    """
    C = config.data.classes
    per_class = samples // C
    batch = C * (config.training.batch_per_class or per_class)
    state = jax.eval_shape(partial(start, network, config.training, per_class))
    inside, after = needed_bytes(
        jax.make_jaxpr(plain_step(network, config.training, per_class))(
            jnp.float32(1), state, jax.ShapeDtypeStruct((batch, *shape), jnp.float32),
            jax.ShapeDtypeStruct((batch,), jnp.int32),
        )
    )  # fmt: skip
    image = 4 * math.prod(shape)
    data = samples * image
    return Needs(shared * data, inside + 2 * after + batch * image + (not shared) * data)


def require_room(
    count: int, needed: Needs, argument: str = "members", remedy: str = "train {} at once", sharing: int = 1
) -> None:
    """Refuse more networks of one program than the device holds.

    Args:
        count: how many there are to be.
        needed: see `needs`.
        argument: what they are called where they were asked for.
        remedy: what to do with as many as fit.
        sharing: processes that have the machine's memory together; accelerators are shared out beforehand.

    Raises:
        InputError: they do not fit; says how many do.
    """
    memory = training_memory(sharing)
    # One is not refused: nothing else could be done, and it may be less than is told.
    if count > 1 and needed.of(count) > memory:
        rule = f"need about {size_of(needed.of(count))} of {size_of(memory)}"
        raise InputError(argument, count, rule, remedy.format(max(1, needed.most(memory))))

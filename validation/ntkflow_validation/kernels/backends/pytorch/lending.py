"""A module of PyTorch with other parameters for one call, and as it was after it."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import PyTree

Tensors = dict[str, torch.Tensor]
# Layers' own calls, in the place of which others stand.
# What torch hands from a forward to a backward pass: whatever is put on it.
Context = Any
Taking = Callable[[torch.Tensor], None]
Calls = Mapping[torch.nn.Module, Callable[..., PyTree]]


@contextmanager
def lent(
    body: torch.nn.Module, params: Mapping[str, torch.Tensor], calls: Calls | None = None
) -> Iterator[None]:
    """The module with other parameters and copies of its buffers, for one call, in single precision where it had half.

    Not torch.func.functional_call: of a module that is used in two places it puts back the second's stand-ins.
    Tensors are exchanged wherever they are, so that what is shared stays shared while it is lent as well.

    Args:
        body: the module.
        params: by name; the others stay, as constants.
        calls: what stands in the place of `forward` of some of its layers.
    """
    stand_ins = {id(p): params.get(name, single(p.detach())) for name, p in body.named_parameters()}
    # Made here: what is written to inside a derivative has to be made inside it.
    stand_ins |= {id(b): single(b.detach().clone()) for b in body.buffers()}
    modules = list(body.modules())
    kept = [(vars(m).copy(), m._parameters.copy(), m._buffers.copy()) for m in modules]
    with torch.random.fork_rng(devices(body)):
        try:
            for module in modules:
                for place in (module._parameters, module._buffers, vars(module)):
                    place.update({key: _exchanged(value, stand_ins) for key, value in place.items()})
                if calls and module in calls:
                    vars(module)["forward"] = calls[module]
            yield
        finally:
            for module, (attributes, *tensors) in zip(modules, kept, strict=True):
                vars(module).clear()
                vars(module).update(attributes)
                for place, before in zip((module._parameters, module._buffers), tensors, strict=True):
                    place.clear()
                    place.update(before)


def single(tensor: torch.Tensor) -> torch.Tensor:
    """A tensor in single precision where it was in half; any other itself."""
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


def devices(body: torch.nn.Module) -> list[int]:
    """Graphics cards that it is on."""
    return sorted({p.device.index for p in body.parameters() if p.device.type == "cuda"})


def _exchanged(value: PyTree, stand_ins: Mapping[int, torch.Tensor]) -> PyTree:
    """A tensor's stand-in, also in the lists in which recurrent layers keep them; anything else itself."""
    if type(value) is list and any(id(item) in stand_ins for item in value):
        return [stand_ins.get(id(item), item) for item in value]
    return stand_ins.get(id(value), value)


def tapped(h: torch.Tensor, start: torch.Tensor, take: Taking) -> torch.Tensor:
    """The same output, whose gradients of all directions, (k, ...), go to `take` as they come back to `start`."""
    found: torch.Tensor = _Tap.apply(h, start, take)
    return found


class _Tap(torch.autograd.Function):  # type: ignore[misc]
    """The same output; what comes back to it goes to `take`, and `start` is what is asked for to have it come."""

    @staticmethod
    def forward(h: torch.Tensor, start: torch.Tensor, take: Taking) -> torch.Tensor:  # noqa: ARG004
        # No view of it: what comes after may write to it.
        found: torch.Tensor = h.clone()
        return found

    @staticmethod
    def setup_context(ctx: Context, inputs: PyTree, output: PyTree) -> None:  # noqa: ARG004
        ctx.take = inputs[2]

    @staticmethod
    def backward(ctx: Context, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        passed = _Taken.apply(gradient, ctx.take)
        return passed, gradient.new_zeros(1), None


class _Taken(torch.autograd.Function):  # type: ignore[misc]
    """The same gradients, which `take` has been given those of all directions of, (k, ...)."""

    @staticmethod
    def forward(gradient: torch.Tensor, take: Taking) -> torch.Tensor:  # noqa: ARG004
        # What is taken is of all directions at once: the backward pass is mapped over them, which calls `vmap` below.
        raise RuntimeError("gradients are taken of all directions together, under vmap")

    @staticmethod
    def setup_context(ctx: Context, inputs: PyTree, output: PyTree) -> None:
        pass

    @staticmethod
    def vmap(
        info: object,  # noqa: ARG004
        in_dims: PyTree,
        gradient: torch.Tensor,
        take: Taking,
    ) -> tuple[torch.Tensor, int]:
        at = in_dims[0]
        take(gradient.movedim(at, 0))
        return gradient.view_as(gradient), at

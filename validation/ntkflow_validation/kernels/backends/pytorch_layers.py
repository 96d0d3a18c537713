"""Dense and convolutional layers of a PyTorch module, whose gradients are products of their inputs and their outputs' gradients.

What `layers` finds in the operations of JAX is found here among the modules: `Linear`, `Conv1d`, `Conv2d`, and batch
normalisation by running statistics, that are called once in a pass and share their weights with nothing. A zero is added to
the output of each; the derivative by it, mapped over samples, is a pass with common weights, where the derivative by weights
that differ from sample to sample is not.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import torch
from torch.func import vjp, vmap
from torch.nn.modules.batchnorm import _BatchNorm

from ntkflow_validation.kernels.backends.layers import PATCHES, Layer
from ntkflow_validation.kernels.backends.pytorch_lending import Calls, Tensors, single

NORMS = (torch.nn.BatchNorm1d, torch.nn.BatchNorm2d)
# features(parameters, one sample (1, ...), calls) gives (1, n)
Run = Callable[[Tensors, torch.Tensor, Calls], torch.Tensor]


class Use(NamedTuple):
    """The one use of a layer.

    Attributes:
        module: the layer.
        weight: name of its weight.
        bias: name of its bias, when that is differentiated by and no other layer's; None otherwise.
        zero: of its output for one sample.
        sizes: T, K and M as `Layer` has them.
    """

    module: Any
    weight: str
    bias: str | None
    zero: torch.Tensor
    sizes: Layer

    @property
    def diagonal(self) -> bool:
        """Whether each weight multiplies one input alone: batch normalisation by running statistics."""
        return isinstance(self.module, _BatchNorm)

    @property
    def wins(self) -> bool:
        """Whether products of factors cost less than products of gradients."""
        return self.sizes.wins and not self.diagonal

    def call(self, x: torch.Tensor) -> torch.Tensor:
        """The layer itself."""
        if self.diagonal:
            # As it stands its derivative would be looked for by the statistics too.
            scale, shape = self._scale * self.module.weight, (1, -1, *[1] * (x.ndim - 2))
            offset = 0.0 if self.module.bias is None else self.module.bias.reshape(shape)
            return (x - self.module.running_mean.reshape(shape)) * scale.reshape(shape) + offset
        found: torch.Tensor = type(self.module).forward(self.module, x)
        return found

    @property
    def _scale(self) -> torch.Tensor:
        return torch.rsqrt(single(self.module.running_var) + self.module.eps)

    def inputs(self, x: torch.Tensor) -> torch.Tensor:
        """What the weights are multiplied by, (B, T, K), of inputs (B, 1, ...); (B, T, M) where they are diagonal."""
        if self.diagonal:
            channels = x.reshape(len(x), self.sizes.M, -1).transpose(1, 2)
            return (channels - single(self.module.running_mean)) * self._scale
        if isinstance(self.module, torch.nn.Linear):
            return x.reshape(len(x), -1, self.sizes.K)
        return _patches(self.module, x.flatten(0, 1)).transpose(1, 2)

    def outputs(self, gradient: torch.Tensor) -> torch.Tensor:
        """Gradients by the outputs, (B, k, T, M), of (B, k, 1, ...)."""
        if isinstance(self.module, torch.nn.Linear):
            return gradient.reshape(*gradient.shape[:2], -1, self.sizes.M)
        return gradient.reshape(*gradient.shape[:2], self.sizes.M, -1).transpose(2, 3)


class Parts(NamedTuple):
    """A Jacobian of k directions on B samples.

    Attributes:
        plain: gradients (B, k, ...) of the parameters that are no layer's, by name.
        inputs: of each layer, (B, T, K).
        gradients: by each layer's outputs, (B, k, T, M).
    """

    plain: Tensors
    inputs: list[torch.Tensor]
    gradients: list[torch.Tensor]


def uses(body: torch.nn.Module, names: Iterable[str], run: Callable[[Calls], Any]) -> list[Use]:
    """Layers that are called once in a pass, with a weight among `names` that nothing else has.

    Args:
        body: the module.
        names: of the parameters that are differentiated by.
        run: a pass of one sample.
    """
    own = {name: i for i, name in enumerate(names)}
    shared = Counter(id(p) for module in body.modules() for p in module._parameters.values() if p is not None)
    found: dict[torch.nn.Module, list[tuple[torch.Size, torch.Tensor]]] = {}

    def watched(module: torch.nn.Module) -> Callable[[torch.Tensor], torch.Tensor]:
        def forward(x: torch.Tensor) -> torch.Tensor:
            h: torch.Tensor = type(module).forward(module, x)
            found.setdefault(module, []).append((x.shape, torch.zeros_like(h)))
            return h

        return forward

    layers = {
        module: name
        for name, module in body.named_modules()
        if _is_layer(module) and f"{name}.weight".lstrip(".") in own and shared[id(module.weight)] == 1
    }
    run({module: watched(module) for module in layers})
    result = []
    for module, name in layers.items():
        if len(found.get(module, ())) != 1:
            continue
        ((given, zero),) = found[module]
        weight, bias = (f"{name}.{part}".lstrip(".") for part in ("weight", "bias"))
        free = bias in own and shared[id(module.bias)] == 1
        size, M = module.weight.numel(), len(module.weight)
        layer = Layer(own[weight], tuple(zero.shape), zero.numel() // M, size // M, M)
        fits = len(given) == len(zero.shape) >= 2 and zero.shape[0] == given[0] == 1
        if fits and layer.T * layer.K <= PATCHES:
            result.append(Use(module, weight, bias if free else None, zero, layer))
    return sorted(result, key=lambda use: use.sizes.leaf)


def parts(found: list[Use], run: Run, params: Tensors, x: torch.Tensor, V: torch.Tensor) -> Parts:
    """The Jacobian of the directions V (k, n) on the samples x (B, ...), in parts."""
    own = {name for use in found for name in (use.weight, use.bias)}
    plain = {name: p for name, p in params.items() if name not in own}
    fixed = {name: p for name, p in params.items() if name in own}

    def one(xi: torch.Tensor) -> Any:
        def shifted(plain: Tensors, shifts: list[torch.Tensor]) -> tuple[torch.Tensor, list[torch.Tensor]]:
            seen: dict[int, torch.Tensor] = {}

            def layer(i: int) -> Callable[[torch.Tensor], torch.Tensor]:
                def forward(given: torch.Tensor) -> torch.Tensor:
                    # A copy: what comes after may write to it.
                    seen[i] = given.clone()
                    return found[i].call(given) + shifts[i]

                return forward

            calls = {use.module: layer(i) for i, use in enumerate(found)}
            h = run({**fixed, **plain}, xi[None], calls)
            return h[0], [seen[i] for i in range(len(found))]

        _, back, inputs = vjp(shifted, plain, [use.zero for use in found], has_aux=True)
        by_plain, by_shift = vmap(back)(V)
        return by_plain, by_shift, inputs

    by_plain, by_shift, inputs = vmap(one)(x)
    return Parts(
        by_plain,
        [use.inputs(given) for use, given in zip(found, inputs, strict=True)],
        [use.outputs(gradient) for use, gradient in zip(found, by_shift, strict=True)],
    )


def gradients(
    found: list[Use], jacobian: Parts, names: Iterable[str], without: Iterable[str] = ()
) -> torch.Tensor:
    """Rows (B, k, P) of the parameters in the order of `names`, those of `without` left out."""
    flat: Mapping[str, torch.Tensor] = {name: g.flatten(2) for name, g in jacobian.plain.items()}
    layers = {use.weight: i for i, use in enumerate(found)}
    biases = {use.bias: i for i, use in enumerate(found) if use.bias is not None}
    left = set(without)

    def row(name: str) -> torch.Tensor:
        if name in layers:
            i = layers[name]
            if found[i].diagonal:
                return torch.einsum("btm,bqtm->bqm", jacobian.inputs[i], jacobian.gradients[i])
            return torch.einsum("btk,bqtm->bqmk", jacobian.inputs[i], jacobian.gradients[i]).flatten(2)
        return jacobian.gradients[biases[name]].sum(2) if name in biases else flat[name]

    return torch.cat([row(name).float() for name in names if name not in left], dim=2)


def _is_layer(module: torch.nn.Module) -> bool:
    # Others of these kinds, as parametrised ones, may do more in their call.
    if "forward" in vars(module):
        return False
    if type(module) is torch.nn.Linear:
        return True
    if type(module) in NORMS:
        return not module.training and module.running_mean is not None
    return (
        type(module) in (torch.nn.Conv1d, torch.nn.Conv2d)
        and module.groups == 1
        and module.padding_mode == "zeros"
        and not isinstance(module.padding, str)
    )


def _patches(module: Any, x: torch.Tensor) -> torch.Tensor:
    """Inputs at every kernel position, (B, K, T)."""
    sizes = [list(v) for v in (module.kernel_size, module.dilation, module.padding, module.stride)]
    if x.ndim == 3:
        x = x[:, :, None]
        sizes = [[edge, *v] for edge, v in zip((1, 1, 0, 1), sizes, strict=True)]
    kernel, dilation, padding, stride = (tuple(v) for v in sizes)
    return torch.nn.functional.unfold(x, kernel, dilation, padding, stride)


def row_bytes(found: list[Use], P: int) -> int:
    """What a gradient of one sample takes with all that it is made of; a rough estimate."""
    return 4 * (2 * P + 4 * sum(math.prod(use.sizes.shape) for use in found))

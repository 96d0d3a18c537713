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
        if type(self.module) is torch.nn.Conv2d:
            m = self.module
            found: torch.Tensor = _Convolution.apply(x, m.weight, m.bias, m.stride, m.padding, m.dilation)
            return found
        found = type(self.module).forward(self.module, x)
        return found

    @property
    def _scale(self) -> torch.Tensor:
        return torch.rsqrt(single(self.module.running_var) + self.module.eps)

    def inputs(self, x: torch.Tensor) -> torch.Tensor:
        """What the weights are multiplied by, (B, T, K), of inputs (B, ...); (B, T, M) where they are diagonal."""
        if self.diagonal:
            channels = x.reshape(len(x), self.sizes.M, -1).transpose(1, 2)
            return (channels - single(self.module.running_mean)) * self._scale
        if isinstance(self.module, torch.nn.Linear):
            return x.reshape(len(x), -1, self.sizes.K)
        return _patches(self.module, x).transpose(1, 2)

    def outputs(self, gradient: torch.Tensor) -> torch.Tensor:
        """Gradients by the outputs, (B, k, T, M), of (B, k, ...)."""
        if isinstance(self.module, torch.nn.Linear):
            return gradient.reshape(*gradient.shape[:2], -1, self.sizes.M)
        return gradient.reshape(*gradient.shape[:2], self.sizes.M, -1).transpose(2, 3)


class _Convolution(torch.autograd.Function):
    """A convolution whose derivative by its inputs, mapped over directions, is one convolution of all of them.

    PyTorch's own makes inputs of as many samples first, that nothing depends on, which takes as long again.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Any, weight: Any, bias: Any, stride: Any, padding: Any, dilation: Any) -> torch.Tensor:
        return torch.nn.functional.conv2d(x, weight, bias, stride, padding, dilation)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        x, weight, _, *ctx.how = inputs
        ctx.save_for_backward(weight)
        ctx.sizes = x.shape[2:]

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> Any:  # type: ignore[override]
        (weight,) = ctx.saved_tensors
        stride, padding, dilation = ctx.how
        # What a stride left over at the end of an edge.
        left = [
            n - ((m - 1) * s - 2 * p + d * (k - 1) + 1)
            for n, m, s, p, d, k in zip(
                ctx.sizes, gradient.shape[2:], stride, padding, dilation, weight.shape[2:], strict=True
            )
        ]
        found = torch.nn.functional.conv_transpose2d(
            gradient, weight, None, stride, padding, left, 1, dilation
        )
        return found, None, None, None, None, None


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
    """The Jacobian of the directions V (k, n) on the samples x (B, ...), in parts.

    Samples go through together, with one pass back for all of them, where nothing but layers is differentiated by; a
    parameter of another kind has one gradient for each sample, for which they are mapped over.
    """
    own = {name for use in found for name in (use.weight, use.bias)}
    plain = {name: p for name, p in params.items() if name not in own}
    fixed = {name: _channels_last(p) for name, p in params.items() if name in own}

    def shifted(plain: Tensors, shifts: list[torch.Tensor], x: torch.Tensor) -> tuple[torch.Tensor, Any]:
        seen: dict[int, torch.Tensor] = {}

        def layer(i: int) -> Callable[[torch.Tensor], torch.Tensor]:
            def forward(given: torch.Tensor) -> torch.Tensor:
                # A copy: what comes after may write to it.
                seen[i] = given.clone()
                return found[i].call(given) + shifts[i]

            return forward

        calls = {use.module: layer(i) for i, use in enumerate(found)}
        h = run({**fixed, **plain}, x, calls)
        return h, [seen[i] for i in range(len(found))]

    def one(xi: torch.Tensor) -> Any:
        zeros = [use.zero for use in found]
        _, back, inputs = vjp(lambda p, z: shifted(p, z, xi[None]), plain, zeros, has_aux=True)
        by_plain, by_shift = vmap(back)(V[:, None])
        return by_plain, [g.squeeze(1) for g in by_shift], [given.squeeze(0) for given in inputs]

    def together() -> Any:
        zeros = [
            _channels_last(use.zero.expand(len(x), *use.zero.shape[1:])).requires_grad_() for use in found
        ]
        # Not `vjp`, which keeps all that a second derivative would need.
        with torch.enable_grad():
            h, inputs = shifted({}, zeros, _channels_last(x))
        by_shift = vmap(lambda v: torch.autograd.grad(h, zeros, v, retain_graph=True))(
            V[:, None].expand(-1, len(x), -1)
        )
        return {}, [g.transpose(0, 1) for g in by_shift], [given.detach() for given in inputs]

    by_plain, by_shift, inputs = vmap(one)(x) if plain else together()
    return Parts(
        by_plain,
        [use.inputs(given) for use, given in zip(found, inputs, strict=True)],
        [use.outputs(gradient) for use, gradient in zip(found, by_shift, strict=True)],
    )


def gradients(
    found: list[Use], jacobian: Parts, params: Tensors, dtype: torch.dtype = torch.float32
) -> torch.Tensor:
    """Rows (B, k, P) of the parameters in their order."""
    layers = {use.weight: i for i, use in enumerate(found)}
    biases = {use.bias: i for i, use in enumerate(found) if use.bias is not None}
    first = next(iter([*jacobian.gradients, *jacobian.plain.values()]))
    B, k = first.shape[:2]
    rows = torch.empty((B, k, sum(p.numel() for p in params.values())), dtype=dtype, device=first.device)
    end = 0
    for name, p in params.items():
        part = rows[:, :, end : (end := end + p.numel())]
        if name in layers:
            use, i = found[layers[name]], layers[name]
            _products(jacobian.inputs[i], jacobian.gradients[i], part, use.diagonal)
        elif name in biases:
            part[:] = jacobian.gradients[biases[name]].sum(2)
        else:
            part[:] = jacobian.plain[name].flatten(2)
    return rows


def _products(a: torch.Tensor, d: torch.Tensor, rows: torch.Tensor, diagonal: bool) -> None:
    """Gradients by the weights of one layer, from (B, T, K) and (B, k, T, M), into (B, k, M K)."""
    k = d.shape[1]
    if diagonal:
        rows[:] = (a[:, None] * d).sum(2)
    elif k == 1:
        rows[:] = torch.matmul(d[:, 0].transpose(1, 2), a)[:, None].flatten(2)
    else:
        # One sample after the other: a product of all together would need the inputs once for each direction.
        for inputs, gradients, out in zip(a, d, rows, strict=True):
            out[:] = torch.matmul(gradients.transpose(1, 2), inputs).flatten(1)


def _channels_last(tensor: torch.Tensor) -> torch.Tensor:
    """The same in the order of memory in which convolutions on CPU are fastest, up to three times here."""
    return tensor.contiguous(memory_format=torch.channels_last) if tensor.ndim == 4 else tensor.contiguous()


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
    return 4 * (P + 2 * sum(math.prod(use.sizes.shape) for use in found))

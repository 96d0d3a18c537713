"""Dense and convolutional layers of a PyTorch module, whose gradients are products of their inputs and their outputs' gradients.

What `layers` finds in the operations of JAX is found here among the modules: `Linear`, `Conv1d`, `Conv2d`, and batch
normalisation by running statistics, that are called once in a pass and share their weights with nothing. A zero is added to
the output of each; the derivative by it, mapped over samples, is a pass with common weights, where the derivative by weights
that differ from sample to sample is not.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable
from functools import cache
from threading import Lock
from typing import NamedTuple

import torch
from jaxtyping import PyTree
from torch.func import vjp, vmap
from torch.nn.modules.batchnorm import _BatchNorm

from ntkflow.foreign.modules import ForeignNetwork
from ntkflow_validation.kernels.backends.layers import PATCHES, Layer
from ntkflow_validation.kernels.backends.pytorch.lending import Calls, Context, Tensors, single, tapped

# Products of numbers in one call, below which the call itself is felt.
ONE = 2**20
# Numbers that stay in the cache while they are made and added up.
FEW = 2**18
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

    module: ForeignNetwork
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
        return type(self.module).forward(self.module, x)

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


# Of rows and columns.
Pair = tuple[int, int]


class _Convolution(torch.autograd.Function):  # type: ignore[misc]
    """A convolution whose derivative by its inputs, mapped over directions, is one convolution of all of them.

    PyTorch's own makes inputs of as many samples first, that nothing depends on, which takes as long again.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(
        x: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        stride: Pair,
        padding: Pair,
        dilation: Pair,
    ) -> torch.Tensor:
        return torch.nn.functional.conv2d(x, weight, bias, stride, padding, dilation)

    @staticmethod
    def setup_context(ctx: Context, inputs: PyTree, output: PyTree) -> None:  # noqa: ARG004
        x, weight, _, *ctx.how = inputs
        ctx.save_for_backward(weight)
        ctx.sizes = x.shape[2:]

    @staticmethod
    def backward(ctx: Context, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        if not ctx.needs_input_grad[0]:
            return None, None, None, None, None, None
        (weight,) = ctx.saved_tensors
        stride, padding, dilation = ctx.how
        # What a stride left over at the end of an edge.
        left = [
            n - ((m - 1) * s - 2 * p + d * (k - 1) + 1)
            for n, m, s, p, d, k in zip(
                ctx.sizes, gradient.shape[2:], stride, padding, dilation, weight.shape[2:], strict=True
            )
        ]
        edges = [d * (k - 1) - p for k, d, p in zip(weight.shape[2:], dilation, padding, strict=True)]
        if max(stride) == 1 and min(edges) >= 0:
            # The same as a convolution forward, which is a tenth faster.
            turned = _channels_last(weight.flip(2, 3).transpose(0, 1))
            found = torch.nn.functional.conv2d(gradient, turned, None, 1, edges, dilation)
        else:
            found = torch.nn.functional.conv_transpose2d(
                gradient, weight, None, stride, padding, left, 1, dilation
            )
        return found, None, None, None, None, None


# Takes, of the layer i, its inputs (B, T, K) and the gradients by its outputs (B, k, T, M).
Take = Callable[[int, torch.Tensor, torch.Tensor], None]


def uses(body: torch.nn.Module, names: Iterable[str], run: Callable[[Calls], object]) -> list[Use]:
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


def back(
    found: list[Use], run: Run, params: Tensors, x: torch.Tensor, V: torch.Tensor, take: Take
) -> Tensors:
    """Gradients of the directions V (k, n) on the samples x (B, ...): by layers to `take`, by all others (B, k, ...) by name.

    Samples go through together, with one pass back for all of them, where nothing but layers is differentiated by; a
    parameter of another kind has one gradient for each sample, for which they are mapped over.
    """
    own = {name for use in found for name in (use.weight, use.bias)}
    fixed = {name: _channels_last(p) for name, p in params.items() if name in own}
    plain = {name: p for name, p in params.items() if name not in own}
    if plain:
        return _one_by_one(found, run, (fixed, plain), x, V, take)
    together(found, run, params, x, take)(V)
    return {}


def together(
    found: list[Use], run: Run, params: Tensors, x: torch.Tensor, take: Take, keep: bool = False
) -> Callable[[torch.Tensor], None]:
    """Samples forward, all at once; what comes back takes directions (k, n) back, as often as wanted.

    Args:
        found: layers, to which all belongs that is differentiated by.
        run: the module.
        params: what is differentiated by.
        x: samples (B, ...).
        take: called for every layer on the way back.
        keep: make the layers' inputs once for all passes, and hold them.
    """
    fixed = {name: _channels_last(p) for name, p in params.items()}
    start = torch.zeros(1, dtype=x.dtype, device=x.device, requires_grad=True)

    def layer(i: int) -> Callable[[torch.Tensor], torch.Tensor]:
        use = found[i]

        def forward(given: torch.Tensor) -> torch.Tensor:
            # A copy: what comes after may write to it.
            kept = given.detach().clone()

            def inputs() -> torch.Tensor:
                made = use.inputs(kept)
                return made.contiguous() if keep else made

            given_again: Callable[[], torch.Tensor] = _once(inputs) if keep else inputs

            # Each layer's at once: kept until the end they would be most of the memory, and of the time to get it.
            def taken(gradient: torch.Tensor) -> None:
                take(i, given_again(), use.outputs(gradient.transpose(0, 1)))

            return tapped(use.call(given), start, taken)

        return forward

    # Not `vjp`, which keeps all that a second derivative would need.
    with torch.enable_grad():
        h = run(fixed, _channels_last(x), {use.module: layer(i) for i, use in enumerate(found)})

    def pull(V: torch.Tensor) -> None:
        given = V[:, None].expand(-1, len(x), -1)
        vmap(lambda v: torch.autograd.grad(h, start, v, retain_graph=True))(given)

    return pull


def _once(made: Callable[[], torch.Tensor]) -> Callable[[], torch.Tensor]:
    """The same, made once also where two threads ask for it at a time."""
    kept, lock = cache(made), Lock()

    def given() -> torch.Tensor:
        with lock:
            return kept()

    return given


def _one_by_one(
    found: list[Use], run: Run, params: tuple[Tensors, Tensors], x: torch.Tensor, V: torch.Tensor, take: Take
) -> Tensors:
    fixed, plain = params

    def one(xi: torch.Tensor) -> PyTree:
        def shifted(plain: Tensors, shifts: list[torch.Tensor]) -> tuple[torch.Tensor, list[torch.Tensor]]:
            seen: dict[int, torch.Tensor] = {}

            def layer(i: int) -> Callable[[torch.Tensor], torch.Tensor]:
                def forward(given: torch.Tensor) -> torch.Tensor:
                    seen[i] = given.clone()
                    return found[i].call(given) + shifts[i]

                return forward

            h = run({**fixed, **plain}, xi[None], {use.module: layer(i) for i, use in enumerate(found)})
            return h, [seen[i] for i in range(len(found))]

        _, back, inputs = vjp(shifted, plain, [use.zero for use in found], has_aux=True)
        by_plain, by_shift = vmap(back)(V[:, None])
        return by_plain, [g.squeeze(1) for g in by_shift], [given.squeeze(0) for given in inputs]

    by_plain, by_shift, inputs = vmap(one)(x)
    for i, (use, given, gradient) in enumerate(zip(found, inputs, by_shift, strict=True)):
        take(i, use.inputs(given), use.outputs(gradient))
    rest: Tensors = by_plain
    return rest


def gradients(
    found: list[Use],
    run: Run,
    params: Tensors,
    x: torch.Tensor,
    V: torch.Tensor,
    rows: torch.Tensor,
    factored: Iterable[int] = (),
) -> dict[int, tuple[torch.Tensor, torch.Tensor]]:
    """Rows of the Jacobian of the directions V on the samples x, parameters in their order, and what is left as factors.

    Args:
        found: layers.
        run: the module.
        params: what is differentiated by.
        x: samples (B, ...).
        V: directions (k, n).
        rows: where they go, (B, k, P).
        factored: which layers' weights are not in the rows; of these inputs (B, T, K) and gradients (B, k, T, M) come
            back.
    """
    apart = {found[i].weight: i for i in factored}
    place, end = {}, 0
    for name, p in params.items():
        if name not in apart:
            place[name] = slice(end, end := end + p.numel())
    factors: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    def take(i: int, inputs: torch.Tensor, by_outputs: torch.Tensor) -> None:
        use = found[i]
        if use.bias is not None:
            rows[:, :, place[use.bias]] = by_outputs.sum(2)
        if use.weight in apart:
            factors[i] = (inputs, by_outputs)
        else:
            products(inputs, by_outputs, use.diagonal, rows[:, :, place[use.weight]])

    for name, gradient in back(found, run, params, x, V, take).items():
        rows[:, :, place[name]] = gradient.flatten(2)
    return factors


def products(a: torch.Tensor, d: torch.Tensor, diagonal: bool, rows: torch.Tensor) -> torch.Tensor:
    """Gradients by the weights of one layer, from (B, T, K) and (B, k, T, M), into (B, k, M K)."""
    k, M, K = d.shape[1], d.shape[3], a.shape[2]
    if diagonal:
        # A few samples after the others, whose products stay in the cache: up to three times faster.
        step = max(1, FEW // (k * a.shape[1] * M))
        for some in (slice(first, first + step) for first in range(0, len(a), step)):
            rows[some] = (a[some, None] * d[some]).sum(2)
    elif a.dtype != rows.dtype:
        rows[:] = torch.einsum("btk,bqtm->bqmk", a, d).flatten(2)
    elif rows.transpose(0, 1).is_contiguous() and (k == 1 or k * M * a.shape[1] * K < ONE):
        # One direction after the other, where a product of one sample is too short for a call of its own.
        for gradients, out in zip(d.unbind(1), rows.unbind(1), strict=True):
            torch.bmm(gradients.transpose(1, 2), a, out=out.view(len(d), M, K))
    else:
        # One sample after the other, whose inputs stay in the cache for all directions: up to two thirds faster. A product
        # of all together would need the inputs once for each direction.
        for inputs, gradients, out in zip(a, d, rows, strict=True):
            into = out.unflatten(1, (M, K))
            torch.bmm(gradients.transpose(1, 2), inputs.expand(k, -1, -1), out=into)
    return rows


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


def _patches(module: ForeignNetwork, x: torch.Tensor) -> torch.Tensor:
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

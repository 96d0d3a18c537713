"""PyTorch modules through torch.func; torch is imported by this module and the two it is made of alone."""

import hashlib
import math
import os
from collections.abc import Callable, Mapping

import numpy as np
import torch
from jaxtyping import Float, Float64, PyTree
from torch.func import vjp, vmap
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from ntkflow.errors import InputError
from ntkflow.foreign.modules import ForeignNetwork
from ntkflow_validation.kernels.backends.base import Directions, Inputs, check_finite
from ntkflow_validation.kernels.backends.factored import Factors
from ntkflow_validation.kernels.backends.layers import Layer
from ntkflow_validation.kernels.backends.moments import Moments, moments_of
from ntkflow_validation.kernels.backends.output import Output, chosen
from ntkflow_validation.kernels.backends.pytorch import contracting, layers
from ntkflow_validation.kernels.backends.pytorch.half import COMPUTES, Halves
from ntkflow_validation.kernels.backends.pytorch.layers import Use
from ntkflow_validation.kernels.backends.pytorch.lending import Calls, Tensors, devices, lent, single
from ntkflow_validation.normalisation.pytorch import require_numbers
from ntkflow_validation.normalisation.watched import Forward, running
from ntkflow_validation.precision import full_in_torch

# Rough size of activations and their gradients beside the rows of the Jacobian, in parameters.
OVERHEAD = 4
# Gradients of one call on CPU.
ROWS = 64
NOT_RUN = (
    "the module does not run on X as module(x)",
    "give X as it takes it, one tensor (N, ...), call eval() on the module, and give forward=lambda net, x: ... where it "
    "needs more than x",
)
NOT_DERIVED = (
    "the module cannot be differentiated by torch.func",
    "write it without operations in place on parameters or buffers and without steps that depend on the data (.item())",
)
WIDENED = "parameters of half precision are measured in single precision, as the numbers that they are"


class TorchBackend:
    """Derivatives of a module's output by the parameters it trains.

    The module is left as it was, also by a call that fails: parameters, buffers, gradients, mode, attributes, what is
    shared between its parts, and the random state. What its hooks do outside of it is theirs.

    Args:
        body: module from x (B, ...) to features (B, n), in the mode it is to be measured in (`body.eval()`).
        x: one batch of inputs, from which n is learned.
        trainable: names of `named_parameters` to truth values, all of them, or a function of the name; by default the
            parameters that have `requires_grad`.
        forward: forward(body, x) for a module that needs more than x.
        output: which of its outputs are the features.

    Attributes:
        half: what is to be said of half precision; empty where there is none.

    Raises:
        InputError: a parameter is not finite, none is trained, the module does not run on x or draws random numbers, or
            the features are not (B, n).
    """

    def __init__(
        self,
        body: torch.nn.Module,
        x: Inputs,
        trainable: Mapping[str, bool] | Callable[[str], bool] | None = None,
        forward: Forward | None = None,
        output: Output = None,
    ) -> None:
        self._body, self._trainable = body, trainable
        self._forward, self._output = forward or (lambda net, x: net(x)), output
        self.check(x)

    @property
    def body(self) -> torch.nn.Module:
        """The module that is measured."""
        return self._body

    def check(self, x: Inputs) -> "TorchBackend":
        """Look anew at the module, whose parameters, frozen ones and mode may have changed."""
        named = dict(self._body.named_parameters())
        require_numbers(self._body)
        _require_python(self._body)
        trained = _chosen(named, self._trainable)
        self._params = {name: single(p.detach()) for name, p in named.items() if trained[name]}
        self.half = WIDENED if any(single(p) is not p for p in named.values()) else ""
        self.total = sum(p.numel() for p in named.values())
        self.P = sum(p.numel() for p in self._params.values())
        if not self.P:
            raise InputError(
                "params",
                f"none of {self.total} numbers is trained" if named else "no parameter",
                "nothing to differentiate by",
                "call requires_grad_(True) on some, or give trainable=lambda name: True",
            )
        check_finite({name: p.detach().cpu().float().numpy() for name, p in named.items()}, "params")
        self.columns = [(name, p.numel()) for name, p in self._params.items()]
        first = next(iter(self._params.values()))
        self._device, self._dtype = first.device, first.dtype
        self._few, self._mapped = np.array(x[:2]), True
        self._found: list[Use] | None = None
        with Halves() as halves:
            found = self._drawn(0)
        self.half = COMPUTES if halves.seen else self.half
        if found.ndim != 2 or len(found) != len(self._few):
            raise InputError(
                "features", f"output of shape {found.shape}", "must be (samples, n)", "flatten each h"
            )
        self.n = int(found.shape[1])
        self._require_no_chance(found, self._drawn(1))
        return self

    def _drawn(self, seed: int) -> Float64[np.ndarray, "..."]:
        """Features of two samples with some random state."""
        with torch.random.fork_rng(devices(self._body)):
            torch.manual_seed(seed)
            return self.features(self._few)

    def _require_no_chance(self, one: np.ndarray, two: np.ndarray) -> None:
        # Some cards add in another order every time.
        scale = np.abs(one).max(initial=0.0)
        if not np.isfinite(scale) or np.abs(one - two).max(initial=0.0) <= 1e-4 * scale:
            return
        layers = [
            name for name, m in self._body.named_modules() if isinstance(m, _DropoutNd) and m.training and m.p
        ]
        raise InputError(
            "features",
            f"random numbers, as of dropout in training mode ({', '.join(layers) or 'none is seen'})",
            "must be the same every time",
            "call eval() on the module",
        )

    def require_inference(self) -> None:
        """Refuse layers that normalise by the batch.

        Raises:
            InputError: there is one.
        """
        for name, module in self._body.named_modules():
            if isinstance(module, _BatchNorm) and (module.training or module.running_mean is None):
                training = "in training mode" if module.training else "without running statistics"
                raise InputError(
                    "features",
                    f"batch normalisation {name or type(module).__name__} {training}",
                    "makes the features of each sample depend on the other samples of the batch",
                    "call eval() on the module, or give bn='batch' for block constants alone",
                )

    def _tensor(self, values: np.ndarray) -> torch.Tensor:
        return torch.tensor(np.ascontiguousarray(values), device=self._device)

    def _inputs(self, x: Inputs) -> torch.Tensor:
        found = self._tensor(x)
        return found.to(self._dtype) if found.is_floating_point() else found

    def _call(self, params: Tensors, x: torch.Tensor, calls: Calls | None = None) -> torch.Tensor:
        # Attention as products and a softmax: what is fused has no rule to be mapped by, and warns of it sample by sample.
        with (
            lent(self._body, params, calls),
            torch.autocast(self._device.type, enabled=False),
            sdpa_kernel(SDPBackend.MATH),
        ):
            # A copy, made inside of what derives it, which operations in place may write to.
            found: torch.Tensor = chosen(self._forward(self._body, x.clone()), self._output)
            return found.float()

    def _pulled(self, params: Tensors, x: torch.Tensor, cotangents: torch.Tensor) -> torch.Tensor:
        _, back = vjp(lambda q: self._call(q, x), params)
        (gradients,) = self._each(back, cotangents)
        return torch.cat([g.reshape(len(cotangents), -1).float() for g in gradients.values()], dim=1)

    def _each(self, function: Callable[[torch.Tensor], PyTree], values: torch.Tensor) -> PyTree:
        """Of each of the values; one after the other where PyTorch cannot map the function."""
        if self._mapped:
            try:
                return vmap(function)(values)
            except Exception:  # of many kinds; what is wrong with the function itself comes again below
                self._mapped = False
        found = [function(value) for value in values]
        return torch.utils._pytree.tree_map(lambda *parts: torch.stack(parts), found[0], *found[1:])

    @full_in_torch()
    def features(self, x: Inputs) -> Float64[np.ndarray, "B n"]:
        """h(x_i)."""
        with torch.no_grad(), running("features", *NOT_RUN):
            found: np.ndarray = self._call(self._params, self._inputs(x)).double().cpu().numpy()
            return found

    def rows(self, x: Inputs, V: Directions) -> Float[np.ndarray, "B k P"]:
        """Gradients of v_k . h(x_i)."""
        found = np.empty((len(x), len(V), self.P), np.float32)
        self.rows_into(x, V, found)
        return found

    @full_in_torch()
    def rows_into(self, x: Inputs, V: Directions, out: Float[np.ndarray, "B k P"]) -> None:
        """The same, into an array that there is: to get memory anew for every few rows takes as long as they do."""
        directions, into = self._tensor(V.astype(np.float32)), torch.from_numpy(out)
        with running("gradients", *NOT_DERIVED):
            if self._uses:
                rows = into if self._device.type == "cpu" else torch.empty_like(into, device=self._device)
                given = (self._params, self._inputs(x), directions)
                layers.gradients(self._uses, self._call, *given, rows)
            else:
                rows = self._each(
                    lambda xi: self._pulled(self._params, xi[None], directions[:, None, :]), self._inputs(x)
                )
        if rows is not into:
            into.copy_(rows.detach())

    @property
    def _uses(self) -> list[Use]:
        """Layers that can be taken apart; none where that does not give what the whole derivative gives."""
        if self._found is None:
            self._found = self._look()
        return self._found

    @full_in_torch()
    def _look(self) -> list[Use]:
        v = np.random.default_rng(0).normal(size=(1, self.n)).astype(np.float32)
        x = self._few
        expected = np.stack([self.pull(xi[None], v[None]) for xi in x])
        try:
            with torch.no_grad():
                found = layers.uses(
                    self._body,
                    self._params,
                    lambda calls: self._call(self._params, self._inputs(x[:1]), calls),
                )
            given = (self._params, self._inputs(x), self._tensor(v))
            rows = torch.empty(2, 1, self.P, device=self._device)[: len(x)]
            layers.gradients(found, self._call, *given, rows)
        except Exception:  # of many kinds, and each means that it must be done otherwise
            return []
        # A weight that is used outside its layer too has another derivative than the layer says.
        same = np.abs(_host(rows) - expected).max() <= 1e-3 * np.abs(expected).max()
        return found if same else []

    @property
    def _winning(self) -> list[Use]:
        return [use for use in self._uses if use.wins]

    @property
    def layers(self) -> tuple[Layer, ...]:
        """Dense and convolutional layers for which products of factors are cheaper."""
        return tuple(use.sizes for use in self._winning)

    @property
    def plain(self) -> int:
        """Parameters that are no such layer's weights."""
        rest: int = self.P - sum(layer.K * layer.M for layer in self.layers)
        return rest

    @full_in_torch()
    def factors(self, x: Inputs, V: Directions) -> Factors:
        """The same Jacobian in parts; weights within a layer's product are inputs by outputs."""
        with running("gradients", *NOT_DERIVED):
            uses = self._uses
            won = [i for i, use in enumerate(uses) if use.wins]
            given = (self._params, self._inputs(x), self._tensor(V.astype(np.float32)))
            rows = torch.empty(len(x), len(V), self.plain, device=self._device)
            apart = layers.gradients(uses, self._call, *given, rows, won)
        return Factors(_host(rows), *([_host(apart[i][side]) for i in won] for side in (0, 1)))

    def factor_tile(self, x: Inputs, k: int, limit: int) -> tuple[int, int]:
        """Samples and directions per call of `factors`."""
        return self._shared_out(len(x), k, limit, self.plain)

    def contractible(self, x: Inputs, k: int, limit: int) -> int:
        """See `ContractingBackend`: on CPU, where all belongs to layers of which some have gradients to be written out."""
        uses = self._uses
        if self._device.type != "cpu" or not uses or not contracting.pays(uses):
            return 0
        own = {name for use in uses for name in (use.weight, use.bias)}
        fits = self._params.keys() <= own and contracting.directions(uses, len(x), limit) > 0
        return min(k, contracting.DIRECTIONS) if fits else 0

    @full_in_torch()
    def contracted(
        self, x: Inputs, V: Directions, counts: np.ndarray | None, limit: int
    ) -> tuple[Float64[np.ndarray, "k N N"], Float64[np.ndarray, "k N"]]:
        """See `ContractingBackend`."""
        with running("gradients", *NOT_DERIVED):
            given = (self._params, self._inputs(x), self._tensor(V.astype(np.float32)))
            most = max(1, contracting.directions(self._uses, len(x), limit))
            return contracting.contracted(self._uses, self._call, *given, counts, most)

    @full_in_torch()
    def pull(self, x: Inputs, cotangents: Float[np.ndarray, "k B n"]) -> Float[np.ndarray, "k P"]:
        """Gradients of sum_i cotangent_ki . h(x_i)."""
        V = self._tensor(cotangents.astype(np.float32))
        with running("gradients", *NOT_DERIVED):
            found: np.ndarray = self._pulled(self._params, self._inputs(x), V).detach().cpu().numpy()
            return found

    def moments(self, x: Inputs, V: Directions, fresh: np.ndarray) -> Moments:
        """Of the rows of the fresh samples."""
        return moments_of(self.rows(x, V)[fresh])

    def tile(self, x: Inputs, k: int, limit: int) -> tuple[int, int]:
        """Samples and directions per call of `rows`; from a rough estimate, torch tells nothing beforehand."""
        if self._uses:
            return self._shared_out(len(x), k, limit, self.P)
        rows = max(1, min(16, limit // (4 * OVERHEAD * self.P)))
        k = min(k, rows)
        return min(len(x), max(1, rows // k)), k

    def _shared_out(self, samples: int, k: int, limit: int, P: int) -> tuple[int, int]:
        rows = max(1, min(ROWS, limit // layers.row_bytes(self._uses, P)))
        # Directions of one sample share its pass forward.
        k = min(k, rows)
        return min(samples, max(1, rows // k)), k

    def batch(self, x: Inputs, k: int, limit: int) -> tuple[int, int]:
        """Samples and directions per call of `pull`."""
        k = max(1, min(k, 4, limit // (4 * OVERHEAD * self.P)))
        return min(len(x), 64), k

    def pull_bytes(self, x: Inputs, k: int) -> int:
        """A rough estimate: rows and inputs."""
        size: int = 4 * OVERHEAD * (k * self.P + len(x) * math.prod(x.shape[1:]))
        return size

    def fingerprint(self) -> bytes:
        """Every operation forward and back with its constants, buffers among them, and the parameters.

        One that never comes again where PyTorch cannot trace the module, as when its steps depend on the data.
        """
        V = torch.zeros(1, len(self._few), self.n, device=self._device)
        try:
            traced = make_fx(lambda *given: self._pulled(*given))(
                dict(self._params), self._inputs(self._few), V
            )
        except Exception:  # of many kinds, and each means that it cannot be seen
            return os.urandom(32)
        found = hashlib.sha256(traced.code.encode())
        constants = [_attribute(traced, node.target) for node in traced.graph.nodes if node.op == "get_attr"]
        named = [*self._params.items(), *((str(i), c) for i, c in enumerate(constants))]
        for name, tensor in named:
            if not isinstance(tensor, torch.Tensor):
                return os.urandom(32)
            found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)} ".encode())
            flat = tensor.detach().cpu().contiguous().reshape(-1)
            found.update(flat.view(torch.uint8).numpy().data if flat.numel() else b"")
        return found.digest()


def _host(tensor: torch.Tensor) -> np.ndarray:
    found: np.ndarray = tensor.detach().float().cpu().numpy()
    return found


def _attribute(module: ForeignNetwork, path: str) -> ForeignNetwork:
    for name in path.split("."):
        module = getattr(module, name)
    return module


def _require_python(body: torch.nn.Module) -> None:
    for name, part in body.named_modules():
        if isinstance(part, torch.jit.ScriptModule):
            raise InputError(
                "features",
                f"module {name or 'itself'}, compiled by torch.jit",
                "is run with other parameters than its own, which compiled modules have no place for",
                "give the module that it was compiled from",
            )


def _chosen(
    named: Mapping[str, torch.nn.Parameter], trainable: Mapping[str, bool] | Callable[[str], bool] | None
) -> dict[str, bool]:
    if trainable is None:
        return {name: p.requires_grad for name, p in named.items()}
    if callable(trainable):
        return {name: bool(trainable(name)) for name in named}
    if not isinstance(trainable, Mapping) or trainable.keys() != named.keys():
        raise InputError(
            "trainable",
            f"{len(trainable)} names",
            "must have every name of named_parameters",
            "give a function of the name, such as lambda name: name.startswith('body')",
        )
    return {name: bool(flag) for name, flag in trainable.items()}

"""The state of L linear layers and a classifier: f = W H[L] + b, H[l] = V_l H[l-1] + c_l, X^T X = K0 (theory 18.1)."""

from dataclasses import dataclass

import numpy as np

from ntkflow import checks, views
from ntkflow._types import Biases, Floats
from ntkflow.errors import InputError
from ntkflow.problem.sizes import Sizes


@dataclass(frozen=True, eq=False)
class LayeredState:
    """First layer's images V_1 X (n_1 x N), layers V_2 .. V_L (n_l x n_{l-1}), W (C x n_L), b (C); float64.

    Of V_1 only what it does to the inputs matters, so that their dimension never enters.

    Args:
        H: V_1 X, samples ordered by class; the features themselves for L = 1.
        V: V_2 .. V_L; none for L = 1.
        W: weights.
        b: biases.
        c: biases of the layers 1 .. L, (n_l,) each; none where the layers have no biases.

    Raises:
        InputError: an array does not hold floats, is not finite, or the shapes do not fit each other.
    """

    H: Floats
    V: tuple[Floats, ...]
    W: Floats
    b: Biases
    c: tuple[Floats, ...] = ()

    def __post_init__(self) -> None:
        for name, ndim in (("H", 2), ("W", 2), ("b", 1)):
            object.__setattr__(self, name, checks.double(name, getattr(self, name), ndim))
        layers = tuple(checks.double(f"V[{l}]", layer, 2) for l, layer in enumerate(self.V, 2))
        object.__setattr__(self, "V", layers)
        for l, (n, layer) in enumerate(zip(self.widths[:-1], layers, strict=True), 2):
            rule = f", one column for each of the n_{l - 1} = {n} features of the layer below"
            checks.shape(f"V[{l}]", layer.shape, (layer.shape[0], n), rule, "check both")
        C, n = self.W.shape
        checks.shape("W", (C, n), (C, self.widths[-1]), ", one column for each feature", "check both")
        checks.shape("b", self.b.shape, (C,), ", one bias per row of W", "check both")
        biases = tuple(checks.double(f"c[{l}]", bias, 1) for l, bias in enumerate(self.c, 1))
        object.__setattr__(self, "c", biases)
        if biases and len(biases) != self.L:
            raise InputError(
                "c", f"{len(biases)} biases", f"must be one for each of {self.L} layers", "give all or none"
            )
        for l, (n, bias) in enumerate(zip(self.widths, biases, strict=False), 1):
            checks.shape(f"c[{l}]", bias.shape, (n,), ", one for each feature of the layer", "check both")

    @classmethod
    def of_weights(
        cls, X: Floats, layers: tuple[Floats, ...], W: Floats, b: Biases, c: tuple[Floats, ...] = ()
    ) -> "LayeredState":
        """The state of a network with inputs X, d x N, and layers V_1 .. V_L; its kernel is K0 = X^T X."""
        return cls(layers[0] @ X, tuple(layers[1:]), W, b, c)

    @property
    def L(self) -> int:
        """Number of layers below the classifier."""
        return len(self.V) + 1

    @property
    def widths(self) -> tuple[int, ...]:
        """n_1 .. n_L."""
        return (len(self.H), *(len(layer) for layer in self.V))

    def check(self, sizes: Sizes) -> None:
        """Raise InputError when the shapes are not those of `sizes`, whose n is n_L."""
        checks.shape(
            "H",
            self.H.shape,
            (self.widths[0], sizes.N),
            ", a column per sample",
            "fix the state or the sizes",
        )
        checks.shape("W", self.W.shape, (sizes.C, sizes.n), "", "fix the state or the sizes")

    @property
    def layers(self) -> tuple[Floats, ...]:
        """H[1] .. H[L], n_l x N each, biases of the layers among them."""
        found, H = [], self.H
        for l in range(self.L):
            H = H if l == 0 else self.V[l - 1] @ H
            if self.c:
                H = H + self.c[l][:, None]
            found.append(H)
        return tuple(found)

    @property
    def below(self) -> tuple[Floats, ...]:
        """U_1 .. U_L with U_l = W V_L .. V_{l+1}, C x n_l each; U_L = W."""
        found = [self.W]
        for layer in reversed(self.V):
            found.append(found[-1] @ layer)
        return tuple(reversed(found))

    @property
    def logits(self) -> Floats:
        """F = W H[L] + b 1^T, shape (C, N)."""
        return self.W @ self.layers[-1] + self.b[:, None]

    def __repr__(self) -> str:
        return views.called(self, C=len(self.W), widths=self.widths, N=self.H.shape[1], biases=bool(self.c))

    def pack(self) -> Floats:
        """One flat vector, in the order H, V_2 .. V_L, W, b, c_1 .. c_L."""
        return np.concatenate([part.ravel() for part in (self.H, *self.V, self.W, self.b, *self.c)])

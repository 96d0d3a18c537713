"""The flow of L linear layers, packed: by class means and within-class factors, or by samples (theory 18.1).

Both forms carry columns Z of V_1 X with weights and a mask of those that see the biases: samples, each of weight 1, or C class
means of weight m_c followed by the columns of the within-class factor, which no bias reaches. With U_l = W V_L .. V_{l+1} and
R of the columns, D_1 = R' Z_1^T, D_l = D_{l-1} V_l^T + R' 1 c_l^T, R' = R diag(weights):
    dZ = -U_1^T R K0,  dV_l = -U_l^T D_{l-1},  dW = -D_L,  db = -R' 1,  dc_l = -U_l^T R' 1,  each minus its decay.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ntkflow import views
from ntkflow._types import Floats, Vector
from ntkflow.errors import InputError
from ntkflow.problem.kernels.base import ThinCoefficients
from ntkflow.problem.layers.problem import LayeredProblem
from ntkflow.problem.layers.state import LayeredState
from ntkflow.problem.sizes import Sizes
from ntkflow.problem.state import State, ThinState, class_means, deviations, spread
from ntkflow.problem.thin import Frame, decompose


@dataclass(frozen=True, eq=False)
class Parts:
    """A packed state taken apart: columns Z, layers V_2 .. V_L, W, b, c_1 .. c_L."""

    Z: Floats
    V: tuple[Floats, ...]
    W: Floats
    b: Floats
    c: tuple[Floats, ...]

    __repr__ = views.short

    @property
    def below(self) -> list[Floats]:
        """U_1 .. U_L, C x n_l each."""
        found = [self.W]
        for layer in reversed(self.V):
            found.append(found[-1] @ layer)
        return found[::-1]

    def columns(self, mask: Floats) -> list[Floats]:
        """Columns of H[1] .. H[L]."""
        found = [self.Z if not self.c else self.Z + np.outer(self.c[0], mask)]
        for l, layer in enumerate(self.V, 1):
            H = layer @ found[-1]
            found.append(H if not self.c else H + np.outer(self.c[l], mask))
        return found


@dataclass(frozen=True, eq=False)
class LayeredFlow:
    """The vector field on packed states.

    Attributes:
        problem: what flows.
        form: 'thin' or 'raw'.
        weights: of the columns in sums over samples, (q,).
        mask: 1 for columns that biases reach, else 0, (q,).
        pull: R of the columns to R K0 of the columns.
        residual: outputs of the columns to R of the columns, and to the loss.
        inverse: columns Z to Z K0^{-1} Z^T.
        class_kernel: what pulls class means, (C, C), and
        within: the columns of the within-class factor, (r,); None for the raw form.
        frame: how class means and factors make samples; None for the raw form.
        start: packed initial state.
    """

    problem: LayeredProblem
    form: str
    weights: Floats
    mask: Floats
    pull: Callable[[Floats], Floats]
    residual: Callable[[Floats], Floats]
    value: Callable[[Floats], float]
    inverse: Callable[[Floats], Floats]
    class_kernel: Floats | None
    within: Floats | None
    frame: Frame | None
    start: Vector
    shapes: tuple[tuple[int, ...], ...]
    cuts: tuple[int, ...]

    __repr__ = views.short

    @classmethod
    def build(
        cls, problem: LayeredProblem, form: str = "auto", known: tuple[ThinState, Frame] | None = None
    ) -> "LayeredFlow":
        """Thin for the squared error under a kernel of blocks, raw elsewhere or where asked for.

        Args:
            problem: what flows.
            form: 'thin', 'raw' or 'auto'.
            known: class means and within-class factor of the first layer's images in all coordinates, with their frame, where
                somebody has found them before.

        Raises:
            InputError: the thin form is asked for where there is none.
        """
        coefficients = problem.thin if problem.squared_error and form != "raw" else None
        if coefficients is None and form == "thin":
            rule = "needs the squared error and a kernel of blocks"
            raise InputError("form", "'thin'", rule, "use raw or auto")
        return _raw(problem) if coefficients is None else _thin(problem, coefficients, known)

    def unpack(self, y: Vector) -> Parts:
        """The parts of a packed state, views into it."""
        Z, *rest = (
            part.reshape(shape) for part, shape in zip(np.split(y, self.cuts), self.shapes, strict=True)
        )
        L = self.problem.L
        return Parts(Z, tuple(rest[: L - 1]), rest[L - 1], rest[L], tuple(rest[L + 1 :]))

    def outputs(self, parts: Parts, below: Sequence[Floats]) -> Floats:
        """W H[L] + b of the columns, from U_1 alone: no layer's features are formed."""
        bias = parts.b + sum((U @ c for U, c in zip(below, parts.c, strict=False)), np.zeros_like(parts.b))
        result: Floats = below[0] @ parts.Z + np.outer(bias, self.mask)
        return result

    def field(self, t: float, y: Vector) -> Vector:
        """dy/dt."""
        del t
        p, problem = self.unpack(y), self.problem
        below = p.below
        R = self.residual(self.outputs(p, below))
        weighted = R * self.weights
        common = weighted @ self.mask
        D = [weighted @ p.Z.T]
        if p.c:
            D[0] = D[0] + np.outer(common, p.c[0])
        for l, layer in enumerate(p.V, 1):
            D.append(D[-1] @ layer.T + (np.outer(common, p.c[l]) if p.c else 0.0))
        rates = problem.decay.rates(problem.L)
        dZ = -below[0].T @ self.pull(R) - rates[0] * p.Z
        dV = [-below[l].T @ D[l - 1] - rates[l] * layer for l, layer in enumerate(p.V, 1)]
        dW = -D[-1] - rates[-1] * p.W
        db = -common - problem.decay.b * p.b
        dc = [-U.T @ common - problem.decay.c * c for U, c in zip(below, p.c, strict=False)]
        return np.concatenate([part.ravel() for part in (dZ, *dV, dW, db, *dc)])

    def loss(self, y: Vector) -> float:
        """The loss, a sum over samples."""
        p = self.unpack(y)
        return self.value(self.outputs(p, p.below))

    def penalty(self, y: Vector) -> float:
        """What decay adds: the loss plus this never rises, half the rates times squared norms, of V_1 on the inputs' span."""
        p, decay, L = self.unpack(y), self.problem.decay, self.problem.L
        if not decay.any:
            return 0.0
        rates = decay.rates(L)
        squares = [
            float(np.trace(self.inverse(p.Z))),
            *(float(np.sum(V**2)) for V in p.V),
            float(np.sum(p.W**2)),
        ]
        found = sum(rate * square for rate, square in zip(rates, squares, strict=True))
        return 0.5 * (found + decay.b * float(p.b @ p.b) + decay.c * sum(float(c @ c) for c in p.c))

    def state(self, y: Vector) -> LayeredState:
        """The state of all N samples."""
        p = self.unpack(y)
        H = p.Z.copy() if self.frame is None else self.samples(p.Z)
        return LayeredState(
            H, tuple(V.copy() for V in p.V), p.W.copy(), p.b.copy(), tuple(c.copy() for c in p.c)
        )

    def pack(self, state: LayeredState) -> Vector:
        """The packed form of a state of all N samples, whose deviations lie in the factor's rows."""
        Z, sizes = state.H, self.problem.sizes
        if self.frame is not None:
            H1 = class_means(Z, sizes)
            Z = np.concatenate([H1, deviations(Z, H1, sizes) @ self.frame.Q], axis=1)
        return np.concatenate([part.ravel() for part in (Z, *state.V, state.W, state.b, *state.c)])

    def samples(self, columns: Floats) -> Floats:
        """Columns of all N samples from those that are integrated, of features, outputs or whatever else has them."""
        if self.frame is None:
            return columns
        sizes = self.problem.sizes
        result: Floats = spread(columns[:, : sizes.C], sizes) + columns[:, sizes.C :] @ self.frame.Q.T
        return result

    def within_rms(self, y: Vector) -> float:
        """Root mean square within-class standard deviation per feature of the last layer."""
        H, sizes = self.unpack(y).columns(self.mask)[-1], self.problem.sizes
        D = H[:, sizes.C :] if self.frame is not None else H - spread(class_means(H, sizes), sizes)
        return float(np.linalg.norm(D) / np.sqrt(sizes.N * sizes.n))

    def invariants(self, y: Vector) -> list[Floats]:
        """Q_l = V_{l+1}^T V_{l+1} - V_l V_l^T - c_l c_l^T, l = 1 .. L, with V_{L+1} = W (theory 18.3); m E for L = 1."""
        above, own, biases = self.grams(y)
        return [a - o - c for a, o, c in zip(above, own, biases, strict=True)]

    def grams(self, y: Vector) -> tuple[list[Floats], list[Floats], list[Floats]]:
        """V_{l+1}^T V_{l+1}, V_l V_l^T and c_l c_l^T of l = 1 .. L."""
        p = self.unpack(y)
        above = [V.T @ V for V in (*p.V, p.W)]
        own = [self.inverse(p.Z), *(V @ V.T for V in p.V)]
        biases = [np.outer(c, c) for c in p.c] or [np.zeros_like(Q) for Q in own]
        return above, own, biases


def _packing(state: LayeredState, Z: Floats) -> tuple[Vector, tuple[tuple[int, ...], ...], tuple[int, ...]]:
    parts = (Z, *state.V, state.W, state.b, *state.c)
    cuts = tuple(int(cut) for cut in np.cumsum([part.size for part in parts])[:-1])
    return np.concatenate([part.ravel() for part in parts]), tuple(part.shape for part in parts), cuts


def _raw(problem: LayeredProblem) -> LayeredFlow:
    sizes, kernel, loss = problem.sizes, problem.kernel, problem.loss
    Y, ones = sizes.Y, np.ones(sizes.N)
    start, shapes, cuts = _packing(problem.state, problem.state.H)
    return LayeredFlow(
        problem, "raw", ones, ones,
        pull=lambda R: kernel.apply(R, sizes),
        residual=lambda F: loss.residual(F, Y),
        value=lambda F: float(loss.value(F, Y)),
        inverse=lambda Z: kernel.solve(Z, sizes) @ Z.T,
        class_kernel=None, within=None, frame=None, start=start, shapes=shapes, cuts=cuts,
    )  # fmt: skip


def _thin(
    problem: LayeredProblem, coefficients: ThinCoefficients, known: tuple[ThinState, Frame] | None
) -> LayeredFlow:
    sizes, s = problem.sizes, problem.state
    C, masses = sizes.C, sizes.masses
    narrow = Sizes(C, sizes.m, s.widths[0])
    thin, frame = known or decompose(
        State(s.H, np.zeros((C, s.widths[0])), s.b), narrow, coefficients.groups, subspace=False
    )
    within = coefficients.within[np.asarray(frame.column_class, dtype=int)]
    r = len(within)
    eye, inverse = np.eye(C), np.linalg.solve(coefficients.class_kernel, np.diag(masses))
    weights = np.concatenate([masses, np.ones(r)])

    def residual(F: Floats) -> Floats:
        R: Floats = F.copy()
        R[:, :C] -= eye
        return R

    def gram(Z: Floats) -> Floats:
        H1, T = Z[:, :C], Z[:, C:]
        found: Floats = H1 @ ((inverse + inverse.T) / 2) @ H1.T + (T / within) @ T.T
        return found

    start, shapes, cuts = _packing(s, np.concatenate([thin.H1, thin.L], axis=1))
    return LayeredFlow(
        problem, "thin", weights, np.concatenate([np.ones(C), np.zeros(r)]),
        pull=lambda R: np.concatenate([R[:, :C] @ coefficients.class_kernel, R[:, C:] * within], axis=1),
        residual=residual,
        value=lambda F: 0.5 * float(np.sum(weights * residual(F) ** 2)),
        inverse=gram,
        class_kernel=coefficients.class_kernel, within=within, frame=frame, start=start, shapes=shapes, cuts=cuts,
    )  # fmt: skip

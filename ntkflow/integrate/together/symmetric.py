"""States that are symmetric under relabelling of the classes: seven numbers instead of hundreds (theory 4.5).

Contrasts and sums over classes are each a system of one class and one feature, with the rates mu_class and mu_global: side
by side they are `Coordinates` with two classes and two features, whose matrices stay diagonal. So the engine takes them as
they are, the cells of a phase diagram in one array.
"""

import math
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float64

from ntkflow._types import Floats, Vector
from ntkflow.dynamics.packed import ThinFlow
from ntkflow.integrate.engines.structured.coordinates import Coordinates, Flat
from ntkflow.integrate.task import Task
from ntkflow.metrics.neural_collapse import centring
from ntkflow.problem.thin import Frame
from ntkflow.theory.exact.recognise import sector_of

# A state counts as symmetric where what it lacks is so far below the tolerance that the flow can't bring it up to that.
ZERO, SHARE = 1e-10, 1e-4
# Rows and columns of the seven numbers in the flat vector: hP, hJ, lP, lJ, wP, wJ, b, of B (3 x 4) and A (2 x 3).
_PLACES = (0, 5, 2, 7, 12, 16, 17)
_SIZE = 18


@dataclass(frozen=True, eq=False)
class Symmetric(Coordinates):
    """The seven numbers of a symmetric state, as coordinates.

    Attributes:
        first: their values at the start, in the order of `_PLACES`.
        basis: what each of them adds to the packed state.
    """

    first: Float64[np.ndarray, " 7"] = field(kw_only=True)
    basis: Float64[np.ndarray, "7 D"] = field(kw_only=True)

    @classmethod
    def of(cls, task: Task) -> "Symmetric | None":
        """Of the initial state of a task; None where that is not symmetric, or something breaks the symmetry on the way."""
        problem, flow = task.problem, task.flow
        kernel = problem.equal_blocks
        if kernel is None or task.knots or problem.decay.any or not problem.train_bias:
            return None
        if not isinstance(flow, ThinFlow) or not isinstance(flow.frame, Frame):
            return None
        sizes = problem.sizes
        sector = sector_of(problem.state, sizes, kernel, min(ZERO, SHARE * task.rtol))
        # Into the saddle rounding decides, and that is not symmetric.
        if sector is None or sector.into_saddle or kernel.eigenvalues(sizes).mu_single <= 0:
            return None
        m, C, mu, thin = sizes.per_class, sizes.C, kernel.eigenvalues(sizes), flow.initial
        root, P = math.sqrt(m), centring(C)
        parts = []
        for projector, w, h in ((P, sector.wP, sector.hP), (np.eye(C) - P, sector.wJ, sector.hJ)):
            # From the larger of the two, whose direction is known best.
            frame = thin.W.T @ projector / w if abs(w) >= abs(h) and w else thin.H1 @ projector / (h or 1.0)
            parts.append((frame, frame @ (frame.T @ thin.L)))
        spread = [math.sqrt(m * s) for s in (sector.sP, sector.sJ)]
        nothing = [np.zeros_like(a) for a in (thin.H1, thin.L, thin.W, thin.b)]
        rows = []
        for place, part in [
            *((0, frame / root) for frame, _ in parts),
            *((1, L / (size or 1.0) * (size > 0)) for (_, L), size in zip(parts, spread, strict=True)),
            *((2, frame.T) for frame, _ in parts),
            (3, np.full(C, 1 / math.sqrt(C))),
        ]:
            rows.append(np.concatenate([(part if k == place else a).ravel() for k, a in enumerate(nothing)]))
        first = [
            root * sector.hP,
            root * sector.hJ,
            *spread,
            sector.wP,
            sector.wJ,
            math.sqrt(C) * sector.beta,
        ]
        targets = np.zeros((2, 4))
        targets[0, 0] = targets[1, 1] = root
        return cls(
            n=2,
            C=2,
            groups=2,
            q=4,
            s=np.full(2, root),
            U=np.eye(2),
            d=np.array([mu.mu_class, mu.mu_global, mu.mu_single, mu.mu_single]),
            e=np.array([0.0, math.sqrt(m * C), 0.0, 0.0]),
            T=targets,
            decay=(0.0, 0.0, 0.0),
            first=np.array(first),
            basis=np.array(rows),
        )

    def enter(self, y: Vector) -> Flat:
        """Flat vector of the state at the start."""
        del y
        z = np.zeros(_SIZE)
        z[list(_PLACES)] = self.first
        self.blocks(z)[0][self.n] = self.e
        return z

    def leave(
        self, z: Float64[np.ndarray, "*several F"], out: Float64[np.ndarray, "*several D"] | None = None
    ) -> Float64[np.ndarray, "*several D"]:
        """Packed thin state of a flat vector, or of every one of a stack; written to `out` where it is given."""
        result: Floats = np.matmul(z[..., list(_PLACES)], self.basis, out=out)
        return result

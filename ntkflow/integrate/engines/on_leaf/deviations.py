"""L beside the integration on a leaf: dL/dt = -delta W^T W L, by Radau IIA with three stages on the polynomial of W.

With u_i = W_i y_i at the stages,

    (I + h delta a_ij W_i W_j^T) u = W_i L0,   L1 = L0 - h delta sum_j b_j W_j^T u_j,

of order 5 and stiffly accurate: what decays, decays to nothing, and is not a difference of large terms as S is.
Source: Hairer and Wanner, Solving Ordinary Differential Equations II, table IV.5.6.
"""

import math

import numpy as np

from ntkflow._types import Floats, Integers
from ntkflow.integrate.engines.lockstep.projection import Leaves
from ntkflow.integrate.engines.lockstep.slots import PerSlot, Shape, Systems, transposed
from ntkflow.integrate.engines.on_leaf.coordinates import LeafShape

_R = math.sqrt(6.0)
NODES = np.array([(4 - _R) / 10, (4 + _R) / 10, 1.0])
STAGES = np.array(
    [
        [(88 - 7 * _R) / 360, (296 - 169 * _R) / 1800, (-2 + 3 * _R) / 225],
        [(296 + 169 * _R) / 1800, (88 + 7 * _R) / 360, (-2 - 3 * _R) / 225],
        [(16 - _R) / 36, (16 + _R) / 36, 1 / 9],
    ]
)
# So many steps of the integration at most are one step of L, whose error is then half of that of W or less; of five it would be
# three times as large, and at rtol = 1e-8 as large as that of W.
MOST_BEHIND = 4


class Deviations(Leaves):
    """L of every slot. Nothing leaves its leaf here, and no matrix m E is held.

    Attributes:
        L: at a time that the state has left behind by
        behind: so many of the steps under way, less than one of them where it was saved inside a step;
        order: of the polynomial on them.
    """

    L: Floats
    behind: Floats
    order: Integers

    def __init__(self, shape: Shape, slots: int) -> None:
        PerSlot.__init__(self, slots)
        assert isinstance(shape, LeafShape)
        self.shape = shape
        self.hold("L", shape.n, shape.r)
        self.hold("behind")
        self.hold("order", kind=int)

    def take(self, i: Integers, z: Floats, systems: Systems) -> None:
        """First steps: there is nothing to remember of a leaf."""
        del z, systems
        self.behind[i] = 0.0

    def after(self, i: Integers, A: Floats, span: Floats) -> Floats:
        """What becomes of the L of slots.

        Args:
            i: the slots.
            A: [W, b] at the nodes, flat, (len(i), 3, C (n+1)).
            span: delta times the span of time.
        """
        n, C = self.shape.n, self.shape.C
        L = self.L[i]
        W = A.reshape(len(A), 3 * C, n + 1)[..., :n]
        matrix = (W @ transposed(W)).reshape(-1, 3, C, 3, C)
        matrix *= span[:, None, None, None, None] * STAGES[:, None, :, None]
        matrix = matrix.reshape(-1, 3 * C, 3 * C)
        k = np.arange(3 * C)
        matrix[:, k, k] += 1.0
        # With so many right-hand sides the inverse is quicker than a solution.
        u = np.linalg.inv(matrix) @ (W @ L)
        u *= span[:, None, None] * np.repeat(STAGES[-1], C)[:, None]
        result: Floats = L - transposed(W) @ u
        return result

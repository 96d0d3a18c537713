"""What moved the invariant of a trained network: the kernel's motion, weight decay, and the rest.

Under the theory's hypotheses E is constant. With decay and a moving kernel it changes by known amounts (theory 11.1,
11.2); whatever else is found is what the block kernel does not describe, finite steps and batches included.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from ntkflow._types import FeatureMatrix, Features, Weights
from ntkflow.metrics.invariant import InvariantTerms
from ntkflow.problem.kernels import BlockKernel
from ntkflow.problem.sizes import Sizes
from ntkflow.problem.state import State
from ntkflow_validation.metrics.probe import invariant_terms


@dataclass(frozen=True, eq=False)
class Budget:
    """The change of E along a run, in parts that add up to it.

    Attributes:
        first: E at the first time.
        last: E at the last time.
        kernel: change because the kernel moved under the state.
        decay: change because weights, and features with them, decayed.
        weights_only: what the decay of W alone would have changed, features not decaying: -2 lw int W^T W dt / m.
        sampling: norm of what the parts owe to the spacing of the states: a third of their change when every other
            state is left out, as the error of the trapezoidal rule has it; NaN from fewer than three states.
    """

    first: FeatureMatrix
    last: FeatureMatrix
    kernel: FeatureMatrix
    decay: FeatureMatrix
    weights_only: FeatureMatrix
    sampling: float

    @property
    def rest(self) -> FeatureMatrix:
        """The change that neither explains."""
        found: np.ndarray = self.last - self.first - self.kernel - self.decay
        return found

    def shares(self) -> dict[str, float]:
        """Projection of each part on the whole change, over its square; they add up to 1."""
        change = self.last - self.first
        square = float(np.vdot(change, change))
        parts = {"kernel": self.kernel, "decay": self.decay, "rest": self.rest}
        return {name: float(np.vdot(part, change)) / square for name, part in parts.items()}

    def on_negative(self) -> dict[str, float]:
        """Traces on the negative eigenspace of the first E, over the size of its own: what became of that part.

        Of its eigenvalues all but C forbid NC1 for as long as E stays (theory 3.5). `first` is -1; the parts are
        what was added to it and give `last`.
        """
        values, vectors = np.linalg.eigh(self.first)
        V = vectors[:, values < 0]
        if V.shape[1] == 0:
            return {}
        size = -float(values[values < 0].sum())
        named = {"first": self.first, "kernel": self.kernel, "decay": self.decay, "rest": self.rest}
        return {name: float(np.vdot(V, A @ V)) / size for name, A in {**named, "last": self.last}.items()}


def distance_from_collapse(terms: InvariantTerms, W: Weights) -> float:
    """How far E + (C/mu_global) g g^T is from the multiples a Pi of the projector on the rows of centred W.

    In the Frobenius norm, relative to the matrix itself; 0 exactly where W W^T is a multiple of P, NC1 and NC3 hold,
    whatever the size and sign of a. Source: theory 6.
    """
    target = terms.E + terms.global_mean
    centred = W - W.mean(axis=0)
    rows = np.linalg.svd(centred, full_matrices=False)[2][: len(W) - 1]
    a = float(np.vdot(rows.T, target @ rows.T)) / len(rows)
    return float(np.linalg.norm(target - a * rows.T @ rows) / np.linalg.norm(target))


def interpolated(kernels: Mapping[int, BlockKernel], step: int) -> BlockKernel:
    """The block kernel at a step between measured ones, linear in log(1 + step); the nearest one outside."""
    # Snapshots lie so, and early in a training kernels move as fast.
    known = sorted(kernels)
    at, where = np.log1p(step), np.log1p(known)
    constants = np.array([kernels[s].kappas for s in known]).T
    return BlockKernel(*(float(np.interp(at, where, values)) for values in constants))


def budget(
    times: Sequence[float],
    states: Sequence[State],
    sizes: Sizes,
    kernels: Sequence[BlockKernel],
    m: int,
    rate: float,
    responses: Sequence[Features],
) -> Budget:
    """Add up the change of E between successive states.

    From (s1, K1) to (s2, K2) the kernel's part is the mean over both states of E(s, K2) - E(s, K1). Decay changes E
    at the rate 2 sym(E(dW, dH; W, H)), of which the trapezoidal rule takes the integral; E is quadratic, so a central
    difference with any step is that derivative.

    Args:
        times: flow times of the states.
        states: H on a probe, W, b.
        sizes: sizes of the states.
        kernels: block kernel at each time.
        m: samples of each class in the data set.
        rate: lw, decay rate of the weights per unit of flow time.
        responses: change of H per unit of decay, (n, N) at each time: H' = lw response.
    """

    def E(state: State, kernel: BlockKernel) -> FeatureMatrix:
        return invariant_terms(state, sizes, kernel, m).E

    def moved(state: State, response: Features, by: float) -> State:
        return State(state.H + by * response, state.W - by * state.W, state.b)

    slopes = [
        (E(moved(s, r, 0.5), K) - E(moved(s, r, -0.5), K))
        for s, r, K in zip(states, responses, kernels, strict=True)
    ]

    def parts(chosen: Sequence[int]) -> list[FeatureMatrix]:
        n = states[0].H.shape[0]
        kernel, decay, weights = (np.zeros((n, n)) for _ in range(3))
        for i, j in pairwise(chosen):
            one, two, K1, K2, length = states[i], states[j], kernels[i], kernels[j], times[j] - times[i]
            # The mean over both states: with one of them alone the kernel's part would have a share of the state's.
            kernel += (E(one, K2) - E(one, K1) + E(two, K2) - E(two, K1)) / 2
            decay += rate * length * (slopes[i] + slopes[j]) / 2
            weights -= rate * length * (one.W.T @ one.W + two.W.T @ two.W) / m
        return [kernel, decay, weights]

    # A trapezoidal rule of twice the step errs four times as much: a third of the difference is the error of the finer one.
    last = len(states) - 1
    fine, coarse = parts(range(last + 1)), parts(sorted({*range(0, last, 2), last}))
    gap = (fine[0] + fine[1] - coarse[0] - coarse[1]) / 3
    sampling = float(np.linalg.norm(gap)) if last > 1 else float("nan")
    first, end = E(states[0], kernels[0]), E(states[-1], kernels[-1])
    return Budget(first, end, fine[0], fine[1], fine[2], sampling)

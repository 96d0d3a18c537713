"""What steps of finite length make of a law: exact for plain steps, heavy ball and Nesterov, decay and batches included.

A law q = B(theta, theta) has B(theta, g) = 0 whatever loss or batch the gradient g is of. With G = g + lambda theta (lambda
where a tensor decays), v <- beta v + G, theta <- theta - eta u, u = v (heavy ball) or G + beta v (Nesterov), p = beta or beta^2:
    Z = q - c B(theta, v),    c = 2 eta p/(1 - beta),
    Z' - Z = -2 (eta/(1 - beta)) lambda B(theta, theta_decaying) + eta^2 [q(u) + (2 p/(1 - beta)) B(u, v')],
exactly in every step; where eta changes so does c, by what is known too. Without momentum Z = q. To leading order in eta, of
slow gradients, q itself moves on momentum's clock eta/(1 - beta): that is the flow's law, which leaves the rest out.
Source: docs/conservation-laws.md.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64

Tensors = Mapping[str, np.ndarray]
# B(x, y), symmetric: one number a law, or the matrix of a linear readout.
Pair = Callable[[Tensors, Tensors], np.ndarray]


class Descent(NamedTuple):
    """Steps as optimisers make them.

    Attributes:
        beta: momentum; 0 for plain steps.
        nesterov: Nesterov's form of it.
        weight_decay: the optimiser's lambda, coupled: it passes through the momentum.
        decaying: paths of the tensors that decay.
    """

    beta: float = 0.0
    nesterov: bool = False
    weight_decay: float = 0.0
    decaying: Sequence[str] = ()

    @property
    def carried(self) -> float:
        """c/eta = 2 p/(1 - beta)."""
        return 2 * self.beta ** (2 if self.nesterov else 1) / (1 - self.beta)


class Moment(NamedTuple):
    """What the law of steps needs of one snapshot, from which the next step is made; each of the form's shape.

    Attributes:
        q: B(theta, theta).
        still: the part of it that does not decay.
        carried: B(theta, v), v the velocity that led here.
        added: q(u) + (2 p/(1 - beta)) B(u, v'), what the next step adds over eta^2.
    """

    q: np.ndarray
    still: np.ndarray
    carried: np.ndarray
    added: np.ndarray


def moment(pair: Pair, how: Descent, theta: Tensors, g: Tensors, velocity: Tensors | None) -> Moment:
    """That of one snapshot.

    Args:
        pair: B.
        how: the steps.
        theta: parameters.
        g: the gradient of the next step's loss, without decay.
        velocity: v; None without momentum.
    """
    decaying = {name: t if name in how.decaying else np.zeros_like(t) for name, t in theta.items()}
    G = {name: g[name] + how.weight_decay * decaying[name] for name in theta}
    v = {name: np.zeros_like(t) for name, t in theta.items()} if velocity is None else velocity
    after = {name: how.beta * v[name] + G[name] for name in theta}
    u = {name: G[name] + how.beta * after[name] for name in theta} if how.nesterov else after
    q = pair(theta, theta)
    added = pair(u, u) + how.carried * pair(u, after)
    return Moment(q, q - pair(theta, decaying), pair(theta, v), added)


def law_of_steps(
    seen: Sequence[Moment], steps: Sequence[int], rates: Float64[np.ndarray, " S"], how: Descent
) -> np.ndarray:
    """What q should be at every snapshot, from the first on, (T, ...).

    Exact where every step has a snapshot; between snapshots `still`, `carried` and `added` are interpolated.

    Args:
        seen: at the snapshots.
        steps: numbers of the snapshots.
        rates: eta of every step from steps[0] on, one for the last snapshot's step too.
        how: the steps.
    """
    c, a = how.carried * rates, how.weight_decay * rates / (1 - how.beta)
    Z, found = seen[0].q - c[0] * seen[0].carried, [seen[0].q]
    for i in range(1, len(steps)):
        before, now, length = seen[i - 1], seen[i], steps[i] - steps[i - 1]
        k = steps[i - 1] - steps[0] + np.arange(length)
        # What is left at the end of the interval of what each of its steps adds.
        left = np.cumprod(np.append(1.0, 1 - 2 * a[k[:0:-1]]))[::-1]
        share = np.array([np.arange(length), np.arange(1, length + 1)]) / length
        Z = left[0] * (1 - 2 * a[k[0]]) * Z
        for end, weight in ((before, 1 - share), (now, share)):
            Z = Z + (left * rates[k] ** 2 @ weight[0]) * end.added + (2 * left * a[k] @ weight[0]) * end.still
            moved = left * 2 * a[k] * c[k] @ weight[0] + left * (c[k + 1] - c[k]) @ weight[1]
            Z = Z - moved * end.carried
        found.append(Z + c[steps[i] - steps[0]] * now.carried)
    return np.stack(found)


def left_by_interpolation(
    seen: Sequence[Moment], steps: Sequence[int], rates: Float64[np.ndarray, " S"], how: Descent
) -> np.ndarray:
    """About how far off interpolation leaves the law at the end: a third of what half as many snapshots change there."""
    kept = sorted({*range(0, len(steps), 2), len(steps) - 1})
    fewer = law_of_steps([seen[i] for i in kept], [steps[i] for i in kept], rates, how)
    found: np.ndarray = np.abs(fewer[-1] - law_of_steps(seen, steps, rates, how)[-1]) / 3
    return found

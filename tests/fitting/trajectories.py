"""Simulated trajectories of known kernels, with noise on request."""

import numpy as np

import ntkflow as nf
from ntkflow.fitting import Observed

BLOCK = {"kappa_d": 1.3, "kappa_c": 0.6, "kappa_n": 0.2}
KNOTS = (0.0, 0.4, 1.0)
SCHEDULE = ((1.3, 0.6, 0.2), (2.0, 0.8, 0.1), (1.0, 0.5, 0.3))


def drawn(sizes, seed=0):
    rng = np.random.default_rng(seed)
    H, W = rng.normal(size=(sizes.n, sizes.N)), rng.normal(size=(sizes.C, sizes.n))
    return nf.State(0.5 * H, 0.5 * W, rng.normal(size=sizes.C))


def simulated(sizes, kernel, times, state=None, train_bias=True):
    start = drawn(sizes) if state is None else state
    solution = nf.solve(nf.Problem(sizes, kernel, start, train_bias=train_bias), save_at=times, rtol=1e-10)
    return Observed(np.array(times), [solution.state(i) for i in range(len(times))], sizes)


def noisy(observed, size, seed, exact_start=False, of_b=True):
    rng = np.random.default_rng(seed)
    sizes = (size, size, size * of_b)
    states = [
        nf.State(
            *(part + k * rng.normal(size=part.shape) for k, part in zip(sizes, (s.H, s.W, s.b), strict=True))
        )
        for s in observed.states
    ]
    if exact_start:
        states[0] = observed.states[0]
    return Observed(observed.times, states, observed.sizes)

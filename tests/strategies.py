"""hypothesis strategies shared by the tests: sizes, block kernels, states."""

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st

import ntkflow as nf


def costly(examples: int) -> settings:
    """Settings of a property that takes long: so many examples at most, but only where CI draws them.

    A thorough run draws as many of it as of every other property.
    """
    default = settings.default
    return settings(max_examples=min(examples, default.max_examples)) if default.derandomize else default


@st.composite
def sizes(draw, least_m: int = 1) -> nf.Sizes:
    """C from 2, m from `least_m`, n below, equal to and above C."""
    return nf.Sizes(C=draw(st.integers(2, 5)), m=draw(st.integers(least_m, 5)), n=draw(st.integers(1, 8)))


@st.composite
def kernels(draw) -> nf.BlockKernel:
    """Positive on all `sizes`, mu_single from 0.05: kc = kn and kn = 0 included, and both orders of kc, kn and 0 broken."""
    mu_single = draw(st.floats(0.05, 2.0))
    # Of mu_single, so that mu_global stays at mu_single/10 or above for 4 classes of 9.
    kn = draw(st.sampled_from([0.0, 0.1, 0.7, -0.01 * mu_single]))
    kc = kn + draw(st.sampled_from([0.0, 0.2, 1.0, -0.06 * mu_single]))
    return nf.BlockKernel(kc + mu_single, kc, kn)


@st.composite
def problems(draw, least_m: int = 1) -> nf.Problem:
    """A random problem of moderate scale; not at any special point."""
    s, k = draw(sizes(least_m)), draw(kernels())
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    state = nf.State(
        rng.standard_normal((s.n, s.N)),
        rng.standard_normal((s.C, s.n)) / np.sqrt(s.n),
        0.3 * rng.standard_normal(s.C),
    )
    return nf.Problem(s, k, state)

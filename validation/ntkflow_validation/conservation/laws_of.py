"""`conservation_laws`: the laws of a network, found, named and tested again on its own inputs."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import PyTree
from numpy.typing import ArrayLike

from ntkflow import checks
from ntkflow.foreign.arrays import inputs
from ntkflow.foreign.modules import ForeignNetwork
from ntkflow.words import spelled
from ntkflow_validation.conservation.equations import (
    drawn,
    drawn_statistics,
    equations,
    equations_on,
)
from ntkflow_validation.conservation.law import Law, Laws
from ntkflow_validation.conservation.naming import Coefficients, families, matrix_defect, named, oriented
from ntkflow_validation.conservation.passes import Passes, passes
from ntkflow_validation.conservation.search import EXACT, Found, rows_needed, search
from ntkflow_validation.conservation.slices import Layout

# Samples of a probe, and of X for the test on it. Over 8 a channel may be active in all of them, draw after draw, so that the
# bias before the next normalisation seems to do nothing and is missing in its law.
PROBED, TESTED = 32, 256
# Slices up to which the full null space takes seconds.
CERTIFIED = 600


@spelled
def conservation_laws(
    f: ForeignNetwork, params: PyTree, X: ArrayLike, *, certify: bool | None = None, seed: int = 0
) -> Laws:
    """Find every rescaling law and every linear interface of a network, without knowing its architecture.

    A law is q = sum_g d_g |theta_g|^2 over slices of the parameters along input and output axes; it is constant under
    gradient flow of any loss of the outputs, and decays as `Law.rate` says under weight decay. Source: docs/conservation-laws.md.
    All is computed in float64, networks of float32 are cast; the network itself is left as it is.

    Args:
        f: f(params, x) giving outputs for a batch, or a module of Flax NNX, Linen, Equinox or torch in the mode in which
            it is trained: batch normalisation has laws of filters in training mode alone.
        params: parameters of the function, or variables of the Linen module; None for other modules.
        X: inputs (N, ...). The search takes shape and dtype from them, and draws Gaussian ones of its own; laws are
            tested again on them.
        certify: whether to look at the full null space, which proves that no law is missing and finds those of channels
            that share no index; by default up to some hundred slices. It takes as many backward passes as there are slices.
        seed: of everything that is drawn.

    Raises:
        InputError: the network does not run on X in float64, or has no parameters.
    """
    X = inputs("X", X)
    X = X.astype(np.float64) if X.dtype.kind == "f" else X
    seed = checks.whole("seed", seed, 0)
    net = passes(f, params)
    layout = Layout(net.params, net.outputs_first)
    proof = len(layout.slices) <= CERTIFIED if certify is None else bool(certify)
    # However few are given: over few samples a normalisation's variance may be as small as its epsilon.
    few = np.resize(X[:PROBED], (PROBED, *X.shape[1:]))
    system = equations(net, layout, few, rows_needed(layout, proof), seed)
    # In the order of the network's tensors.
    found = sorted(
        search(system, layout, proof), key=lambda law: (not law.exact, int(np.flatnonzero(law.d)[0]))
    )
    own, dead = equations_on(net, layout, X[:TESTED], seed)
    vectors = [oriented(law.d, layout) for law in found]
    coefficients = [{layout.slices[j]: float(d[j]) for j in np.flatnonzero(d)} for d in vectors]
    linear = _linear(net, found, coefficients, few, seed)
    laws = [
        Law(c, *named(c, layout, i in linear), law.defect, own.defect(d), law.exact, i in linear)
        for i, (law, d, c) in enumerate(zip(found, vectors, coefficients, strict=True))
    ]
    unheard, lifeless = (
        tuple(layout.slices[j] for j in np.flatnonzero(mask)) for mask in (system.silent, dead)
    )
    return Laws(tuple(laws), proof, unheard, lifeless, len(layout.slices), len(system.A))


def _linear(
    net: Passes, found: Sequence[Found], laws: Sequence[Coefficients], like: np.ndarray, seed: int
) -> set[int]:
    """Positions of the laws whose family has its whole matrix conserved."""
    rng = np.random.default_rng([seed, 1])
    theta, constants = drawn(net.params, rng, anew=True), drawn_statistics(net.constants, rng)
    x = rng.standard_normal(like.shape) if like.dtype.kind == "f" else like
    g, _ = net.pull(theta, constants, x, seed)
    exact = [i for i, law in enumerate(found) if law.exact]
    groups = [[exact[i] for i in family] for family in families([laws[i] for i in exact])]
    return {i for group in groups if matrix_defect([laws[j] for j in group], theta, g) < EXACT for i in group}

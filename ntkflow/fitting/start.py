"""Starting values by linear least squares, without any simulation.

From integrals: H(t2) - H(t1) = -sum_k theta_k integral of W^T R B_k dt, with R from the data (eq. 19), is linear
in the parameters; the integrand is interpolated between the observations. From the invariant: between any two
times the changes of W^T W / m, S, H1 P H1^T and C g g^T are related by 1/mu_single, 1/mu_class, 1/mu_global
(eq. 26, not used so in the paper), whatever happened in between; this one does not mind sparse times.
"""

from itertools import pairwise

import numpy as np

from ntkflow._types import Floats
from ntkflow.fitting.family import Family, Parameters
from ntkflow.fitting.observed import Data
from ntkflow.problem.sizes import Sizes

# Gauss points between neighbouring observations: exact to degree 7, and a cubic spline times a kernel that is linear in time
# has degree 4; two would do for a constant kernel.
NODES = 4


def candidates(data: Data, family: Family) -> list[Parameters]:
    """Starting values, at least one; the better one is known after simulating them."""
    # Integrals lose against sparse times, the invariant against noise: neither is better always.
    found = [from_integrals(data, family)]
    # Only with one mass for all classes do H1 P H1^T and C g g^T each have one constant of their own.
    if family.kind == "block" and data.sizes.balanced:
        found.append(from_invariant(data, found[0]))
    return found


def from_integrals(data: Data, family: Family) -> Parameters:
    """Least squares over all windows between neighbouring times, within the family's bounds."""
    from scipy.interpolate import make_interp_spline
    from scipy.optimize import lsq_linear

    pulls = make_interp_spline(data.times, _pulls(data), k=min(3, len(data.times) - 1))
    nodes, shares = np.polynomial.legendre.leggauss(NODES)
    n = data.thin.frame.n_eff
    # H1 times the roots of the masses, and L: distances are those of H. W and b do not see the kernel (eq. 19).
    features = data.weighed(data.packed)[:, : n * (data.sizes.C + data.thin.initial.L.shape[1])]
    p = len(family)
    triangle = np.zeros((0, p + 1))
    for i, (start, end) in enumerate(pairwise(data.times.tolist())):
        rows = np.zeros((features.shape[1], p + 1))
        # Between knots the integrand is smooth.
        inside = [knot for knot, _ in family.units[0].schedule if start < knot < end]
        for a, b in pairwise([start, *inside, end]):
            for node, share in zip(nodes, shares, strict=True):
                at = a + (b - a) * (1 + node) / 2
                rows[:, :p] -= share * (b - a) / 2 * _columns(data, family, pulls(at), at)
        rows[:, p] = features[i + 1] - features[i]
        # Only R of all rows so far is kept: the rows of a large network would not fit into memory together.
        triangle = np.asarray(np.linalg.qr(np.vstack([triangle, rows]), mode="r"))
    scale = float(np.abs(triangle).max()) or 1.0
    A = triangle / scale
    result: Floats = lsq_linear(A[:, :p], A[:, p], (family.lower, np.inf), method="bvls").x
    return result


def from_invariant(data: Data, other: Parameters) -> Parameters:
    """Block constants from the conservation of E; where they come out empty, those of `other`."""
    from scipy.optimize import nnls

    sizes = data.sizes
    m, N = float(sizes.per_class), float(sizes.N)
    terms = []
    for row in data.packed:
        s = data.thin.system.unpack(row)
        g = s.H1.mean(axis=1)
        M = s.H1 - g[:, None]
        terms.append((s.W.T @ s.W / m, s.L @ s.L.T / m, M @ M.T, sizes.C * np.outer(g, g)))
    changes = np.stack([np.stack([(x - y).ravel() for x, y in zip(t, terms[0], strict=True)]) for t in terms])
    left = np.concatenate(list(changes[:, 1:].transpose(0, 2, 1)))
    # Not negative: with a negative eigenvalue the features grow without bound in the simulation that follows.
    inverse = nnls(left, changes[:, 0].ravel())[0]
    # 1/mu = 0 is no constant but a component that did not move: there the integrals have the word.
    scale = np.array([1.0, m, N])
    known = scale * other
    # What comes out this small is zero to `nnls`, and its inverse would be a constant without bounds.
    usable = inverse > 1e-12 * max(float(inverse.max()), 1e-300)
    mu = np.where(usable, 1 / np.where(usable, inverse, 1.0), known)
    result: Floats = np.maximum(mu, 0.0) / scale
    return result


def _pulls(data: Data) -> Floats:
    """W^T R1 and W^T W L at every time, flat."""
    rows = []
    for row in data.packed:
        s = data.thin.system.unpack(row)
        R1 = s.W @ s.H1 + s.b[:, None] - np.eye(data.sizes.C)
        rows.append(np.concatenate([(s.W.T @ R1).ravel(), (s.W.T @ (s.W @ s.L)).ravel()]))
    return np.stack(rows)


def _columns(data: Data, family: Family, pull: Floats, t: float) -> Floats:
    """W^T R B_k for each parameter, flat, with H1's part times the roots of the masses as the features are."""
    sizes: Sizes = data.sizes
    n, C = data.thin.frame.n_eff, sizes.C
    means, within = pull[: n * C].reshape(n, C), pull[n * C :].reshape(n, -1)
    of_column = np.asarray(data.thin.frame.column_class, dtype=int)
    columns = []
    for unit in family.units:
        now = unit.at(t)
        upper = (means @ now.class_kernel) * np.sqrt(sizes.masses)
        columns.append(np.concatenate([upper.ravel(), (within * now.within[of_column]).ravel()]))
    return np.stack(columns, axis=1)

"""NC2: class means, and rows of the head, as a simplex; and as points spread over a sphere."""

import numpy as np

from ntkflow._types import Floats
from ntkflow.metrics.published.facts import Facts, etf_error, pairs
from ntkflow.metrics.published.geometry import UndefinedError
from ntkflow.metrics.published.registry import PAPER, PAPYAN, WU, ZHU, metric

HEAD = "with W"
DIRECTIONS = "no class mean at the centre"
LIU = "Liu et al. 2023"


@metric("NC2", "|M M^T/|M M^T| - P/sqrt(C-1)|", f"{PAPER}; {ZHU}", "identically 0 for two classes")
def simplex(f: Facts) -> float:
    """Distance of the normalised Gram matrix of the means from that of a simplex equiangular tight frame."""
    return etf_error(f.gram)


@metric("NC2_unit", "|U U^T - C/(C-1) P|, U = M with unit rows", f"{PAPER}, section 2.1", DIRECTIONS)
def unit_simplex(f: Facts) -> float:
    """The same for unit means."""
    U, C = f.geometry.unit_means(), f.C
    return float(np.linalg.norm(U @ U.T - (np.eye(C) - 1 / C) * C / (C - 1)))


@metric("NC2_equinorm", "std_c |M_c| / mean_c |M_c|", PAPYAN)
def equinorm(f: Facts) -> float:
    """Variation of the lengths of the means."""
    return _variation(f.M[0])


@metric("NC2_equiangular", "mean over pairs of |cos(M_i, M_j) + 1/(C-1)|", PAPYAN, DIRECTIONS)
def equiangular(f: Facts) -> float:
    """How far the angles between means are from those of a simplex."""
    return _angles(f.geometry.unit_means())


@metric("NC2_cosines", "std over pairs of cos(M_i, M_j)", PAPYAN, DIRECTIONS)
def cosines(f: Facts) -> float:
    """How far the angles between means differ from each other."""
    return _spread(f.geometry.unit_means())


@metric("NC2_W", "|W W^T/|W W^T| - P/sqrt(C-1)|, rows of W not centred", ZHU, HEAD)
def simplex_of_head(f: Facts) -> float:
    """NC2 of the head."""
    W = f.weights()
    return etf_error(W @ W.T)


@metric("NC2_equinorm_W", "std_c |W_c| / mean_c |W_c|", PAPYAN, HEAD)
def equinorm_of_head(f: Facts) -> float:
    """Variation of the lengths of the head's rows."""
    return _variation(f.weights())


@metric("NC2_equiangular_W", "mean over pairs of |cos(W_i, W_j) + 1/(C-1)|", PAPYAN, "with W, no row zero")
def equiangular_of_head(f: Facts) -> float:
    """How far the angles between rows of the head are from those of a simplex."""
    return _angles(f.unit_weights())


@metric("NC2_cosines_W", "std over pairs of cos(W_i, W_j)", PAPYAN, "with W, no row zero")
def cosines_of_head(f: Facts) -> float:
    """How far the angles between rows of the head differ from each other."""
    return _spread(f.unit_weights())


def _variation(A: Floats) -> float:
    norms = np.linalg.norm(A, axis=1)
    return float(norms.std() / norms.mean())


def _angles(U: Floats) -> float:
    return float(np.abs(pairs(U @ U.T) + 1 / (len(U) - 1)).mean())


def _spread(U: Floats) -> float:
    return float(pairs(U @ U.T).std())


DISTANCE = "over pairs of the distance |u_i - u_j|, u_c = M_c/|M_c|"
LOG = "over pairs of the logarithmic energy -log |u_i - u_j|, u_c = M_c/|M_c|"
APART = "no class mean at the centre; no two in one direction"


@metric("GNC2_distance", f"mean {DISTANCE}", f"{LIU}; {WU}", DIRECTIONS)
def distance(f: Facts) -> float:
    """Hyperspherical uniformity of the means, by distance."""
    return float(f.distances.mean())


@metric("GNC2_distance_var", f"variance (ddof 0) {DISTANCE}", f"{LIU}; {WU}", DIRECTIONS)
def distance_variance(f: Facts) -> float:
    """How far the distances differ from each other."""
    return float(f.distances.var())


@metric("GNC2_log", f"mean {LOG}", f"{LIU}; {WU}", APART)
def energy(f: Facts) -> float:
    """Hyperspherical uniformity of the means, by logarithmic energy."""
    return float(_energies(f).mean())


@metric("GNC2_log_var", f"variance (ddof 0) {LOG}", f"{LIU}; {WU}", APART)
def energy_variance(f: Facts) -> float:
    """How far the energies differ from each other."""
    return float(_energies(f).var())


def _energies(f: Facts) -> Floats:
    # On the unit sphere: the floor of lengths becomes one of directions by the shortest mean.
    found = f.distances
    same = np.flatnonzero(found <= f.geometry.floor / f.geometry.norms.min())
    if len(same):
        i, j = np.triu_indices(f.C, 1)
        raise UndefinedError(f"the means of classes {i[same[0]]} and {j[same[0]]} have the same direction")
    return -np.log(found)

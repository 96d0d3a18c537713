"""Checks shared by the rungs: finite float64, square, symmetric, positive definite; each names what broke."""

import numpy as np

from ntkflow import checks
from ntkflow._types import Floats
from ntkflow.checks import numbers
from ntkflow.errors import InputError

# Asymmetry up to this fraction of the largest entry is rounding and is symmetrised away.
SYMMETRY = 1e-10


def array(name: str, value: object, ndim: int) -> Floats:
    """A finite float64 array with `ndim` axes, contiguous."""
    return numbers(name, value, ndim, "measure the kernel again")


def symmetric(name: str, value: object) -> Floats:
    """A square symmetric float64 matrix; asymmetry of rounding size is averaged away."""
    matrix = array(name, value, 2)
    if matrix.shape[0] != matrix.shape[1]:
        raise InputError(name, f"array of shape {matrix.shape}", "must be square", "check the axes")
    gap = float(np.abs(matrix - matrix.T).max(initial=0.0))
    size = float(np.abs(matrix).max(initial=0.0))
    if gap > SYMMETRY * size:
        raise InputError(
            name,
            f"matrix with |A - A^T| up to {gap:.3g}",
            f"must be symmetric (entries up to {size:.3g})",
            "a kernel is symmetric by definition; pass (A + A.T) / 2 if the difference is noise",
        )
    return (matrix + matrix.T) / 2


def shape(name: str, got: tuple[int, ...], want: tuple[int, ...], meaning: str) -> None:
    """Refuse a shape that does not fit the sizes."""
    checks.shape(name, got, want, f", {meaning}", "fix the kernel or the sizes")


def positive(name: str, eigenvalues: Floats, what: str) -> None:
    """Refuse a symmetric matrix that is singular or indefinite, judged by its eigenvalues."""
    # What an eigenvalue solver's rounding can make of a zero: the dimension times that of the largest.
    least, most = float(eigenvalues.min()), float(np.abs(eigenvalues).max())
    noise = len(eigenvalues) * float(np.finfo(np.float64).eps) * most
    if least > noise:
        return
    helper = " (SampleKernel.regularised)" if name == "K" else ""
    negative = int(np.sum(eigenvalues < -noise))
    if negative:
        raise InputError(
            name,
            f"smallest eigenvalue {least:.3g}",
            f"{what} is indefinite: {negative} of {len(eigenvalues)} eigenvalues are negative, "
            "so the loss could rise",
            f"project it on the positive semidefinite matrices and add a ridge{helper}",
        )
    zeros = int(np.sum(np.abs(eigenvalues) <= noise))
    raise InputError(
        name,
        f"smallest eigenvalue {least:.3g}",
        f"{what} is singular: {zeros} of {len(eigenvalues)} directions would be frozen and the invariant "
        "does not exist",
        f"add a ridge, for example 1e-10 of the largest eigenvalue times the identity{helper}",
    )

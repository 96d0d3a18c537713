"""All claims in one list, and the one function that judges them."""

from ntkflow.errors import InputError
from ntkflow.prove import dynamics, ladder, limits, modifications, spectrum, symmetric
from ntkflow.prove.entry import Claim, Entry


def claims() -> tuple[Claim, ...]:
    """Every claim, in the order of the paper's sections."""
    modules = (spectrum, dynamics, symmetric, limits, ladder, modifications)
    return tuple(claim for module in modules for claim in module.CLAIMS)


def prove(filter: str | None = None, errata: bool = False) -> tuple[Entry, ...]:
    """Judge the claims.

    Args:
        filter: only the claim with this key, or those whose key contains it; None means all.
        errata: only those that correct the paper.

    Returns:
        One entry a claim; `entry.as_recorded` says whether the verdict is the expected one.

    Raises:
        InputError: no claim matches.
    """
    chosen = tuple(claim for claim in claims() if claim.erratum or not errata)
    if filter is not None:
        exact = tuple(claim for claim in chosen if claim.key == filter)
        chosen = exact or tuple(claim for claim in chosen if filter in claim.key)
        if not chosen:
            known = ", ".join(claim.key for claim in claims())
            raise InputError("only", filter, "must be part of the key of an entry", f"use one of {known}")
    return tuple(claim.judge() for claim in chosen)

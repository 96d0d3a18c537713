"""All claims in one list, and the one function that judges them."""

from ntkflow.errors import InputError
from ntkflow.prove import wording
from ntkflow.prove.claims import (
    biases,
    derivations,
    dynamics,
    ladder,
    limits,
    misprints,
    modifications,
    reductions,
    relaxations,
    spectrum,
    symmetric,
)
from ntkflow.prove.entry import Claim, Entry

# Where the errata stand in the paper.
ERRATA_ORDER = [
    "sec-2.1-M",
    "sec-4.1-residual",
    "eq-28",
    "eq-30",
    "eq-39",
    "eq-40",
    "eq-46",
    "eq-47",
    "eq-48",
    "eq-49",
    "eq-50",
    "eq-54",
    "eq-55",
    "eq-57",
    "eq-64",
    "eq-66",
    "eq-68",
    "alpha-remark",
    "eq-70",
    "App.C-counts",
    "App.C.1",
    "eq-72",
    "D.1-example",
    "D.1-invariant",
    "eq-77",
    "eq-78",
    "eq-79",
    "D.2-rotation",
    "code-init",
    "code-decay",
]


def claims() -> tuple[Claim, ...]:
    """Every claim: what holds, by subject, then the errata in the order of the paper."""
    modules = (spectrum, dynamics, derivations, reductions, symmetric, limits, ladder, modifications)
    errata = sorted(
        misprints.CLAIMS + biases.CLAIMS + relaxations.CLAIMS + wording.CLAIMS,
        key=lambda claim: ERRATA_ORDER.index(claim.key),
    )
    return (*(claim for module in modules for claim in module.CLAIMS), *errata)


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

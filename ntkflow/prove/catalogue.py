"""All claims in one list, and the one function that judges them."""

from ntkflow.errors import InputError
from ntkflow.prove.claims import (
    biases,
    derivations,
    dynamics,
    ladder,
    layers,
    layers_ends,
    limits,
    misprints,
    modifications,
    reductions,
    relaxations,
    spectrum,
    symmetric,
)
from ntkflow.prove.entry import Claim, Entry, Verdict

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


def _stated(key: str, statement: str, printed: str, corrected: str, evidence: str) -> Claim:
    """An erratum about wording, numbering or the released code: stated with its evidence, nothing to prove."""
    return Claim(key, statement, printed, evidence, Verdict.STATED, corrected=corrected, erratum=True)


WORDING = (
    _stated("sec-2.1-M", "shape and normalisation of M", "M = [...]' in R^{n x C}, with unit columns",
            "no transpose; (67), (70), App. B.4 and the released code use M = H1 P without normalisation",
            "shapes: n-vectors as columns give n x C; with unit columns (67) could not have the scale sqrt(mu_class/m)"),
    _stated("sec-4.1-residual", "notation of the residual and of the step", "r_k' := f_k' - Y_k, (1 - eta Theta)",
            "the first prime is the time index t: r_k^t = (f_k^t - Y_k)', a column; 1 is the identity matrix",
            "comparison of (8) with (9), where f_k^t is a row and r_k^t a column"),
    _stated("App.C-counts", "number of kernels and how often metrics are computed",
            "C (C + 1) + n (n + 1) kernels; metrics every second epoch",
            "distinct pairs are half of that, C (C+1)/2 + n (n+1)/2; the code computes C + n traced kernels, every epoch",
            "Theta_{k,s} and Theta_{s,k} are transposes of each other; reading of the released scripts"),
    _stated("App.C.1", "figure references", "Figure 11 for the last item; Figure 15 is VGG11 on CIFAR10",
            "Figure 20; VGG16 on CIFAR10", "list of App. C.1 against the captions"),
    _stated("code-init", "initialisation (b) of Section 6 against the code", "uniform on [-sqrt(k), sqrt(k)]",
            "code limits are sqrt(3k) for dense and sqrt(k/3) for convolutional layers; biases one-sided on [0, 1/sqrt(n))",
            "sampled limits relative to sqrt(k): 1.732 and 0.577"),
    _stated("code-decay", "weight decay of Section 6 against the code", "weight decay 5e-4",
            "biases and normalisation parameters are not decayed: only tensors with more than one axis are",
            "reading of the released scripts"),
)  # fmt: skip


def claims() -> tuple[Claim, ...]:
    """Every claim: what holds, by subject, then the errata in the order of the paper."""
    modules = (
        spectrum,
        dynamics,
        derivations,
        reductions,
        symmetric,
        limits,
        ladder,
        modifications,
        layers,
        layers_ends,
    )
    errata = sorted(
        misprints.CLAIMS + biases.CLAIMS + relaxations.CLAIMS + WORDING,
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
        # A whole key first: "eq-5" must not bring eq-50 to eq-59 where there is an eq-5.
        exact = tuple(claim for claim in chosen if claim.key == filter)
        chosen = exact or tuple(claim for claim in chosen if filter in claim.key)
        if not chosen:
            known = ", ".join(claim.key for claim in claims())
            raise InputError("only", filter, "must be part of the key of an entry", f"use one of {known}")
    return tuple(claim.judge() for claim in chosen)

"""What a proof is made of (`Equation`), what is claimed (`Claim`) and what came out (`Entry`)."""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

import sympy

from ntkflow.prove.algebra.scalars import vanishes
from ntkflow.prove.algebra.words import Poly

# Rounding of float64 through the few dozen products of a formula; misprints leave 1e-4 and more.
CORRECTED_TOLERANCE = 1e-11


class Verdict(StrEnum):
    """Outcome of an entry."""

    PROVED = "proved"
    CORRECTED = "false as printed, corrected form proved"
    NUMERIC = "checked numerically"
    STATED = "stated"
    NOT_PROVED = "not proved"


@dataclass(frozen=True, eq=False)
class Equation:
    """An identity; it holds when the normal form of left - right is exactly zero.

    Attributes:
        name: what it says, in a few words.
        left, right: two Polys of one shape, or two sympy expressions.
    """

    name: str
    left: Poly | sympy.Expr
    right: Poly | sympy.Expr

    @property
    def remainder(self) -> Poly | sympy.Expr:
        """Left - right."""
        return self.left - self.right

    @property
    def holds(self) -> bool:
        """Whether the remainder is identically zero."""
        rest = self.remainder
        return rest.is_zero if isinstance(rest, Poly) else vanishes(rest)


@dataclass(frozen=True)
class Fact:
    """An exact true-or-false statement about rational numbers, for inequalities.

    Attributes:
        name: what it says.
        holds: whether it is true, decided in exact arithmetic.
        remainder: the numbers that decide it.
    """

    name: str
    holds: bool
    remainder: str


Equations = tuple[Equation | Fact, ...]


@dataclass(frozen=True)
class Witness:
    """Size of an error on random float64 inputs of a fixed seed.

    Attributes:
        measure: what the two numbers are.
        printed: of the printed form; None when nothing is misprinted.
        corrected: of the corrected form; at most CORRECTED_TOLERANCE.
    """

    measure: str
    printed: float | None
    corrected: float


@dataclass(frozen=True, eq=False)
class Claim:
    """A statement with everything needed to judge it.

    Attributes:
        key: e.g. "eq-26" or "sec-3.3".
        statement: in words.
        printed: the formula as the paper prints it, or how it is stated here when the paper has none.
        technique: how it is proved, in a line.
        recorded: the verdict that is expected.
        proof: equations that must all hold.
        corrected: the corrected formula, for errata.
        printed_form: equations that must all fail, for errata.
        counterexample: an exact rational instance of the failure, in words; None when there is none.
        witness: numeric sizes of both errors.
        erratum: whether it belongs to the errata table.
    """

    key: str
    statement: str
    printed: str
    technique: str
    recorded: Verdict = Verdict.PROVED
    proof: Callable[[], Equations] = tuple
    corrected: str = ""
    printed_form: Callable[[], Equations] = tuple
    counterexample: Callable[[], str | None] = field(default=lambda: None)
    witness: Callable[[], Witness | None] = field(default=lambda: None)
    erratum: bool = False

    def judge(self) -> "Entry":
        """Run the proof and compare with what is recorded."""
        equations, printed_form, witness = self.proof(), self.printed_form(), self.witness()
        counterexample = self.counterexample()
        verdict = self._verdict(equations, printed_form, witness, counterexample)
        remainders = tuple(f"{e.name}: {e.remainder}" for e in printed_form)
        failed = tuple(e.name for e in equations if not e.holds)
        return Entry(
            self.key, self.statement, self.printed, verdict, self.recorded, self.corrected, self.technique,
            tuple(e.name for e in equations), failed, remainders, counterexample, witness, self.erratum,
        )  # fmt: skip

    def _verdict(
        self,
        equations: Equations,
        printed_form: Equations,
        witness: Witness | None,
        counterexample: str | None,
    ) -> Verdict:
        # What is recorded says what kind of evidence is due, never what comes out: each branch asks for all of it.
        if self.recorded is Verdict.STATED:
            return Verdict.STATED if not equations else Verdict.NOT_PROVED
        if witness is not None and not witness.corrected <= CORRECTED_TOLERANCE:
            return Verdict.NOT_PROVED
        if self.recorded is Verdict.NUMERIC:
            return Verdict.NUMERIC if witness is not None and not equations else Verdict.NOT_PROVED
        if not equations or not all(e.holds for e in equations) or any(e.holds for e in printed_form):
            return Verdict.NOT_PROVED
        if not printed_form:
            return Verdict.PROVED
        return Verdict.CORRECTED if counterexample and witness is not None else Verdict.NOT_PROVED


@dataclass(frozen=True)
class Entry:
    """The outcome of one claim; strings and numbers only.

    Attributes:
        key, statement, printed, corrected, technique: as in `Claim`.
        verdict: what the computation found.
        recorded: what it is expected to find.
        equations: names of the identities that were reduced to zero.
        failed: those among them that were not.
        remainders: normal form of left - right of each printed identity that fails.
        counterexample: exact rational instance of the failure.
        witness: numeric sizes of both errors.
        erratum: whether it belongs to the errata table.
    """

    key: str
    statement: str
    printed: str
    verdict: Verdict
    recorded: Verdict
    corrected: str
    technique: str
    equations: tuple[str, ...]
    failed: tuple[str, ...]
    remainders: tuple[str, ...]
    counterexample: str | None
    witness: Witness | None
    erratum: bool

    @property
    def as_recorded(self) -> bool:
        """Whether the computation found what is expected."""
        return self.verdict is self.recorded

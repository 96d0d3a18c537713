"""The scalar field of the proofs: rational functions in the symbols below, always in lowest terms.

Sizes and eigenvalues are symbols, so one computation covers every C, m, n and every kernel. Square roots are
avoided by choosing the root itself as the symbol (x = sqrt(m / mu_c), so mu_c = m / x^2), which keeps the zero
test exact: an element is zero exactly when its reduced numerator is.
"""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, Protocol

import sympy
from sympy.polys.domains import QQ
from sympy.polys.fields import field

if TYPE_CHECKING:

    class Polynomial(Protocol):
        """Numerator or denominator of an element of FIELD."""

        def terms(self) -> "Sequence[tuple[tuple[int, ...], Fraction]]":
            """Exponents of the generators and the coefficient, term by term."""
            ...

    class Generated(Protocol):
        """FIELD as its elements know it."""

        gens: "tuple[Scalar, ...]"

    class Scalar(Protocol):
        """An element of FIELD: sympy has no types of its own."""

        numer: Polynomial
        denom: Polynomial
        field: Generated

        def diff(self, generator: object, /) -> "Scalar":
            """Derivative by a generator of FIELD."""
            ...

        def __add__(self, other: "Scalar | int", /) -> "Scalar": ...
        def __radd__(self, other: "Scalar | int", /) -> "Scalar": ...
        def __sub__(self, other: "Scalar | int", /) -> "Scalar": ...
        def __rsub__(self, other: "Scalar | int", /) -> "Scalar": ...
        def __mul__(self, other: "Scalar | int", /) -> "Scalar": ...
        def __rmul__(self, other: "Scalar | int", /) -> "Scalar": ...
        def __truediv__(self, other: "Scalar | int", /) -> "Scalar": ...
        def __rtruediv__(self, other: "Scalar | int", /) -> "Scalar": ...
        def __pow__(self, other: int, /) -> "Scalar": ...
        def __eq__(self, other: object, /) -> bool: ...
        def __neg__(self) -> "Scalar": ...
else:
    Scalar = Polynomial = object
Number = float | Fraction  # or int

_NAMES = "C m n mu_s mu_c mu_g x r s beta a eta lam_w lam_h p q t e ds dc dg w_P w_J h_P h_J s_P s_J c_1 c_2"
FIELD, *_generators = field(_NAMES.split(), QQ)
symbol: dict[str, Scalar] = dict(zip(_NAMES.split(), _generators, strict=True))

ONE: Scalar = FIELD.one
ZERO: Scalar = FIELD.zero
C, m, n = symbol["C"], symbol["m"], symbol["n"]
mu_s, mu_c, mu_g = symbol["mu_s"], symbol["mu_c"], symbol["mu_g"]
N = C * m


def scalar(value: object) -> Scalar:
    """`value` (int, Fraction, field element) as an element of FIELD."""
    element: Scalar = FIELD(QQ(value.numerator, value.denominator) if isinstance(value, Fraction) else value)
    return element


def evaluate(value: Scalar, numbers: Mapping[str, Number]) -> Number:
    """The number a field element stands for; exact when `numbers` are Fractions."""
    return _evaluate(value.numer, numbers) / _evaluate(value.denom, numbers)


def _evaluate(polynomial: Polynomial, numbers: Mapping[str, Number]) -> Number:
    total: Number = 0
    for exponents, coefficient in polynomial.terms():
        product: Number = Fraction(int(coefficient.numerator), int(coefficient.denominator))
        for name, exponent in zip(symbol, exponents, strict=True):
            if exponent:
                product = product * numbers[name] ** exponent
        total = total + product
    return total


def vanishes(expression: sympy.Expr) -> bool:
    """Whether a sympy expression (exponentials, roots of positive symbols) is identically zero.

    Only exact rewriting is used; an expression that no rewriting brings to 0 counts as not zero.
    """
    # Expanded numerators decide almost all; `simplify` is slow, and asked last.
    expression = sympy.sympify(expression)
    numerator = sympy.fraction(sympy.together(expression.rewrite(sympy.exp)))[0]
    if sympy.powsimp(sympy.expand(numerator, power_exp=False)).expand() == 0:
        return True
    return bool(sympy.simplify(expression) == 0)

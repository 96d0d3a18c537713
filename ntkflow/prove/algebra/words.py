"""Polynomials in non-commuting matrices of symbolic size, kept in a normal form.

A `Poly` is a sum of terms: a coefficient (rational function of C, m, the eigenvalues, ...) times scalar factors
(traces and 1 x 1 products) times a word of letters. A letter is a named matrix with a row and a column space;
``W'`` is the transpose of ``W``. Products are reduced at once by

* the rewrite rules of the `Algebra` (Y Y' = m I, Y 1 = m 1, K Kinv = I, hypotheses such as W H1 = I - b 1'),
* commutation of every 1 x 1 factor, which also equals its transpose,
* cyclicity of traces and tr(A') = tr(A).

Equality of two Polys is equality of normal forms: their difference has no term left.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Union

from ntkflow.prove.algebra.calculus import Factor, Letter, Monomial, Word, equal_words, show
from ntkflow.prove.algebra.scalars import ONE, Scalar, scalar

Shape = tuple[str, str]

# Far above any proof here (a few thousand); rules that undo each other stop instead of running for ever.
MAX_STEPS = 200_000


@dataclass
class Algebra:
    """Letters, the sizes of their spaces, and the rewrite rules.

    Attributes:
        letters: by name.
        sizes: the dimension of each space as a scalar; the space "1" is that of numbers.
        rules: left-hand word to its replacement; every rule is stored with its transpose.
        swaps: pairs of symmetric letters that commute, in both orders.
    """

    letters: dict[str, Letter]
    sizes: dict[str, Scalar]
    rules: dict[Word, "Poly"] = field(default_factory=dict)
    swaps: set[Word] = field(default_factory=set)

    def letter(self, name: str) -> "Poly":
        """The letter as a Poly."""
        kind = self.letters[name]
        return self.poly((kind.row, kind.col), [(ONE, (), (name,))])

    def identity(self, space: str) -> "Poly":
        """The identity matrix of a space."""
        return Poly(self, (space, space), {((), ()): ONE})

    def number(self, value: object) -> "Poly":
        """A scalar as a 1 x 1 Poly."""
        return self.identity("1") * scalar(value)

    def declare(self, name: str, row: str, col: str, symmetric: bool = False) -> "Poly":
        """Add a letter and return it."""
        self.letters[name] = Letter(row, col, symmetric)
        return self.letter(name)

    def rule(self, left: str, right: "Poly | int") -> None:
        """Rewrite the word `left` (letters separated by blanks) into `right`, and likewise transposed."""
        word = tuple(left.split())
        shape = (self.space(word[0])[0], self.space(word[-1])[1])
        right = (
            right
            if isinstance(right, Poly)
            else Poly(self, shape, {})
            if right == 0
            else self.identity(shape[0]) * right
        )
        if right.shape != shape:
            raise ValueError(f"rule {left}: shapes {shape} and {right.shape}")
        # With the transposed word: else an identity and its mirror image would have different normal forms.
        self.rules[word] = right
        self.rules[self.flip(word)] = right.T

    def commute(self, first: str, second: str) -> None:
        """Two symmetric letters that commute: always write `first` before `second`."""
        if not (self.letters[first].symmetric and self.letters[second].symmetric):
            raise ValueError(f"{first} and {second} must be symmetric")
        self.rules[(second, first)] = self.letter(first) * self.letter(second)
        self.swaps |= {(first, second), (second, first)}

    def extended(self) -> "Algebra":
        """A copy to which hypotheses can be added; Polys of `self` enter it through `adopt`."""
        copy = Algebra(dict(self.letters), dict(self.sizes), swaps=set(self.swaps))
        copy.rules = {word: Poly(copy, right.shape, dict(right.terms)) for word, right in self.rules.items()}
        return copy

    def adopt(self, poly: "Poly") -> "Poly":
        """The same polynomial reduced with the rules of this algebra."""
        return self.poly(poly.shape, [(c, factors, word) for (factors, word), c in poly.terms.items()])

    def space(self, token: str) -> Shape:
        """Row and column space of a letter or a transposed letter."""
        if token.endswith("'"):
            kind = self.letters[token[:-1]]
            return kind.col, kind.row
        kind = self.letters[token]
        return kind.row, kind.col

    def flip(self, word: Word) -> Word:
        """The transposed word."""
        turned = []
        for token in reversed(word):
            if token.endswith("'"):
                turned.append(token[:-1])
            else:
                # A symmetric letter has no transpose of its own: there is one way to write it.
                turned.append(token if self.letters[token].symmetric else token + "'")
        return tuple(turned)

    def poly(self, shape: Shape, terms: Iterable[tuple[Scalar, tuple[Factor, ...], Word]]) -> "Poly":
        """The normal form of a sum of raw terms."""
        out: dict[Monomial, Scalar] = {}
        stack, steps = list(terms), 0
        while stack:
            steps += 1
            if steps > MAX_STEPS:
                raise RuntimeError("the rewrite rules do not terminate")
            coefficient, factors, word = stack.pop()
            rewritten = self._step(factors, word)
            if rewritten is None:
                key = (tuple(sorted(factors)), word)
                total = out.get(key, 0) + coefficient
                if total == 0:
                    out.pop(key, None)
                else:
                    out[key] = total
            else:
                stack.extend((coefficient * c, f, w) for c, f, w in rewritten)
        return Poly(self, shape, out)

    def _step(
        self, factors: tuple[Factor, ...], word: Word
    ) -> list[tuple[Scalar, tuple[Factor, ...], Word]] | None:
        """One rewriting step of a term, or None when it is in normal form."""
        # Rules before cuts: a rule may remove the letter at which a 1 x 1 product would be cut out.
        match = self._match(word)
        if match is not None:
            return [
                (c, factors + f, word[: match[0]] + w + word[match[1] :])
                for c, f, w in self._right(word, match)
            ]
        split = self._split(word)
        if split is not None:
            return [(ONE, factors + split[0], split[1])]
        for position, factor in enumerate(factors):
            step = self._factor_step(factor)
            if step is not None:
                rest = factors[:position] + factors[position + 1 :]
                return [(c, rest + f, word) for c, f in step]
        return None

    def _match(self, word: Word, keep_swaps: bool = False) -> tuple[int, int] | None:
        # Rules of one, two or three letters are all there are. Inside traces and 1 x 1 products the rules of commuting letters
        # are kept out: all orders are looked through there, and a rule that turns one into another would never end.
        for start in range(len(word)):
            for stop in range(start + 1, min(start + 3, len(word)) + 1):
                if word[start:stop] in self.rules and not (keep_swaps and word[start:stop] in self.swaps):
                    return start, stop
        return None

    def _right(self, word: Word, match: tuple[int, int]) -> Iterator[tuple[Scalar, tuple[Factor, ...], Word]]:
        for (factors, inner), c in self.rules[word[match[0] : match[1]]].terms.items():
            yield c, factors, inner

    def _cuts(self, word: Word) -> list[int]:
        return [i for i in range(1, len(word)) if self.space(word[i])[0] == "1"]

    def _split(self, word: Word) -> tuple[tuple[Factor, ...], Word] | None:
        """Pull the 1 x 1 factors out of a word."""
        if not word:
            return None
        cuts = self._cuts(word)
        row, col = self.space(word[0])[0], self.space(word[-1])[1]
        if not cuts and not row == col == "1":
            return None
        edges = [0, *cuts, len(word)]
        parts = [word[i:j] for i, j in pairwise(edges)]
        head = () if row == "1" else parts.pop(0)
        tail = () if col == "1" or not parts else parts.pop()
        if not parts and head + tail == word:
            return None
        return tuple(("s", part) for part in parts), head + tail

    def _factor_step(self, factor: Factor) -> list[tuple[Scalar, tuple[Factor, ...]]] | None:
        """One rewriting step of a scalar factor, or None when it is in normal form."""
        kind, word = factor
        if not word:
            return [(ONE, ())]
        variants = equal_words(word, kind == "t", self.flip, self.swaps)
        for variant in variants:
            match = self._match(variant, keep_swaps=True)
            if match is not None:
                begin, end = variant[: match[0]], variant[match[1] :]
                size = self.sizes[self.space(variant[0])[0]]
                found = [(c, f, begin + w + end) for c, f, w in self._right(variant, match)]
                # The trace of a word with no letter left is that of the identity, the size of its space.
                return [(c, (*f, (kind, w))) if w or kind == "s" else (c * size, f) for c, f, w in found]
            cuts = [0, *self._cuts(variant), len(variant)]
            if kind == "t" and self.space(variant[0])[0] == "1":
                return [(ONE, (("s", variant),))]
            if kind == "s" and len(cuts) > 2:
                return [(ONE, tuple(("s", variant[i:j]) for i, j in pairwise(cuts)))]
        # The first in the alphabet stands for all words of equal value, so that equal factors cancel.
        best = variants[0]
        return None if best == word else [(ONE, ((kind, best),))]


@dataclass(frozen=True, eq=False)
class Poly:
    """A sum of terms in normal form. Immutable; build it through its `Algebra`."""

    algebra: Algebra
    shape: Shape
    terms: dict[Monomial, Scalar]

    def __add__(self, other: "Poly") -> "Poly":
        if self.shape != other.shape:
            raise ValueError(f"cannot add {self.shape} and {other.shape}")
        terms = dict(self.terms)
        for key, c in other.terms.items():
            terms[key] = terms.get(key, 0) + c
        return Poly(self.algebra, self.shape, {key: c for key, c in terms.items() if c != 0})

    def __neg__(self) -> "Poly":
        return Poly(self.algebra, self.shape, {key: -c for key, c in self.terms.items()})

    def __sub__(self, other: "Poly") -> "Poly":
        return self + (-other)

    def __mul__(self, other: Union["Poly", Scalar, int]) -> "Poly":
        """Matrix product, or multiple; a 1 x 1 Poly multiplies anything."""
        if not isinstance(other, Poly):
            factor = scalar(other)
            return Poly(
                self.algebra, self.shape, {key: c * factor for key, c in self.terms.items() if factor != 0}
            )
        if self.shape[1] != other.shape[0] and ("1", "1") not in (self.shape, other.shape):
            raise ValueError(f"cannot multiply {self.shape} and {other.shape}")
        shape = self.shape[0], other.shape[1]
        if ("1", "1") in (self.shape, other.shape):
            shape = other.shape if self.shape == ("1", "1") else self.shape
        products = [
            (c * d, f + g, v + w) for (f, v), c in self.terms.items() for (g, w), d in other.terms.items()
        ]
        return self.algebra.poly(shape, products)

    def __rmul__(self, factor: Scalar | int) -> "Poly":
        return self * factor

    def __truediv__(self, divisor: Scalar | int) -> "Poly":
        return self * (1 / scalar(divisor))

    @property
    def T(self) -> "Poly":
        """Transpose."""
        flip = self.algebra.flip
        return self.algebra.poly(self.shape[::-1], [(c, f, flip(w)) for (f, w), c in self.terms.items()])

    def trace(self) -> "Poly":
        """Trace, a 1 x 1 Poly."""
        if self.shape[0] != self.shape[1]:
            raise ValueError(f"no trace of shape {self.shape}")
        size = self.algebra.sizes[self.shape[0]]
        terms = [(c, (*f, ("t", w)), ()) if w else (c * size, f, ()) for (f, w), c in self.terms.items()]
        return self.algebra.poly(("1", "1"), terms)

    def squared_norm(self) -> "Poly":
        """Squared Frobenius norm tr(A A')."""
        return (self * self.T).trace()

    def rate(self, rates: Mapping[str, "Poly"], scalars: Mapping[str, Scalar] | None = None) -> "Poly":
        """Time derivative by the product rule; letters without a rate are constant.

        Args:
            rates: time derivative of letters.
            scalars: time derivative of symbols in the coefficients, by name.
        """
        return self.algebra.poly(self.shape, product_rule(self, rates, scalars or {}))

    @property
    def is_zero(self) -> bool:
        """Whether no term is left."""
        return not self.terms

    def __str__(self) -> str:
        return (
            " + ".join(show(c, key) for key, c in sorted(self.terms.items(), key=lambda item: item[0])) or "0"
        )


def product_rule(
    poly: Poly, rates: Mapping[str, Poly], scalars: Mapping[str, Scalar]
) -> Iterator[tuple[Scalar, tuple[Factor, ...], Word]]:
    """Raw terms of the time derivative of a Poly."""
    for (factors, word), c in poly.terms.items():
        for name, speed in scalars.items():
            generator = next(g for g in c.field.gens if str(g) == name)
            yield c.diff(generator) * speed, factors, word
        for d, f, w in _word_rule(poly.algebra, word, rates):
            yield c * d, factors + f, w
        for i, (kind, inner) in enumerate(factors):
            rest = factors[:i] + factors[i + 1 :]
            for d, f, w in _word_rule(poly.algebra, inner, rates):
                if w or kind == "s":
                    yield c * d, (*rest, *f, (kind, w)), word
                else:
                    yield c * d * poly.algebra.sizes[poly.algebra.space(inner[0])[0]], rest + f, word


def _word_rule(
    algebra: Algebra, word: Word, rates: Mapping[str, Poly]
) -> Iterator[tuple[Scalar, tuple[Factor, ...], Word]]:
    for i, token in enumerate(word):
        name = token.removesuffix("'")
        if name in rates:
            speed = rates[name].T if token.endswith("'") else rates[name]
            if speed.shape != algebra.space(token):
                raise ValueError(f"rate of {name} has shape {speed.shape}")
            for (f, w), d in speed.terms.items():
                yield d, f, word[:i] + w + word[i + 1 :]

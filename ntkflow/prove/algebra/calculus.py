"""Letters and words: words of equal value, the product rule, and how terms are printed."""

from collections.abc import Callable, Iterator, Mapping, Set
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ntkflow.prove.algebra.scalars import Scalar

if TYPE_CHECKING:
    from ntkflow.prove.algebra.words import Algebra, Poly

Word = tuple[str, ...]
Factor = tuple[str, Word]  # ("s", 1 x 1 word) or ("t", word under a trace)
Monomial = tuple[tuple[Factor, ...], Word]


@dataclass(frozen=True)
class Letter:
    """A named matrix: its row space, its column space, and whether it equals its transpose."""

    row: str
    col: str
    symmetric: bool = False


def equal_words(word: Word, traced: bool, flip: Callable[[Word], Word], swaps: Set[Word]) -> list[Word]:
    """All words of the same value, sorted: transposed, turned round under a trace, commuting letters swapped."""
    found, frontier = {word}, [word]
    while frontier:
        current = frontier.pop()
        near = [flip(current)]
        if traced:
            near.append(current[1:] + current[:1])
        pairs = [i for i in range(len(current) - 1) if current[i : i + 2] in swaps]
        near += [(*current[:i], current[i + 1], current[i], *current[i + 2 :]) for i in pairs]
        for other in near:
            if other not in found:
                found.add(other)
                frontier.append(other)
    return sorted(found)


def product_rule(
    poly: "Poly", rates: Mapping[str, "Poly"], scalars: Mapping[str, Scalar]
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
    algebra: "Algebra", word: Word, rates: Mapping[str, "Poly"]
) -> Iterator[tuple[Scalar, tuple[Factor, ...], Word]]:
    for i, token in enumerate(word):
        name = token.removesuffix("'")
        if name in rates:
            speed = rates[name].T if token.endswith("'") else rates[name]
            if speed.shape != algebra.space(token):
                raise ValueError(f"rate of {name} has shape {speed.shape}")
            for (f, w), d in speed.terms.items():
                yield d, f, word[:i] + w + word[i + 1 :]


def show(c: Scalar, key: Monomial) -> str:
    """A term as text."""
    factors, word = key
    text = [] if c == 1 and (factors or word) else [f"({c})"]
    text += [f"tr[{' '.join(w)}]" if kind == "t" else f"[{' '.join(w)}]" for kind, w in factors]
    return " ".join(text + list(word))

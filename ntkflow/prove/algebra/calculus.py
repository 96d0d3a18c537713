"""Letters and words: words of equal value, and how terms are printed."""

from collections.abc import Callable, Set
from dataclasses import dataclass

from ntkflow.prove.algebra.scalars import Scalar

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
    # By search to the end: words are short, and the three moves generate few others.
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


def show(c: Scalar, key: Monomial) -> str:
    """A term as text."""
    factors, word = key
    text = [] if c == 1 and (factors or word) else [f"({c})"]
    text += [f"tr[{' '.join(w)}]" if kind == "t" else f"[{' '.join(w)}]" for kind, w in factors]
    return " ".join(text + list(word))

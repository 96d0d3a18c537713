"""Concrete matrices for the letters: exact integer ones for counterexamples, float ones for tests of the engine."""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from ntkflow.prove.algebra.calculus import Word
from ntkflow.prove.algebra.scalars import Number, evaluate
from ntkflow.prove.algebra.words import Algebra, Poly
from ntkflow.prove.entry import Equation, Fact

Matrices = Mapping[str, np.ndarray]


@dataclass(frozen=True, eq=False)
class Instance:
    """Matrices for letters and numbers for symbols; exact when their entries are Fractions.

    Attributes:
        matrices: by letter, two-dimensional.
        numbers: by symbol.
    """

    matrices: Matrices
    numbers: Mapping[str, Number]

    def value(self, poly: Poly) -> np.ndarray:
        """The matrix a Poly stands for."""
        rows, cols = (self._size(poly.algebra, space) for space in poly.shape)
        total = np.zeros((rows, cols), dtype=object)
        for (factors, word), coefficient in poly.terms.items():
            term = self.product(poly.algebra, word) if word else np.eye(rows, dtype=int).astype(object)
            # A 1 x 1 product is its own trace, so that both kinds of factor are read alike.
            for _, inner in factors:
                term = term * np.trace(self.product(poly.algebra, inner))
            total = total + term * evaluate(coefficient, self.numbers)
        return total

    def violations(self, algebra: Algebra) -> list[str]:
        """Rules of the algebra that this instance does not obey (to 1e-9), among those with known letters."""
        broken = []
        for word, right in algebra.rules.items():
            if not {token.removesuffix("'") for token in word} <= set(self.matrices):
                continue
            difference = self.product(algebra, word) - self.value(right)
            if max(abs(float(entry)) for entry in difference.ravel()) > 1e-9:
                broken.append(" ".join(word))
        return broken

    def product(self, algebra: Algebra, word: Word) -> np.ndarray:
        """The plain product of a word's matrices, no rule applied."""
        result = np.eye(self._size(algebra, algebra.space(word[0])[0]), dtype=int).astype(object)
        for token in word:
            matrix = self.matrices[token.removesuffix("'")]
            result = result.dot(matrix.T if token.endswith("'") else matrix)
        return result

    def _size(self, algebra: Algebra, space: str) -> int:
        return int(evaluate(algebra.sizes[space], self.numbers))


def exact(values: object) -> np.ndarray:
    """A matrix of Fractions."""
    table = np.atleast_2d(np.asarray(values, dtype=object))
    fractions: np.ndarray = np.vectorize(Fraction, otypes=[object])(table)
    return fractions


def integers(rows: int, cols: int, seed: int) -> np.ndarray:
    """A fixed matrix of small integers, different for different seeds."""
    i, j = np.indices((rows, cols))
    return exact((3 * i + 5 * j + 2 * i * j + 4 * seed) % 7 - 3)


def small_model(C: int = 2, m: int = 2, n: int = 3, **numbers: int | Fraction) -> Instance:
    """Integer W, b, H, R, H1, ... with kappa = (3, 2, 1); no hypothesis is imposed on them.

    `numbers` gives values to further symbols.
    """
    N = C * m
    # Small and entry by entry different, so that no difference of two sides vanishes by a symmetry of the instance.
    names = {"W": (C, n), "b": (C, 1), "H": (n, N), "R": (C, N), "H1": (n, C), "H2": (n, N - C)}
    matrices = {name: integers(*shape, seed) for seed, (name, shape) in enumerate(names.items())}
    labels = np.kron(np.eye(C, dtype=int), np.ones((1, m), dtype=int))
    matrices |= {"Y": exact(labels), "u": exact(np.ones((C, 1), int)), "o": exact(np.ones((N, 1), int))}
    sizes = {"C": C, "m": m, "n": n}
    eigenvalues = {"mu_s": 1, "mu_c": 1 + m, "mu_g": 1 + m + N}
    values = {**sizes, **eigenvalues, **numbers}
    return Instance(matrices, {name: Fraction(value) for name, value in values.items()})


def counterexample(equation: Equation | Fact, instance: Instance, where: str) -> str | None:
    """Where the two sides differ at an exact instance; None when they agree there."""
    if isinstance(equation, Fact):
        return None if equation.holds else f"{where}: {equation.remainder}"
    difference = instance.value(equation.remainder)
    for index, entry in np.ndenumerate(difference):
        if entry != 0:
            row, col = (i + 1 for i in index)
            return f"{where}: left - right has entry ({row},{col}) = {entry}"
    return None

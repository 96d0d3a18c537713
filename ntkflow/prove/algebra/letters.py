"""The matrices of the model as letters, the block kernel, and the two systems of the paper.

Letters: W (C x n), b (C x 1), H (n x N), R (C x N, free), Y (C x N), H1 (n x C), H2 (n x (N-C)), Q2 (N x (N-C)),
u = 1_C, o = 1_N, and a symmetric invertible K (N x N) with inverse Ki.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from ntkflow.prove.algebra.calculus import Letter
from ntkflow.prove.algebra.scalars import ONE, C, Scalar, m, mu_c, mu_g, mu_s, n
from ntkflow.prove.algebra.words import Algebra, Poly


def model_algebra(
    m: Scalar = m, more: Mapping[str, str] | None = None, spaces: Sequence[str] = ()
) -> Algebra:
    """The letters of the model and the facts about labels that hold for every C and m.

    Args:
        m: samples per class.
        more: further letters with their two spaces.
        spaces: further spaces, of which no trace of an identity is taken.
    """
    N = C * m
    shapes = {
        "W": "C n", "b": "C 1", "H": "n N", "R": "C N", "Y": "C N", "H1": "n C", "H2": "n w",
        "Q2": "N w", "u": "C 1", "o": "N 1", "K": "N N", "Ki": "N N", **(more or {}),
    }  # fmt: skip
    pairs = {name: spaces.split() for name, spaces in shapes.items()}
    letters = {name: Letter(row, col, name in {"K", "Ki"}) for name, (row, col) in pairs.items()}
    algebra = Algebra(letters, {"C": C, "n": n, "N": N, "w": N - C, "1": ONE, **dict.fromkeys(spaces, n)})
    algebra.rule("u' u", algebra.number(C))
    algebra.rule("o' o", algebra.number(N))
    algebra.rule("Y Y'", algebra.identity("C") * m)
    algebra.rule("Y o", algebra.letter("u") * m)
    algebra.rule("Y' u", algebra.letter("o"))
    algebra.rule("Y Q2", 0)
    algebra.rule("o' Q2", 0)
    algebra.rule("Q2' Q2", 1)
    algebra.rule("Q2 Q2'", algebra.identity("N") - algebra.letter("Y").T * algebra.letter("Y") / m)
    algebra.rule("K Ki", 1)
    algebra.rule("Ki K", 1)
    return algebra


@dataclass(frozen=True, eq=False)
class Model:
    """The block-kernel model over an algebra, for given eigenvalues of the kernel.

    Attributes:
        algebra: letters and rules, possibly with hypotheses added.
        mu_s: kappa_d - kappa_c.
        mu_c: mu_s + m (kappa_c - kappa_n).
        mu_g: mu_c + N kappa_n.
        m: samples per class.
    """

    algebra: Algebra
    mu_s: Scalar = mu_s
    mu_c: Scalar = mu_c
    mu_g: Scalar = mu_g
    m: Scalar = m

    def __getattr__(self, name: str) -> Poly:
        if name in self.__dict__["algebra"].letters:
            return self.algebra.letter(name)
        raise AttributeError(name)

    @property
    def N(self) -> Scalar:
        """Number of samples."""
        return C * self.m

    @property
    def kappa_n(self) -> Scalar:
        """Kernel value of two classes; with the next two a bijection of (mu_s, mu_c, mu_g)."""
        # The eigenvalues are the symbols, since they are what is divided by: denominators stay monomials.
        return (self.mu_g - self.mu_c) / self.N

    @property
    def kappa_c(self) -> Scalar:
        """Kernel value of two samples of a class."""
        return self.kappa_n + (self.mu_c - self.mu_s) / self.m

    @property
    def kappa_d(self) -> Scalar:
        """Kernel value on the diagonal."""
        return self.kappa_c + self.mu_s

    @property
    def alpha(self) -> Scalar:
        """kappa_n m / (mu_c + C kappa_n m). Source: Theorem 5.1."""
        return self.kappa_n * self.m / (self.mu_c + C * self.kappa_n * self.m)

    @cached_property
    def I(self) -> Poly:  # noqa: E743
        """Identity of the class space."""
        return self.algebra.identity("C")

    @cached_property
    def J(self) -> Poly:
        """Projector on the mean over classes, u u'/C."""
        return self.u * self.u.T / C

    @cached_property
    def P(self) -> Poly:
        """Projector on class contrasts, I - J."""
        return self.I - self.J

    @cached_property
    def kernel(self) -> Poly:
        """kappa_d I + kappa_c (Y'Y - I) + kappa_n (o o' - Y'Y). Source: proof of Theorem 4.1."""
        same, all_, one = self.Y.T * self.Y, self.o * self.o.T, self.algebra.identity("N")
        return one * self.kappa_d + (same - one) * self.kappa_c + (all_ - same) * self.kappa_n

    @cached_property
    def kernel_inverse(self) -> Poly:
        """(I - Y'Y/m)/mu_s + Y'PY/(m mu_c) + o o'/(N mu_g)."""
        within = self.algebra.identity("N") - self.Y.T * self.Y / self.m
        return (
            within / self.mu_s
            + self.Y.T * self.P * self.Y / (self.m * self.mu_c)
            + self.o * self.o.T / (self.N * self.mu_g)
        )

    @cached_property
    def class_kernel(self) -> Poly:
        """Kc = mu_c I + kappa_n m u u'."""
        return self.I * self.mu_c + self.u * self.u.T * (self.kappa_n * self.m)

    @cached_property
    def inverse_class_kernel(self) -> Poly:
        """Mc = m (P / mu_c + J / mu_g)."""
        return (self.P / self.mu_c + self.J / self.mu_g) * self.m

    @cached_property
    def residual(self) -> Poly:
        """W H + b o' - Y. Source: eq. (16)."""
        return self.W * self.H + self.b * self.o.T - self.Y

    @cached_property
    def R1(self) -> Poly:
        """W H1 + b u' - I. Source: Theorem 5.1."""
        return self.W * self.H1 + self.b * self.u.T - self.I

    @cached_property
    def S(self) -> Poly:
        """H2 H2'."""
        return self.H2 * self.H2.T

    @cached_property
    def X(self) -> Poly:
        """W W'."""
        return self.W * self.W.T

    @cached_property
    def G(self) -> Poly:
        """H1' H1."""
        return self.H1.T * self.H1

    @cached_property
    def g(self) -> Poly:
        """Global feature mean."""
        return self.H1 * self.u / C

    @cached_property
    def invariant(self) -> Poly:
        """E of eq. (26)."""
        middle = self.I - self.u * self.u.T * self.alpha
        return self.W.T * self.W / self.m - self.H1 * middle * self.H1.T / self.mu_c - self.S / self.mu_s

    def raw_flow(self, R: Poly, K: Poly) -> dict[str, Poly]:
        """Rates dH = -W' R K, dW = -R H', db = -R o. Source: eq. (19)."""
        return {"H": -(self.W.T * R * K), "W": -(R * self.H.T), "b": -(R * self.o)}

    def class_flow(self) -> dict[str, Poly]:
        """The decomposed system. Source: eq. (25)."""
        return {
            "H1": -(self.W.T * self.R1 * self.class_kernel),
            "H2": -(self.W.T * self.W * self.H2) * self.mu_s,
            "W": -(self.R1 * self.H1.T + self.W * self.S) * self.m,
            "b": -(self.R1 * self.u) * self.m,
        }


def model(m: Scalar = m) -> Model:
    """The model with no hypothesis; `m` may be given as a square where its root is needed."""
    return Model(model_algebra(m), m=m)


def assume(base: Model, **rules: Poly | int) -> Model:
    """`base` with hypotheses: keyword ``W_H1=poly`` rewrites the word W H1, ``Wt_W`` the word W' W."""
    # A copy: hypotheses of one claim must not help to prove another.
    algebra = base.algebra.extended()
    for name, right in rules.items():
        word = name.replace("t_", "'_").removesuffix("_").replace("_", " ")
        word = word[:-1] + "'" if word.endswith("t") else word
        algebra.rule(word, algebra.adopt(right) if isinstance(right, Poly) else right)
    return Model(algebra, base.mu_s, base.mu_c, base.mu_g, base.m)

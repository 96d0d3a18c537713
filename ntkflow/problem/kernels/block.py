"""The paper's kernel: one value on the diagonal, one within a class, one between classes."""

import math
from dataclasses import asdict, dataclass
from typing import ClassVar, NamedTuple

import numpy as np

from ntkflow._types import Array, ClassMatrix, Features, Floats, Json, SampleKernel
from ntkflow.checks import real
from ntkflow.errors import InputError
from ntkflow.problem.kernels.base import Gradient, Kernel, ThinCoefficients
from ntkflow.problem.sizes import Sizes

# What is left of a sum below this fraction of its terms is rounding.
ROUNDING = 4 * float(np.finfo(np.float64).eps)
# The constants by name, from the largest: of equal samples, within a class, between classes.
KAPPAS = ("kappa_d", "kappa_c", "kappa_n")


class Eigenvalues(NamedTuple):
    """The three eigenvalues of the block kernel (Table 1), smallest first where kappa_c >= kappa_n >= 0."""

    mu_single: float
    mu_class: float
    mu_global: float


class Dimensionless(NamedTuple):
    """The three numbers on which the balanced dynamics depend besides C and the initial state.

    rho_s = mu_single/mu_class, rho_g = mu_global/mu_class, nu = sqrt(m/mu_class), in the clock
    tau = sqrt(m mu_class) t (theory section 2).
    """

    rho_s: float
    rho_g: float
    nu: float


def class_coefficients(kappa_d: Array, kappa_c: Array, kappa_n: Array, masses: Array) -> tuple[Array, Array]:
    """Kc = mu_single I + M ((kappa_c - kappa_n) I + kappa_n 11^T), and mu_single, of numpy or jax. Source: eq. (25)."""
    one = np.eye(masses.shape[0])
    B = (kappa_c - kappa_n) * one + kappa_n
    mu_single = kappa_d - kappa_c
    return mu_single * one + masses[:, None] * B, mu_single


@dataclass(frozen=True)
class BlockKernel(Kernel):
    """K = (kappa_d - kappa_c) I + (kappa_c - kappa_n) Y^T Y + kappa_n 11^T (Definition 3.1).

    Args:
        kappa_d: value for a sample with itself.
        kappa_c: value for two samples of one class.
        kappa_n: value for samples of different classes.

    What it needs is mu_single, mu_class, mu_global > 0, the three eigenvalues on the sizes at hand (`check`). The paper's
    order kappa_c >= kappa_n >= 0 is enough, and too much: a network that has collapsed has a mean kernel with
    kappa_n < 0 (theory 18.2).

    Raises:
        InputError: a value is not finite, or kappa_d < kappa_c, which no sizes allow.

    >>> BlockKernel(1.0, 0.5, 0.25).eigenvalues(Sizes(C=2, m=4, n=3))
    Eigenvalues(mu_single=0.5, mu_class=1.5, mu_global=3.5)
    """

    kappa_d: float
    kappa_c: float
    kappa_n: float

    rung: ClassVar[str] = "block"

    def __post_init__(self) -> None:
        for name in KAPPAS:
            object.__setattr__(self, name, real(name, getattr(self, name), "give a finite number"))
        if self.kappa_d < self.kappa_c:
            raise InputError(
                "kappa_d",
                self.kappa_d,
                f"breaks kappa_d >= kappa_c (kappa_c = {self.kappa_c}): mu_single would be negative",
                "raise kappa_d or lower kappa_c",
            )

    def check(self, sizes: Sizes) -> None:
        """Refuse a kernel that is not positive definite on these sizes, and say which eigenvalue is not positive."""
        # Whoever asks for an eigenvalue has it checked, and asks of the same sizes again and again.
        if self.__dict__.get("_positive_on") is sizes:
            return
        if self.kappa_d <= 0:
            raise InputError(
                "kappa_d", self.kappa_d, "must be > 0: features would not move", "give kappa_d > 0"
            )
        if self.kappa_d == self.kappa_c and sizes.N > sizes.C:
            raise InputError(
                "kappa_d",
                self.kappa_d,
                "equals kappa_c, so mu_single = 0: deviations from the class means would be frozen "
                "and the invariant E does not exist",
                "give kappa_d > kappa_c",
            )
        broken = self.broken(sizes)
        if broken is not None:
            rule = f"breaks {broken}: along that direction features would be frozen or the loss could rise"
            raise InputError("kappa_n", self.kappa_n, rule, self._remedy(sizes))
        self.__dict__["_positive_on"] = sizes

    def __getstate__(self) -> Json:
        # What has been checked is checked again elsewhere.
        return {name: getattr(self, name) for name in KAPPAS}

    def broken(self, sizes: Sizes) -> str | None:
        """Which of mu_single, mu_class, mu_global > 0 fails on these sizes, in words; None for a positive kernel."""
        mu_single = self.kappa_d - self.kappa_c
        if mu_single <= 0 and sizes.N > sizes.C:
            return f"mu_single > 0 (kappa_d - kappa_c = {mu_single:.6g})"
        if not sizes.balanced:
            return self._broken_means(sizes)
        m, N, mu = sizes.per_class, sizes.N, self.eigenvalues(sizes)
        between = m * (abs(self.kappa_c) + abs(self.kappa_n)) if self.kappa_c < self.kappa_n else 0.0
        common = mu.mu_class + N * abs(self.kappa_n) if self.kappa_n < 0 else 0.0
        # What subtraction leaves of terms so large is rounding; the paper's order subtracts nothing.
        if mu.mu_class <= ROUNDING * between:
            return f"mu_class > 0 (kappa_d - kappa_c + m (kappa_c - kappa_n) = {mu.mu_class:.6g} for m = {m})"
        if mu.mu_global <= ROUNDING * common:
            return f"mu_global > 0 (mu_class + N kappa_n = {mu.mu_global:.6g} for N = {N})"
        return None

    def _broken_means(self, sizes: Sizes) -> str | None:
        """`broken` for classes of unequal size, where the kernel of the class means has no eigenvalues in closed form."""
        if self.kappa_c >= self.kappa_n >= 0:
            return None
        B = (self.kappa_c - self.kappa_n) * np.eye(sizes.C) + self.kappa_n
        eigenvalues = np.linalg.eigvalsh(B + np.diag((self.kappa_d - self.kappa_c) / sizes.masses))
        if eigenvalues[0] > ROUNDING * sizes.C * np.abs(eigenvalues).max():
            return None
        return f"a positive kernel of the class means (an eigenvalue of B + diag(mu_single/m_c) is {eigenvalues[0]:.3g})"

    def _remedy(self, sizes: Sizes) -> str:
        if not sizes.balanced:
            return "bring kappa_n nearer to 0, or raise kappa_d"
        own = (self.kappa_d - self.kappa_c) / sizes.per_class + self.kappa_c
        return f"give kappa_n between {-own / (sizes.C - 1):.6g} and {own:.6g}"

    @property
    def on_samples(self) -> bool:
        """It is."""
        return True

    @property
    def kappas(self) -> tuple[float, float, float]:
        """kappa_d, kappa_c, kappa_n."""
        return self.kappa_d, self.kappa_c, self.kappa_n

    def as_dict(self) -> Json:
        """kappa_d, kappa_c, kappa_n and the rung."""
        return {"rung": self.rung, **asdict(self)}

    def eigenvalues(self, sizes: Sizes) -> Eigenvalues:
        """mu_single (N-C times), mu_class (C-1 times), mu_global (once). Source: Table 1."""
        known: tuple[Sizes, Eigenvalues] | None = self.__dict__.get("_eigenvalues")
        if known is not None and known[0] is sizes:
            return known[1]
        m = sizes.per_class
        # Each from the one below it, without differences but those of the kappas: none is lost beside a larger one.
        mu_single = self.kappa_d - self.kappa_c
        mu_class = mu_single + m * (self.kappa_c - self.kappa_n)
        found = Eigenvalues(mu_single, mu_class, mu_class + sizes.N * self.kappa_n)
        # Most of what is known of a kernel is told by them, and they are asked for some thirty times.
        self.__dict__["_eigenvalues"] = sizes, found
        return found

    @classmethod
    def of_eigenvalues(
        cls, sizes: Sizes, mu_single: float, mu_class: float, mu_global: float
    ) -> "BlockKernel":
        """The kernel with these eigenvalues on equal classes; any positive ones will do.

        >>> BlockKernel.of_eigenvalues(Sizes(C=2, m=4, n=3), 0.5, 1.5, 3.5)
        BlockKernel(kappa_d=1.0, kappa_c=0.5, kappa_n=0.25)
        """
        between = (mu_global - mu_class) / sizes.N
        within = between + (mu_class - mu_single) / sizes.per_class
        return cls(within + mu_single, within, between)

    def alpha(self, sizes: Sizes) -> float:
        """The paper's alpha = kappa_n m / mu_global, below 1/C and negative for kappa_n < 0. Source: eq. (26)."""
        return self.kappa_n * sizes.per_class / self.eigenvalues(sizes).mu_global

    def dimensionless(self, sizes: Sizes) -> Dimensionless:
        """rho_s, rho_g and nu."""
        mu = self.eigenvalues(sizes)
        return Dimensionless(
            mu.mu_single / mu.mu_class, mu.mu_global / mu.mu_class, math.sqrt(sizes.per_class / mu.mu_class)
        )

    def class_kernel(self, sizes: Sizes) -> ClassMatrix:
        """Kc = mu_class I + kappa_n m 11^T, the kernel of the class means. Source: eq. (25)."""
        C, m = sizes.C, sizes.per_class
        return self.eigenvalues(sizes).mu_class * np.eye(C) + self.kappa_n * m * np.ones((C, C))

    def inverse_class_kernel(self, sizes: Sizes) -> ClassMatrix:
        """Mc = m Kc^{-1} = (m/mu_class)(I - alpha 11^T), so that H K^{-1} H^T contains H1 Mc H1^T."""
        C, m, mu = sizes.C, sizes.per_class, self.eigenvalues(sizes)
        # From the eigenvalues: 1 - alpha C cancels where alpha C is near one, as it is for many classes.
        J = np.full((C, C), 1 / C)
        result: Floats = m * ((np.eye(C) - J) / mu.mu_class + J / mu.mu_global)
        return result

    def matrix(self, sizes: Sizes) -> SampleKernel:
        """The N x N kernel itself, for oracles and small problems."""
        Y = sizes.Y
        kd, kc, kn = self.kappa_d, self.kappa_c, self.kappa_n
        return (kd - kc) * np.eye(sizes.N) + (kc - kn) * (Y.T @ Y) + kn

    def apply(self, G: Gradient, sizes: Sizes) -> Gradient:
        """G K in O(nN): deviations, class sums and the total sum instead of the N x N kernel (eq. 19)."""
        kd, kc, kn = self.kappa_d, self.kappa_c, self.kappa_n
        if not sizes.balanced:
            Y = sizes.Y
            class_sums = G @ Y.T
            return (kd - kc) * G + ((kc - kn) * class_sums + kn * class_sums.sum(axis=1, keepdims=True)) @ Y
        # Where classes have one size a view by class replaces the products with Y.
        blocks: Array = G.reshape(G.shape[0], sizes.C, sizes.per_class)
        class_sums = blocks.sum(axis=2, keepdims=True)
        total = class_sums.sum(axis=1, keepdims=True)
        return ((kd - kc) * blocks + ((kc - kn) * class_sums + kn * total)).reshape(G.shape)

    def solve(self, H: Features, sizes: Sizes) -> Features:
        """H K^{-1} in O(nN)."""
        return self.thin(sizes).solve(H, sizes)

    def root(self, Z: Features, sizes: Sizes) -> Features:
        """Z K^{1/2} of equal classes in O(nN), by the three eigenvalues.

        Raises:
            InputError: the kernel is not positive, or the classes are imbalanced.
        """
        self.check(sizes)
        mu = self.eigenvalues(sizes)
        blocks = Z.reshape(Z.shape[0], sizes.C, sizes.per_class)
        classes = blocks.mean(axis=2, keepdims=True)
        mean = classes.mean(axis=1, keepdims=True)
        root: Features = (
            np.sqrt(mu.mu_single) * (blocks - classes)
            + np.sqrt(mu.mu_class) * (classes - mean)
            + np.sqrt(mu.mu_global) * np.broadcast_to(mean, classes.shape)
        )
        return root.reshape(Z.shape)

    def thin(self, sizes: Sizes) -> ThinCoefficients:
        """Theorem 5.1; for imbalanced classes Kc = mu_single I + M ((kappa_c - kappa_n) I + kappa_n 11^T).

        The imbalanced form is the class-dependent one with equal constants (not in the paper).
        """
        mu_single, C = self.kappa_d - self.kappa_c, sizes.C
        if sizes.balanced:
            return ThinCoefficients(self.class_kernel(sizes), np.full(C, mu_single))
        kernel, _ = class_coefficients(*self.kappas, sizes.masses)
        return ThinCoefficients(kernel, np.full(C, mu_single))

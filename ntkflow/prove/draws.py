"""Random float64 states of a fixed seed for the witnesses, and the sizes of differences; plain numpy."""

from dataclasses import dataclass

import numpy as np

from ntkflow._types import Floats
from ntkflow.prove.entry import Witness

SEED = 20231


@dataclass(frozen=True, eq=False)
class Draw:
    """Random state and kernel; H1 and H2 as in (23)."""

    C: int
    m: int
    n: int
    kappa: tuple[float, float, float]
    W: Floats
    H: Floats
    b: Floats
    Q2: Floats

    @property
    def N(self) -> int:
        """Samples."""
        return self.C * self.m

    @property
    def mu(self) -> tuple[float, float, float]:
        """mu_single, mu_class, mu_global."""
        kd, kc, kn = self.kappa
        return kd - kc, kd - kc + self.m * (kc - kn), kd - kc + self.m * (kc - kn) + self.N * kn

    @property
    def alpha(self) -> float:
        """kappa_n m/mu_global."""
        return self.kappa[2] * self.m / self.mu[2]

    @property
    def Y(self) -> Floats:
        """One-hot labels."""
        return np.kron(np.eye(self.C), np.ones((1, self.m)))

    @property
    def K(self) -> Floats:
        """Sample kernel, entry by entry."""
        kd, kc, kn = self.kappa
        same = self.Y.T @ self.Y
        return np.where(np.eye(self.N) > 0, kd, np.where(same > 0, kc, kn))

    @property
    def H1(self) -> Floats:
        """Class means."""
        result: Floats = self.H.reshape(self.n, self.C, self.m).mean(axis=2)
        return result

    @property
    def H2(self) -> Floats:
        """Within-class part."""
        result: Floats = self.H @ self.Q2 / np.sqrt(self.m)
        return result

    @property
    def S(self) -> Floats:
        """H2 H2'."""
        return self.H2 @ self.H2.T

    @property
    def R(self) -> Floats:
        """W H + b 1' - Y."""
        return self.W @ self.H + self.b - self.Y

    def with_H(self, H1: Floats, H2: Floats) -> "Draw":
        """The same draw with features composed from H1 and H2."""
        H = H1 @ self.Y + np.sqrt(self.m) * H2 @ self.Q2.T
        return Draw(self.C, self.m, self.n, self.kappa, self.W, H, self.b, self.Q2)


def draw(C: int = 3, m: int = 4, n: int = 5, seed: int = SEED) -> Draw:
    """A random state and kernel."""
    rng = np.random.default_rng(seed)
    # Steps between the kappas well away from zero: at equal kappas some misprints would not show.
    kn = rng.uniform(0.2, 0.8)
    kc = kn + rng.uniform(0.3, 0.9)
    kappa = (kc + rng.uniform(0.4, 1.2), kc, kn)
    within = np.linalg.qr(np.hstack([np.ones((m, 1)), rng.normal(size=(m, m - 1))]))[0][:, 1:]
    Q2 = np.kron(np.eye(C), within)
    return Draw(
        C, m, n, kappa, rng.normal(size=(C, n)), rng.normal(size=(n, C * m)), rng.normal(size=(C, 1)), Q2
    )


def end_of_training() -> Draw:
    """A draw with R1 = 0: H1 solves W H1 = I - b 1'."""
    d = draw()
    H1 = np.linalg.pinv(d.W) @ (np.eye(d.C) - d.b @ np.ones((1, d.C)))
    return d.with_H(H1, 0.5 * d.H2)


def residual(left: Floats, right: Floats) -> float:
    """Relative difference."""
    left, right = np.asarray(left, float), np.asarray(right, float)
    return float(np.linalg.norm(left - right) / max(np.linalg.norm(left), np.linalg.norm(right)))


def compared(truth: Floats, printed: Floats, corrected: Floats, what: str) -> Witness:
    """Both forms against the truth."""
    return Witness(f"relative residual of {what}", residual(truth, printed), residual(truth, corrected))


def off_line(A: Floats, B: Floats) -> float:
    """Distance of A from the multiples of B, relative to A."""
    return float(np.linalg.norm(A - B * np.vdot(A, B) / np.vdot(B, B)) / np.linalg.norm(A))


def positive_root(A: Floats) -> Floats:
    """PSD square root."""
    values, vectors = np.linalg.eigh(A)
    result: Floats = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    return result


def projectors(C: int) -> tuple[Floats, Floats, Floats]:
    """I, J, P."""
    J = np.full((C, C), 1 / C)
    return np.eye(C), J, np.eye(C) - J

"""Claims about features of linear layers, L = 2 and 3 written out: class form, kernel, invariants (theory 18.1 to 18.3)."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from ntkflow.prove.algebra.letters import Model, model_algebra
from ntkflow.prove.algebra.scalars import Scalar, m, mu_g, symbol
from ntkflow.prove.algebra.words import Poly
from ntkflow.prove.entry import Claim, Equation, Equations

DEPTHS = (2, 3)


@dataclass(frozen=True, eq=False)
class Layers:
    """Z = V_1 X, V_2 .. V_L, head A (C x n_L), biases b and c_1 .. c_L as letters; the spaces n_1 .. n_L are all different."""

    L: int
    m: Scalar = m

    @cached_property
    def M(self) -> Model:
        """The model's letters with those of the layers."""
        L = self.L
        shapes = {"Z": "n1 N", "A": f"C n{L}", **{f"c{l}": f"n{l} 1" for l in range(1, L + 1)}}
        shapes |= {f"V{l}": f"n{l} n{l - 1}" for l in range(2, L + 1)}
        spaces = [f"n{l}" for l in range(1, L + 1)]
        return Model(model_algebra(self.m, shapes, spaces), m=self.m)

    @cached_property
    def V(self) -> list[Poly]:
        """V_2 .. V_L and the head, in the order of their use."""
        return [*(self.M.algebra.letter(f"V{l}") for l in range(2, self.L + 1)), self.M.A]

    @cached_property
    def c(self) -> list[Poly]:
        """c_1 .. c_L."""
        return [self.M.algebra.letter(f"c{l}") for l in range(1, self.L + 1)]

    @cached_property
    def U(self) -> list[Poly]:
        """U_1 .. U_L, the head and all layers above l."""
        found = [self.M.A]
        for V in reversed(self.V[:-1]):
            found.append(found[-1] * V)
        return found[::-1]

    @cached_property
    def H(self) -> list[Poly]:
        """H[1] .. H[L] with their biases."""
        found = [self.M.Z + self.c[0] * self.M.o.T]
        for V, c in zip(self.V[:-1], self.c[1:], strict=True):
            found.append(V * found[-1] + c * self.M.o.T)
        return found

    @cached_property
    def outputs(self) -> Poly:
        """A H[L] + b 1'."""
        return self.M.A * self.H[-1] + self.M.b * self.M.o.T

    def flow(self, R: Poly, K: Poly, decay: Scalar | int = 0) -> dict[str, Poly]:
        """dZ = -U_1' R K, dV_l = -U_l' R H[l-1]', dA = -R H[L]', db = -R 1, dc_l = -U_l' R 1; one rate of decay."""
        M = self.M
        rates = {"Z": -(self.U[0].T * R * K), "A": -(R * self.H[-1].T), "b": -(R * M.o)}
        for l in range(2, self.L + 1):
            rates[f"V{l}"] = -(self.U[l - 1].T * R * self.H[l - 2].T)
        for l, U in enumerate(self.U, 1):
            rates[f"c{l}"] = -(U.T * R * M.o)
        if decay:
            rates = {
                name: rate - M.algebra.letter(name) * decay for name, rate in rates.items() if name != "b"
            }
        return rates

    @cached_property
    def pairs(self) -> list[tuple[Poly, Poly]]:
        """V_{l+1}' V_{l+1} and V_l V_l' + c_l c_l' of l = 1 .. L, V_1 V_1' = Z K^{-1} Z'."""
        M = self.M
        own = [M.Z * M.Ki * M.Z.T, *(V * V.T for V in self.V[:-1])]
        return [(V.T * V, o + c * c.T) for V, o, c in zip(self.V, own, self.c, strict=True)]


def over_layers(factors: Sequence[Poly], R: Poly, grams: Sequence[Poly]) -> Poly:
    """sum_l U_l U_l' R G_l: how a kernel that is a sum over layers acts."""
    found = R * 0
    for U, gram in zip(factors, grams, strict=True):
        found = found + U * U.T * R * gram
    return found


def class_form() -> Equations:
    """Class means and within-class part of the first layer, and what the layers above see of them."""
    found: list[Equation] = []
    for L in DEPTHS:
        layers = Layers(L, symbol["p"] ** 2)
        M, p = layers.M, symbol["p"]
        R = layers.outputs - M.Y
        rates = layers.flow(R, M.kernel)
        H1, H2 = M.Z * M.Y.T / M.m, M.Z * M.Q2 / p
        R1 = R * M.Y.T / M.m
        means = [H * M.Y.T / M.m for H in layers.H]
        within = layers.U[0] * H2
        parts = [H2]
        for V in layers.V[:-1]:
            parts.append(V * parts[-1])
        found += [
            Equation(f"L = {L}: dH1", H1.rate(rates), -(layers.U[0].T * R1 * M.class_kernel)),
            Equation(f"L = {L}: dH2", H2.rate(rates), -(layers.U[0].T * within) * M.mu_s),
            Equation(f"L = {L}: R Q2 = U_1 H2 sqrt(m)", R * M.Q2, within * p),
            Equation(f"L = {L}: dW", rates["A"], -(R1 * means[-1].T + within * parts[-1].T) * M.m),
            Equation(f"L = {L}: db", rates["b"], -(R1 * M.u) * M.m),
        ]
        for l in range(2, L + 1):
            D = R1 * means[l - 2].T + within * parts[l - 2].T
            found.append(Equation(f"L = {L}: dV_{l}", rates[f"V{l}"], -(layers.U[l - 1].T * D) * M.m))
    return tuple(found)


def kernels() -> Equations:
    """Rates of the last features and of the outputs are minus their kernels times what pulls, for any K and R."""
    found = []
    for L in DEPTHS:
        layers = Layers(L)
        M, rates = layers.M, layers.flow(layers.M.R, layers.M.K)
        one = M.o * M.o.T
        grams = [gram + one for gram in (M.K, *(H.T * H for H in layers.H))]
        products = [M.algebra.identity(f"n{L}")]
        for V in reversed(layers.V[:-1]):
            products.append(products[-1] * V)
        features = -over_layers(products[::-1], M.A.T * M.R, grams[:-1])
        outputs = -over_layers([*layers.U, M.I], M.R, grams)
        found += [
            Equation(
                f"L = {L}: dH[L] = -sum B_l B_l' A' R (H[l-1]'H[l-1] + 1 1')",
                layers.H[-1].rate(rates),
                features,
            ),
            Equation(f"L = {L}: dF", layers.outputs.rate(rates), outputs),
        ]
    return tuple(found)


def invariants() -> Equations:
    """Q_1 .. Q_L for a free residual and any kernel; with equal decay they fall by themselves; the first layer's mean."""
    found: list[Equation] = []
    for L in DEPTHS:
        layers, rate = Layers(L), symbol["lam_w"]
        M = layers.M
        plain, decayed = layers.flow(M.R, M.K), layers.flow(M.R, M.K, rate)
        for l, (above, own) in enumerate(layers.pairs, 1):
            found.append(Equation(f"L = {L}: dQ_{l} = 0", above.rate(plain), own.rate(plain)))
            fall = -(above - own) * (2 * rate)
            found.append(Equation(f"L = {L}: dQ_{l} = -2 l Q_{l}", (above - own).rate(decayed), fall))
        mean = M.Z * M.Y.T * M.u / M.N
        blocks = layers.flow(M.R, M.kernel)
        found.append(
            Equation(
                f"L = {L}: dg[1] = (mu_g/N) U_1' db",
                mean.rate(blocks),
                layers.U[0].T * blocks["b"] * (mu_g / M.N),
            )
        )
    return tuple(found)


CLAIMS = (
    Claim(
        "sec-18.1", "linear layers split into class means and a within-class part, which only left factors reach (NEW)",
        "dH1 = -U_1' R1 Kc, dH2 = -mu_s U_1' U_1 H2, dV_l = -m U_l' (R1 H1[l-1]' + U_1 H2 H2[l-1]'), dW = -m D_L",
        "projection of the flow on labels and deviations, L = 2 and 3", proof=class_form,
    ),
    Claim(
        "sec-18.2", "kernels of linear layers: sums over layers (NEW)",
        "Theta^h = sum_l (B_l B_l') (x) (H[l-1]' H[l-1] + 1 1'), Theta = sum_l (U_l U_l') (x) (H[l-1]' H[l-1] + 1 1')",
        "product rule for a free residual and any K, L = 2 and 3", proof=kernels,
    ),
    Claim(
        "sec-18.3", "Q_1 .. Q_L are constant for any loss, and with equal decay fall as exp(-2 l t) (NEW)",
        "Q_l = V_{l+1}' V_{l+1} - V_l V_l' - c_l c_l', V_1 V_1' = H[1] K0^{-1} H[1]'",
        "product rule for a free residual and any K, L = 2 and 3", proof=invariants,
    ),
)  # fmt: skip

"""Equal biases: which angles the classes end at.

If E = 0 and all biases end at one value beta, training ends in a symmetric structure that is not an ETF: rows
of W enclose equal angles with cosine -gamma/(1 - gamma), class means (around the origin, not around their own
mean) with cosine -theta/(1 - theta). NC2 holds, for the centred means are an ETF; NC3 fails by an amount that
gamma fixes. Eq. (68) of the paper prints gamma correctly and theta wrongly: its sign is off on one side of an
inverse, so theta misses the simulation, while (1 - |1 - beta C| sqrt(mu_global/mu_class))/C hits it.

Run: python examples/equal_biases.py --out pictures
"""

from pathlib import Path

import numpy as np
from _pictures import BLUE, GREY, ORANGE, RED, label, panes, run, save
from matplotlib.axes import Axes

import ntkflow as nf

BIAS = r"final bias $\beta$ of every class"


def cosine(gram: np.ndarray) -> float:
    """Mean cosine between different columns, from their Gram matrix."""
    norms = np.sqrt(np.diag(gram))
    return float((gram / np.outer(norms, norms))[~np.eye(len(gram), dtype=bool)].mean())


def angle(coefficient: float) -> float:
    """Cosine between two columns whose Gram matrix is proportional to I - coefficient 11^T."""
    return -coefficient / (1 - coefficient)


def printed_theta(sizes: nf.Sizes, kernel: nf.BlockKernel, beta: float) -> float:
    """Theta as eq. (68) prints it."""
    root = np.sqrt(1 - kernel.alpha(sizes) * sizes.C)
    return float(1 - abs(1 - beta * sizes.C) / (2 - root)) / sizes.C


def endpoint(sizes: nf.Sizes, kernel: nf.BlockKernel, beta: float) -> dict[str, float]:
    """Train from equal biases `beta` until collapse: final bias, cosines, NC3, and the gap to the predicted W W^T and H1^T H1."""
    state = nf.initial.make("equal-bias", sizes, kernel, seed=0, beta=beta)
    stop = nf.Stop(nc1=1e-9, stationarity=None)
    final = nf.solve(nf.Problem(sizes, kernel, state), t_end=2000, stop=stop, rtol=1e-10).final
    means = final.H.reshape(sizes.n, sizes.C, -1).mean(axis=2)
    limit = nf.theory.limits.equal_bias(sizes, kernel, float(final.b.mean()))
    gaps = (final.W @ final.W.T - limit.X, means.T @ means - limit.G)
    return {
        "beta": float(final.b.mean()),
        "Gram": max(float(np.abs(gap).max()) for gap in gaps),
        "W": cosine(final.W @ final.W.T),
        "M": cosine(means.T @ means),
        "NC3": nf.metrics.nc(final, sizes)["NC3"],
    }


def draw_cosines(axes: Axes, ends: list[dict[str, float]], sizes: nf.Sizes, kernel: nf.BlockKernel) -> None:
    """Cosines against the final bias: trained, predicted, and as printed."""
    beta = [end["beta"] for end in ends]
    fine = np.linspace(min(beta), max(beta), 300)
    lines = (
        (nf.theory.limits.gamma, BLUE, "-", r"rows of W, $\gamma$"),
        (nf.theory.limits.theta, ORANGE, "-", r"class means, corrected $\theta$"),
        (printed_theta, RED, "--", r"class means, $\theta$ of (68)"),
    )
    for function, colour, style, text in lines:
        axes.plot(fine, [angle(function(sizes, kernel, b)) for b in fine], style, color=colour, label=text)
    axes.plot(beta, [end["W"] for end in ends], "o", color=BLUE, label="rows of W, trained")
    axes.plot(beta, [end["M"] for end in ends], "s", color=ORANGE, label="class means, trained")
    axes.axhline(-1 / (sizes.C - 1), color=GREY, linestyle=":", label="ETF")
    axes.set_ylim(-0.42, 0.85)
    label(axes, "cosines between classes", BIAS, "cosine", ncols=2, loc="upper center")


def draw_duality(axes: Axes, ends: list[dict[str, float]], sizes: nf.Sizes, kernel: nf.BlockKernel) -> None:
    """NC3 against the final bias."""
    beta = [end["beta"] for end in ends]
    fine = np.linspace(min(beta), max(beta), 300)
    predicted = [nf.theory.limits.equal_bias(sizes, kernel, b).NC3 for b in fine]
    axes.plot(fine, predicted, color=BLUE, label="predicted")
    axes.plot(beta, [end["NC3"] for end in ends], "o", color=BLUE, label="trained")
    axes.axvline(1 / sizes.C, color=GREY, linestyle=":", label=r"$\beta = 1/C$: full collapse")
    axes.set_ylim(0, None)
    label(axes, "NC3: self-duality", BIAS, "distance of $M$ from $W^\\top$")


def main(out: Path = Path(), C: int = 4, m: int = 6, n: int = 6, points: int = 9) -> dict[str, float]:
    sizes, kernel = nf.Sizes(C, m, n), nf.BlockKernel(1.0, 0.7, 0.1)
    ends = [endpoint(sizes, kernel, beta) for beta in np.linspace(-1.2, 0.9, points)]
    beta = np.array([end["beta"] for end in ends])
    theory = {
        "W": [angle(nf.theory.limits.gamma(sizes, kernel, b)) for b in beta],
        "M": [angle(nf.theory.limits.theta(sizes, kernel, b)) for b in beta],
        "NC3": [nf.theory.limits.equal_bias(sizes, kernel, b).NC3 for b in beta],
    }
    errors = {name: max(abs(np.array([end[name] for end in ends]) - theory[name])) for name in theory}
    errors["Gram"] = max(end["Gram"] for end in ends)
    wrong = np.array([angle(printed_theta(sizes, kernel, b)) for b in beta])
    misprint = float(np.abs(wrong - [end["M"] for end in ends]).max())

    figure, (left, right) = panes(1, 2, "Equal biases: the angles of the limit")
    draw_cosines(left, ends, sizes, kernel)
    draw_duality(right, ends, sizes, kernel)
    save(figure, out, "equal_biases")

    print(
        f"Cosines of W agree with gamma to {errors['W']:.1e}, of class means with theta to {errors['M']:.1e}."
    )
    print(
        f"The printed theta misses the class means' cosine by up to {misprint:.2f}; NC3 is right to {errors['NC3']:.1e}."
    )
    return {
        **{f"error {name}": float(value) for name, value in errors.items()},
        "error printed theta": misprint,
    }


if __name__ == "__main__":
    run(main, __doc__)

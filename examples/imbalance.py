"""Imbalanced classes: collapse, but to a crooked frame.

Give the classes unequal numbers of samples m_c. The kernel is then a `ClassBlockKernel`, outside the paper, and
the conserved matrix becomes E_K = W^T W - H K^-1 H^T. If it is zero and the loss vanishes, NC1 still holds, but
class means no longer have equal norms or equal angles: NC2 fails. Where they end is decided by Y K^-1 Y^T and
the final biases (`ntkflow.theory.limits.general_kernel`): rarer classes end with longer means, and the classifier
gives them shorter weights.

Run: python examples/imbalance.py --out pictures
"""

from pathlib import Path

import numpy as np
from _pictures import BLUE, GREEN, GREY, ORANGE, PURPLE, RED, label, panes, run, save
from matplotlib.axes import Axes

import ntkflow as nf
from ntkflow.problem.kernels import ClassBlockKernel

COLOURS = (BLUE, ORANGE, GREEN, PURPLE, RED)


def balanced_state(sizes: nf.Sizes, kernel: ClassBlockKernel, seed: int) -> nf.State:
    """E_K = 0: H = W^T Z K^{1/2} with orthonormal rows Z, b = 0."""
    rng = np.random.default_rng(seed)
    W = rng.standard_normal((sizes.C, sizes.n)) / np.sqrt(sizes.n)
    Z = np.linalg.qr(rng.standard_normal((sizes.N, sizes.C)))[0].T
    values, vectors = np.linalg.eigh(kernel.matrix(sizes))
    return nf.State(W.T @ Z @ (vectors * np.sqrt(values)) @ vectors.T, W, np.zeros(sizes.C))


def class_means(state: nf.State, sizes: nf.Sizes) -> np.ndarray:
    """H1, n x C."""
    return np.add.reduceat(state.H, sizes.starts, axis=1) / sizes.masses


def centred(gram: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Norms of the centred class means and their cosines, from a Gram matrix of class means."""
    P = nf.metrics.centring(len(gram))
    MtM = P @ gram @ P
    norms = np.sqrt(np.diag(MtM))
    return norms, MtM / np.outer(norms, norms)


def draw_norms(
    axes: Axes, t: np.ndarray, norms: np.ndarray, limit: np.ndarray, counts: tuple[int, ...]
) -> None:
    """Norms of the centred class means over time, with their limits."""
    for c, count in enumerate(counts):
        colour = COLOURS[c % len(COLOURS)]
        axes.semilogx(t[1:], norms[1:, c], color=colour, label=f"class of {count}")
        axes.axhline(limit[c], color=colour, linestyle="--", linewidth=1)
    axes.plot([], [], "--", color=GREY, linewidth=1, label="limit from $YK^{-1}Y^\\top$")
    label(axes, "norms of the centred class means", "flow time t", r"$\|h_c - g\|$", loc="lower right")


def draw_cosines(axes: Axes, end: np.ndarray, limit: np.ndarray, counts: tuple[int, ...]) -> None:
    """Cosines between the centred means of every pair of classes."""
    i, j = np.triu_indices(len(counts), 1)
    place = np.arange(len(i))
    axes.axhline(-1 / (len(counts) - 1), color=GREY, linestyle=":", label="ETF")
    axes.plot(place, end[i, j], "o", color=BLUE, label="at the end")
    text = "limit from $YK^{-1}Y^\\top$"
    axes.plot(place, limit[i, j], "_", color=RED, markersize=20, markeredgewidth=2, label=text)
    axes.set_xticks(place, [f"{counts[a]} and {counts[b]}" for a, b in zip(i, j, strict=True)])
    axes.margins(y=0.35)
    title = "cosines between centred class means"
    label(axes, title, "samples of the two classes", "cosine", loc="upper right", ncols=2)


def main(
    out: Path = Path(), counts: tuple[int, ...] = (48, 16, 6, 2), n: int = 8, t_end: float = 3e3
) -> dict[str, float]:
    C = len(counts)
    sizes = nf.Sizes(C, counts, n)
    kernel = ClassBlockKernel.from_block(nf.BlockKernel(1.0, 0.2, 0.1), C)
    problem = nf.Problem(sizes, kernel, balanced_state(sizes, kernel, seed=3))
    solution = nf.solve(problem, t_end=t_end, stop=nf.Stop(1e-10, stationarity=None), rtol=1e-11)
    limit = nf.theory.limits.general_kernel(sizes, kernel, solution.final.b)
    track = [class_means(solution.state(i), sizes) for i in range(len(solution))]
    norms = np.array([centred(H1.T @ H1)[0] for H1 in track])

    figure, (left, right) = panes(1, 2, f"Unequal classes: {', '.join(map(str, counts))} samples")
    draw_norms(left, solution.times, norms, centred(limit.G)[0], counts)
    draw_cosines(right, centred(track[-1].T @ track[-1])[1], centred(limit.G)[1], counts)
    save(figure, out, "imbalance")

    final, H1 = solution.final, track[-1]
    weights = np.linalg.norm(final.W, axis=1)
    numbers = {
        "error of H1^T H1": float(np.linalg.norm(H1.T @ H1 - limit.G) / np.linalg.norm(limit.G)),
        "error of W W^T": float(np.linalg.norm(final.W @ final.W.T - limit.X) / np.linalg.norm(limit.X)),
        "NC1": float(solution.series["NC1"][-1]),
        "NC2": float(solution.series["NC2"][-1]),
        "NC2 predicted": limit.NC2,
        "norm ratio": float(norms[-1].max() / norms[-1].min()),
        "rarest / commonest mean": float(norms[-1, -1] / norms[-1, 0]),
        "rarest / commonest weight": float(weights[-1] / weights[0]),
    }
    print(f"NC1 ends at {numbers['NC1']:.1e}, NC2 at {numbers['NC2']:.3f} (predicted {limit.NC2:.3f}).")
    print(
        f"Class means agree with the limit to {numbers['error of H1^T H1']:.1e}, weights to {numbers['error of W W^T']:.1e}."
    )
    print(
        f"Rarest over commonest class: mean {numbers['rarest / commonest mean']:.2f} times as long, "
        f"weights {numbers['rarest / commonest weight']:.2f} times."
    )
    return numbers


if __name__ == "__main__":
    run(main, __doc__)

"""Why a generic wide state never collapses.

E is constant, and within-class variability enters it with a minus sign. At most C of E's negative eigenvalues
can be carried by class means; any further one must be carried by S = H2 H2^T for ever, so tr S has a floor that
is known before training. A random state with n > 2C always has a floor: it fits all labels, and its samples
stay spread out in directions that the classifier does not see. The same width with E = 0 collapses, and so does
a random state with only n = C - 1 features, where every direction is seen.

Run: python examples/variability_floor.py --out pictures
"""

from pathlib import Path

import numpy as np
from _pictures import BLUE, GREEN, GREY, ORANGE, RED, label, panes, run, save
from matplotlib.axes import Axes

import ntkflow as nf


def trajectory(
    start: str, sizes: nf.Sizes, kernel: nf.BlockKernel, seed: int, t_end: float
) -> tuple[nf.Solution, np.ndarray]:
    """A run to t_end, and the lower bounds that E sets for the eigenvalues of S."""
    state = nf.initial.make(start, sizes, kernel, seed=seed)
    stop = nf.Stop(1e-7, stationarity=None)
    # An engine that does not use E, so that the floor is seen and not enforced.
    solution = nf.solve(nf.Problem(sizes, kernel, state), t_end=t_end, stop=stop, engine="LSODA")
    E = nf.metrics.invariant_terms(state, sizes, kernel).E
    return solution, nf.theory.bounds.floor_eigenvalues(E, sizes, kernel)


def spread(state: nf.State, sizes: nf.Sizes) -> np.ndarray:
    """Eigenvalues of S = H2 H2^T, descending."""
    means = np.repeat(state.H.reshape(sizes.n, sizes.C, -1).mean(axis=2), sizes.counts, axis=1)
    return np.linalg.svd(state.H - means, compute_uv=False) ** 2 / sizes.per_class


def draw_runs(axes: Axes, runs: tuple[nf.Solution, ...], floor: float) -> None:
    """tr S of the three runs over time, and the floor of the first."""
    sizes = [solution.problem.sizes for solution in runs]
    texts = (f"random, n = {sizes[0].n}", f"E = 0, n = {sizes[1].n}", f"random, n = C - 1 = {sizes[2].n}")
    for solution, text, colour, style in zip(
        runs, texts, (BLUE, GREEN, ORANGE), ("-", "-.", "--"), strict=True
    ):
        axes.loglog(solution.times[1:], solution.series["tr_S"][1:], style, color=colour, label=text)
    axes.axhline(floor, color=RED, linestyle=":", label="floor from E(0)")
    unit = "tr S (sum of within-class variances)"
    label(axes, "variability over time", "flow time t", unit, loc="lower left")


def draw_spectrum(axes: Axes, start: np.ndarray, end: np.ndarray, bounds: np.ndarray) -> None:
    """Eigenvalues of S before and after training, above their bounds."""
    index = np.arange(1, len(end) + 1)
    axes.plot(index, start, "o", color=GREY, markerfacecolor="none", label="at the start")
    axes.plot(index, end, "o", color=BLUE, markersize=4, label="at the end")
    axes.step(index[: len(bounds)], bounds, ":", where="mid", color=RED, label="lower bounds from E(0)")
    axes.set_ylim(-0.2, None)
    title = f"eigenvalues of S, random state with n = {len(end)}"
    label(axes, title, "eigenvalue", "variance", loc="upper right")


def main(
    out: Path = Path(), C: int = 3, m: int = 10, n: int = 16, t_end: float = 300.0, seed: int = 1
) -> dict[str, float]:
    kernel, wide, thin = nf.BlockKernel(1.0, 0.5, 0.1), nf.Sizes(C, m, n), nf.Sizes(C, m, C - 1)
    generic, bounds = trajectory("gaussian", wide, kernel, seed, t_end)
    narrow, _ = trajectory("gaussian", thin, kernel, seed, t_end)
    balanced, _ = trajectory("balanced", wide, kernel, seed, t_end)
    floor = float(bounds.sum())

    end, start = spread(generic.final, wide), spread(generic.state(0), wide)
    figure, (left, right) = panes(1, 2, "E leaves a floor under the variability")
    draw_runs(left, (generic, balanced, narrow), floor)
    draw_spectrum(right, start, end, bounds)
    save(figure, out, "variability_floor")

    numbers = {
        "floor": floor,
        "smallest tr S": float(generic.series["tr_S"].min()),
        "smallest margin": float((end[: len(bounds)] - bounds).min()),
        "loss": float(generic.series["loss"][-1]),
        "tr S narrow": float(narrow.series["tr_S"][-1]),
        "tr S balanced": float(balanced.series["tr_S"][-1]),
    }
    print(
        f"Random state, n = {n}: loss {numbers['loss']:.1e}, tr S {numbers['smallest tr S']:.2f}, floor {floor:.2f}."
    )
    print(f"Random state, n = {C - 1}: tr S falls to {numbers['tr S narrow']:.1e}.")
    print(f"E = 0, n = {n}: tr S falls to {numbers['tr S balanced']:.1e}.")
    return numbers


if __name__ == "__main__":
    run(main, __doc__)

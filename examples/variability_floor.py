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

import ntkflow as nf


def trajectory(
    start: str, sizes: nf.Sizes, kernel: nf.BlockKernel, seed: int, t_end: float
) -> tuple[nf.Solution, np.ndarray]:
    """A run to t_end, and the lower bounds that E sets for the eigenvalues of S."""
    state = nf.initial.make(start, sizes, kernel, seed=seed)
    stop = nf.Stop(1e-7, stationarity=None)
    # An engine that does not use E, so that the floor is seen and not enforced.
    solution = nf.solve(nf.Problem(sizes, kernel, state), t_end=t_end, stop=stop, engine="LSODA")
    E = nf.invariant.terms(state, sizes, kernel).E
    return solution, nf.bounds.floor_eigenvalues(E, sizes, kernel)


def spread(state: nf.State, sizes: nf.Sizes) -> np.ndarray:
    """Eigenvalues of S = H2 H2^T, descending."""
    means = np.repeat(state.H.reshape(sizes.n, sizes.C, -1).mean(axis=2), sizes.counts, axis=1)
    return np.linalg.svd(state.H - means, compute_uv=False) ** 2 / sizes.per_class


def main(
    out: Path = Path(), C: int = 3, m: int = 10, n: int = 16, t_end: float = 300.0, seed: int = 1
) -> dict[str, float]:
    kernel, wide, thin = nf.BlockKernel(1.0, 0.5, 0.1), nf.Sizes(C, m, n), nf.Sizes(C, m, C - 1)
    generic, bounds = trajectory("gaussian", wide, kernel, seed, t_end)
    narrow, _ = trajectory("gaussian", thin, kernel, seed, t_end)
    balanced, _ = trajectory("balanced", wide, kernel, seed, t_end)
    floor = float(bounds.sum())

    figure, (left, right) = panes(1, 2, "E leaves a floor under the variability")
    for solution, colour, style, text in (
        (generic, BLUE, "-", f"random, n = {n}"),
        (balanced, GREEN, "-.", f"E = 0, n = {n}"),
        (narrow, ORANGE, "--", f"random, n = C - 1 = {C - 1}"),
    ):
        left.loglog(solution.times[1:], solution.series["tr_S"][1:], style, color=colour, label=text)
    left.axhline(floor, color=RED, linestyle=":", label="floor from E(0)")
    label(
        left, "variability over time", "flow time t", "tr S (sum of within-class variances)", loc="lower left"
    )
    end, start = spread(generic.final, wide), spread(generic.state(0), wide)
    index = np.arange(1, n + 1)
    right.plot(index, start, "o", color=GREY, markerfacecolor="none", label="at the start")
    right.plot(index, end, "o", color=BLUE, markersize=4, label="at the end")
    right.step(
        index[: len(bounds)], bounds, where="mid", color=RED, linestyle=":", label="lower bounds from E(0)"
    )
    right.set_ylim(-0.2, None)
    label(right, f"eigenvalues of S, random state with n = {n}", "eigenvalue", "variance", loc="upper right")
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

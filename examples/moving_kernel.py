"""The kernel that moves by itself: what decay, depth and small starts do to features of linear layers.

The features are L linear layers, so that their kernel is theirs and moves with them. First pane: decay of all layers.
Below a threshold collapse is the best state there is, above it only a local one, and further up nothing stays fitted;
starts that are too small lose their contrasts one by one, although keeping all of them would be better (dots: Gaussian
runs). Second pane: small starts. The kernel aligns with the labels before the loss has moved, the earlier the smaller
the start and the deeper the network (dots: runs, lines: the law). Third pane: the same layers with their kernel frozen
at the start would end with larger NC1, by the root of what the kernel grows (dots: runs, lines: closed form).

Run: python examples/moving_kernel.py --out pictures
"""

import math
from pathlib import Path

import numpy as np
from _pictures import BLUE, GREEN, GREY, ORANGE, RED, label, panes, run, save
from matplotlib.axes import Axes

import ntkflow as nf
from ntkflow.integrate.layers.outcome import outcome_of
from ntkflow.problem.layers import initial
from ntkflow.theory.layers import decay as decayed
from ntkflow.theory.layers.course import alignment_law
from ntkflow.theory.layers.frozen import frozen
from ntkflow.theory.layers.limits import collapse_x
from ntkflow.theory.layers.verdict import verdict_of

KERNEL = nf.BlockKernel(1.0, 0.5, 0.1)
# Inputs that know little of the classes, so that there is something to align.
PLAIN = nf.BlockKernel(1.0, 0.2, 0.0)
COLOURS = {2: BLUE, 3: ORANGE, 4: GREEN}


def main(
    out: Path = Path(), C: int = 4, m: int = 3, depths: int = 4, points: int = 7, scale: float = 0.6
) -> dict[str, float]:
    sizes = nf.Sizes(C, m, 2 * C)
    figure, (left, middle, right) = panes(1, 3, "Linear layers, whose kernel moves by itself", width=3.3)
    agree, foretold = _decay(left, sizes, depths, points, scale)
    worst_law = _alignment(middle, sizes, range(2, depths), points)
    worst_frozen = _frozen(right, sizes, range(2, depths), points)
    save(figure, out, "moving_kernel")
    print(
        f"Of {foretold:.0f} runs under decay of which it was said beforehand what becomes of them, {agree:.0f} did that.\n"
        f"The kernel aligns before the fit as the law says, to {worst_law:.2g} of the time of the fit at the smallest starts.\n"
        f"Frozen kernels end where the closed form has them, to {worst_frozen:.1g}."
    )
    return {"foretold": foretold, "agree": agree, "law": worst_law, "frozen": worst_frozen}


def _decay(axes: Axes, sizes: nf.Sizes, depths: int, points: int, scale: float) -> tuple[float, float]:
    """Decay x depth: thresholds of the theory, and how many contrasts Gaussian runs keep."""
    every = np.arange(1, depths + 1)
    node, least = np.array([decayed.thresholds(sizes, KERNEL, int(L)) for L in every]).T
    node[0] = least[0]  # one layer: no jump
    shown, agree, foretold = (GREY, RED, BLUE), 0, 0
    axes.semilogy(every, node, "--", color="black", label="nothing stays fitted above")
    axes.semilogy(every, least, "-", color="black", label="collapse is the best below")
    seen = set()
    for L in every:
        unit = node[L - 1]
        for rate in unit * np.geomspace(0.05, 1.6, points):
            state = initial.make("gaussian", sizes, (sizes.n,) * int(L), KERNEL, 1, scale)
            problem = nf.LayeredProblem(sizes, KERNEL, state, decay=nf.LayerDecay(rate, rate))
            said = verdict_of(problem).as_dict()
            solution = nf.solve_layers(problem, save_at=[0.0, 15 / rate, 30 / rate], rtol=1e-6)
            found = outcome_of(solution, said)
            rank = found["contrasts"]
            kind = 2 if rank == sizes.C - 1 else 0 if rank == 0 else 1
            text = ("dead", "rank lost", "collapsed")[kind]
            axes.plot(L, rate, "o", color=shown[kind], markersize=6, label=None if kind in seen else text)
            seen.add(kind)
            if found["agrees"] is not None:
                agree, foretold = agree + bool(found["agrees"]), foretold + 1
    axes.set_xticks(every)
    axes.set_ylim(bottom=0.005)
    label(
        axes,
        f"Decay, Gaussian starts of {scale:g}",
        "linear layers L",
        "rate of decay",
        loc="lower left",
        fontsize=7.5,
    )
    return float(agree), float(foretold)


def _alignment(axes: Axes, sizes: nf.Sizes, depths: range, points: int) -> float:
    """Initial scale x depth: when the mean kernel is aligned to .9, in times of the fit."""
    worst = 0.0
    small = np.geomspace(0.01, 0.3, points)
    for L in depths:
        found, law = [], []
        for s0 in small:
            if L > 2 and s0 < 0.03:
                continue  # a plateau of 1/s0^2
            state = initial.make("aligned", sizes, (sizes.n,) * L, PLAIN, 0, float(s0), 2 * float(s0))
            solution = nf.solve_layers(nf.LayeredProblem(sizes, PLAIN, state), rtol=1e-6)
            t, series = solution.times[1:], solution.series
            fit = _passes(t, series["p_least"][1:], 0.5)
            aligned = _passes(t, series["alignment"][1:], 0.9)
            found.append((s0, aligned / fit))
            # The size at that time, from the closed course of the fit: s^{L+1} = p sqrt(m/mu_class).
            p = float(np.interp(aligned, t, series["p_least"][1:]))
            s_x = (p * math.sqrt(sizes.per_class / PLAIN.eigenvalues(sizes).mu_class)) ** (1 / (L + 1))
            law.append((s0, alignment_law(float(s0), s_x, L)))
        axes.semilogx(*np.array(law).T, "-", color=COLOURS[L], label=f"L = {L}")
        axes.semilogx(*np.array(found).T, "o", color=COLOURS[L], markersize=5)
        worst = max(worst, abs(found[0][1] - law[0][1]))
    axes.set_ylim(0, 1.05)
    label(
        axes,
        "Alignment before the fit",
        "initial scale",
        "time of alignment / time of fit",
        loc="lower right",
        fontsize=7.5,
    )
    return worst


def _passes(t: np.ndarray, values: np.ndarray, level: float) -> float:
    """The first time at which a series has risen to a level, between saved times in log time."""
    i = int(np.argmax(values >= level))
    share = (level - values[i - 1]) / (values[i] - values[i - 1])
    return float(np.exp((1 - share) * np.log(t[i - 1]) + share * np.log(t[i])))


def _frozen(axes: Axes, sizes: nf.Sizes, depths: range, points: int) -> float:
    """Frozen against moving kernel: NC1 in the end against what the kernel grows."""
    worst, mu = 0.0, KERNEL.eigenvalues(sizes)
    for L in depths:
        star = math.sqrt(collapse_x(sizes, KERNEL, L))
        lines = [frozen(sizes, KERNEL, L, s0) for s0 in star * np.geomspace(0.2, 1.0, 60)]
        axes.loglog(
            [f.growth for f in lines], [f.nc1 for f in lines], "-", color=COLOURS[L], label=f"L = {L}"
        )
        for s0 in star * np.geomspace(0.25, 0.9, points):
            known = frozen(sizes, KERNEL, L, float(s0))
            state = initial.make("aligned", sizes, (sizes.n,) * L, KERNEL, 0, float(s0))
            # On the rows of W the kernel of the start is blocks: L layers weigh the class contrasts L-fold.
            share = float(s0) ** (2 * (L - 1))
            still = nf.BlockKernel.of_eigenvalues(
                sizes, share * mu.mu_single, L * share * mu.mu_class, share * mu.mu_global
            )
            problem = nf.Problem(sizes, still, nf.State(state.layers[-1], state.W, state.b))
            W = nf.solve(problem, rtol=1e-8).final.W
            x = float(np.linalg.svd(W, compute_uv=False)[0] ** 2)
            worst = max(worst, abs(x / known.x_frozen - 1))
            axes.loglog(known.growth, x / known.x, "o", color=COLOURS[L], markersize=5)
    label(
        axes,
        "Kernel frozen at the start",
        "growth of the moving kernel",
        "NC1, frozen / moving",
        fontsize=7.5,
    )
    return worst


if __name__ == "__main__":
    run(main, __doc__)

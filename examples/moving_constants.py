"""Constants that move: what the rungs of the kernel ladder make of a network whose kernel is known exactly.

Two linear layers of aligned starts: their kernel moves, and on the rows of W it is blocks all along. Left pane: the
features as three constants predict them, frozen at the start, moving as the mean over neurons does, and moving as
weighted by W; the last are the right ones, because other neurons are not seen. Right pane: a small Gaussian start,
where no three constants can be right: contrasts are learned one at a time, and the alignment of the last layer's kernel
with the labels climbs by steps to sqrt(k/(C - 1)) after k of them (dotted).

Run: python examples/moving_constants.py --out pictures
"""

from pathlib import Path

import numpy as np
from _pictures import BLUE, GREEN, GREY, ORANGE, label, panes, run, save

import ntkflow as nf
from ntkflow.metrics.neural_collapse import centring
from ntkflow.problem.layers import initial

KERNEL = nf.BlockKernel(1.0, 0.5, 0.1)
RUNGS = (
    ("frozen at the start", ORANGE),
    ("mean over neurons, moving", BLUE),
    ("weighted by W, moving", GREEN),
)


def main(
    out: Path = Path(), C: int = 4, m: int = 3, scale: float = 0.3, small: float = 0.08, points: int = 400
) -> dict[str, float]:
    figure, (left, right) = panes(1, 2, "Constants that move", width=4.8)
    numbers = _rungs(left, nf.Sizes(C, m, 2 * C), scale, points)
    numbers |= _staircase(right, nf.Sizes(C, m, 2 * C), small)
    save(figure, out, "moving_constants")
    frozen, mean, weighted = (numbers[name] for name, _ in RUNGS)
    print(
        f"Constants weighted by W follow the features to {weighted:.1g} of their way, means over neurons to {mean:.2g}, "
        f"those of the start to {frozen:.2g}.\n"
        f"From a small Gaussian start the last contrast is learned {numbers['last over first']:.3g} times as late as the first."
    )
    return numbers


def _rungs(axes, sizes: nf.Sizes, scale: float, points: int) -> dict[str, float]:
    """Predictions of three rungs beside the layers themselves."""
    state = initial.make("aligned", sizes, (sizes.n,) * 2, KERNEL, 0, scale)
    problem = nf.LayeredProblem(sizes, KERNEL, state)
    times = np.linspace(0.0, 12.0, points)
    layers = nf.solve_layers(problem, save_at=times, rtol=1e-8)
    names = ("mu_single", "mu_class", "mu_global")

    def at(i: int, kind: str) -> nf.BlockKernel:
        return nf.BlockKernel.of_eigenvalues(sizes, *(float(layers.series[name + kind][i]) for name in names))

    kernels = (
        at(0, "_W"),
        nf.ScheduledKernel(tuple(times), tuple(at(i, "") for i in range(points))),
        nf.ScheduledKernel(tuple(times), tuple(at(i, "_W") for i in range(points))),
    )
    way = float(np.linalg.norm(layers.final.layers[-1] - state.layers[-1]))
    start, found = nf.State(state.layers[-1], state.W, state.b), {}
    shown = times[1 :: max(1, points // 60)]
    for (name, colour), kernel in zip(RUNGS, kernels, strict=True):
        predicted = nf.solve(nf.Problem(sizes, kernel, start), save_at=[0.0, *shown], rtol=1e-8)
        off = []
        for k, t in enumerate(shown, 1):
            H = layers.state(int(np.searchsorted(times, t))).layers[-1]
            off.append(float(np.linalg.norm(predicted.state(k).H - H)) / way)
        axes.semilogy(shown, off, color=colour, label=name)
        found[name] = max(off)
    axes.set_ylim(bottom=1e-7)
    label(
        axes, "Three constants predict two layers", "flow time t", "error of H / its way", loc="lower right"
    )
    return found


def _staircase(axes, sizes: nf.Sizes, small: float) -> dict[str, float]:
    """Contrasts one at a time, and the alignment of the last layer's kernel."""
    C, P = sizes.C, centring(sizes.C)
    state = initial.make("gaussian", sizes, (sizes.n,) * 2, KERNEL, 3, small)
    solution = nf.solve_layers(nf.LayeredProblem(sizes, KERNEL, state), rtol=1e-6)
    t, fitted = solution.times[1:], []
    for i in range(1, len(solution)):
        now = solution.state(i)
        H1 = now.layers[-1] @ sizes.Y.T / sizes.m
        fitted.append(np.linalg.svd(P @ now.W @ H1 @ P, compute_uv=False)[: C - 1])
    p = np.array(fitted)
    for k in range(C - 1):
        axes.plot(t, p[:, k], color=GREY, label="contrasts, share fitted" if k == 0 else None)
        axes.axhline(np.sqrt((k + 1) / (C - 1)), color="black", linestyle=":", linewidth=1)
    axes.plot(
        t, solution.series["alignment_layer2"][1:], color=GREEN, linewidth=2, label="alignment, last layer"
    )
    late = [float(t[np.argmax(p[:, k] > 0.5)]) for k in range(C - 1)]
    # Room for the legend beside the last contrast.
    axes.set_xlim(0, 1.9 * max(late))
    label(
        axes,
        "Gaussian start: one contrast at a time",
        "flow time t",
        "share fitted, cosine",
        loc="lower right",
    )
    return {"last over first": max(late) / min(late)}


if __name__ == "__main__":
    run(main, __doc__)

"""Three phases: global mean, class means, single samples.

The kernel's three eigenvalues split the loss into three orthogonal parts that are learned at different speeds
(eqs. 16-18). Here E = 0, the feature mean is zero and W^T 1 = 0, so the three parts decay with the
rates of the theory: N for the mean, 2 sqrt(m mu_class) for the class means, mu_single x* for the samples, each
twice for a loss. These are not the rates of Table 1, which belongs to a simpler model. One thing the picture
of separate phases misses: class means are never finished before the samples are. Within-class variability
keeps pushing them, so their loss ends on a slave's slope, twice that of the individual part.

Run: python examples/three_phases.py --out pictures
"""

from pathlib import Path

import numpy as np
from _pictures import GREEN, ORANGE, PURPLE, label, panes, run, save
from matplotlib.axes import Axes

import ntkflow as nf

PARTS = (
    ("global", PURPLE, "global mean"),
    ("class", ORANGE, "class means"),
    ("individual", GREEN, "individual samples"),
)


def rate(name: str, sizes: nf.Sizes, kernel: nf.BlockKernel) -> float:
    """Rate of a mode of the residual at collapse."""
    return nf.theory.spectrum.at_collapse(sizes, kernel).rate(name)


def slope(t: np.ndarray, loss: np.ndarray, start: float, stop: float) -> float:
    """Decay rate of a loss between two times, by least squares on its logarithm."""
    inside = (t >= start) & (t <= stop)
    return -float(np.polyfit(t[inside], np.log(loss[inside]), 1)[0])


def theory(sizes: nf.Sizes, kernel: nf.BlockKernel) -> dict[str, float]:
    """Decay rates of the parts of the loss: early, and late for the last two."""
    samples = 2 * rate("contrast, within class", sizes, kernel)
    return {
        "global": 2 * rate("sum over outputs, global mean", sizes, kernel),
        "class": 2 * rate("contrast, class contrast", sizes, kernel),
        "individual": samples,
        "class, slaved": 2 * samples,
    }


def draw_early(axes: Axes, t: np.ndarray, losses: dict[str, np.ndarray], rates: dict[str, float]) -> None:
    """The three parts, each with the line of its rate through a point where that rate has set in."""
    anchors = {"global": 0.1, "class": 0.28, "individual": 0.6}
    for name, colour, text in PARTS:
        axes.semilogy(t, losses[name], color=colour, linewidth=2.6, label=text)
        at = int(anchors[name] * len(t))
        axes.semilogy(t, losses[name][at] * np.exp(-rates[name] * (t - t[at])), "k--", linewidth=1)
    axes.plot([], [], "k--", linewidth=1, label="rates of the theory")
    axes.set_ylim(1e-9, 1e3)
    label(axes, "first: the mean, then the classes", "flow time t", "loss (sum over samples)", ncols=2)


def draw_late(axes: Axes, t: np.ndarray, losses: dict[str, np.ndarray], rates: dict[str, float]) -> None:
    """Class means and samples long after, with lines through their last points."""
    for name, colour, text in PARTS[1:]:
        axes.semilogy(t, losses[name], color=colour, linewidth=2.6, label=text)
    for name, key, style, factor in (
        ("individual", "individual", "k--", 2),
        ("class", "class, slaved", "k-.", 4),
    ):
        line = losses[name][-1] * np.exp(-rates[key] * (t - t[-1]))
        axes.semilogy(t, line, style, linewidth=1, label=rf"slope ${factor}\mu_{{single}}x^*$")
    axes.set_ylim(1e-14, 1e0)
    title = "much later: the samples, and the classes behind them"
    label(axes, title, "flow time t", "loss (sum over samples)")


def main(out: Path = Path(), C: int = 3, m: int = 12, n: int = 6) -> dict[str, float]:
    sizes, kernel = nf.Sizes(C, m, n), nf.BlockKernel(1.0, 0.98, 0.2)
    centred = nf.initial.make("balanced-contrast", sizes, kernel, seed=0)
    state = nf.State(centred.H, centred.W, np.zeros(C))
    rates, clock = theory(sizes, kernel), nf.theory.rates.class_rate(sizes, kernel)
    times = np.linspace(0, 8, 161) / clock, np.linspace(0.5, 11, 106) / rates["individual"]
    problem = nf.Problem(sizes, kernel, state)
    solution = nf.solve(problem, save_at=np.concatenate(times), rtol=1e-12)
    losses = {name: solution.series[f"loss_{name}"] for name, _, _ in PARTS}
    early = {name: values[:161] for name, values in losses.items()}
    late = {name: values[161:] for name, values in losses.items()}

    figure, (first, second) = panes(1, 2, "Each part of the loss falls at its own rate")
    draw_early(first, times[0], early, rates)
    draw_late(second, times[1], late, rates)
    save(figure, out, "three_phases")

    last = times[1][-30], times[1][-1]
    measured = {
        "global": slope(times[0], early["global"], 1 / clock, 2 / clock),
        "class": slope(times[0], early["class"], 2.2 / clock, 2.9 / clock),
        "individual": slope(times[1], late["individual"], *last),
        "class, slaved": slope(times[1], late["class"], *last),
    }
    for name, value in measured.items():
        print(f"Loss of {name}: decay rate {value:.4g}, theory {rates[name]:.4g}.")
    both = (("rate", measured), ("theory", rates))
    return {f"{name} {kind}": values[name] for kind, values in both for name in values}


if __name__ == "__main__":
    run(main, __doc__)

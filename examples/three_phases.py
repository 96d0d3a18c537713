"""Three phases: global mean, class means, single samples.

The kernel's three eigenvalues split the loss into three orthogonal parts that are learned at different speeds
(eqs. 16-18). Here E = 0, the feature mean is zero and W^T 1 = 0, so the three parts decay exactly with the
rates of the theory: N for the mean, 2 sqrt(m mu_class) for the class means, mu_single x* for the samples, each
twice for a loss. These are not the rates of Table 1, which belongs to a simpler model. One thing the picture
of separate phases misses: class means are never finished before the samples are. Within-class variability
keeps pushing them, so their loss ends on a slave's slope, twice that of the individual part.

Run: python examples/three_phases.py --out pictures
"""

from pathlib import Path

import numpy as np
from _pictures import GREEN, ORANGE, PURPLE, label, panes, run, save

import ntkflow as nf

PARTS = (
    ("global", PURPLE, "global mean"),
    ("class", ORANGE, "class means"),
    ("individual", GREEN, "individual samples"),
)


def rate(name: str, sizes: nf.Sizes, kernel: nf.BlockKernel) -> float:
    """Rate of a mode of the residual at collapse."""
    return next(mode.rate for mode in nf.rates.at_collapse(sizes, kernel) if mode.name == name)


def slope(t: np.ndarray, loss: np.ndarray, start: float, stop: float) -> float:
    """Decay rate of a loss between two times, by least squares on its logarithm."""
    inside = (t >= start) & (t <= stop)
    return -float(np.polyfit(t[inside], np.log(loss[inside]), 1)[0])


def main(out: Path = Path(), C: int = 3, m: int = 12, n: int = 6) -> dict[str, float]:
    sizes, kernel = nf.Sizes(C, m, n), nf.BlockKernel(1.0, 0.98, 0.2)
    centred = nf.initial.make("balanced-contrast", sizes, kernel, seed=0)
    state = nf.State(centred.H, centred.W, np.zeros(C))
    samples = 2 * rate("contrast, within class", sizes, kernel)
    theory = {
        "global": 2 * rate("sum over outputs, global mean", sizes, kernel),
        "class": 2 * rate("contrast, class contrast", sizes, kernel),
        "individual": samples,
        "class, slaved": 2 * samples,
    }
    clock = nf.rates.class_rate(sizes, kernel)
    early, late = np.linspace(0, 8 / clock, 161), np.linspace(0.5, 11, 106) / samples
    t = np.concatenate([early, late])
    solution = nf.solve(nf.Problem(sizes, kernel, state), save_at=t, rtol=1e-12)
    losses = {name: solution.series[f"loss_{name}"] for name, _, _ in PARTS}
    windows = {
        "global": (1 / clock, 2 / clock),
        "class": (2.2 / clock, 2.9 / clock),
        "individual": (8 / samples, 11 / samples),
        "class, slaved": (8 / samples, 11 / samples),
    }
    measured = {name: slope(t, losses[name.split(",")[0]], *windows[name]) for name in windows}

    figure, (first, second) = panes(1, 2, "Each part of the loss falls at its own rate")
    for name, colour, text in PARTS:
        first.semilogy(early, losses[name][:161], color=colour, linewidth=2.6, label=text)
        anchor = int(np.searchsorted(early, windows.get(name, (0, 0))[0])) if name != "individual" else 100
        line = losses[name][anchor] * np.exp(-theory[name] * (early - early[anchor]))
        first.semilogy(early, line, "--", color="black", linewidth=1)
        if name != "global":
            second.semilogy(late, losses[name][161:], color=colour, linewidth=2.6, label=text)
    for name, text in (("individual", r"slope $2\mu_{single}x^*$"), ("class", r"slope $4\mu_{single}x^*$")):
        key = "individual" if name == "individual" else "class, slaved"
        last = losses[name][-1] * np.exp(-theory[key] * (late - late[-1]))
        second.semilogy(
            late, last, "--" if name == "individual" else "-.", color="black", linewidth=1, label=text
        )
    first.plot([], [], "--", color="black", linewidth=1, label="rates of the theory")
    first.set_ylim(1e-9, 1e3)
    second.set_ylim(1e-14, 1e0)
    label(first, "first: the mean, then the classes", "flow time t", "loss (sum over samples)", ncols=2)
    label(
        second,
        "much later: the samples, and the classes behind them",
        "flow time t",
        "loss (sum over samples)",
    )
    save(figure, out, "three_phases")
    for name, value in measured.items():
        print(f"Loss of {name}: decay rate {value:.4g}, theory {theory[name]:.4g}.")
    return {
        f"{name} {kind}": value[name]
        for kind, value in (("rate", measured), ("theory", theory))
        for name in windows
    }


if __name__ == "__main__":
    run(main, __doc__)

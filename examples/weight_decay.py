"""Weight decay as the cause of collapse.

A wide random state has an E that forbids collapse, and plain gradient flow keeps E for ever. Decay of W and H at
one rate shrinks it as exp(-2 rate t), exactly: whatever the start was, the flow ends at E = 0. Then NC1, NC2
and NC3 all fall, without any assumption on the start, and training ends at a shrunken copy of the collapsed
state: W W^T = (1 - rho) x* P with rho = rate / sqrt(m mu_class), and a residual of -rho P. Without decay the
same start fits the labels and stays where it is.

Run: python examples/weight_decay.py --out pictures
"""

from pathlib import Path

import numpy as np
from _pictures import BLUE, ORANGE, label, panes, run, save

import ntkflow as nf
from ntkflow.metrics.neural_collapse import centring
from ntkflow.problem.decay import NO_DECAY, Decay

SHOWN = (
    ("E_norm", "the invariant", r"$\|E\|_F$"),
    ("NC1", "NC1: variability", "standard deviation within a class"),
    ("NC2", "NC2: simplex ETF", "distance of $M^\\top M$ from ETF"),
    ("NC3", "NC3: self-duality", "distance of $M$ from $W^\\top$"),
)


def main(
    out: Path = Path(), C: int = 3, m: int = 10, n: int = 16, rate: float = 0.05, t_end: float = 300.0
) -> dict[str, float]:
    sizes, kernel = nf.Sizes(C, m, n), nf.BlockKernel(1.0, 0.5, 0.1)
    state = nf.initial.make("gaussian", sizes, seed=1)
    times = np.concatenate([[0.0], np.geomspace(1e-3, t_end, 150)])
    runs = {
        decay: nf.solve(nf.Problem(sizes, kernel, state, decay=decay), save_at=times, rtol=1e-10)
        for decay in (Decay(W=rate, H=rate), NO_DECAY)
    }
    figure, grid = panes(2, 2, "Decay drives E to zero, and with it comes collapse")
    for axes, (name, title, unit) in zip(grid, SHOWN, strict=True):
        for decay, solution in runs.items():
            text, colour, style = (f"decay {rate:g}", BLUE, "-") if decay.any else ("no decay", ORANGE, "--")
            axes.loglog(times[1:], solution.series[name][1:], style, color=colour, linewidth=2.4, label=text)
        if name == "E_norm":
            law = runs[NO_DECAY].series[name][0] * np.exp(-2 * rate * times)
            axes.loglog(times[1:], law[1:], ":", color="black", linewidth=1.4, label="exp(-2 rate t)")
        label(axes, title, "flow time t", unit, loc="lower left")
    save(figure, out, "weight_decay")

    with_decay, without = runs.values()
    final, x = with_decay.final, nf.theory.limits.x_star(sizes, kernel)
    rho = rate / nf.theory.rates.class_rate(sizes, kernel)
    limit = (1 - rho) * x * centring(C)
    numbers = {
        f"{name} {kind}": float(run.series[name][-1])
        for kind, run in (("with", with_decay), ("without", without))
        for name in ("E_norm", "NC1", "NC2", "NC3", "loss")
    }
    law = with_decay.series["E_norm"][0] * np.exp(-2 * rate * times)
    numbers["error of E"] = float(np.abs(with_decay.series["E_norm"] / law - 1)[times * rate < 5].max())
    numbers["error of W W^T"] = float(np.linalg.norm(final.W @ final.W.T - limit) / np.linalg.norm(limit))
    for name in ("NC1", "NC2", "NC3"):
        print(
            f"{name} at t = {t_end:g}: {numbers[name + ' with']:.1e} with decay, {numbers[name + ' without']:.2f} without."
        )
    print(f"W W^T ends within {numbers['error of W W^T']:.1e} of (1 - rho) x* P with rho = {rho:.4f}.")
    print(f"|E| follows exp(-2 rate t) to {numbers['error of E']:.1e}.")
    return numbers


if __name__ == "__main__":
    run(main, __doc__)

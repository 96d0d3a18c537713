"""The slow tail hidden in Theorem 5.2.

The theorem asks for E = 0 and a zero feature mean. Under exactly these hypotheses one direction of the
classifier, W^T 1, is used by no class mean: nothing but within-class noise pushes on it, and both die together
like 1/t. So NC1 and NC3 are reached only as t^(-1/2), with constants that do not depend on where the run began;
NC2 alone is exponential. If W(0)^T 1 = 0 as well, all of them are exponential. Dashed lines are the laws of
`ntkflow.theory.rates`, not fits.

Run: python examples/algebraic_tail.py --out pictures
"""

from pathlib import Path

import numpy as np
from _pictures import BLUE, ORANGE, label, panes, run, save

import ntkflow as nf

SHOWN = (
    ("tr_S", "tr S", "sum of within-class variances"),
    ("loss", "loss", "sum over samples"),
    ("NC3", "NC3: self-duality", "distance of $M$ from $W^\\top$"),
    ("NC2", "NC2: simplex ETF", "distance of $M^\\top M$ from ETF"),
)
# What rounding leaves of a quantity that is zero.
ROUNDING = {"tr_S": 1e-20, "loss": 1e-24, "NC3": 1e-10, "NC2": 1e-10}


def main(out: Path = Path(), C: int = 3, m: int = 8, n: int = 6, t_end: float = 1e4) -> dict[str, float]:
    sizes, kernel = nf.Sizes(C, m, n), nf.BlockKernel(1.0, 0.5, 0.1)
    runs = {}
    for start in ("balanced-centred", "balanced-contrast"):
        state = nf.initial.make(start, sizes, kernel, seed=2)
        stop = nf.Stop(nc1=1e-11, stationarity=None)
        runs[start] = nf.solve(nf.Problem(sizes, kernel, state), t_end=t_end, stop=stop, rtol=1e-11)
    t = runs["balanced-centred"].times[1:]
    laws = {
        "tr_S": nf.theory.rates.tail_trace_S(t, sizes, kernel),
        "loss": nf.theory.rates.tail_loss(t, sizes, kernel),
        "NC3": nf.theory.rates.tail_NC3(t, sizes, kernel),
    }
    figure, grid = panes(2, 2, "Theorem 5.2 at its hypotheses: collapse is algebraic unless $W^\\top 1 = 0$")
    styles = (("balanced-centred", BLUE, "-"), ("balanced-contrast", ORANGE, "-."))
    texts = {"balanced-centred": r"$W(0)^\top 1 \neq 0$", "balanced-contrast": r"$W(0)^\top 1 = 0$"}
    for axes, (name, title, unit) in zip(grid, SHOWN, strict=True):
        for start, colour, style in styles:
            values = runs[start].series[name][1:]
            shown = np.where(values > ROUNDING[name], values, np.nan)
            axes.loglog(runs[start].times[1:], shown, style, color=colour, linewidth=2.4, label=texts[start])
        if name in laws:
            late = t > 1
            axes.loglog(t[late], laws[name][late], "--", color="black", linewidth=1, label="law of the tail")
        axes.set_xlim(t[0], t[-1])
        label(axes, title, "flow time t", unit, loc="lower left")
    save(figure, out, "algebraic_tail")

    tail = runs["balanced-centred"].series
    numbers = {f"{name} / law": float(tail[name][-1] / laws[name][-1]) for name in laws}
    late = t > t[-1] / 30
    for name in laws:
        fit = np.polyfit(np.log(t[late]), np.log(tail[name][1:][late]), 1)
        numbers[f"{name} slope"] = float(fit[0])
        print(
            f"{name}: at t = {t[-1]:.0f} it is {numbers[f'{name} / law']:.4f} of the law; it falls as t^{fit[0]:.3f}."
        )
    numbers["time with W^T 1 = 0"] = float(runs["balanced-contrast"].times[-1])
    numbers["NC1 with W^T 1 = 0"] = float(runs["balanced-contrast"].series["NC1"][-1])
    numbers["NC1 with W^T 1 != 0"] = float(tail["NC1"][-1])
    print(
        f"With W^T 1 = 0, NC1 is {numbers['NC1 with W^T 1 = 0']:.0e} at t = {numbers['time with W^T 1 = 0']:.0f}; "
        f"without it is {numbers['NC1 with W^T 1 != 0']:.0e} at t = {t[-1]:.0f}."
    )
    return numbers


if __name__ == "__main__":
    run(main, __doc__)
